// SPDX-License-Identifier: Apache-2.0
#include "apns/h2.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "apns/protocol.h"
#include "tests/unit/apns_peer.h"

#define PUSHES 300
#define H2_BODY_MAX 512
#define JWT "bearer aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"

struct world {
    struct h2 *h;
    struct peer peer;
    struct h2_push pushes[PUSHES];
    bool back[PUSHES]; /* given back */
    char paths[PUSHES][80], ids[PUSHES][40];
    uint8_t bodies[PUSHES][H2_BODY_MAX];
    size_t submitted, came_back;
    int64_t now;
    size_t cut; /* bytes per h2_input; 0 = whole */
    bool ready, goaway;
    char goaway_reason[64];
    struct err e;
};

static struct world *w;
static char payload[5000];

static const struct h2_opts opts = {.protocol = &h2_apns,
                                    .authority = "api.push.apple.com",
                                    .streams_max = 200,
                                    .timeouts_max = 3,
                                    .request_timeout_ms = 20000,
                                    .quiet_ping_ms = 15000,
                                    .idle_ping_ms = 3600000,
                                    .ping_ack_ms = 5000};

static const struct h2_opts fcm_opts = {.protocol = &h2_fcm,
                                        .authority = "fcm.googleapis.com",
                                        .streams_max = 100,
                                        .timeouts_max = 3,
                                        .request_timeout_ms = 20000,
                                        .quiet_ping_ms = 15000,
                                        .ping_ack_ms = 5000};

static void start_as(const struct h2_opts *o, const nghttp2_settings_entry *settings, size_t n)
{
    w = calloc(1, sizeof *w);
    assert_non_null(w);
    memset(payload, 'p', sizeof payload);
    w->h = h2_new(o, 0);
    peer_init(&w->peer, settings, n);
}

static void start(const nghttp2_settings_entry *settings, size_t n)
{
    start_as(&opts, settings, n);
}

static void start_fcm(uint32_t streams)
{
    const nghttp2_settings_entry s = {NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, streams};
    start_as(&fcm_opts, &s, 1);
}

static void start_with_limit(uint32_t streams)
{
    const nghttp2_settings_entry s = {NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, streams};
    start(&s, 1);
}

static int stop(void **state)
{
    (void)state;
    struct h2_event ev;
    h2_lose(w->h);
    while (h2_next_event(w->h, &ev))
        ;
    h2_free(&w->h);
    peer_deinit(&w->peer);
    free(w);
    w = NULL;
    return 0;
}

static void take_events(void)
{
    struct h2_event ev;
    while (h2_next_event(w->h, &ev)) {
        switch (ev.kind) {
        case H2_EV_READY:
            assert_false(w->ready);
            w->ready = true;
            break;
        case H2_EV_GOAWAY:
            assert_false(w->goaway);
            w->goaway = true;
            memcpy(w->goaway_reason, ev.reason, sizeof ev.reason);
            break;
        case H2_EV_PUSH: {
            size_t i = (size_t)(ev.push - w->pushes);
            assert_true(i < PUSHES);
            assert_false(w->back[i]); /* each exactly once */
            w->back[i] = true;
            w->came_back++;
            break;
        }
        }
    }
}

static void to_server(void)
{
    struct buf b;
    buf_init(&b, 1 << 22);
    assert_int_equal(h2_output(w->h, &b, 1 << 21, &w->e), ERR_NONE);
    if (buf_len(&b) > 0)
        assert_true(nghttp2_session_mem_recv(w->peer.session, buf_data(&b), buf_len(&b)) >= 0);
    buf_deinit(&b);
}

static enum err_kind to_client(void)
{
    enum err_kind kind = ERR_NONE;
    struct buf b;
    buf_init(&b, 1 << 22);
    peer_output(&w->peer, &b);
    while (buf_len(&b) > 0 && kind == ERR_NONE) {
        size_t n = w->cut && w->cut < buf_len(&b) ? w->cut : buf_len(&b);
        kind = h2_input(w->h, buf_data(&b), n, w->now, &w->e);
        buf_consume(&b, n);
    }
    buf_deinit(&b);
    if (kind)
        print_message("%s\n", w->e.text);
    take_events();
    return kind;
}

/* Lets the bytes flow until both are quiet. */
static void flow(void)
{
    for (int i = 0; i < 6; i++) {
        to_server();
        assert_int_equal(to_client(), ERR_NONE);
    }
}

