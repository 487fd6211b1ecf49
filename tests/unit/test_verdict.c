// SPDX-License-Identifier: Apache-2.0
#include "apns/verdict.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static const struct verdict_opts opts = {
    .server_error_ms = 900000, .device_hold_ms = 60000, .no_answer_ms = 1000};

static enum verdict_step judge(int status, const char *body, int64_t retry_after_s,
                               struct push_verdict *v)
{
    const struct verdict_answer a = {status, retry_after_s, (const uint8_t *)body,
                                     body ? strlen(body) : 0};
    return verdict_of_answer(&a, &opts, v);
}

static const struct {
    int status;
    const char *reason;
    enum verdict_step step;
    enum push_reaction reaction;
    int64_t retry_after_ms;
} table[] = {
    {200, NULL, VERDICT_FINAL, PUSH_DONE, 0},
    {400, "BadCollapseId", VERDICT_FINAL, PUSH_PARK, 0},
    {400, "BadDeviceToken", VERDICT_FINAL, PUSH_SUSPECT, 0},
    {400, "BadExpirationDate", VERDICT_FINAL, PUSH_PARK, 0},
    {400, "BadMessageId", VERDICT_FINAL, PUSH_PARK, 0},
    {400, "BadPriority", VERDICT_FINAL, PUSH_PARK, 0},
    {400, "BadTopic", VERDICT_FINAL, PUSH_APP_STOPPED, 0},
    {400, "DeviceTokenNotForTopic", VERDICT_FINAL, PUSH_SUSPECT, 0},
    {400, "DuplicateHeaders", VERDICT_FINAL, PUSH_PARK, 0},
    {400, "IdleTimeout", VERDICT_RESEND, PUSH_RETRY, 900000},
    {400, "InvalidPushType", VERDICT_FINAL, PUSH_PARK, 0},
    {400, "MissingDeviceToken", VERDICT_FINAL, PUSH_PARK, 0},
    {400, "MissingTopic", VERDICT_FINAL, PUSH_APP_STOPPED, 0},
    {400, "PayloadEmpty", VERDICT_FINAL, PUSH_PARK, 0},
    {400, "TopicDisallowed", VERDICT_FINAL, PUSH_APP_STOPPED, 0},
    {400, "SomethingNew", VERDICT_FINAL, PUSH_PARK, 0},
    {401, "SomethingNew", VERDICT_FINAL, PUSH_PARK, 0},
    {403, "BadCertificate", VERDICT_FINAL, PUSH_APP_STOPPED, 0},
    {403, "BadCertificateEnvironment", VERDICT_FINAL, PUSH_APP_STOPPED, 0},
    {403, "ExpiredProviderToken", VERDICT_RENEW_TOKEN, PUSH_APP_STOPPED, 0},
    {403, "Forbidden", VERDICT_FINAL, PUSH_APP_STOPPED, 0},
    {403, "InvalidProviderToken", VERDICT_RENEW_TOKEN, PUSH_APP_STOPPED, 0},
    {403, "MissingProviderToken", VERDICT_FINAL, PUSH_APP_STOPPED, 0},
    {403, "UnrelatedKeyIdInToken", VERDICT_RECONNECT, PUSH_APP_STOPPED, 0},
    {403, "BadEnvironmentKeyIdInToken", VERDICT_FINAL, PUSH_APP_STOPPED, 0},
    {403, "BadEnvironmentKeyInToken", VERDICT_FINAL, PUSH_APP_STOPPED, 0},
    {403, "InvalidSigningKey", VERDICT_FINAL, PUSH_APP_STOPPED, 0},
    {404, "BadPath", VERDICT_FINAL, PUSH_PARK, 0},
    {405, "MethodNotAllowed", VERDICT_FINAL, PUSH_PARK, 0},
    {413, "PayloadTooLarge", VERDICT_FINAL, PUSH_PARK, 0},
    {429, "TooManyProviderTokenUpdates", VERDICT_TOKEN_HOLD, PUSH_RETRY, 60000},
    {429, "TooManyRequests", VERDICT_FINAL, PUSH_HOLD_DEVICE, 60000},
    {429, "SomethingNew", VERDICT_FINAL, PUSH_RETRY, 60000},
    {500, "InternalServerError", VERDICT_FINAL, PUSH_RETRY, 900000},
    {502, "SomethingNew", VERDICT_FINAL, PUSH_RETRY, 900000},
    {503, "ServiceUnavailable", VERDICT_FINAL, PUSH_RETRY, 900000},
    {503, "Shutdown", VERDICT_RESEND, PUSH_RETRY, 900000},
    {503, "SomethingNew", VERDICT_FINAL, PUSH_RETRY, 900000},
    {204, "SomethingNew", VERDICT_FINAL, PUSH_RETRY, 900000},
    {302, "SomethingNew", VERDICT_FINAL, PUSH_RETRY, 900000},
};

static void every_status_and_reason_has_one_reaction(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        char body[128] = "";
        struct push_verdict v;
        if (table[i].reason)
            snprintf(body, sizeof body, "{\"reason\":\"%s\"}", table[i].reason);
        assert_int_equal(judge(table[i].status, body, -1, &v), table[i].step);
        assert_int_equal(v.reaction, table[i].reaction);
        assert_int_equal(v.status, table[i].status);
        assert_int_equal(v.retry_after_ms, table[i].retry_after_ms);
        assert_int_equal(v.timestamp_ms, 0);
        assert_string_equal(v.reason, table[i].reason ? table[i].reason : "");
    }
}

