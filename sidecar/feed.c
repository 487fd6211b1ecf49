// SPDX-License-Identifier: Apache-2.0
#include "sidecar/feed.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "archive/ingest.h"
#include "base/buf.h"
#include "base/clock.h"
#include "base/failpoint.h"
#include "base/log.h"
#include "base/stanza.h"
#include "base/xml_head.h"
#include "base/xml_parse.h"
#include "component/adapter.h"
#include "component/copies.h"
#include "component/cursor.h"
#include "sidecar/hand.h"

/* Per call and cursor, a millisecond or two of parsing: requests of other links and the
 * answers of PostgreSQL get their turn in between, or lanes would stand idle meanwhile. */
#define PUMP_BYTES ((size_t)64 << 10)
#define HEAD_BYTES 32768 /* the first start tags of a stanza */

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
    struct copies *live_copies;
    bool live_announced;
    bool live_more;       /* there is more in the spool than was read in one turn, */
    int64_t live_seen_us; /* from then on */
    enum archive_state state;
    struct ingest *ingest;
    struct cursor *archive;        /* while READING */
    struct copies *archive_copies; /* of this reading: it may go back to what was not taken */
    uint64_t archive_from;         /* where it goes on, while FULL */
    uint64_t archive_passed;       /* what ingest was told */
    int64_t archive_seen_us;       /* receive time of the last stanza its cursor gave */
    /* Careful: the request that must be answered, and what must be committed, before the next.
     */
    bool asked;
    struct place asked_at;
    bool waits;
    struct place waits_for;
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
    hand_offered(f->opts.hand, f->opts.link, end);
    ingest_passed(f->ingest, f->opts.link, end);
}

static void archive_full(struct feed *f, uint64_t from)
{
    if (f->state == ARCHIVE_JOINED) /* which had everything so far */
        f->archive_seen_us = f->live_seen_us;
    f->archive_from = from;
    set_state(f, ARCHIVE_FULL);
}

/* A live cursor that starts behind the archive comes by what was given before, maybe by the
 * last worker: to offer that again might have it read where nothing is kept any more. */
static bool archive_takes(const struct feed *f, const struct place *p)
{
    return (f->state == ARCHIVE_READING || f->state == ARCHIVE_JOINED) &&
           p->end > f->archive_passed;
}

/* Gives one event; when there is no room the whole stanza is offered again later.  Of two
 * events of one stanza the first is then offered twice: its identity tells. */
static void archive_offer(struct feed *f, const struct event *e)
{
    if (archive_takes(f, &e->place) && ingest_event(f->ingest, e) != INGEST_TAKEN)
        archive_full(f, e->place.begin);
}