static bool push_sized(size_t payload_len)
{
    size_t i = w->submitted;
    assert_true(i < PUSHES);
    if (!h2_can_take(w->h, payload_len))
        return false;
    struct h2_push *p = &w->pushes[i];
    int path_len = snprintf(w->paths[i], sizeof w->paths[i], "/3/device/%064zx", i);
    int id_len = snprintf(w->ids[i], sizeof w->ids[i], "00000000-0000-4000-8000-%012zu", i);
    p->path = (struct h2_text){w->paths[i], (size_t)path_len};
    p->authorization = (struct h2_text){JWT, strlen(JWT)};
    const struct h2_text fields[H2_FIELDS_MAX] = {
        {"org.example.chat", 16},    {"alert", 5},       {"10", 2},
        {w->ids[i], (size_t)id_len}, {"1900000000", 10}, {"collapse", i % 2 ? 8 : 0},
    };
    memcpy(p->fields, fields, sizeof fields);
    p->body = w->bodies[i];
    p->body_max = H2_BODY_MAX;
    p->payload = (const uint8_t *)payload;
    p->payload_len = payload_len;
    assert_true(h2_submit(w->h, p, w->now));
    w->submitted++;
    return true;
}

static bool push(void)
{
    return push_sized(150);
}

static size_t push_all(size_t n)
{
    size_t done = 0;
    while (done < n && push())
        done++;
    return done;
}

/* Past the first answer, so that the limit of the service counts. */
static void warm_up(void)
{
    flow();
    assert_true(push());
    flow();
    peer_answer(&w->peer, w->peer.requests[0], 200, "");
    flow();
    assert_int_equal(w->came_back, 1);
}

static void expect(size_t i, enum h2_outcome outcome, int status)
{
    assert_true(w->back[i]);
    assert_int_equal(w->pushes[i].outcome, outcome);
    assert_int_equal(w->pushes[i].status, status);
}

static void a_push_arrives_with_all_its_fields(void **state)
{
    (void)state;
    start_with_limit(1);
    assert_false(push()); /* not before SETTINGS */
    flow();
    assert_true(w->ready);
    assert_true(push() && !push());
    flow();
    struct peer_request *r = w->peer.requests[0];
    assert_true(r->ended);
    assert_string_equal(r->method, "POST");
    assert_string_equal(r->scheme, "https");
    assert_string_equal(r->authority, "api.push.apple.com");
    assert_string_equal(r->path, w->paths[0]);
    assert_string_equal(r->authorization, JWT);
    assert_string_equal(r->apns_id, w->ids[0]);
    assert_string_equal(r->type, "alert");
    assert_string_equal(r->topic, "org.example.chat");
    assert_string_equal(r->expiration, "1900000000");
    assert_string_equal(r->priority, "10");
    assert_int_equal(r->fields, 10);
    assert_int_equal(r->body_len, 150);
    assert_memory_equal(r->body, payload, 150);
    peer_answer(&w->peer, r, 200, "");
    flow();
    expect(0, H2_ANSWERED, 200);
    assert_true(push());
    flow();
    assert_string_equal(w->peer.requests[1]->collapse_id, "collapse");
    assert_int_equal(w->peer.requests[1]->fields, 11);
}

static void ids_are_indexed_once_and_literals_afterwards(void **state)
{
    (void)state;
    start_with_limit(100);
    warm_up();
    assert_int_equal(push_all(20), 20);
    flow();
    assert_int_equal(w->peer.requests[0]->never_indexed, 1); /* authorization */
    assert_int_equal(w->peer.requests[1]->never_indexed,
                     3); /* collapse-id for the first time */
    assert_int_equal(w->peer.requests[3]->never_indexed, 4);
    size_t table = nghttp2_session_get_hd_inflate_dynamic_table_size(w->peer.session);
    assert_true(table < 600); /* it does not churn */
}

static void one_stream_until_the_first_answer_then_the_peers_limit(void **state)
{
    (void)state;
    start_with_limit(50);
    flow();
    assert_int_equal(h2_limit(w->h), 1);
    assert_int_equal(push_all(10), 1);
    flow();
    peer_answer(&w->peer, w->peer.requests[0], 400, "{\"reason\":\"BadDeviceToken\"}");
    flow();
    expect(0, H2_ANSWERED, 400);
    assert_int_equal(h2_limit(w->h), 50);
    assert_int_equal(push_all(100), 50);
    flow();
    assert_int_equal(w->peer.open_max, 50);
}

