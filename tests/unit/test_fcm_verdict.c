// SPDX-License-Identifier: Apache-2.0
#include "apns/fcm_verdict.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define FCM(code)                                                                             \
    "{\"@type\":\"type.googleapis.com/google.firebase.fcm.v1.FcmError\",\"errorCode\":"       \
    "\"" code "\"}"
#define FIELD(name)                                                                           \
    "{\"@type\":\"type.googleapis.com/google.rpc.BadRequest\",\"fieldViolations\":"           \
    "[{\"field\":\"message.android.ttl\"},{\"field\":\"" name "\"}]}"
#define QUOTA(subject)                                                                        \
    "{\"@type\":\"type.googleapis.com/google.rpc.QuotaFailure\",\"violations\":"              \
    "[{\"subject\":\"" subject "\"}]}"
#define OTHER "{\"@type\":\"type.googleapis.com/google.rpc.Help\",\"links\":[]}"
#define ERROR(status, details)                                                                \
    "{\"error\":{\"code\":400,\"message\":\"m\",\"status\":\"" status                         \
    "\",\"details\":[" details "]}}"

static const struct verdict_opts opts = {
    .server_error_ms = 10000, .device_hold_ms = 60000, .no_answer_ms = 1000};

static enum verdict_step judge(int status, const char *body, int64_t retry_after_s,
                               struct push_verdict *v)
{
    const struct verdict_answer a = {status, retry_after_s, (const uint8_t *)body,
                                     body ? strlen(body) : 0};
    return fcm_verdict_of_answer(&a, &opts, v);
}

static const struct {
    int status;
    const char *body;
    int64_t retry_after_s;
    enum verdict_step step;
    enum push_reaction reaction;
    int64_t retry_after_ms;
    const char *reason;
} table[] = {
    {200, "{\"name\":\"projects/x/messages/1\"}", -1, VERDICT_FINAL, PUSH_DONE, 0, ""},
    {404, ERROR("NOT_FOUND", FCM("UNREGISTERED")), -1, VERDICT_FINAL, PUSH_DROP_DEVICE, 0,
     "UNREGISTERED"},
    {404, ERROR("NOT_FOUND", OTHER "," FCM("UNREGISTERED")), -1, VERDICT_FINAL,
     PUSH_DROP_DEVICE, 0, "UNREGISTERED"},
    {404, ERROR("NOT_FOUND", FCM("UNREGISTERED") "," OTHER), -1, VERDICT_FINAL,
     PUSH_DROP_DEVICE, 0, "UNREGISTERED"},
    /* The project's path is wrong: no device may go for it. */
    {404, ERROR("NOT_FOUND", ""), -1, VERDICT_FINAL, PUSH_APP_STOPPED, 0, "NOT_FOUND"},
    {404, ERROR("NOT_FOUND", OTHER), -1, VERDICT_FINAL, PUSH_APP_STOPPED, 0, "NOT_FOUND"},
    {404, "<html>Not Found</html>", -1, VERDICT_FINAL, PUSH_APP_STOPPED, 0, "status 404"},
    {404, "", -1, VERDICT_FINAL, PUSH_APP_STOPPED, 0, "status 404"},
    {400, ERROR("INVALID_ARGUMENT", FCM("INVALID_ARGUMENT") "," FIELD("message.token")), -1,
     VERDICT_FINAL, PUSH_SUSPECT, 0, "INVALID_ARGUMENT"},
    {400, ERROR("INVALID_ARGUMENT", FIELD("message.token") "," FCM("INVALID_ARGUMENT")), -1,
     VERDICT_FINAL, PUSH_SUSPECT, 0, "INVALID_ARGUMENT"},
    {400, ERROR("INVALID_ARGUMENT", FCM("INVALID_ARGUMENT") "," FIELD("message.data")), -1,
     VERDICT_FINAL, PUSH_PARK, 0, "INVALID_ARGUMENT"},
    {400, ERROR("INVALID_ARGUMENT", ""), -1, VERDICT_FINAL, PUSH_PARK, 0, "INVALID_ARGUMENT"},
    {400,
     "{\"error\":{\"message\":\"The registration token is not a valid FCM registration "
     "token\",\"status\":\"INVALID_ARGUMENT\"}}",
     -1, VERDICT_FINAL, PUSH_SUSPECT, 0, "INVALID_ARGUMENT"},
    {401, ERROR("UNAUTHENTICATED", ""), -1, VERDICT_RENEW_TOKEN, PUSH_APP_STOPPED, 0,
     "UNAUTHENTICATED"},
    {401, ERROR("UNAUTHENTICATED", FCM("THIRD_PARTY_AUTH_ERROR")), -1, VERDICT_ALARM,
     PUSH_RETRY, 900000, "THIRD_PARTY_AUTH_ERROR"},
    {401, ERROR("UNAUTHENTICATED", OTHER "," FCM("APNS_AUTH_ERROR")), -1, VERDICT_ALARM,
     PUSH_RETRY, 900000, "APNS_AUTH_ERROR"},
    {403, ERROR("PERMISSION_DENIED", FCM("SENDER_ID_MISMATCH")), -1, VERDICT_FINAL,
     PUSH_SUSPECT, 0, "SENDER_ID_MISMATCH"},
    {403, ERROR("PERMISSION_DENIED", ""), -1, VERDICT_FINAL, PUSH_APP_STOPPED, 0,
     "PERMISSION_DENIED"},
    {405, "", -1, VERDICT_FINAL, PUSH_PARK, 0, "status 405"},
    {413, "", -1, VERDICT_FINAL, PUSH_PARK, 0, "status 413"},
    {429, ERROR("RESOURCE_EXHAUSTED", FCM("QUOTA_EXCEEDED")), -1, VERDICT_FINAL,
     PUSH_HOLD_DEVICE, 60000, "QUOTA_EXCEEDED"},
    {429, ERROR("RESOURCE_EXHAUSTED", QUOTA("device:x") "," FCM("QUOTA_EXCEEDED")), 30,
     VERDICT_FINAL, PUSH_HOLD_DEVICE, 30000, "QUOTA_EXCEEDED"},
    {429, ERROR("RESOURCE_EXHAUSTED", FCM("QUOTA_EXCEEDED") "," QUOTA("project:x")), 30,
     VERDICT_HOLD_ALL, PUSH_RETRY, 30000, "QUOTA_EXCEEDED"},
    {429, ERROR("RESOURCE_EXHAUSTED", ""), -1, VERDICT_HOLD_ALL, PUSH_RETRY, 60000,
     "RESOURCE_EXHAUSTED"},
    {429, "", 7, VERDICT_HOLD_ALL, PUSH_RETRY, 7000, "status 429"},
    {500, ERROR("INTERNAL", FCM("INTERNAL")), -1, VERDICT_FINAL, PUSH_RETRY, 10000,
     "INTERNAL"},
    {500, ERROR("INTERNAL", FCM("UNSPECIFIED_ERROR")), -1, VERDICT_FINAL, PUSH_RETRY, 10000,
     "UNSPECIFIED_ERROR"},
    {503, ERROR("UNAVAILABLE", FCM("UNAVAILABLE")), -1, VERDICT_FINAL, PUSH_RETRY, 10000,
     "UNAVAILABLE"},
    {503, ERROR("UNAVAILABLE", FCM("UNAVAILABLE")), 90, VERDICT_HOLD_ALL, PUSH_RETRY, 90000,
     "UNAVAILABLE"},
    {502, "<html><title>Bad Gateway</title></html>", -1, VERDICT_FINAL, PUSH_RETRY, 10000,
     "status 502"},
    {504, "", -1, VERDICT_FINAL, PUSH_RETRY, 10000, "status 504"},
    {302, "", -1, VERDICT_FINAL, PUSH_RETRY, 10000, "status 302"},
};

