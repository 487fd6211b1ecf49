// SPDX-License-Identifier: Apache-2.0
#include "sidecar/feed.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "archive/ingest.h"
#include "base/failpoint.h"
#include "base/log.h"
#include "base/stanza.h"
#include "base/xml_parse.h"
#include "component/adapter.h"
#include "component/cursor.h"

/* Per call and cursor: requests of other links get their turn. */
#define PUMP_BYTES (1 << 20)

enum archive_state {
    ARCHIVE_CLOSED,  /* it does not take events yet -> READING */
    ARCHIVE_READING, /* by its own cursor -> JOINED when both have met, -> FULL */
    ARCHIVE_FULL,    /* waits for room -> READING */
    ARCHIVE_JOINED,  /* fed by the live cursor -> FULL */
};

struct feed {
    struct feed_opts opts;
    char *directory;
    char *server;
    struct xml_parse_opts limits;
    char prefix[32];
    struct cursor *live;
    bool live_announced;
    bool live_more;       /* there is more in the spool than was read in one turn, */
    int64_t live_seen_us; /* from then on */
    enum archive_state state;
    struct ingest *ingest;
    struct cursor *archive;  /* while READING */
    uint64_t archive_from;   /* where it goes on, while FULL */
    uint64_t archive_passed; /* what ingest was told */
    int64_t archive_seen_us; /* receive time of the last stanza its cursor gave */
};

static void set_state(struct feed *f, enum archive_state to)
{
    switch (to) {
    case ARCHIVE_CLOSED:
        assert(false);
        break;
    case ARCHIVE_READING:
        assert(f->state == ARCHIVE_CLOSED || f->state == ARCHIVE_FULL);
        break;
    case ARCHIVE_FULL:
        assert(f->state == ARCHIVE_READING || f->state == ARCHIVE_JOINED);
        break;
    case ARCHIVE_JOINED:
        assert(f->state == ARCHIVE_READING);
        break;
    }
    f->state = to;
}

/* Tells how far the archive has been given everything; never goes back, though the live
 * cursor of a new worker starts behind the archive. */
static void archive_passed(struct feed *f, uint64_t end)
{
    if (end <= f->archive_passed)
        return;
    f->archive_passed = end;
    ingest_passed(f->ingest, f->opts.link, end);
}

/* Gives one event; when there is no room the whole stanza is offered again later.  Of two
 * events of one stanza the first is then offered twice: its identity tells. */
static void archive_offer(struct feed *f, const struct event *e)
{
    if (f->state != ARCHIVE_READING && f->state != ARCHIVE_JOINED)
        return;
    if (ingest_event(f->ingest, e) == INGEST_TAKEN)
        return;
    f->archive_from = e->place.begin;
    set_state(f, ARCHIVE_FULL);
}

static void archive_offer_stream(struct feed *f, const struct ingest_stream *st)
{
    if (f->state != ARCHIVE_READING && f->state != ARCHIVE_JOINED)
        return;
    if (ingest_stream(f->ingest, st) == INGEST_TAKEN)
        return;
    f->archive_from = st->place.begin;
    set_state(f, ARCHIVE_FULL);
}

/* A stream that is joined in its middle has not just begun. */
static void archive_opened(struct feed *f, const struct cursor_opened *o)
{
    const struct ingest_stream st = {.opened = true,
                                     .epoch = o->epoch,
                                     .at_us = o->received_us,
                                     .server = f->server,
                                     .why = "",
                                     .place = o->place};
    if (!o->resumed)
        archive_offer_stream(f, &st);
}

/* The server may have had a word in the reason, and a database takes no broken UTF-8. */
static void archive_closed(struct feed *f, const struct cursor_closed *o)
{
    char why[ERR_TEXT_BYTES];
    (void)snprintf(why, sizeof why, "%.200s%s", *o->why ? o->why : "the link process died",
                   o->half_stanza ? "; half a stanza was dropped" : "");
    for (char *c = why; *c; c++)
        if (*c < ' ' || *c > '~')
            *c = '?';
    const struct ingest_stream st = {.epoch = o->epoch,
                                     .at_us = o->last_us,
                                     .server = f->server,
                                     .why = why,
                                     .place = o->place};
    archive_offer_stream(f, &st);
}

