// SPDX-License-Identifier: Apache-2.0
/* The Web Push gateway against a TLS server in the same loop. */
#include "tests/unit/gateway_world.h"

#include "apns/webpush.h"

/* RFC 8291, appendix A. */
#define KEYS                                                                                  \
    " BCVxsr7N_eNgVRqvHtD0zTZsEc6-VV-JvLexhqUzORcxaOzi6-"                                     \
    "AYWXvTBHm4bjyPjs7Vd8pZGH6SRpkNtoIAiw4"                                                   \
    " BTBZMqHH6r4Tts7J_aSIgg"
#define TOPIC "abcdefghijklmnopqrstuvwxyz012345"
#define TEXT "{\"badge\":1}"
#define SEALED (86 + 256 + 1 + 16) /* a short message, padded */
#define MANY 100 /* more than go out at once, and no more than a busy machine does soon */

static struct {
    struct webpush *webpush;
    struct webpush_opts opts;
    struct webpush_tuning tuning;
    uint16_t port;
    const char *host;
    char big[4000];
} t;

static int set_up_webpush(void **state)
{
    int failed = set_up(state);
    signal(SIGPIPE, SIG_IGN);
    memset(&t, 0, sizeof t);
    memset(t.big, 'x', sizeof t.big);
    t.port = w.server.port;
    t.host = "127.0.0.1";
    t.tuning = webpush_tuning_default;
    t.opts = (struct webpush_opts){.private_key = w.key_pem,
                                   .subject = "mailto:a@example.org",
                                   .ports = &t.port,
                                   .ports_n = 1,
                                   .allow_private = true};
    w.opts = (struct apns_app_opts){.id = "test", .webpush = &t.opts, .ca_pem = w.cert_pem};
    return failed;
}

static int tear_down_webpush(void **state)
{
    webpush_free(&t.webpush);
    clock_fake_off();
    return tear_down(state);
}

static void on_webpush_room(void *ctx, struct gateway *g)
{
    assert_ptr_equal(ctx, &w);
    assert_null(g); /* the owner, which there is none of here */
    w.room_events++;
}

static void start_webpush(void)
{
    struct err e;
    const struct gateway_events events = {
        .verdict = on_verdict, .room = on_webpush_room, .ctx = &w};
    assert_int_equal(webpush_new(w.base, &w.opts, &events, &t.tuning, NULL, &t.webpush, &e),
                     ERR_NONE);
}

static bool send_request(struct push_request r)
{
    char token[256];
    snprintf(token, sizeof token, "https://%s:%u/push/%zu" KEYS, t.host, t.port, w.submitted);
    r.token = r.token ? r.token : token;
    r.collapse_id = r.collapse_id ? r.collapse_id : TOPIC;
    r.payload_len = r.payload_len ? r.payload_len : strlen((const char *)r.payload);
    r.priority = 10;
    r.expiration_s = 4000000000;
    r.ctx = &w.results[w.submitted];
    assert_true(w.submitted < PUSHES);
    if (!webpush_submit(t.webpush, &r))
        return false;
    assert_int_equal(w.results[w.submitted].verdicts, 0);
    w.submitted++;
    return true;
}

static void push(void)
{
    assert_true(send_request((struct push_request){.payload = (const uint8_t *)TEXT}));
}

static void push_and_wait(void)
{
    push();
    RUN_UNTIL(w.done == w.submitted);
}

/* --- what is sent --- */

static void pushes_are_sent_sealed_and_signed_once_for_all(void **state)
{
    (void)state;
    start_webpush();
    push_and_wait(); /* a service that has answered once gets more at a time */
    for (size_t i = 1; i < MANY; i++)
        push();
    RUN_UNTIL(w.done == MANY);
    const char *authorization = request(0, 0)->authorization;
    assert_memory_equal(authorization, "vapid t=", 8);
    for (size_t i = 0; i < MANY; i++)
        expect(i, PUSH_DONE, 200, "");
    for (size_t l = 0; l < w.server.n; l++)
        for (size_t i = 0; i < w.server.links[l]->peer.n; i++) {
            assert_string_equal(request(l, i)->authorization, authorization);
            assert_string_equal(request(l, i)->method, "POST");
            assert_memory_equal(request(l, i)->path, "/push/", 6);
            assert_int_equal(request(l, i)->body_len, SEALED);
        }
    assert_true(w.server.n <= 4);
    struct gateway_status s;
    webpush_get_status(t.webpush, &s);
    assert_int_equal(s.sent, MANY);
    assert_int_equal(s.accepted, MANY);
    assert_int_equal(s.state, GATEWAY_IDLE);
}

