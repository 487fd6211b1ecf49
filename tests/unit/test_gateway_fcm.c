// SPDX-License-Identifier: Apache-2.0
/* A gateway as FCM wants it, with access tokens that come and go as the test says. */
#include "tests/unit/gateway_world.h"

#include "apns/fcm_verdict.h"

#define MESSAGE "{\"message\":{\"token\":\"t\"}}"
#define KEY "0123456789abcdef"
#define ERROR(status, code)                                                                   \
    "{\"error\":{\"status\":\"" status "\",\"details\":[{\"@type\":\"type.googleapis.com/"    \
    "google.firebase.fcm.v1.FcmError\",\"errorCode\":\"" code "\"}]}}"

static struct {
    const char *token; /* NULL: none */
    unsigned serial;
    enum protocol_state state;
    const char *next_token; /* what a renewal brings */
    unsigned renewals;
    void (*changed)(void *ctx);
    void *ctx;
} fake;

static struct item *make_item(void *self, const struct push_request *r)
{
    (void)self;
    struct item *it = item_new(r, 0, FCM_BODY_MAX);
    it->idempotent = true;
    it->push.path = (struct h2_text){"/v1/projects/p/messages:send", 28};
    it->push.fields[0] = (struct h2_text){"application/json", 16};
    return it;
}

static const char *authorization(void *self, int64_t real_s, int64_t mono_ms, size_t *len_out,
                                 unsigned *serial_out)
{
    (void)self, (void)real_s, (void)mono_ms;
    if (fake.token)
        *len_out = strlen(fake.token);
    *serial_out = fake.serial;
    return fake.token;
}

static bool renew(void *self, unsigned serial, int64_t real_s, int64_t mono_ms)
{
    (void)self, (void)real_s, (void)mono_ms;
    if (serial == fake.serial) {
        fake.renewals++;
        fake.serial++;
        fake.token = fake.next_token;
    }
    return true;
}

static enum protocol_state state(const void *self, const char **reason_out)
{
    (void)self;
    *reason_out =
        fake.state == PROTOCOL_READY ? "" : "access token refused: 400 invalid_grant";
    return fake.state;
}

static void fake_free(void *self)
{
    (void)self;
}

static const struct protocol_ops ops = {.h2 = &h2_fcm,
                                        .wave = "another project's?",
                                        .make_item = make_item,
                                        .authorization = authorization,
                                        .renew = renew,
                                        .state = state,
                                        .judge = fcm_verdict_of_answer,
                                        .free = fake_free};

static enum err_kind protocol_fake(const struct protocol_opts *opts, struct protocol *out,
                                   struct err *e)
{
    (void)e;
    fake.changed = opts->changed;
    fake.ctx = opts->ctx;
    *out = (struct protocol){&ops, &fake};
    return ERR_NONE;
}

static int set_up_fcm(void **s)
{
    int failed = set_up(s);
    signal(SIGPIPE, SIG_IGN);
    memset(&fake, 0, sizeof fake);
    fake.token = fake.next_token = "Bearer one";
    fake.serial = 1;
    fake.state = PROTOCOL_READY;
    w.tuning = gateway_tuning_fcm;
    w.tuning.pool.backoff_min_ms = 10;
    w.tuning.pool.backoff_max_ms = 40;
    w.tuning.pool.proven_ms = 0;
    w.tuning.ramp = (struct ramp_opts){0};
    return failed;
}

static void start_fcm(void)
{
    struct err e;
    const struct gateway_events events = {.verdict = on_verdict, .room = on_room, .ctx = &w};
    assert_int_equal(
        gateway_new_as(protocol_fake, w.base, &w.opts, &events, &w.tuning, &w.gateway, &e),
        ERR_NONE);
}

static void become(enum protocol_state s, const char *token)
{
    fake.state = s;
    fake.token = token;
    fake.changed(fake.ctx);
}

static void messages(size_t n)
{
    submit_all(n, MESSAGE, KEY);
}

/* What the server says to the first request; then 200. */
static struct {
    int status;
    const char *body, *retry_after;
} first;

static void answer_first(struct link *l, struct peer_request *r)
{
    if (w.server.requests == 1)
        peer_answer_with(&l->peer, r, first.status, first.body,
                         first.retry_after ? "retry-after" : NULL, first.retry_after);
    else
        peer_answer(&l->peer, r, 200, "{}");
}

static void answer_each_first(int status, const char *body, const char *retry_after)
{
    first.status = status;
    first.body = body;
    first.retry_after = retry_after;
    w.server.handle = answer_first;
}

static void a_hundred_go_at_once_and_none_before_the_others(void **s)
{
    (void)s;
    start_fcm();
    messages(300);
    RUN_UNTIL(w.done == 300);
    for (size_t i = 0; i < 300; i++)
        expect(i, PUSH_DONE, 200, "");
    for (size_t l = 0; l < w.server.n; l++)
        assert_true(w.server.links[l]->peer.open_max <= 100);
    assert_true(w.server.links[0]->peer.open_max > 1); /* no proof by a first one */
    assert_string_equal(request(0, 0)->authorization, "Bearer one");
}