static void a_peer_without_a_limit_meets_ours(void **state)
{
    (void)state;
    start(NULL, 0);
    warm_up();
    assert_int_equal(h2_limit(w->h), 200);
    assert_int_equal(push_all(250), 200);
    flow();
    assert_int_equal(w->peer.n, 201);
}

static void a_lowered_limit_is_obeyed_and_a_raised_one_used(void **state)
{
    (void)state;
    start_with_limit(1);
    warm_up();
    peer_set(&w->peer, NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, 10);
    flow();
    assert_int_equal(push_all(20), 10);
    flow();
    peer_set(&w->peer, NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, 1);
    flow();
    assert_false(push());
    for (size_t i = 1; i < 10; i++)
        peer_answer(&w->peer, w->peer.requests[i], 200, "");
    flow();
    assert_false(push()); /* one is still open */
    peer_answer(&w->peer, w->peer.requests[10], 200, "");
    flow();
    assert_true(push() && !push());
    flow();
    peer_set(&w->peer, NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, 7);
    flow();
    assert_int_equal(push_all(20), 6);
    peer_set(&w->peer, NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, 0);
    flow();
    assert_false(push());
}

static void a_peer_that_allows_nothing_gets_nothing(void **state)
{
    (void)state;
    start_with_limit(0);
    flow();
    assert_true(w->ready);
    assert_int_equal(h2_limit(w->h), 0);
    assert_false(push());
    peer_set(&w->peer, NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, 10);
    flow();
    assert_int_equal(push_all(10), 1);
    flow();
    peer_answer(&w->peer, w->peer.requests[0], 200, "");
    flow();
    expect(0, H2_ANSWERED, 200);
}

/* The limit falls to nothing while the socket takes no more bytes. */
static void what_was_never_written_comes_back_in_its_time(void **state)
{
    (void)state;
    start_with_limit(10);
    warm_up();
    assert_int_equal(push_all(2), 2);
    peer_set(&w->peer, NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, 0);
    assert_int_equal(to_client(), ERR_NONE);
    flow();
    assert_int_equal(w->peer.n, 1);
    w->now = 20000;
    assert_int_equal(h2_tick(w->h, w->now, &w->e), ERR_NONE);
    flow();
    expect(1, H2_REFUSED, 0);
    expect(2, H2_REFUSED, 0);
    assert_int_equal(h2_open_count(w->h), 0);
    /* Nor is it written later: it has gone elsewhere, and may be no more. */
    memset(&w->pushes[1], 0xee, 2 * sizeof w->pushes[1]);
    peer_set(&w->peer, NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, 10);
    flow();
    assert_int_equal(w->peer.n, 1);
    assert_true(push());
    flow();
    assert_int_equal(w->peer.n, 2);
    peer_answer(&w->peer, w->peer.requests[1], 200, "");
    flow();
    expect(3, H2_ANSWERED, 200);
}

static void answers_in_any_order_find_their_push(void **state)
{
    (void)state;
    start_with_limit(100);
    warm_up();
    assert_int_equal(push_all(100), 100);
    flow();
    for (size_t i = 100; i > 0; i -= 2)
        peer_answer(&w->peer, w->peer.requests[i], 200, "");
    flow();
    for (size_t i = 99; i < 100; i -= 2)
        peer_answer(&w->peer, w->peer.requests[i], 410,
                    "{\"reason\":\"Unregistered\",\"timestamp\":1760000000000}");
    flow();
    assert_int_equal(w->came_back, 101);
    for (size_t i = 1; i <= 100; i++)
        expect(i, H2_ANSWERED, i % 2 ? 410 : 200);
    assert_int_equal(w->pushes[99].body_len, 51);
    assert_memory_equal(w->pushes[99].body, "{\"reason\":\"Unregistered\"", 24);
    assert_int_equal(w->pushes[100].body_len, 0);
}

