// SPDX-License-Identifier: Apache-2.0
/*
 * A gateway and a service that betrays it in every order: connections die in each of their
 * states, streams end at any moment, limits and windows move.  Every push is answered once,
 * none is taken for accepted that was not, none goes twice where that would be seen, and in
 * the end the gateway works as at the beginning.
 */
#include "tests/unit/gateway_world.h"

#define STEPS 1500
#define TEXT_MAX 4000

static uint64_t seed;
static char texts[4][TEXT_MAX + 64]; /* payloads, which are ALERT and longer ones */
static bool replaces_itself[PUSHES];
static struct {
    bool goaway, mute; /* mute: it says nothing more by itself */
} said[LINKS];

static unsigned rnd(unsigned n)
{
    seed = seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (unsigned)(seed >> 33) % n;
}

static bool is_open(const struct peer_request *r)
{
    return !r->over && !r->refused && r->reset == 0;
}

static struct peer_request *some_open(struct link *l)
{
    size_t n = 0;
    struct peer_request *found = NULL;
    for (size_t i = 0; i < l->peer.n; i++)
        if (is_open(l->peer.requests[i]) && rnd((unsigned)++n) == 0)
            found = l->peer.requests[i];
    return found;
}

static void leave_open(struct link *l, struct peer_request *r)
{
    (void)l, (void)r;
}

static void answer_any(struct link *l, struct peer_request *r, bool well)
{
    static const struct {
        int status;
        const char *body;
    } answers[] = {
        {200, ""},
        {200, ""},
        {200, ""},
        {200, ""},
        {200, ""},
        {500, "{\"reason\":\"InternalServerError\"}"},
        {503, "{\"reason\":\"ServiceUnavailable\"}"},
        {503, "{\"reason\":\"Shutdown\"}"},
        {400, "{\"reason\":\"IdleTimeout\"}"},
        {410, "{\"reason\":\"Unregistered\",\"timestamp\":1760000000000}"},
        {413, "{\"reason\":\"PayloadTooLarge\"}"},
        {429, "{\"reason\":\"TooManyRequests\"}"},
    };
    unsigned n = well ? 0 : rnd(sizeof answers / sizeof *answers);
    if (r->status) {
        peer_end_answer(&l->peer, r, "{\"reason\":\"BadMessageId\"}");
    } else {
        r->trailers = answers[n].body[0] && rnd(4) == 0;
        peer_answer(&l->peer, r, answers[n].status, answers[n].body);
    }
}

static void reset_any(struct link *l, struct peer_request *r)
{
    static const uint32_t codes[] = {NGHTTP2_REFUSED_STREAM, NGHTTP2_STREAM_CLOSED,
                                     NGHTTP2_INTERNAL_ERROR, NGHTTP2_NO_ERROR, NGHTTP2_CANCEL};
    unsigned n = rnd(5);
    r->refused = n < 2 && r->status == 0;
    peer_reset(&l->peer, r, codes[n < 2 && r->status ? 2 : n]);
}

/* What it has looked at and not answered stays; what is above that must go elsewhere. */
static void say_goaway(struct link *l)
{
    struct peer_request *at = some_open(l);
    int32_t last = at ? at->stream_id : 0;
    for (size_t i = 0; i < l->peer.n; i++) {
        struct peer_request *r = l->peer.requests[i];
        if ((!is_open(r) || r->status) && !r->refused && r->stream_id > last)
            last = r->stream_id;
    }
    for (size_t i = 0; i < l->peer.n; i++)
        if (l->peer.requests[i]->stream_id > last)
            l->peer.requests[i]->refused = true;
    said[l->index].goaway = true;
    peer_goaway(&l->peer, last, rnd(4) ? NGHTTP2_NO_ERROR : NGHTTP2_INTERNAL_ERROR, "");
}

static void announce(struct link *l, struct peer_request *r)
{
    nghttp2_nv early = {.name = (uint8_t[]){":status"},
                        .value = (uint8_t[]){"103"},
                        .namelen = 7,
                        .valuelen = 3,
                        .flags = 0};
    if (nghttp2_submit_headers(l->peer.session, 0, r->stream_id, NULL, &early, 1, NULL) != 0)
        abort();
}

static void betray(struct link *l)
{
    struct peer_request *r = some_open(l);
    unsigned what = rnd(20);
    if (what < 5 && r) {
        answer_any(l, r, false);
    } else if (what < 8 && r) {
        if (r->status == 0)
            peer_begin_answer(&l->peer, r, rnd(2) ? 200 : 400);
    } else if (what == 8 && r) {
        if (r->status == 0)
            announce(l, r);
    } else if (what < 11 && r) {
        reset_any(l, r);
    } else if (what == 11 && rnd(4) == 0 && !said[l->index].goaway && !w.server.silent) {
        say_goaway(l);
    } else if (what == 12 && rnd(4) == 0 && !said[l->index].goaway) {
        (void)nghttp2_submit_shutdown_notice(l->peer.session);
    } else if (what == 16) {
        peer_set(&l->peer, NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, rnd(40));
    } else if (what == 17) {
        peer_set(&l->peer, NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, 1 + rnd(3000));
    } else if (what == 18 && rnd(8) == 0) {
        link_write(l);
        link_close(l, rnd(2));
    } else if (what == 19 && rnd(8) == 0) {
        link_write(l);
        said[l->index].mute = true;
        if (rnd(2)) /* nor does it hear */
            bufferevent_disable(l->bev, EV_READ);
    }
    link_write(l);
}