static void without_a_token_they_wait_for_it(void **s)
{
    (void)s;
    fake.token = NULL;
    fake.state = PROTOCOL_WAITING;
    start_fcm();
    messages(5);
    RUN_UNTIL(status().connections == 1);
    assert_int_equal(w.server.requests, 0);
    become(PROTOCOL_READY, "Bearer one");
    RUN_UNTIL(w.done == 5);
    expect(4, PUSH_DONE, 200, "");
}

static void who_waits_too_long_for_a_token_goes_back(void **s)
{
    (void)s;
    fake.token = NULL;
    fake.state = PROTOCOL_WAITING;
    w.tuning.queue_ms = 30;
    start_fcm();
    messages(1);
    RUN_UNTIL(w.done == 1);
    expect(0, PUSH_RETRY, 0, "no access token");
}

static void while_a_token_cannot_be_had_nothing_is_taken(void **s)
{
    (void)s;
    start_fcm();
    messages(1);
    RUN_UNTIL(w.done == 1);
    become(PROTOCOL_FAILING, NULL);
    RUN_UNTIL(status().state == GATEWAY_BACKOFF);
    assert_string_equal(status().reason, "access token refused: 400 invalid_grant");
    assert_int_equal(gateway_room(w.gateway), 0);
    assert_false(submit(MESSAGE, KEY));
    size_t events = w.room_events;
    become(PROTOCOL_READY, "Bearer two");
    RUN_UNTIL(w.room_events > events);
    messages(1);
    RUN_UNTIL(w.done == 2);
    expect(1, PUSH_DONE, 200, "");
    assert_int_equal(w.errors_logged, 0);
}

static void a_refused_account_stops_the_app_until_it_is_accepted(void **s)
{
    (void)s;
    fake.token = NULL;
    fake.state = PROTOCOL_WAITING;
    start_fcm();
    messages(3);
    turn_loop();
    become(PROTOCOL_REFUSED, NULL);
    RUN_UNTIL(w.done == 3);
    for (size_t i = 0; i < 3; i++)
        expect(i, PUSH_APP_STOPPED, 0, "access token refused: 400 invalid_grant");
    assert_int_equal(status().state, GATEWAY_STOPPED);
    assert_int_equal(gateway_room(w.gateway), 0);
    assert_int_equal(w.errors_logged, 1);
    /* At once, not after the ten minutes of a stopped app. */
    become(PROTOCOL_READY, "Bearer two");
    RUN_UNTIL(gateway_room(w.gateway) == 1);
    messages(1);
    RUN_UNTIL(w.done == 4);
    expect(3, PUSH_DONE, 200, "");
    RUN_UNTIL(gateway_room(w.gateway) > 1);
}

static void answer_by_token(struct link *l, struct peer_request *r)
{
    if (strcmp(r->authorization, "Bearer one") == 0)
        peer_answer(&l->peer, r, 401, "{\"error\":{\"status\":\"UNAUTHENTICATED\"}}");
    else
        peer_answer(&l->peer, r, 200, "{}");
}

static void a_token_that_is_refused_is_renewed_once_for_all(void **s)
{
    (void)s;
    w.server.handle = answer_by_token;
    fake.next_token = "Bearer two";
    start_fcm();
    messages(50);
    RUN_UNTIL(w.done == 50);
    for (size_t i = 0; i < 50; i++)
        expect(i, PUSH_DONE, 200, "");
    assert_int_equal(fake.renewals, 1);
    assert_int_equal(w.server.n, 1); /* the connection stays */
    assert_int_equal(w.errors_logged, 0);
}

static void a_second_refusal_stops_the_app(void **s)
{
    (void)s;
    w.server.handle = answer_by_token;
    start_fcm();
    messages(1);
    RUN_UNTIL(w.done == 1);
    expect(0, PUSH_APP_STOPPED, 401, "UNAUTHENTICATED");
    assert_int_equal(fake.renewals, 1);
    assert_int_equal(status().state, GATEWAY_STOPPED);
    assert_int_equal(w.errors_logged, 1);
}

static void too_much_for_the_project_holds_everything(void **s)
{
    (void)s;
    answer_each_first(429, "{\"error\":{\"status\":\"RESOURCE_EXHAUSTED\"}}", "2");
    start_fcm();
    int64_t begin_ms = clock_mono_ms();
    messages(1);
    RUN_UNTIL(w.done == 1);
    expect(0, PUSH_RETRY, 429, "RESOURCE_EXHAUSTED");
    assert_int_equal(w.results[0].v.retry_after_ms, 2000);
    assert_int_equal(gateway_room(w.gateway), 0);
    assert_int_equal(status().state, GATEWAY_BACKOFF);
    assert_string_equal(status().reason, "RESOURCE_EXHAUSTED");
    RUN_UNTIL(gateway_room(w.gateway) > 0);
    assert_true(clock_mono_ms() - begin_ms >= 2000);
    messages(1);
    RUN_UNTIL(w.done == 2);
    expect(1, PUSH_DONE, 200, "");
}