/* One run of everything a session can carry, with the input cut in pieces of this size. */
static void mixed_run(size_t cut)
{
    static char pad[20000];
    memset(pad, 'z', sizeof pad - 1);
    start_with_limit(100);
    w->cut = cut;
    warm_up();
    assert_int_equal(push_all(6), 6);
    flow();
    struct peer_request **r = w->peer.requests;
    peer_answer_with(&w->peer, r[1], 503, "{}", "retry-after", "17");
    /* CONTINUATION.  nghttp2 counts the pieces in which the head of such a frame arrives as
     * if they were frames and gives up at 8, so a single byte at a time it cannot take them.
     */
    peer_answer_with(&w->peer, r[2], 200, "", "x-pad", cut == 1 ? "short" : pad);
    r[3]->trailers = true;
    peer_answer(&w->peer, r[3], 429, "{\"reason\":\"TooManyRequests\"}");
    nghttp2_nv early = {.name = (uint8_t[]){":status"},
                        .value = (uint8_t[]){"103"},
                        .namelen = 7,
                        .valuelen = 3,
                        .flags = 0};
    assert_int_equal(
        nghttp2_submit_headers(w->peer.session, 0, r[4]->stream_id, NULL, &early, 1, NULL), 0);
    flow();
    assert_false(w->back[4]);
    peer_answer(&w->peer, r[4], 200, "");
    peer_answer(&w->peer, r[5], 500, pad); /* far beyond what is kept */
    peer_answer_with(&w->peer, r[6], 503, "{}", "retry-after",
                     "Wed, 21 Oct 2026 07:28:00 GMT");
    flow();
    expect(1, H2_ANSWERED, 503);
    assert_int_equal(w->pushes[1].retry_after_s, 17);
    expect(2, H2_ANSWERED, 200);
    assert_int_equal(w->pushes[2].retry_after_s, -1);
    expect(3, H2_ANSWERED, 429);
    assert_int_equal(w->pushes[3].body_len, 28);
    expect(4, H2_ANSWERED, 200);
    expect(5, H2_ANSWERED, 500);
    assert_int_equal(w->pushes[5].body_len, H2_BODY_MAX);
    expect(6, H2_ANSWERED, 503);
    assert_int_equal(w->pushes[6].retry_after_s, -1);
    assert_int_equal(w->pushes[6].retry_at_s, 1792567680);
    assert_int_equal(w->pushes[1].retry_at_s, -1);
}

static void answers_may_be_cut_anywhere(void **state)
{
    static const size_t cuts[] = {0, 1, 7, 100};
    for (size_t i = 0; i < 4; i++) {
        mixed_run(cuts[i]);
        if (i < 3)
            stop(state);
    }
}

static void refused_streams_are_safe_to_send_again(void **state)
{
    (void)state;
    start_with_limit(10);
    warm_up();
    assert_int_equal(push_all(4), 4);
    flow();
    peer_reset(&w->peer, w->peer.requests[1], NGHTTP2_REFUSED_STREAM);
    peer_reset(&w->peer, w->peer.requests[2], NGHTTP2_STREAM_CLOSED);
    peer_reset(&w->peer, w->peer.requests[3], NGHTTP2_INTERNAL_ERROR);
    peer_reset(&w->peer, w->peer.requests[4], NGHTTP2_NO_ERROR);
    flow();
    expect(1, H2_REFUSED, 0);
    expect(2, H2_REFUSED, 0);
    expect(3, H2_RESET, 0);
    expect(4, H2_RESET, 0);
    assert_true(h2_accepting(w->h));
    assert_int_equal(h2_open_count(w->h), 0);
}

static void goaway_in_a_batch_splits_it_in_answered_and_refused(void **state)
{
    (void)state;
    start_with_limit(10);
    warm_up();
    assert_int_equal(push_all(6), 6);
    flow();
    peer_goaway(&w->peer, w->peer.requests[3]->stream_id, NGHTTP2_NO_ERROR,
                "{\"reason\":\"Shutdown\"}");
    flow();
    assert_true(w->goaway);
    assert_string_equal(w->goaway_reason, "Shutdown");
    assert_false(h2_accepting(w->h) || push() || h2_over(w->h));
    assert_int_equal(w->came_back, 4);
    for (size_t i = 4; i <= 6; i++)
        expect(i, H2_REFUSED, 0);
    for (size_t i = 1; i <= 3; i++)
        peer_answer(&w->peer, w->peer.requests[i], 200, "");
    flow();
    for (size_t i = 1; i <= 3; i++)
        expect(i, H2_ANSWERED, 200);
    assert_true(h2_over(w->h));
}

static void goaway_in_two_steps_is_one_event(void **state)
{
    (void)state;
    start_with_limit(10);
    warm_up();
    assert_int_equal(push_all(3), 3);
    flow();
    assert_int_equal(nghttp2_submit_shutdown_notice(w->peer.session), 0);
    flow();
    assert_true(w->goaway && !h2_accepting(w->h));
    assert_string_equal(w->goaway_reason, "NO_ERROR");
    assert_int_equal(w->came_back, 1);
    peer_goaway(&w->peer, w->peer.requests[1]->stream_id, NGHTTP2_NO_ERROR, "");
    peer_answer(&w->peer, w->peer.requests[1], 200, "");
    flow();
    expect(1, H2_ANSWERED, 200);
    expect(2, H2_REFUSED, 0);
    expect(3, H2_REFUSED, 0);
}

