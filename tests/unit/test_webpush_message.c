// SPDX-License-Identifier: Apache-2.0
#include "apns/webpush_message.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cjson/cJSON.h>
#include <cmocka.h>

#include "apns/ece.h"
#include "base/buf.h"

#define KEY "0123456789abcdef0123456789abcdef"

static struct buf b;

static int start(void **state)
{
    (void)state;
    buf_init(&b, 2 * ECE_PLAIN_MAX);
    return 0;
}

static int stop(void **state)
{
    (void)state;
    buf_deinit(&b);
    return 0;
}

static void expect_alert(const struct payload_alert_opts *o, const char *json)
{
    buf_reset(&b);
    webpush_message_alert(&b, o);
    assert_string_equal(buf_cstr(&b), json);
}

static void it_says_what_the_settings_allow(void **state)
{
    (void)state;
    struct payload_alert_opts o = {
        .sender = "juliet", .body = "Hello!", .badge = 7, .thread = KEY};
    o.content = PUSH_CONTENT_NONE;
    expect_alert(&o, "{\"badge\":7,\"conversation\":\"" KEY "\",\"body\":\"New message\"}");
    o.content = PUSH_CONTENT_COUNT;
    expect_alert(&o,
                 "{\"badge\":7,\"conversation\":\"" KEY "\",\"body\":\"7 unread messages\"}");
    o.content = PUSH_CONTENT_SENDER;
    expect_alert(&o, "{\"badge\":7,\"conversation\":\"" KEY
                     "\",\"title\":\"juliet\",\"body\":\"New message\"}");
    o.content = PUSH_CONTENT_BODY;
    expect_alert(&o, "{\"badge\":7,\"conversation\":\"" KEY
                     "\",\"title\":\"juliet\",\"body\":\"Hello!\"}");
    o.encrypted = true;
    expect_alert(&o, "{\"badge\":7,\"conversation\":\"" KEY
                     "\",\"title\":\"juliet\",\"body\":\"Encrypted message\"}");
    o.thread = NULL;
    o.sender = NULL;
    expect_alert(&o, "{\"badge\":7,\"body\":\"Encrypted message\"}");
}

static void a_call_is_told_as_one(void **state)
{
    (void)state;
    const struct payload_call call = {
        .session = "s1", .media = "audio", .from = "a@b", .account = "c@d"};
    const struct payload_alert_opts o = {.content = PUSH_CONTENT_BODY,
                                         .sender = "juliet",
                                         .badge = 7,
                                         .thread = KEY,
                                         .call = &call};
    expect_alert(&o, "{\"badge\":7,\"conversation\":\"" KEY
                     "\",\"call\":{\"id\":\"s1\",\"media\":[\"audio\"],\"from\":\"a@b\","
                     "\"account\":\"c@d\"},\"title\":\"juliet\",\"body\":\"Incoming call\"}");
}

static void the_short_form_has_no_words(void **state)
{
    (void)state;
    const struct payload_alert_opts o = {.content = PUSH_CONTENT_BODY,
                                         .sender = "juliet",
                                         .body = "Hello!",
                                         .badge = 7,
                                         .thread = KEY};
    buf_reset(&b);
    webpush_message_brief(&b, &o);
    assert_string_equal(buf_cstr(&b), "{\"badge\":7,\"conversation\":\"" KEY "\"}");
    buf_reset(&b);
    webpush_message_badge(&b, &(struct payload_badge_opts){.badge = 4000000000u});
    assert_string_equal(buf_cstr(&b), "{\"badge\":4000000000}");
}

static void what_is_to_go_is_named_beside_the_count(void **state)
{
    (void)state;
    static char names[PAYLOAD_WITHDRAW_MAX][PAYLOAD_NAME_BYTES];
    struct payload_badge_opts o = {
        .badge = 4294967295u, .withdraw = names, .withdraw_n = 2, .as_of_s = 1760000000};
    for (int i = 0; i < PAYLOAD_WITHDRAW_MAX; i++)
        snprintf(names[i], PAYLOAD_NAME_BYTES, "%032d", i);
    buf_reset(&b);
    webpush_message_badge(&b, &o);
    assert_string_equal(buf_cstr(&b), "{\"badge\":4294967295,\"withdraw\":["
                                      "\"00000000000000000000000000000000\","
                                      "\"00000000000000000000000000000001\"],"
                                      "\"as_of\":1760000000}");
    o.withdraw_n = PAYLOAD_WITHDRAW_MAX;
    buf_reset(&b);
    webpush_message_badge(&b, &o);
    assert_false(buf_failed(&b));
    assert_true(buf_len(&b) <= ECE_PLAIN_MAX);
    o.withdraw_all = true;
    o.badge = 0;
    buf_reset(&b);
    webpush_message_badge(&b, &o);
    assert_string_equal(buf_cstr(&b),
                        "{\"badge\":0,\"withdraw\":[\"all\"],\"as_of\":1760000000}");
}

static void whatever_is_in_it_fits_one_message_and_is_json(void **state)
{
    (void)state;
    static const char *const parts[] = {"x",   "\"", "\\", "\n", "\x01", "\xf0\x9f\x98\x80",
                                        "\xff"};
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        char *text = calloc(1, 5 * 8000 + 1);
        assert_non_null(text);
        for (size_t k = 0; k < 8000; k++)
            strcat(text + k * strlen(parts[i]), parts[i]);
        const struct payload_alert_opts o = {.content = PUSH_CONTENT_BODY,
                                             .sender = text,
                                             .body = text,
                                             .badge = 4000000000u,
                                             .thread = KEY};
        buf_reset(&b);
        buf_add_str(&b, "{}"); /* it is not alone there */
        webpush_message_alert(&b, &o);
        assert_false(buf_failed(&b));
        assert_in_range(buf_len(&b), ECE_PLAIN_MAX - 10, ECE_PLAIN_MAX + 2);
        cJSON *root = cJSON_ParseWithOpts(buf_cstr(&b) + 2, NULL, true);
        assert_non_null(root);
        const char *body = cJSON_GetStringValue(cJSON_GetObjectItem(root, "body"));
        assert_string_equal(body + strlen(body) - 3, "\xe2\x80\xa6");
        cJSON_Delete(root);
        free(text);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(it_says_what_the_settings_allow, start, stop),
        cmocka_unit_test_setup_teardown(a_call_is_told_as_one, start, stop),
        cmocka_unit_test_setup_teardown(the_short_form_has_no_words, start, stop),
        cmocka_unit_test_setup_teardown(what_is_to_go_is_named_beside_the_count, start, stop),
        cmocka_unit_test_setup_teardown(whatever_is_in_it_fits_one_message_and_is_json, start,
                                        stop),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
