// SPDX-License-Identifier: Apache-2.0
/*
 * The bytes are what a push service answers, after a proper start: every push must come back
 * exactly once, its answer must have a verdict, and nothing may be submitted above the limit.
 * The first byte says in what pieces the rest arrives.
 */
#include <assert.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "apns/fcm_verdict.h"
#include "apns/h2.h"
#include "apns/protocol.h"
#include "apns/verdict.h"
#include "base/buf.h"

#define PUSHES 64

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const uint8_t start[] = {
    0, 0, 6, 4, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 8, /* SETTINGS, eight streams */
    0, 0, 0, 4, 1, 0, 0, 0, 0,                   /* ACK of ours */
};
static const uint8_t first_answer[] = {0, 0, 1, 1, 5, 0, 0, 0, 1, 0x88}; /* 200 on stream 1 */

struct world {
    struct h2 *h;
    struct h2_push pushes[PUSHES];
    uint8_t bodies[PUSHES][VERDICT_BODY_MAX];
    bool open[PUSHES];
    size_t submitted;
    struct buf out;
    int64_t now_ms;
};

static void submit(struct world *w)
{
    static const uint8_t payload[] = "{\"aps\":{\"badge\":1}}";
    while (w->submitted < PUSHES && h2_can_take(w->h, sizeof payload - 1)) {
        struct h2_push *p = &w->pushes[w->submitted];
        const struct h2_text x = {"x", 1};
        p->path = p->authorization = x;
        for (size_t i = 0; i < H2_FIELDS_MAX; i++)
            p->fields[i] = x;
        p->body = w->bodies[w->submitted];
        p->body_max = VERDICT_BODY_MAX;
        p->payload = payload;
        p->payload_len = sizeof payload - 1;
        if (!h2_submit(w->h, p, w->now_ms))
            return;
        w->open[w->submitted++] = true;
        assert(h2_open_count(w->h) <= h2_limit(w->h));
    }
}

static void judge(const struct h2_push *p)
{
    const struct verdict_opts opts = {1000, 1000, 1000};
    const struct verdict_answer a = {p->status, p->retry_after_s, p->body, p->body_len};
    struct push_verdict v;
    if (p->outcome != H2_ANSWERED)
        return;
    assert(p->status >= 200 && p->body_len <= VERDICT_BODY_MAX);
    (void)verdict_of_answer(&a, &opts, &v);
    assert(v.retry_after_ms >= 0 && v.timestamp_ms >= 0);
    assert(v.reaction != PUSH_DROP_DEVICE || v.timestamp_ms > 0);
    assert(memchr(v.reason, '\0', sizeof v.reason));
    (void)fcm_verdict_of_answer(&a, &opts, &v);
    assert(v.retry_after_ms >= 0 && memchr(v.reason, '\0', sizeof v.reason));
}

static void take_events(struct world *w)
{
    struct h2_event ev;
    while (h2_next_event(w->h, &ev)) {
        if (ev.kind != H2_EV_PUSH)
            continue;
        size_t i = (size_t)(ev.push - w->pushes);
        assert(i < PUSHES && w->open[i]);
        w->open[i] = false;
        judge(ev.push);
    }
}

/* False when the session is over. */
static bool feed(struct world *w, const uint8_t *data, size_t len)
{
    struct err e;
    w->now_ms += 100;
    if (h2_input(w->h, data, len, w->now_ms, &e))
        return false;
    take_events(w);
    submit(w);
    if (h2_tick(w->h, w->now_ms, &e) || h2_output(w->h, &w->out, SIZE_MAX, &e))
        return false;
    buf_reset(&w->out);
    return !h2_over(w->h);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct world w;
    const struct h2_opts opts = {.protocol = &h2_apns,
                                 .authority = "x",
                                 .streams_max = 16,
                                 .timeouts_max = 3,
                                 .request_timeout_ms = 2000,
                                 .quiet_ping_ms = 1500,
                                 .idle_ping_ms = 5000,
                                 .ping_ack_ms = 500};
    if (size == 0)
        return 0;
    size_t piece = data[0] == 0 ? SIZE_MAX : data[0];
    data++;
    size--;
    memset(w.open, 0, sizeof w.open);
    w.submitted = 0;
    w.now_ms = 0;
    w.h = h2_new(&opts, 0);
    buf_init(&w.out, 1 << 24);
    bool alive = feed(&w, start, sizeof start) && feed(&w, first_answer, sizeof first_answer);
    assert(alive && w.submitted == 9);
    while (alive && size > 0) {
        size_t n = piece < size ? piece : size;
        alive = feed(&w, data, n);
        data += n;
        size -= n;
    }
    h2_lose(w.h);
    take_events(&w);
    for (size_t i = 0; i < PUSHES; i++)
        assert(!w.open[i]);
    h2_free(&w.h);
    buf_deinit(&w.out);
    return 0;
}