void feed_event(struct feed *f, const struct event *e)
{
    if (f->state == ARCHIVE_JOINED)
        archive_offer(f, e);
}

/* The live cursor. */

static void on_live_stanza(void *ctx, struct stanza *s, const struct place *place,
                           int64_t received_us, uint64_t epoch)
{
    struct feed *f = ctx;
    bool replay = place->end <= f->opts.replay_until;
    f->live_seen_us = received_us;
    FAILPOINT("feed-parsed");
    if (!replay && !f->live_announced) {
        f->live_announced = true;
        service_live(f->opts.service, f->opts.link);
    }
    struct err e;
    if (service_stanza(f->opts.service, epoch, s, place, received_us,
                       replay ? SERVICE_REPLAY : SERVICE_LIVE, &e))
        log_error(f->prefix, "stanza not understood begin=%llu: %s",
                  (unsigned long long)place->begin, e.text);
    stanza_free(&s);
    FAILPOINT("feed-handled");
    if (f->state == ARCHIVE_JOINED)
        archive_passed(f, place->end);
    f->opts.passed(f->opts.ctx, f->opts.link, place);
}

static void on_live_opened(void *ctx, const struct cursor_opened *o)
{
    struct feed *f = ctx;
    service_opened(f->opts.service, f->opts.link, o->epoch, o->received_us);
    if (f->state == ARCHIVE_JOINED)
        archive_opened(f, o);
}

static void on_live_closed(void *ctx, const struct cursor_closed *o)
{
    struct feed *f = ctx;
    log_info(f->prefix, "the stream ended epoch=%llu half_stanza=%d why=\"%s\"",
             (unsigned long long)o->epoch, o->half_stanza, o->why);
    service_closed(f->opts.service, f->opts.link, o->epoch);
    if (f->state == ARCHIVE_JOINED)
        archive_closed(f, o);
}

static void on_live_skipped(void *ctx, uint64_t epoch, const struct place *place,
                            const char *why)
{
    struct feed *f = ctx;
    log_warn(f->prefix, "a stanza was passed over epoch=%llu begin=%llu bytes=%llu: %s",
             (unsigned long long)epoch, (unsigned long long)place->begin,
             (unsigned long long)(place->end - place->begin), why);
}

static void on_live_lost(void *ctx, uint64_t epoch, uint64_t begin, uint64_t end,
                         bool streaming, const char *why)
{
    struct feed *f = ctx;
    log_error(f->prefix, "the spool is damaged begin=%llu end=%llu: %s",
              (unsigned long long)begin, (unsigned long long)end, why);
    if (streaming)
        f->opts.reconnect(f->opts.ctx, f->opts.link, epoch, "the spool is damaged");
}

static void on_live_broken(void *ctx, uint64_t epoch, const char *why)
{
    struct feed *f = ctx;
    log_error(f->prefix, "the server's stream is not acceptable epoch=%llu: %s",
              (unsigned long long)epoch, why);
    f->opts.reconnect(f->opts.ctx, f->opts.link, epoch, why);
}

/* The archive's own cursor: the same stanzas, but only their events. */

static void on_archive_event(void *ctx, const struct event *e)
{
    archive_offer(ctx, e);
}

static void on_archive_stanza(void *ctx, struct stanza *s, const struct place *place,
                              int64_t received_us, uint64_t epoch)
{
    struct feed *f = ctx;
    (void)epoch;
    const struct adapter_sink sink = {.event = on_archive_event, .ctx = f};
    struct err e;
    if (adapter_classify(service_adapter(f->opts.service), s, place, received_us, &sink, &e))
        log_warn(f->prefix, "stanza not archived begin=%llu: %s",
                 (unsigned long long)place->begin, e.text);
    stanza_free(&s);
    f->archive_seen_us = received_us;
    if (f->state == ARCHIVE_READING)
        archive_passed(f, place->end);
    else
        cursor_stop(f->archive);
}

static void stop_when_full(struct feed *f)
{
    if (f->state == ARCHIVE_FULL)
        cursor_stop(f->archive);
}

static void on_archive_opened(void *ctx, const struct cursor_opened *o)
{
    archive_opened(ctx, o);
    stop_when_full(ctx);
}