static void a_push_submitted_as_goaway_arrives_is_refused(void **state)
{
    (void)state;
    start_with_limit(10);
    warm_up();
    assert_true(push()); /* not yet written */
    peer_goaway(&w->peer, w->peer.requests[0]->stream_id, NGHTTP2_NO_ERROR, "not json");
    assert_int_equal(to_client(), ERR_NONE);
    flow();
    expect(1, H2_REFUSED, 0);
    assert_string_equal(w->goaway_reason, "NO_ERROR");
    assert_int_equal(w->peer.n, 1);
}

static void goaway_with_an_error_names_it(void **state)
{
    (void)state;
    start_with_limit(10);
    warm_up();
    peer_goaway(&w->peer, 1, NGHTTP2_ENHANCE_YOUR_CALM,
                "Maximum active streams violated for this endpoint.");
    flow();
    assert_string_equal(w->goaway_reason, "ENHANCE_YOUR_CALM");
}

static void a_push_without_answer_times_out_and_frees_its_stream(void **state)
{
    (void)state;
    start_with_limit(2);
    warm_up();
    w->now = 1000;
    assert_int_equal(push_all(5), 2);
    flow();
    w->now = 2000;
    peer_answer(&w->peer, w->peer.requests[2], 200, "");
    flow();
    assert_true(push());
    flow();
    w->now = 20999;
    peer_answer(&w->peer, w->peer.requests[3], 200, "");
    flow();
    assert_int_equal(h2_deadline(w->h), 21000);
    assert_int_equal(h2_tick(w->h, w->now, &w->e), ERR_NONE);
    flow();
    assert_false(w->back[1]);
    w->now = 21000;
    assert_int_equal(h2_tick(w->h, w->now, &w->e), ERR_NONE);
    flow();
    expect(1, H2_TIMEOUT, 0);
    assert_int_equal(w->peer.requests[1]->reset, NGHTTP2_CANCEL + 1);
    assert_int_equal(h2_open_count(w->h), 0);
    assert_int_equal(push_all(5), 2);
}

/* T6: of the body so much is kept as a verdict needs; the stream ends with the push's time. */
static void an_answer_without_end_is_cut_and_given_up(void **state)
{
    (void)state;
    static char endless[4 << 20];
    memset(endless, 'x', sizeof endless - 1);
    start_with_limit(2);
    warm_up();
    w->now = 1000;
    assert_int_equal(push_all(2), 2);
    flow();
    peer_answer(&w->peer, w->peer.requests[1], 400, endless);
    for (int i = 0; i < 3; i++)
        flow();
    assert_false(w->back[1]);
    assert_int_equal(w->pushes[1].body_len, H2_BODY_MAX);
    w->now = 21000;
    assert_int_equal(h2_tick(w->h, w->now, &w->e), ERR_NONE);
    flow();
    assert_true(w->back[1]);
    assert_int_equal(w->pushes[1].body_len, H2_BODY_MAX);
    assert_int_equal(w->peer.requests[1]->reset, NGHTTP2_CANCEL + 1);
}

/* T6: as many header fields as nobody needs end the session, and every push comes back. */
static void an_answer_with_endless_headers_ends_the_session(void **state)
{
    (void)state;
    enum { FIELDS = 100000 };
    static nghttp2_nv nv[FIELDS];
    static uint8_t name[] = "x-more", value[] = "and more of that";
    for (size_t i = 1; i < FIELDS; i++)
        nv[i] = (nghttp2_nv){.name = name,
                             .value = value,
                             .namelen = 6,
                             .valuelen = 16,
                             .flags = NGHTTP2_NV_FLAG_NO_INDEX};
    nv[0] = (nghttp2_nv){.name = (uint8_t[]){":status"},
                         .value = (uint8_t[]){"200"},
                         .namelen = 7,
                         .valuelen = 3,
                         .flags = 0};
    start_with_limit(2);
    warm_up();
    assert_int_equal(push_all(2), 2);
    flow();
    assert_int_equal(nghttp2_submit_response(w->peer.session, w->peer.requests[1]->stream_id,
                                             nv, FIELDS, NULL),
                     0);
    to_server();
    assert_int_equal(to_client(), ERR_PEER);
    h2_lose(w->h);
    take_events();
    assert_int_equal(w->came_back, 3);
}

