// SPDX-License-Identifier: Apache-2.0
#include "apns/webpush_verdict.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static void every_status_has_its_reaction(void **state)
{
    (void)state;
    static const struct {
        int status;
        int64_t retry_after_s;
        enum webpush_step step;
        enum webpush_sign sign;
        enum push_reaction reaction;
        const char *reason;
        int64_t retry_after_ms;
    } cases[] = {
        {200, -1, WEBPUSH_FINAL, WEBPUSH_WORKS, PUSH_DONE, "", 0},
        {201, -1, WEBPUSH_FINAL, WEBPUSH_WORKS, PUSH_DONE, "", 0},
        {202, 5, WEBPUSH_FINAL, WEBPUSH_WORKS, PUSH_DONE, "", 0},
        {301, -1, WEBPUSH_FINAL, WEBPUSH_REFUSES, PUSH_PARK, "301 redirect not followed", 0},
        {308, -1, WEBPUSH_FINAL, WEBPUSH_REFUSES, PUSH_PARK, "308 redirect not followed", 0},
        {400, -1, WEBPUSH_FINAL, WEBPUSH_REFUSES, PUSH_PARK, "400 bad request", 0},
        {401, -1, WEBPUSH_RENEW, WEBPUSH_REFUSES, PUSH_PARK, "401 VAPID refused", 0},
        {402, -1, WEBPUSH_FINAL, WEBPUSH_REFUSES, PUSH_PARK, "402 refused", 0},
        {403, -1, WEBPUSH_RENEW, WEBPUSH_REFUSES, PUSH_PARK, "403 VAPID refused", 0},
        {404, -1, WEBPUSH_FINAL, WEBPUSH_WORKS, PUSH_DROP_DEVICE, "404 subscription unknown",
         0},
        {408, -1, WEBPUSH_FINAL, WEBPUSH_FAILS, PUSH_RETRY, "408 request timeout", 10000},
        {410, -1, WEBPUSH_FINAL, WEBPUSH_WORKS, PUSH_DROP_DEVICE, "410 subscription gone", 0},
        {413, -1, WEBPUSH_SHORTER, WEBPUSH_WORKS, PUSH_PARK, "413 too large", 0},
        {418, -1, WEBPUSH_FINAL, WEBPUSH_REFUSES, PUSH_PARK, "418 refused", 0},
        {425, -1, WEBPUSH_FINAL, WEBPUSH_FAILS, PUSH_RETRY, "425 too early", 10000},
        {429, -1, WEBPUSH_FINAL, WEBPUSH_HOLDS, PUSH_RETRY, "429 too many requests", 60000},
        {429, 7, WEBPUSH_FINAL, WEBPUSH_HOLDS, PUSH_RETRY, "429 too many requests", 7000},
        {429, 999999, WEBPUSH_FINAL, WEBPUSH_HOLDS, PUSH_RETRY, "429 too many requests",
         3600000},
        {500, -1, WEBPUSH_FINAL, WEBPUSH_FAILS, PUSH_RETRY, "500 server error", 10000},
        {500, 30, WEBPUSH_FINAL, WEBPUSH_FAILS, PUSH_RETRY, "500 server error", 30000},
        {503, -1, WEBPUSH_FINAL, WEBPUSH_FAILS, PUSH_RETRY, "503 server error", 10000},
        {503, 30, WEBPUSH_FINAL, WEBPUSH_HOLDS, PUSH_RETRY, "503 server error", 30000},
        {599, -1, WEBPUSH_FINAL, WEBPUSH_FAILS, PUSH_RETRY, "599 server error", 10000},
        {600, -1, WEBPUSH_FINAL, WEBPUSH_FAILS, PUSH_RETRY, "600 unknown status", 10000},
        {999, -1, WEBPUSH_FINAL, WEBPUSH_FAILS, PUSH_RETRY, "999 unknown status", 10000},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const struct webpush_answer a = {.status = cases[i].status,
                                         .retry_after_s = cases[i].retry_after_s};
        struct push_verdict v;
        enum webpush_sign sign;
        enum webpush_step step = webpush_judge(&a, &sign, &v);
        if (step != cases[i].step || sign != cases[i].sign || v.reaction != cases[i].reaction)
            fail_msg("status %d: step %d sign %d reaction %d", cases[i].status, (int)step,
                     (int)sign, (int)v.reaction);
        assert_int_equal(v.status, v.reaction == PUSH_DONE ? 200 : cases[i].status);
        assert_string_equal(v.reason, cases[i].reason);
        assert_int_equal(v.retry_after_ms, cases[i].retry_after_ms);
        assert_int_equal(v.timestamp_ms, 0);
    }
}

static void without_an_answer_it_is_tried_again(void **state)
{
    (void)state;
    struct webpush_answer a = {.error = "Timeout was reached", .retry_after_s = -1};
    struct push_verdict v;
    enum webpush_sign sign;
    assert_int_equal(webpush_judge(&a, &sign, &v), WEBPUSH_FINAL);
    assert_int_equal(sign, WEBPUSH_FAILS);
    assert_int_equal(v.reaction, PUSH_RETRY);
    assert_string_equal(v.reason, "Timeout was reached");
    assert_int_equal(v.retry_after_ms, 2000);
    a.lost = true;
    assert_int_equal(webpush_judge(&a, &sign, &v), WEBPUSH_AGAIN);
    assert_int_equal(v.reaction, PUSH_RETRY); /* when that does not help */
    a = (struct webpush_answer){
        .error = "link-local", .refused_address = true, .retry_after_s = -1};
    assert_int_equal(webpush_judge(&a, &sign, &v), WEBPUSH_FINAL);
    assert_int_equal(v.reaction, PUSH_RETRY);
    assert_string_equal(v.reason, "address is link-local");
    assert_int_equal(v.retry_after_ms, 900000);
    /* However long the words are. */
    a = (struct webpush_answer){.error =
                                    "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"
                                    "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"};
    (void)webpush_judge(&a, &sign, &v);
    assert_int_equal(strlen(v.reason), sizeof v.reason - 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_status_has_its_reaction),
        cmocka_unit_test(without_an_answer_it_is_tried_again),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