static void what_would_be_refused_for_certain_is_not_sent(void **state)
{
    (void)state;
    start_webpush();
    const uint8_t *text = (const uint8_t *)TEXT, *big = (const uint8_t *)t.big;
    static const uint8_t nothing[1];
    const struct {
        struct push_request r;
        const char *reason;
    } cases[] = {
        {{.payload = text, .token = "abc"}, "BadSubscription"},
        {{.payload = text, .token = "http://127.0.0.1/x" KEYS}, "BadSubscription"},
        {{.payload = text, .collapse_id = "a b"}, "BadTopic"},
        {{.payload = text, .collapse_id = TOPIC "6"}, "BadTopic"},
        {{.payload = text, .collapse_id = ""}, "BadTopic"},
        {{.payload = nothing}, "PayloadEmpty"},
        {{.payload = big, .payload_len = 3994}, "PayloadTooLarge"},
        {{.payload = text, .token = "https://127.0.0.1:1/x" KEYS},
         "endpoint: no push service is served at that port"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        assert_true(send_request(cases[i].r));
    RUN_UNTIL(w.done == w.submitted);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        expect(i, PUSH_PARK, 0, cases[i].reason);
    assert_int_equal(w.server.n, 0);
    assert_true(send_request((struct push_request){.payload = big, .payload_len = 3993}));
    RUN_UNTIL(w.done == w.submitted);
    assert_int_equal(request(0, 0)->body_len, 4096);
}

/* --- answers --- */

static int first_status;

static void refuse_first(struct link *l, struct peer_request *r)
{
    peer_answer(&l->peer, r, w.server.requests == 1 ? first_status : 201, "");
}

static void a_service_that_wants_less_gets_less(void **state)
{
    (void)state;
    first_status = 413;
    w.server.handle = refuse_first;
    start_webpush();
    assert_true(send_request((struct push_request){.payload = (const uint8_t *)t.big,
                                                   .payload_len = 1000,
                                                   .brief = (const uint8_t *)TEXT,
                                                   .brief_len = strlen(TEXT)}));
    RUN_UNTIL(w.done == 1);
    expect(0, PUSH_DONE, 200, "");
    assert_int_equal(request(0, 0)->body_len, 86 + 1024 + 1 + 16);
    assert_int_equal(request(0, 1)->body_len, SEALED);
    first_status = 413; /* and where there is nothing shorter, that is said */
    w.server.requests = 0;
    push_and_wait();
    expect(1, PUSH_PARK, 413, "413 too large");
}

static void a_token_that_is_refused_is_made_again_unless_it_is_new(void **state)
{
    (void)state;
    first_status = 401;
    w.server.handle = refuse_first;
    start_webpush();
    push_and_wait();
    expect(0, PUSH_PARK, 401, "401 VAPID refused");
    clock_fake(clock_mono_ms(), clock_real_us() + INT64_C(61000000));
    w.server.requests = 0;
    push_and_wait();
    expect(1, PUSH_DONE, 200, "");
    assert_string_equal(request(0, 0)->authorization, request(0, 1)->authorization);
    assert_string_not_equal(request(0, 1)->authorization, request(0, 2)->authorization);
}

static void cut_first(struct link *l, struct peer_request *r)
{
    if (w.server.requests == 1)
        link_close(l, false);
    else
        peer_answer(&l->peer, r, 201, "");
}

static void a_connection_that_breaks_is_not_noticed(void **state)
{
    (void)state;
    w.server.handle = cut_first;
    start_webpush();
    push_and_wait();
    expect(0, PUSH_DONE, 200, "");
    assert_int_equal(w.server.requests, 2);
}

static void answer_500(struct link *l, struct peer_request *r)
{
    peer_answer(&l->peer, r, 500, "");
}

static void a_service_that_goes_on_failing_is_left_alone(void **state)
{
    (void)state;
    w.server.handle = answer_500;
    start_webpush();
    for (size_t i = 0; i < 3; i++) {
        push_and_wait();
        expect(i, PUSH_RETRY, 500, "500 server error");
        assert_int_equal(w.results[i].v.retry_after_ms, 10000);
    }
    push_and_wait();
    expect(3, PUSH_RETRY, 0, "500 server error");
    assert_true(w.results[3].v.retry_after_ms > 3000);
    assert_int_equal(w.server.requests, 3);
    struct gateway_status s;
    webpush_get_status(t.webpush, &s);
    assert_int_equal(s.state, GATEWAY_BACKOFF);
    assert_non_null(strstr(s.reason, "1 of 1 push services paused"));
    t.host = "localhost"; /* another origin, although the same server */
    w.server.handle = answer_ok;
    push_and_wait();
    expect(4, PUSH_DONE, 200, "");
}

static void a_name_that_leads_home_opens_no_connection(void **state)
{
    (void)state;
    t.opts.allow_private = false;
    t.host = "localhost";
    start_webpush();
    push_and_wait();
    expect(0, PUSH_RETRY, 0, "address is loopback");
    assert_int_equal(w.server.n, 0);
}

/* --- room --- */

static void say_nothing(struct link *l, struct peer_request *r)
{
    (void)l;
    (void)r;
}

static void a_new_service_gets_little_and_an_end_gives_all_back(void **state)
{
    (void)state;
    w.server.handle = say_nothing;
    start_webpush();
    for (size_t i = 0; i < 20; i++)
        push();
    RUN_UNTIL(w.done == 12 && w.server.requests == 2);
    for (size_t i = 8; i < 20; i++)
        expect(i, PUSH_RETRY, 0, "push service is busy");
    webpush_free(&t.webpush);
    for (size_t i = 0; i < 8; i++)
        expect(i, PUSH_RETRY, 0, "shutdown");
}

static void without_room_nothing_is_taken_until_it_is_told(void **state)
{
    (void)state;
    t.tuning.room_max = 40;
    start_webpush();
    push_and_wait();
    const struct push_request r = {.payload = (const uint8_t *)TEXT};
    for (size_t i = 0; i < 40; i++)
        assert_true(send_request(r));
    assert_int_equal(webpush_room(t.webpush), 0);
    assert_false(send_request(r));
    RUN_UNTIL(w.done == 41 && w.room_events == 1);
    assert_int_equal(webpush_room(t.webpush), 40);
}

static void a_slow_service_is_in_nobodys_way(void **state)
{
    (void)state;
    start_webpush();
    push_and_wait();
    w.server.handle = say_nothing;
    for (size_t i = 0; i < 200; i++)
        push();
    RUN_UNTIL(w.server.requests == 1 + 50);
    assert_int_equal(w.done, 1);
    clock_fake(clock_mono_ms() + 3100, clock_real_us());
    for (int i = 0; i < 400 && w.done < 151; i++) /* the tick is a second's */
        turn_loop();
    assert_int_equal(w.done, 151);
    expect(60, PUSH_RETRY, 0, "push service is slow");
    push(); /* and it gets no more */
    for (int i = 0; i < 400 && w.done < 152; i++)
        turn_loop();
    expect(201, PUSH_RETRY, 0, "push service is busy");
    assert_int_equal(webpush_room(t.webpush), t.tuning.room_max - 50);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up_webpush, tear_down_webpush)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(pushes_are_sent_sealed_and_signed_once_for_all),
        TEST(what_would_be_refused_for_certain_is_not_sent),
        TEST(a_service_that_wants_less_gets_less),
        TEST(a_token_that_is_refused_is_made_again_unless_it_is_new),
        TEST(a_connection_that_breaks_is_not_noticed),
        TEST(a_service_that_goes_on_failing_is_left_alone),
        TEST(a_name_that_leads_home_opens_no_connection),
        TEST(a_new_service_gets_little_and_an_end_gives_all_back),
        TEST(without_room_nothing_is_taken_until_it_is_told),
        TEST(a_slow_service_is_in_nobodys_way),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