/* One that has heard nothing yet is let to come up, mostly. */
static void betray_often(struct link *l)
{
    for (unsigned n = l->peer.n > 0 ? rnd(5) : rnd(20) == 0; n > 0; n--)
        if (l->bev && !said[l->index].mute)
            betray(l);
}

static void submit_some(void)
{
    static const char *const names[] = {NULL, NULL, "thread", "another"};
    for (unsigned n = rnd(3) ? 0 : rnd(4);
         n > 0 && w.submitted < PUSHES - 1 && gateway_room(w.gateway) > 0; n--) {
        const char *name = names[rnd(4)];
        const char *text = rnd(4) ? texts[rnd(4)] : BADGE;
        replaces_itself[w.submitted] = name || strcmp(text, BADGE) == 0;
        assert_true(submit(text, name));
    }
}

/* From now on it is as good as a service can be. */
static void behave(void)
{
    if (!w.server.listener)
        listen_again();
    w.server.silent = false;
    w.server.streams = 20;
    for (size_t i = 0; i < w.server.n; i++) {
        struct link *l = w.server.links[i];
        if (!l->bev || said[i].mute)
            continue;
        for (size_t k = 0; k < l->peer.n; k++)
            if (is_open(l->peer.requests[k]))
                answer_any(l, l->peer.requests[k], true);
        link_write(l);
    }
}

static size_t seen(size_t push, bool accepted)
{
    char path[80];
    size_t n = 0;
    snprintf(path, sizeof path, "/3/device/%064zx", push);
    for (size_t l = 0; l < w.server.n; l++)
        for (size_t k = 0; k < w.server.links[l]->peer.n; k++) {
            const struct peer_request *r = w.server.links[l]->peer.requests[k];
            bool counts = accepted ? r->status == 200
                                   : !r->refused && (r->status == 0 || r->status == 200);
            n += counts && strcmp(r->path, path) == 0;
        }
    return n;
}

static void check(uint64_t of)
{
    for (size_t i = 0; i < w.submitted; i++) {
        const struct push_verdict *v = &w.results[i].v;
        if (v->reaction == PUSH_DONE && seen(i, true) == 0)
            fail_msg("seed %llu: push %zu was never accepted", (unsigned long long)of, i);
        if (!replaces_itself[i] && seen(i, false) > 1)
            fail_msg("seed %llu: push %zu went twice, at last: %s", (unsigned long long)of, i,
                     v->reason);
        if (v->reaction != PUSH_DONE && v->reaction != PUSH_RETRY && v->status == 0)
            fail_msg("seed %llu: push %zu ended without an answer: %s", (unsigned long long)of,
                     i, v->reason);
    }
}

static void run(uint64_t of)
{
    seed = of;
    memset(said, 0, sizeof said);
    w.server.handle = leave_open;
    w.server.streams = (uint32_t[]){20, 20, 1, 0}[rnd(4)];
    w.tuning.queue_ms = 1000;
    w.tuning.connect_timeout_ms = 400;
    w.tuning.broken_after_ms = 50;
    w.tuning.pool.drain_ms = 300;
    w.tuning.h2.request_timeout_ms = 400;
    w.tuning.h2.quiet_ping_ms = 200;
    w.tuning.h2.ping_ack_ms = 200;
    start();
    size_t room = gateway_room(w.gateway);
    for (int i = 0; i < STEPS && w.server.n < LINKS - 8; i++) {
        submit_some();
        turn_loop();
        for (size_t k = 0; k < w.server.n; k++)
            betray_often(w.server.links[k]);
        w.server.silent = w.server.silent ? rnd(10) != 0 : rnd(200) == 0;
        if (w.server.listener && rnd(60) == 0)
            stop_listening();
        else if (!w.server.listener && rnd(10) == 0)
            listen_again();
    }
    int64_t give_up_ms = clock_mono_ms() + WAIT_MS;
    while (w.done < w.submitted || gateway_room(w.gateway) < room) {
        if (clock_mono_ms() > give_up_ms)
            fail_msg("seed %llu: %zu of %zu answered, room %zu", (unsigned long long)of,
                     w.done, w.submitted, gateway_room(w.gateway));
        behave();
        turn_loop();
    }
    check(of);
    for (size_t i = 0; i < w.server.n; i++) {
        if (said[i].mute)
            link_close(w.server.links[i], true);
        else
            peer_set(&w.server.links[i]->peer, NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, 20);
    }
    size_t last = w.submitted;
    assert_true(submit(ALERT, "thread"));
    while (w.done < w.submitted && clock_mono_ms() < give_up_ms) {
        behave();
        turn_loop();
    }
    expect(last, PUSH_DONE, 200, "");
}

static void whatever_a_service_does_each_push_has_one_end(void **state)
{
    const char *from = getenv("SIDECAR_TEST_SEED");
    const char *many = getenv("SIDECAR_TEST_ROUNDS");
    uint64_t of = from ? strtoull(from, NULL, 10) : 1;
    for (int i = 0; i < 4; i++) {
        size_t len =
            (size_t)snprintf(texts[i], sizeof texts[i], "%.*s", (int)sizeof ALERT - 5, ALERT);
        memset(texts[i] + len, 'x', (size_t)i * TEXT_MAX / 4);
        strcpy(texts[i] + len + (size_t)i * TEXT_MAX / 4, "\"}}");
    }
    for (int n = many ? atoi(many) : 2; n > 0; n--, of++) {
        run(of);
        if (n > 1) {
            tear_down(state);
            set_up(state);
        }
    }
}

int main(void)
{
    signal(SIGPIPE, SIG_IGN);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(whatever_a_service_does_each_push_has_one_end, set_up,
                                        tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