static void a_device_is_dropped_only_with_a_timestamp(void **state)
{
    (void)state;
    static const char *const reasons[] = {"Unregistered", "ExpiredToken", "SomethingNew"};
    char body[128];
    struct push_verdict v;
    for (size_t i = 0; i < 3; i++) {
        snprintf(body, sizeof body, "{\"reason\":\"%s\",\"timestamp\":1760000000123}",
                 reasons[i]);
        assert_int_equal(judge(410, body, -1, &v), VERDICT_FINAL);
        assert_int_equal(v.reaction, PUSH_DROP_DEVICE);
        assert_true(v.timestamp_ms == INT64_C(1760000000123));
        snprintf(body, sizeof body, "{\"reason\":\"%s\"}", reasons[i]);
        assert_int_equal(judge(410, body, -1, &v), VERDICT_FINAL);
        assert_int_equal(v.reaction, PUSH_SUSPECT);
    }
    assert_int_equal(judge(410, "{\"reason\":\"Unregistered\",\"timestamp\":-5}", -1, &v),
                     VERDICT_FINAL);
    assert_int_equal(v.reaction, PUSH_SUSPECT);
    assert_int_equal(judge(410, "{\"reason\":\"Unregistered\",\"timestamp\":1e300}", -1, &v),
                     VERDICT_FINAL);
    assert_int_equal(v.reaction, PUSH_SUSPECT);
    assert_int_equal(judge(410, "<html>", -1, &v), VERDICT_FINAL);
    assert_int_equal(v.reaction, PUSH_SUSPECT);
    assert_string_equal(v.reason, "status 410");
}

static void the_services_own_delay_wins(void **state)
{
    (void)state;
    struct push_verdict v;
    (void)judge(503, "{\"reason\":\"ServiceUnavailable\"}", 7, &v);
    assert_int_equal(v.retry_after_ms, 7000);
    (void)judge(429, "{\"reason\":\"TooManyRequests\"}", 120, &v);
    assert_int_equal(v.retry_after_ms, 120000);
    (void)judge(503, "{\"reason\":\"ServiceUnavailable\"}", 999999999, &v);
    assert_int_equal(v.retry_after_ms, 86400000);
    (void)judge(503, "", 0, &v);
    assert_int_equal(v.retry_after_ms, 0);
}

static void bodies_that_are_no_answer_are_judged_by_status(void **state)
{
    (void)state;
    static const char *const bodies[] = {"",
                                         "{",
                                         "[]",
                                         "null",
                                         "\"x\"",
                                         "{\"reason\":5}",
                                         "{\"reason\":null}",
                                         "<html>Bad gateway</html>",
                                         "{\"Reason\":\"Forbidden\"}"};
    for (size_t i = 0; i < sizeof bodies / sizeof *bodies; i++) {
        struct push_verdict v;
        assert_int_equal(judge(400, bodies[i], -1, &v), VERDICT_FINAL);
        assert_int_equal(v.reaction, PUSH_PARK);
        assert_string_equal(v.reason, "status 400");
        (void)judge(403, bodies[i], -1, &v);
        assert_int_equal(v.reaction, PUSH_APP_STOPPED);
        (void)judge(503, bodies[i], -1, &v);
        assert_int_equal(v.reaction, PUSH_RETRY);
    }
}

static void a_reason_is_cut_and_cleaned_before_it_is_logged(void **state)
{
    (void)state;
    struct push_verdict v;
    (void)judge(400, "{\"reason\":\"a\\nb\\u0007c\\u00e9\\\"d\"}", -1, &v);
    assert_string_equal(v.reason, "a?b?c???d");
    char body[300];
    memset(body, 'x', sizeof body);
    memcpy(body, "{\"reason\":\"", 11);
    memcpy(body + sizeof body - 3, "\"}", 3);
    (void)judge(400, body, -1, &v);
    assert_int_equal(strlen(v.reason), 63);
}

static void a_body_beyond_the_limit_is_not_parsed(void **state)
{
    (void)state;
    char body[VERDICT_BODY_MAX + 2];
    memset(body, ' ', sizeof body);
    memcpy(body, "{\"reason\":\"BadDeviceToken\"}", 27);
    body[VERDICT_BODY_MAX + 1] = '\0';
    struct push_verdict v;
    (void)judge(400, body, -1, &v);
    assert_int_equal(v.reaction, PUSH_PARK);
}

static void no_answer_means_retry(void **state)
{
    (void)state;
    struct push_verdict v;
    verdict_of_silence("timeout", &opts, &v);
    assert_int_equal(v.reaction, PUSH_RETRY);
    assert_int_equal(v.status, 0);
    assert_int_equal(v.retry_after_ms, 1000);
    assert_string_equal(v.reason, "timeout");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_status_and_reason_has_one_reaction),
        cmocka_unit_test(a_device_is_dropped_only_with_a_timestamp),
        cmocka_unit_test(the_services_own_delay_wins),
        cmocka_unit_test(bodies_that_are_no_answer_are_judged_by_status),
        cmocka_unit_test(a_reason_is_cut_and_cleaned_before_it_is_logged),
        cmocka_unit_test(a_body_beyond_the_limit_is_not_parsed),
        cmocka_unit_test(no_answer_means_retry),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