static void an_answer_without_its_end_says_so(void **state)
{
    (void)state;
    start_with_limit(10);
    warm_up();
    assert_int_equal(push_all(5), 5);
    flow();
    struct peer_request **r = w->peer.requests;
    for (size_t i = 1; i <= 4; i++)
        peer_begin_answer(&w->peer, r[i], i == 2 ? 200 : 403);
    peer_answer(&w->peer, r[5], 403, "{\"reason\":\"ExpiredProviderToken\"}");
    flow();
    expect(5, H2_ANSWERED, 403);
    assert_false(w->pushes[5].cut || w->back[1]);
    peer_reset(&w->peer, r[1], NGHTTP2_INTERNAL_ERROR);
    peer_reset(&w->peer, r[2], NGHTTP2_NO_ERROR);
    flow();
    peer_goaway(&w->peer, r[3]->stream_id, NGHTTP2_NO_ERROR, "");
    flow();
    h2_lose(w->h);
    take_events();
    for (size_t i = 1; i <= 4; i++) {
        expect(i, H2_ANSWERED, i == 2 ? 200 : 403);
        assert_true(w->pushes[i].cut);
    }
}

/* The service has heard enough of a request that is not all written. */
static void an_answer_that_comes_early_is_a_whole_one(void **state)
{
    (void)state;
    const nghttp2_settings_entry s[] = {{NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, 10},
                                        {NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, 150}};
    start(s, 2);
    warm_up();
    assert_true(push_sized(1000));
    to_server();
    struct peer_request *r = w->peer.requests[1];
    assert_true(r->body_len < 1000 && !r->ended);
    peer_answer(&w->peer, r, 413, "{\"reason\":\"PayloadTooLarge\"}");
    assert_int_equal(to_client(), ERR_NONE);
    peer_reset(&w->peer, r, NGHTTP2_NO_ERROR);
    assert_int_equal(to_client(), ERR_NONE);
    expect(1, H2_ANSWERED, 413);
    assert_false(w->pushes[1].cut);
    assert_int_equal(w->pushes[1].body_len, 28);
}

static void an_answer_after_our_cancel_changes_nothing(void **state)
{
    (void)state;
    start_with_limit(2);
    warm_up();
    assert_true(push());
    flow();
    peer_answer(&w->peer, w->peer.requests[1], 200, "");
    w->now = 20000;
    assert_int_equal(h2_tick(w->h, w->now, &w->e), ERR_NONE);
    assert_int_equal(to_client(), ERR_NONE); /* crosses our RST_STREAM */
    flow();
    expect(1, H2_TIMEOUT, 0);
    assert_true(push());
}

static void three_timeouts_in_a_row_end_the_session(void **state)
{
    (void)state;
    start_with_limit(10);
    warm_up();
    for (int64_t i = 0; i < 3; i++) {
        w->now = i * 100;
        assert_true(push());
    }
    flow();
    /* The peer still answers PINGs: only the pushes show that it is broken. */
    w->now = 15000;
    assert_int_equal(h2_tick(w->h, w->now, &w->e), ERR_NONE);
    flow();
    assert_int_equal(w->peer.pings, 1);
    w->now = 20100;
    assert_int_equal(h2_tick(w->h, w->now, &w->e), ERR_NONE);
    flow();
    w->now = 20200;
    assert_int_equal(h2_tick(w->h, w->now, &w->e), ERR_PEER);
    h2_lose(w->h);
    take_events();
    expect(1, H2_TIMEOUT, 0);
    expect(3, H2_TIMEOUT, 0);
    assert_int_equal(w->came_back, 4);
}

static void silence_with_pushes_open_is_asked_and_then_given_up(void **state)
{
    (void)state;
    start_with_limit(10);
    warm_up();
    w->now = 1000;
    assert_true(push());
    flow();
    assert_int_equal(h2_deadline(w->h), 16000);
    w->now = 16000;
    assert_int_equal(h2_tick(w->h, w->now, &w->e), ERR_NONE);
    to_server();
    assert_int_equal(w->peer.pings, 1);
    assert_int_equal(h2_deadline(w->h), 21000);
    w->now = 20999;
    assert_int_equal(h2_tick(w->h, w->now, &w->e), ERR_NONE);
    w->now = 21000;
    assert_int_equal(h2_tick(w->h, w->now, &w->e), ERR_PEER);
    h2_lose(w->h);
    take_events();
    expect(1, H2_TIMEOUT, 0);
}

