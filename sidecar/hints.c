// SPDX-License-Identifier: Apache-2.0
#include "sidecar/hints.h"

#include <stdlib.h>
#include <string.h>

#include <event2/event.h>

#include "apns/notification.h"
#include "apns/publishes.h"
#include "archive/ingest.h"
#include "archive/provisional.h"
#include "base/clock.h"
#include "base/log.h"
#include "store/pg.h"

#define MATCHED_WITHIN_US INT64_C(3000000)
#define ARCHIVE_WITHIN_US INT64_C(60000000) /* then its place belongs to another spool */
#define LOOK_MS 500
#define IDLE_MS 60000
#define EXPIRE_MS (60 * 60 * 1000)
#define WRITTEN_WITHIN_MS 10000

struct hints {
    struct hints_opts opts;
    struct event *timer;
    bool paused;
    bool looking;
    bool stored; /* since the last look */
    bool more;   /* at the last look there were others */
    bool full;   /* of which some may be due, too */
    unsigned open;
    int64_t expire_ms;
};

/* One that is being settled. */
struct hint {
    struct hints *hints;
    uint8_t owner[OWNER_BYTES];
    uint8_t id[16];
    int64_t at_us;
    char *account; /* all in text */
    char *sender;
    char *body;
    char text[];
};

static void arm(struct hints *h, int64_t ms)
{
    event_add(h->timer, &(struct timeval){ms / 1000, (ms % 1000) * 1000});
}

static void rest(struct hints *h)
{
    if (!h->looking && h->open == 0)
        arm(h, h->full ? 0 : h->more || h->stored ? LOOK_MS : IDLE_MS);
}

/* Left where it is, it is tried again; settled, it is gone. */
static void end(struct hint *one)
{
    struct hints *h = one->hints;
    free(one);
    h->open--;
    rest(h);
}

static void on_forgotten(void *ctx, const struct pg_error *e)
{
    (void)e; /* it is looked at again, and then matched by its own row */
    end(ctx);
}

static void forget(struct hint *one)
{
    publishes_forget(one->hints->opts.pool, one->owner, one->id, on_forgotten, one);
}

/* A crash before it was forgotten counts it once all the same: its row has its id. */
static void on_counted(void *ctx, bool done)
{
    struct hint *one = ctx;
    if (done)
        forget(one);
    else
        end(one);
}

static void on_matched(void *ctx, bool matched, const struct pg_error *e)
{
    struct hint *one = ctx;
    if (e->failure) {
        end(one);
    } else if (matched) {
        forget(one);
    } else {
        bool encrypted;
        const struct ingest_provisional p = {
            .owner_jid = one->account,
            .peer_jid = one->sender,
            .id = one->id,
            .body = notification_is_placeholder(one->body, &encrypted) ? NULL : one->body,
            .encrypted = encrypted,
            .at_us = one->at_us};
        log_debug("publish", "counted without its text");
        ingest_provisional(one->hints->opts.ingest, &p, clock_mono_ms() + WRITTEN_WITHIN_MS,
                           on_counted, one);
    }
}

static void on_archived(void *ctx, bool done)
{
    struct hint *one = ctx;
    bool encrypted;
    const struct provisional_question q = {
        .owner_jid = one->account,
        .peer_jid = one->sender,
        .body = one->body,
        .vague = notification_is_placeholder(one->body, &encrypted),
        .at_us = one->at_us};
    if (done)
        provisional_match(one->hints->opts.pool, ingest_ident(one->hints->opts.ingest), &q,
                          on_matched, one);
    else
        end(one);
}

static char *put(char **at, const char *text)
{
    char *start = *at;
    *at = stpcpy(start, text) + 1;
    return start;
}

static void begin(struct hints *h, const struct publishes_due *d)
{
    size_t len = strlen(d->account) + strlen(d->sender) + strlen(d->body) + 3;
    struct hint *one = malloc(sizeof *one + len);
    if (!one)
        abort();
    char *at = one->text;
    *one = (struct hint){.hints = h, .at_us = d->at_us};
    memcpy(one->owner, d->owner, sizeof one->owner);
    memcpy(one->id, d->id, sizeof one->id);
    one->account = put(&at, d->account);
    one->sender = put(&at, d->sender);
    one->body = put(&at, d->body);
    h->open++;
    ingest_wait(h->opts.ingest, one->account, clock_mono_ms() + WRITTEN_WITHIN_MS, on_archived,
                one);
}

/* The archive has come to where the publish stands in the stream. */
static bool is_ripe(const struct hints *h, const struct publishes_due *d)
{
    return d->link >= h->opts.spools || ingest_committed(h->opts.ingest, d->link) >= d->pos ||
           d->at_us < clock_real_us() - ARCHIVE_WITHIN_US;
}

static void on_due(void *ctx, const struct publishes_due *due, size_t n, bool more,
                   const struct pg_error *e)
{
    struct hints *h = ctx;
    h->looking = false;
    h->more = more || e->failure != PG_OK;
    size_t begun = h->open;
    for (size_t i = 0; i < n; i++) {
        if (is_ripe(h, &due[i]))
            begin(h, &due[i]);
        else
            h->more = true;
    }
    h->full = n == PUBLISHES_DUE_MAX && h->open > begun;
    rest(h);
}

static void on_timer(evutil_socket_t fd, short what, void *ctx)
{
    (void)fd, (void)what;
    struct hints *h = ctx;
    if (h->looking || h->open > 0)
        return;
    if (h->paused) {
        arm(h, LOOK_MS);
        return;
    }
    if (clock_mono_ms() >= h->expire_ms) {
        h->expire_ms = clock_mono_ms() + EXPIRE_MS;
        provisional_expire(h->opts.pool, h->opts.ingest);
        publishes_purge(h->opts.pool);
    }
    h->looking = true;
    h->stored = false;
    publishes_due(h->opts.pool, clock_real_us() - MATCHED_WITHIN_US, on_due, h);
}

struct hints *hints_new(struct event_base *base, const struct hints_opts *opts)
{
    struct hints *h = calloc(1, sizeof *h);
    if (!h || !(h->timer = evtimer_new(base, on_timer, h)))
        abort();
    h->opts = *opts;
    h->expire_ms = clock_mono_ms();
    arm(h, LOOK_MS);
    return h;
}

void hints_free(struct hints **h)
{
    if (!*h)
        return;
    event_free((*h)->timer);
    free(*h);
    *h = NULL;
}

void hints_stored(struct hints *h)
{
    h->stored = true;
    if (!h->looking && h->open == 0)
        arm(h, LOOK_MS);
}

void hints_pause(struct hints *h, bool pause)
{
    h->paused = pause;
}