static void every_answer_has_one_reaction(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        struct push_verdict v;
        enum verdict_step step =
            judge(table[i].status, table[i].body, table[i].retry_after_s, &v);
        if (step != table[i].step || v.reaction != table[i].reaction ||
            v.retry_after_ms != table[i].retry_after_ms)
            fail_msg("%d %s: step %d, %s, after %lld ms", table[i].status, table[i].body, step,
                     push_reaction_name(v.reaction), (long long)v.retry_after_ms);
        assert_string_equal(v.reason, table[i].reason);
        assert_int_equal(v.status, table[i].status);
    }
}

static void a_body_that_is_no_error_leaves_the_status_to_decide(void **state)
{
    (void)state;
    static const char *const bodies[] = {
        "null",
        "[]",
        "3",
        "{\"error\":null}",
        "{\"error\":\"text\"}",
        "{\"error\":{\"status\":7,\"details\":7}}",
        "{\"error\":{\"details\":{\"@type\":3,\"errorCode\":\"UNREGISTERED\"}}}",
        "{\"error\":{\"details\":[null,1,[],{\"errorCode\":\"UNREGISTERED\"}]}}",
        "{\"error\":{\"details\":[{\"@type\":\"type.googleapis.com/google.rpc.Help\","
        "\"errorCode\":\"UNREGISTERED\"}]}}",
        "{\"error\":{\"details\":[{\"@type\":\"type.googleapis.com/"
        "google.firebase.fcm.v1.FcmError\",\"errorCode\":5}]}}",
        "{\"error\":{\"details\":[{\"@type\":\"type.goog",
    };
    for (size_t i = 0; i < sizeof bodies / sizeof *bodies; i++) {
        struct push_verdict v;
        assert_int_equal(judge(404, bodies[i], -1, &v), VERDICT_FINAL);
        assert_int_equal(v.reaction, PUSH_APP_STOPPED);
        assert_string_equal(v.reason, "status 404");
    }
}

static void a_body_cut_anywhere_never_drops_a_device(void **state)
{
    (void)state;
    static const char whole[] = ERROR("NOT_FOUND", OTHER "," FCM("UNREGISTERED"));
    for (size_t len = 0; len + 1 < sizeof whole; len++) {
        const struct verdict_answer a = {404, -1, (const uint8_t *)whole, len};
        struct push_verdict v;
        (void)fcm_verdict_of_answer(&a, &opts, &v);
        assert_int_equal(v.reaction, PUSH_APP_STOPPED);
    }
}

static void a_reason_is_fit_for_a_log(void **state)
{
    (void)state;
    struct push_verdict v;
    judge(500, "{\"error\":{\"status\":\"a\\n\\\"b\\u00e9\"}}", -1, &v);
    assert_string_equal(v.reason, "a??b??");
}

static void an_order_to_wait_for_years_is_not_believed(void **state)
{
    (void)state;
    struct push_verdict v;
    judge(503, "", 999999999, &v);
    assert_int_equal(v.retry_after_ms, 24 * 60 * 60 * 1000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_answer_has_one_reaction),
        cmocka_unit_test(a_body_that_is_no_error_leaves_the_status_to_decide),
        cmocka_unit_test(a_body_cut_anywhere_never_drops_a_device),
        cmocka_unit_test(a_reason_is_fit_for_a_log),
        cmocka_unit_test(an_order_to_wait_for_years_is_not_believed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