static void on_archive_closed(void *ctx, const struct cursor_closed *o)
{
    archive_closed(ctx, o);
    stop_when_full(ctx);
}

/* What the live cursor met here has been reported by it. */

static void on_archive_skipped(void *ctx, uint64_t epoch, const struct place *place,
                               const char *why)
{
    (void)ctx;
    (void)epoch;
    (void)place;
    (void)why;
}

static void on_archive_lost(void *ctx, uint64_t epoch, uint64_t begin, uint64_t end,
                            bool streaming, const char *why)
{
    (void)ctx;
    (void)epoch;
    (void)begin;
    (void)end;
    (void)streaming;
    (void)why;
}

static void on_archive_broken(void *ctx, uint64_t epoch, const char *why)
{
    (void)ctx;
    (void)epoch;
    (void)why;
}

static void pump_archive(struct feed *f)
{
    if (!f->archive) {
        const struct cursor_events events = {on_archive_stanza,
                                             on_archive_opened,
                                             on_archive_closed,
                                             on_archive_skipped,
                                             on_archive_lost,
                                             on_archive_broken,
                                             f};
        f->archive =
            cursor_new(f->opts.directory, f->opts.link, f->archive_from, &f->limits, &events);
    }
    (void)cursor_pump(f->archive, cursor_read_position(f->live), PUMP_BYTES);
    if (f->state == ARCHIVE_READING) {
        archive_passed(f, cursor_position(f->archive));
        if (cursor_position(f->archive) < cursor_position(f->live))
            return;
        set_state(f, ARCHIVE_JOINED);
        log_debug(f->prefix, "the archive has caught up");
    }
    cursor_free(&f->archive);
}

/* Both together. */

struct feed *feed_new(const struct feed_opts *opts)
{
    struct feed *f = calloc(1, sizeof *f);
    if (!f)
        abort();
    f->opts = *opts;
    f->directory = strdup(opts->directory);
    f->server = strdup(opts->server);
    if (!f->directory || !f->server)
        abort();
    f->opts.directory = f->directory;
    f->limits = xml_parse_defaults;
    f->limits.stanza_bytes_max = opts->stanza_bytes_max;
    snprintf(f->prefix, sizeof f->prefix, "feed link=%u", opts->link);
    const struct cursor_events events = {on_live_stanza,
                                         on_live_opened,
                                         on_live_closed,
                                         on_live_skipped,
                                         on_live_lost,
                                         on_live_broken,
                                         f};
    f->live = cursor_new(opts->directory, opts->link, opts->live_from, &f->limits, &events);
    return f;
}

void feed_free(struct feed **fp)
{
    struct feed *f = *fp;
    *fp = NULL;
    if (!f)
        return;
    cursor_free(&f->archive);
    cursor_free(&f->live);
    free(f->directory);
    free(f->server);
    free(f);
}

void feed_archive_open(struct feed *f, struct ingest *ingest)
{
    if (f->state == ARCHIVE_CLOSED) {
        f->ingest = ingest;
        f->archive_from = ingest_start_position(ingest, f->opts.link);
        set_state(f, ARCHIVE_READING);
    } else if (f->state == ARCHIVE_FULL) {
        set_state(f, ARCHIVE_READING);
    }
}

bool feed_pump(struct feed *f, uint64_t limit)
{
    FAILPOINT("feed-read");
    bool more = cursor_pump(f->live, limit, PUMP_BYTES);
    f->live_more = more;
    if (!f->live_announced && cursor_position(f->live) >= f->opts.replay_until) {
        f->live_announced = true;
        service_live(f->opts.service, f->opts.link);
    }
    if (f->state == ARCHIVE_JOINED)
        archive_passed(f, cursor_position(f->live));
    if (f->state == ARCHIVE_READING)
        pump_archive(f);
    return more || f->state == ARCHIVE_READING;
}

uint64_t feed_live_position(const struct feed *f)
{
    return cursor_position(f->live);
}

int64_t feed_behind_us(const struct feed *f, int64_t now_us)
{
    if (f->state == ARCHIVE_JOINED) /* as far as the live cursor */
        return f->live_more ? now_us - f->live_seen_us : 0;
    /* Nothing read yet says nothing of how old it is: as far behind as can be. */
    return f->archive_seen_us ? now_us - f->archive_seen_us : INT64_MAX;
}