static void archive_offer_stream(struct feed *f, const struct ingest_stream *st)
{
    if (archive_takes(f, &st->place) && ingest_stream(f->ingest, st) != INGEST_TAKEN)
        archive_full(f, st->place.begin);
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

/* Stanzas that are passed over. */

/* What the first tags say of it, NULL when it must not be looked at or they say nothing. */
static struct stanza *read_head(struct feed *f, const struct cursor_piece *p)
{
    bool may_look = true;
    (void)hand_poison(f->opts.hand, &p->place, &may_look);
    struct buf bytes;
    struct err e;
    struct stanza *head = NULL;
    buf_init(&bytes, HEAD_BYTES);
    if (may_look && cursor_bytes(f->directory, &p->place, &bytes, NULL, &e) == ERR_NONE)
        head = xml_head(buf_data(&bytes), buf_len(&bytes), SERVICE_HEAD_DEPTH);
    buf_deinit(&bytes);
    return head;
}

/* Only what is somebody's message is kept, and of poison that it was there: other people's
 * requests never get into the database. */
static void archive_put_aside(struct feed *f, const struct cursor_piece *p,
                              const struct stanza *head)
{
    bool may_look;
    bool poison = hand_poison(f->opts.hand, &p->place, &may_look) != NULL;
    bool message = head && adapter_copies_message(service_adapter(f->opts.service), head);
    if (!archive_takes(f, &p->place) || !(poison || message))
        return;
    const struct ingest_aside aside = {.place = p->place,
                                       .why = p->why,
                                       .length = p->bytes,
                                       .received_us = p->received_us,
                                       .with_bytes = message};
    if (ingest_put_aside(f->ingest, &aside) != INGEST_TAKEN)
        archive_full(f, p->place.begin);
}

/* A copy of a message that nobody can understand. */
static void archive_reject(struct feed *f, const struct place *place, int64_t received_us,
                           const char *why)
{
    const struct ingest_aside aside = {.place = *place,
                                       .why = why,
                                       .length = place->end - place->begin,
                                       .received_us = received_us,
                                       .with_bytes = true};
    if (archive_takes(f, place) && ingest_put_aside(f->ingest, &aside) != INGEST_TAKEN)
        archive_full(f, place->begin);
}

static bool is_replay(const struct feed *f, const struct place *place)
{
    return place->end <= f->opts.replay_until;
}

static void live_passed(struct feed *f, const struct place *place)
{
    if (f->state == ARCHIVE_JOINED)
        archive_passed(f, place->end);
    f->opts.passed(f->opts.ctx, f->opts.link, place);
}

static void announce_live(struct feed *f)
{
    if (f->live_announced)
        return;
    f->live_announced = true;
    service_live(f->opts.service, f->opts.link);
}

static struct cursor_piece over_limit(const struct cursor_piece *p, char *why, size_t size)
{
    struct cursor_piece piece = *p;
    (void)snprintf(why, size, "over a limit: %s", p->why);
    piece.why = why;
    return piece;
}

static void live_pass_over(struct feed *f, const struct cursor_piece *p, bool too_large)
{
    hand_take(f->opts.hand, &p->place);
    struct stanza *head = read_head(f, p);
    f->live_seen_us = p->received_us;
    if (!is_replay(f, &p->place))
        announce_live(f);
    if (head)
        service_refuse(f->opts.service, head, p,
                       is_replay(f, &p->place) ? SERVICE_REPLAY : SERVICE_LIVE, too_large);
    if (f->state == ARCHIVE_JOINED)
        archive_put_aside(f, p, head);
    stanza_free(&head);
    hand_put(f->opts.hand);
    live_passed(f, &p->place);
}

static void archive_pass_over(struct feed *f, const struct cursor_piece *p)
{
    hand_take(f->opts.hand, &p->place);
    struct stanza *head = read_head(f, p);
    archive_put_aside(f, p, head);
    stanza_free(&head);
    hand_put(f->opts.hand);
}

/* The live cursor. */

static bool on_live_found(void *ctx, const struct cursor_piece *p)
{
    struct feed *f = ctx;
    bool may_look;
    const char *why = hand_poison(f->opts.hand, &p->place, &may_look);
    hand_take(f->opts.hand, &p->place);
    if (why) {
        struct cursor_piece poison = *p;
        poison.why = why;
        live_pass_over(f, &poison, false);
        return false;
    }
    if (!copies_known(f->live_copies, p->raw, p->bytes, p->received_us))
        return true;
    hand_put(f->opts.hand);
    live_passed(f, &p->place);
    return false;
}

/* Whoever is careful waits for the answer, so that the worker's death in between has a place.
 */
static void hold_request(struct feed *f, const struct place *place)
{
    if (!hand_is_careful(f->opts.hand) || !f->opts.is_open(f->opts.ctx, place) ||
        !hand_hold(f->opts.hand, place))
        return;
    f->asked = true;
    f->asked_at = *place;
    cursor_stop(f->live);
    if (f->ingest) /* what the archive has not read is not read before the answer */
        ingest_wait_no_more(f->ingest, f->opts.link);
}

static void on_live_stanza(void *ctx, struct stanza *s, const struct place *place,
                           int64_t received_us, uint64_t epoch)
{
    struct feed *f = ctx;
    bool replay = is_replay(f, place);
    f->live_seen_us = received_us;
    FAILPOINT("feed-parsed");
    if (!replay)
        announce_live(f);
    struct err e;
    if (service_stanza(f->opts.service, epoch, s, place, received_us,
                       replay ? SERVICE_REPLAY : SERVICE_LIVE, &e)) {
        log_warn(f->prefix, "stanza not understood begin=%llu: %s",
                 (unsigned long long)place->begin, e.text);
        if (f->state == ARCHIVE_JOINED)
            archive_reject(f, place, received_us, e.text);
    }
    stanza_free(&s);
    FAILPOINT("feed-handled");
    hand_put(f->opts.hand);
    live_passed(f, place);
    hold_request(f, place);
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

static void on_lost(struct feed *f, const char *what, uint64_t epoch, uint64_t begin,
                    uint64_t end, bool streaming, const char *why)
{
    enum log_level level = LOG_ERROR;
    const char *wish = "the spool is damaged";
    if (begin == end) { /* by who has found no state of the last worker */
        level = LOG_WARN;
        wish = what = "a stream is entered in its middle";
    }
    log_line(level, f->prefix, "%s begin=%llu end=%llu: %s", what, (unsigned long long)begin,
             (unsigned long long)end, why);
    if (streaming)
        f->opts.reconnect(f->opts.ctx, f->opts.link, epoch, wish);
}

static void on_live_skipped(void *ctx, const struct cursor_piece *p)
{
    struct feed *f = ctx;
    log_warn(f->prefix, "a stanza was passed over epoch=%llu begin=%llu bytes=%llu limit=%s",
             (unsigned long long)p->epoch, (unsigned long long)p->place.begin,
             (unsigned long long)p->bytes, p->why);
    char why[64];
    struct cursor_piece piece = over_limit(p, why, sizeof why);
    live_pass_over(f, &piece, true);
}

static void on_live_lost(void *ctx, uint64_t epoch, uint64_t begin, uint64_t end,
                         bool streaming, const char *why)
{
    on_lost(ctx, "the spool is damaged", epoch, begin, end, streaming, why);
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

static void archive_went_on(struct feed *f, const struct place *place, int64_t received_us)
{
    f->archive_seen_us = received_us;
    if (f->state != ARCHIVE_READING) {
        cursor_stop(f->archive);
        return;
    }
    archive_passed(f, place->end);
    if (!hand_is_careful(f->opts.hand) ||
        ingest_committed(f->ingest, f->opts.link) >= place->end)
        return;
    f->waits = true;
    f->waits_for = *place;
    (void)hand_hold(f->opts.hand, place);
    cursor_stop(f->archive);
}

/* Careful: what was given to the archive is committed before the next is looked at. */
static bool archive_must_wait(struct feed *f)
{
    if (f->waits && ingest_committed(f->ingest, f->opts.link) < f->waits_for.end)
        return true;
    if (f->waits)
        hand_let_go(f->opts.hand, &f->waits_for);
    f->waits = false;
    return hand_is_careful(f->opts.hand) &&
           (hand_is_quiet(f->opts.hand, clock_mono_ms()) || hand_is_held(f->opts.hand));
}

static bool on_archive_found(void *ctx, const struct cursor_piece *p)
{
    struct feed *f = ctx;
    bool may_look;
    const char *why = hand_poison(f->opts.hand, &p->place, &may_look);
    hand_take(f->opts.hand, &p->place);
    if (why) {
        struct cursor_piece poison = *p;
        poison.why = why;
        archive_pass_over(f, &poison);
    } else if (copies_known(f->archive_copies, p->raw, p->bytes, p->received_us)) {
        hand_put(f->opts.hand);
    } else {
        return true;
    }
    archive_went_on(f, &p->place, p->received_us);
    return false;
}

static void on_archive_skipped(void *ctx, const struct cursor_piece *p)
{
    struct feed *f = ctx;
    char why[64];
    struct cursor_piece piece = over_limit(p, why, sizeof why);
    archive_pass_over(f, &piece);
    archive_went_on(f, &p->place, p->received_us);
}

static void on_archive_stanza(void *ctx, struct stanza *s, const struct place *place,
                              int64_t received_us, uint64_t epoch)
{
    struct feed *f = ctx;
    (void)epoch;
    const struct adapter_sink sink = {.event = on_archive_event, .ctx = f};
    struct err e;
    if (adapter_classify(service_adapter(f->opts.service), s, place, received_us, &sink, &e)) {
        log_warn(f->prefix, "stanza not archived begin=%llu: %s",
                 (unsigned long long)place->begin, e.text);
        archive_reject(f, place, received_us, e.text);
    }
    stanza_free(&s);
    hand_put(f->opts.hand);
    archive_went_on(f, place, received_us);
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

/* Where the live cursor was met by the same, this asks once more for what is asked already. */
static void on_archive_lost(void *ctx, uint64_t epoch, uint64_t begin, uint64_t end,
                            bool streaming, const char *why)
{
    on_lost(ctx, "what the archive reads of the spool is damaged", epoch, begin, end,
            streaming, why);
}

/* The live cursor has told it. */

static void on_archive_broken(void *ctx, uint64_t epoch, const char *why)
{
    (void)ctx;
    (void)epoch;
    (void)why;
}

/* True when there is more to do at once. */
static bool pump_archive(struct feed *f, uint64_t limit)
{
    if (!f->archive) {
        const struct cursor_events events = {
            on_archive_stanza,  on_archive_opened, on_archive_closed, on_archive_found,
            on_archive_skipped, on_archive_lost,   on_archive_broken, f};
        f->archive_copies = copies_new(service_adapter(f->opts.service));
        f->archive =
            cursor_new(f->opts.directory, f->opts.link, f->archive_from, &f->limits, &events);
    }
    bool more = cursor_follow(f->archive, f->live, limit, PUMP_BYTES);
    if (f->state == ARCHIVE_READING) {
        archive_passed(f, cursor_position(f->archive));
        if (cursor_position(f->archive) < cursor_position(f->live))
            return more && !f->waits;
        if (hand_is_careful(f->opts.hand) || cursor_is_searching(f->live))
            return false;
        set_state(f, ARCHIVE_JOINED);
        log_debug(f->prefix, "the archive has caught up");
    }
    cursor_free(&f->archive);
    copies_free(&f->archive_copies);
    return false;
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
    const struct cursor_events events = {
        on_live_stanza,  on_live_opened, on_live_closed, on_live_found,
        on_live_skipped, on_live_lost,   on_live_broken, f};
    f->live_copies = copies_new(service_adapter(opts->service));
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
    copies_free(&f->archive_copies);
    copies_free(&f->live_copies);
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

/* Careful: the request in hand is answered before the next stanza is looked at. */
static bool live_must_wait(struct feed *f)
{
    struct hand *h = f->opts.hand;
    if (f->asked && f->opts.is_open(f->opts.ctx, &f->asked_at))
        return true;
    if (f->asked)
        hand_let_go(h, &f->asked_at);
    f->asked = false;
    return hand_is_careful(h) && hand_is_quiet(h, clock_mono_ms());
}

bool feed_pump(struct feed *f, uint64_t limit)
{
    FAILPOINT("feed-read");
    bool more = !live_must_wait(f) && cursor_pump(f->live, limit, PUMP_BYTES);
    hand_put(f->opts.hand);
    f->live_more = more;
    if (cursor_position(f->live) >= f->opts.replay_until)
        announce_live(f);
    if (f->state == ARCHIVE_JOINED)
        archive_passed(f, cursor_position(f->live));
    if (f->state != ARCHIVE_READING || archive_must_wait(f))
        return more;
    more |= pump_archive(f, limit);
    hand_put(f->opts.hand);
    return more;
}

uint64_t feed_live_position(const struct feed *f)
{
    return cursor_position(f->live);
}

/* The next archive begins at the stored place, which for a lane without traffic is behind what
 * is committed. */
uint64_t feed_keeps_from(const struct feed *f)
{
    uint64_t live = cursor_position(f->live);
    uint64_t stored = f->ingest ? ingest_start_position(f->ingest, f->opts.link) : 0;
    return live < stored ? live : stored;
}

int64_t feed_behind_us(const struct feed *f, int64_t now_us)
{
    if (f->state == ARCHIVE_JOINED) /* as far as the live cursor */
        return f->live_more ? now_us - f->live_seen_us : 0;
    /* Nothing read yet says nothing of how old it is: as far behind as can be. */
    return f->archive_seen_us ? now_us - f->archive_seen_us : INT64_MAX;
}
