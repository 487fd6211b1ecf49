// SPDX-License-Identifier: Apache-2.0
/*
 * Whoever waits until something is committed: what their lane has taken, or what was read of a
 * spool before a place and is perhaps still to be offered.
 */
#include "archive/ingest_int.h"

#include <assert.h>
#include <stdlib.h>

#include <event2/event.h>

#include "base/clock.h"

static void waiter_free(struct waiter *w)
{
    event_free(w->timer);
    free(w);
}

static bool is_done(const struct waiter *w)
{
    if (!w->lane || !w->offered)
        return false;
    const struct op *oldest = op_queue_oldest(w->lane->queue);
    return !oldest || oldest->seq > w->seq;
}

static void set_offered(struct waiter *w)
{
    w->offered = true;
    w->seq = w->lane->seq;
}

void ingest_tell_offered(struct ingest *ing, unsigned spool)
{
    for (struct waiter *w = ing->waiters; w; w = w->next) {
        if (w->offered || !w->lane || w->spool != spool || w->begin > ing->reader[spool])
            continue;
        set_offered(w);
        ing->unoffered--;
        if (is_done(w))
            event_active(w->timer, EV_TIMEOUT, 0);
    }
}

void ingest_wait_no_more(struct ingest *ing, unsigned spool)
{
    for (struct waiter *w = ing->waiters; ing->unoffered > 0 && w; w = w->next)
        if (!w->offered && w->lane && w->spool == spool)
            event_active(w->timer, EV_TIMEOUT, 0);
}

static void unlink_waiter(struct waiter *w)
{
    struct waiter **at = &w->ing->waiters;
    while (*at != w)
        at = &(*at)->next;
    *at = w->next;
}

static void on_deadline(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what;
    struct waiter *w = arg;
    unlink_waiter(w);
    w->ing->unoffered -= w->lane && !w->offered;
    w->done(w->ctx, is_done(w));
    waiter_free(w);
}

/* A callback may start to wait again, so the done ones are taken out of the list first. */
void ingest_tell_waiters(struct ingest *ing, const struct lane *lane)
{
    struct waiter *done = NULL, **end = &done;
    for (struct waiter **at = &ing->waiters; *at;) {
        struct waiter *w = *at;
        if (w->lane != lane || !is_done(w)) {
            at = &w->next;
            continue;
        }
        *at = w->next;
        w->next = NULL;
        *end = w;
        end = &w->next;
    }
    while (done) {
        struct waiter *w = done;
        done = w->next;
        w->done(w->ctx, true);
        waiter_free(w);
    }
}

void ingest_end_waiting(struct ingest *ing)
{
    while (ing->waiters) {
        struct waiter *w = ing->waiters;
        ing->waiters = w->next;
        w->done(w->ctx, false);
        waiter_free(w);
    }
}

void ingest_wait_for(struct ingest *ing, struct lane *lane, const struct place *at,
                     int64_t deadline_mono_ms, ingest_done_fn done, void *ctx)
{
    struct waiter *w = malloc(sizeof *w);
    if (!w)
        abort();
    *w = (struct waiter){
        .next = ing->waiters, .ing = ing, .lane = lane, .done = done, .ctx = ctx};
    w->timer = evtimer_new(ing->base, on_deadline, w);
    if (!w->timer)
        abort();
    ing->waiters = w;
    int64_t ms = 0;
    if (lane && at && at->begin > ing->reader[at->spool]) {
        w->spool = at->spool;
        w->begin = at->begin;
        ing->unoffered++;
    } else if (lane) {
        set_offered(w);
    }
    if (lane && !is_done(w))
        ms = deadline_mono_ms - clock_mono_ms();
    if (ms < 0)
        ms = 0;
    event_add(w->timer, &(struct timeval){ms / 1000, (ms % 1000) * 1000});
}

void ingest_wait_before(struct ingest *ing, const char *owner_jid, const struct place *at,
                        int64_t deadline_mono_ms, ingest_done_fn done, void *ctx)
{
    struct lane *lane = NULL;
    assert(!at || at->spool < ing->spools);
    if (ing->ident) {
        uint8_t owner[OWNER_BYTES];
        ident_owner(ing->ident, owner_jid, owner);
        lane = ingest_lane_of(ing, owner);
    }
    ingest_wait_for(ing, lane, at, deadline_mono_ms, done, ctx);
}

void ingest_wait(struct ingest *ing, const char *owner_jid, int64_t deadline_mono_ms,
                 ingest_done_fn done, void *ctx)
{
    ingest_wait_before(ing, owner_jid, NULL, deadline_mono_ms, done, ctx);
}