static void a_lost_session_gives_every_push_back_once(void **state)
{
    (void)state;
    start_with_limit(100);
    warm_up();
    assert_int_equal(push_all(50), 50);
    to_server();
    peer_answer(&w->peer, w->peer.requests[1], 200, "");
    assert_int_equal(to_client(), ERR_NONE);
    assert_int_equal(push_all(10), 10); /* some never written */
    h2_lose(w->h);
    take_events();
    assert_int_equal(w->came_back, 61);
    expect(1, H2_ANSWERED, 200);
    expect(2, H2_LOST, 0);
    expect(60, H2_LOST, 0);
    assert_false(h2_can_take(w->h, 1));
}

static void an_idle_session_asks_once_an_hour(void **state)
{
    (void)state;
    start_with_limit(10);
    warm_up();
    assert_int_equal(h2_deadline(w->h), 3600000);
    w->now = 3600000;
    assert_int_equal(h2_tick(w->h, w->now, &w->e), ERR_NONE);
    flow();
    assert_int_equal(w->peer.pings, 1);
    assert_int_equal(h2_deadline(w->h), 7200000);
    assert_int_equal(h2_tick(w->h, w->now + 5000, &w->e), ERR_NONE);
}

static void a_full_window_stops_submitting_before_the_limit(void **state)
{
    (void)state;
    start_with_limit(100);
    flow();
    assert_true(push());
    flow();
    peer_answer(&w->peer, w->peer.requests[0], 200, "");
    assert_int_equal(to_client(), ERR_NONE);
    size_t n = 0;
    while (push_sized(4096))
        n++;
    assert_int_equal(n, 15); /* 65535 - 150 bytes of window */
    to_server();
    assert_false(push_sized(4096));
    flow();
    assert_true(push_sized(4096)); /* WINDOW_UPDATE came */
    for (size_t i = 1; i <= 15; i++)
        assert_int_equal(w->peer.requests[i]->body_len, 4096);
}

static void a_window_of_nothing_or_one_byte_only_slows(void **state)
{
    (void)state;
    const nghttp2_settings_entry s[] = {{NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, 10},
                                        {NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, 0}};
    start(s, 2);
    flow();
    assert_true(push_sized(5));
    flow();
    struct peer_request *r = w->peer.requests[0];
    assert_int_equal(r->body_len, 0);
    assert_false(r->ended);
    /* The server lets the next byte come when it has got one. */
    assert_int_equal(nghttp2_submit_window_update(w->peer.session, 0, r->stream_id, 1), 0);
    to_server();
    assert_int_equal(to_client(), ERR_NONE);
    to_server();
    assert_int_equal(r->body_len, 1);
    for (int i = 0; i < 4; i++)
        flow();
    assert_int_equal(r->body_len, 5);
    assert_true(r->ended);
    peer_answer(&w->peer, r, 200, "");
    flow();
    expect(0, H2_ANSWERED, 200);
}

static void header_tables_of_any_size_are_obeyed(void **state)
{
    (void)state;
    const nghttp2_settings_entry s[] = {{NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, 10},
                                        {NGHTTP2_SETTINGS_HEADER_TABLE_SIZE, 0}};
    start(s, 2);
    warm_up();
    assert_int_equal(push_all(3), 3);
    flow();
    peer_set(&w->peer, NGHTTP2_SETTINGS_HEADER_TABLE_SIZE, 4096);
    flow();
    assert_int_equal(push_all(3), 3);
    flow();
    for (size_t i = 1; i <= 6; i++) {
        assert_string_equal(w->peer.requests[i]->path, w->paths[i]);
        assert_string_equal(w->peer.requests[i]->apns_id, w->ids[i]);
    }
}

static void rubbish_is_a_peer_error(void **state)
{
    (void)state;
    static const char *const rubbish[] = {
        "HTTP/1.1 400 Bad Request\r\n\r\n",
        "\xFF\xFF\xFF\x00\x00\x00\x00\x00\x00",
    };
    for (size_t i = 0; i < 2; i++) {
        start_with_limit(10);
        warm_up();
        enum err_kind kind = h2_input(w->h, (const uint8_t *)rubbish[i], 9, 0, &w->e);
        to_server();
        assert_true(kind == ERR_PEER || h2_over(w->h));
        if (i == 0)
            stop(state);
    }
}