static void a_date_to_come_back_at_is_understood(void **s)
{
    (void)s;
    answer_each_first(503, ERROR("UNAVAILABLE", "UNAVAILABLE"),
                      "Fri, 31 Dec 2100 23:59:59 GMT");
    start_fcm();
    messages(1);
    RUN_UNTIL(w.done == 1);
    expect(0, PUSH_RETRY, 503, "UNAVAILABLE");
    assert_int_equal(w.results[0].v.retry_after_ms, 24 * 3600 * 1000); /* what is believed */
    assert_int_equal(gateway_room(w.gateway), 0);
}

static void a_date_that_has_passed_is_no_reason_to_wait(void **s)
{
    (void)s;
    answer_each_first(503, ERROR("UNAVAILABLE", "UNAVAILABLE"),
                      "Thu, 01 Jan 1970 00:00:00 GMT");
    start_fcm();
    messages(1);
    RUN_UNTIL(w.done == 1);
    assert_int_equal(w.results[0].v.retry_after_ms, 0);
    assert_true(gateway_room(w.gateway) > 0);
}

static void too_much_for_a_device_holds_that_device(void **s)
{
    (void)s;
    answer_each_first(429, ERROR("RESOURCE_EXHAUSTED", "QUOTA_EXCEEDED"), NULL);
    start_fcm();
    messages(1);
    RUN_UNTIL(w.done == 1);
    expect(0, PUSH_HOLD_DEVICE, 429, "QUOTA_EXCEEDED");
    assert_int_equal(w.results[0].v.retry_after_ms, 60000);
    assert_true(gateway_room(w.gateway) > 0);
}

static void answer_no_apns_key(struct link *l, struct peer_request *r)
{
    peer_answer(&l->peer, r, 401, ERROR("UNAUTHENTICATED", "THIRD_PARTY_AUTH_ERROR"));
}

static void a_missing_apns_key_is_told_once_and_stops_nothing(void **s)
{
    (void)s;
    w.server.handle = answer_no_apns_key;
    start_fcm();
    messages(20);
    RUN_UNTIL(w.done == 20);
    for (size_t i = 0; i < 20; i++)
        expect(i, PUSH_RETRY, 401, "THIRD_PARTY_AUTH_ERROR");
    assert_int_equal(w.errors_logged, 1);
    assert_int_equal(fake.renewals, 0);
    assert_true(gateway_room(w.gateway) > 0);
    w.server.handle = answer_ok;
    messages(1);
    RUN_UNTIL(w.done == 21);
    expect(20, PUSH_DONE, 200, "");
}

static void a_burst_after_a_pause_begins_slowly(void **s)
{
    (void)s;
    w.tuning.ramp = (struct ramp_opts){.start = 10, .full = 1000, .rise_s = 10};
    start_fcm();
    int64_t begin_ms = clock_mono_ms();
    messages(60);
    RUN_UNTIL(w.done == 10);
    assert_int_equal(w.server.requests, 10);
    RUN_UNTIL(w.done == 60);
    assert_true(clock_mono_ms() - begin_ms > 500);
}

static void what_an_end_interrupts_may_go_on_soon(void **s)
{
    (void)s;
    fake.token = NULL;
    fake.state = PROTOCOL_WAITING;
    start_fcm();
    messages(1);
    turn_loop();
    gateway_free(&w.gateway);
    expect(0, PUSH_RETRY, 0, "shutdown");
    assert_int_equal(w.results[0].v.retry_after_ms, 1000);
}

static void a_service_that_is_away_is_tried_again_after_ten_seconds(void **s)
{
    (void)s;
    w.server.silent = true; /* no SETTINGS: not even a connection */
    w.tuning.connect_timeout_ms = 50;
    w.tuning.queue_ms = 60;
    start_fcm();
    messages(1);
    RUN_UNTIL(w.done == 1);
    expect(0, PUSH_RETRY, 0, "no connection");
    assert_int_equal(w.results[0].v.retry_after_ms, 10000);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up_fcm, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(a_hundred_go_at_once_and_none_before_the_others),
        TEST(without_a_token_they_wait_for_it),
        TEST(who_waits_too_long_for_a_token_goes_back),
        TEST(while_a_token_cannot_be_had_nothing_is_taken),
        TEST(a_refused_account_stops_the_app_until_it_is_accepted),
        TEST(a_token_that_is_refused_is_renewed_once_for_all),
        TEST(a_second_refusal_stops_the_app),
        TEST(too_much_for_the_project_holds_everything),
        TEST(a_date_to_come_back_at_is_understood),
        TEST(a_date_that_has_passed_is_no_reason_to_wait),
        TEST(too_much_for_a_device_holds_that_device),
        TEST(a_missing_apns_key_is_told_once_and_stops_nothing),
        TEST(a_burst_after_a_pause_begins_slowly),
        TEST(what_an_end_interrupts_may_go_on_soon),
        TEST(a_service_that_is_away_is_tried_again_after_ten_seconds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