static void as_fcm_the_limit_of_the_service_counts_from_the_beginning(void **state)
{
    (void)state;
    start_fcm(100);
    assert_false(push()); /* not before SETTINGS */
    flow();
    assert_int_equal(push_all(200), 100);
    flow();
    assert_int_equal(w->peer.open_max, 100);
    peer_answer(&w->peer, w->peer.requests[0], 200, "{}");
    flow();
    assert_int_equal(push_all(200), 1);
    peer_set(&w->peer, NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, 10);
    for (size_t i = 1; i < 80; i++)
        peer_answer(&w->peer, w->peer.requests[i], 200, "{}");
    flow();
    assert_false(push());
    peer_set(&w->peer, NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, 1000);
    flow();
    assert_int_equal(h2_limit(w->h), 100); /* ours */
}

static void as_fcm_a_request_has_no_fields_of_apns(void **state)
{
    (void)state;
    start_fcm(100);
    flow();
    assert_true(push());
    flow();
    struct peer_request *r = w->peer.requests[0];
    assert_int_equal(r->fields, 6);
    assert_string_equal(r->authority, "fcm.googleapis.com");
    assert_string_equal(r->authorization, JWT);
    assert_string_equal(r->topic, "");
    assert_string_equal(r->apns_id, "");
}

static void as_fcm_an_idle_session_asks_nothing(void **state)
{
    (void)state;
    start_fcm(100);
    flow();
    assert_true(h2_deadline(w->h) == INT64_MAX);
    w->now = INT64_C(30) * 24 * 3600 * 1000;
    assert_int_equal(h2_tick(w->h, w->now, &w->e), ERR_NONE);
    flow();
    assert_int_equal(w->peer.pings, 0);
    assert_true(push());
    flow();
    w->now += 15000; /* with something to answer, silence is asked about */
    assert_int_equal(h2_tick(w->h, w->now, &w->e), ERR_NONE);
    flow();
    assert_int_equal(w->peer.pings, 1);
}

static void leaving_says_goaway_and_takes_nothing_more(void **state)
{
    (void)state;
    start_with_limit(10);
    warm_up();
    assert_true(push());
    flow();
    h2_leave(w->h);
    assert_false(push());
    flow();
    assert_int_equal(w->peer.goaways, 1);
    peer_answer(&w->peer, w->peer.requests[1], 200, "");
    flow();
    expect(1, H2_ANSWERED, 200);
    assert_true(h2_over(w->h));
}

#define TEST(f) cmocka_unit_test_teardown(f, stop)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_push_arrives_with_all_its_fields),
        TEST(ids_are_indexed_once_and_literals_afterwards),
        TEST(one_stream_until_the_first_answer_then_the_peers_limit),
        TEST(a_peer_without_a_limit_meets_ours),
        TEST(a_lowered_limit_is_obeyed_and_a_raised_one_used),
        TEST(a_peer_that_allows_nothing_gets_nothing),
        TEST(what_was_never_written_comes_back_in_its_time),
        TEST(answers_in_any_order_find_their_push),
        TEST(answers_may_be_cut_anywhere),
        TEST(refused_streams_are_safe_to_send_again),
        TEST(goaway_in_a_batch_splits_it_in_answered_and_refused),
        TEST(goaway_in_two_steps_is_one_event),
        TEST(a_push_submitted_as_goaway_arrives_is_refused),
        TEST(goaway_with_an_error_names_it),
        TEST(a_push_without_answer_times_out_and_frees_its_stream),
        TEST(an_answer_without_end_is_cut_and_given_up),
        TEST(an_answer_with_endless_headers_ends_the_session),
        TEST(an_answer_without_its_end_says_so),
        TEST(an_answer_that_comes_early_is_a_whole_one),
        TEST(an_answer_after_our_cancel_changes_nothing),
        TEST(three_timeouts_in_a_row_end_the_session),
        TEST(silence_with_pushes_open_is_asked_and_then_given_up),
        TEST(a_lost_session_gives_every_push_back_once),
        TEST(an_idle_session_asks_once_an_hour),
        TEST(a_full_window_stops_submitting_before_the_limit),
        TEST(a_window_of_nothing_or_one_byte_only_slows),
        TEST(header_tables_of_any_size_are_obeyed),
        TEST(rubbish_is_a_peer_error),
        TEST(as_fcm_the_limit_of_the_service_counts_from_the_beginning),
        TEST(as_fcm_a_request_has_no_fields_of_apns),
        TEST(as_fcm_an_idle_session_asks_nothing),
        TEST(leaving_says_goaway_and_takes_nothing_more),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
