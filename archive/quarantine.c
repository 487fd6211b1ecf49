// SPDX-License-Identifier: Apache-2.0
#include "archive/quarantine.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include <event2/event.h>

#include "archive/ingest.h"
#include "base/clock.h"
#include "base/log.h"
#include "store/pg.h"

#define PREFIX "quarantine"
#define LOOK_MS 1000
#define STATUS_EVERY 5 /* looks */
#define TRIES_MAX 3    /* by workers that died over it */
#define WAIT_MS 5000
#define OWNERS_MAX 2        /* who sent it and who gets it */
#define QUEUE_ROWS_MAX 1000 /* while the archive has so much to do, this waits */

enum quarantine_step {
    STEP_IDLE,     /* -> ASKING */
    STEP_ASKING,   /* for a row to try -> IDLE, TRYING, SETTLING */
    STEP_TRYING,   /* its events are with the ingest -> SETTLING */
    STEP_SETTLING, /* the row goes or gets its error -> IDLE */
};

struct quarantine {
    struct quarantine_opts opts;
    struct event *timer;
    enum quarantine_step step;
    unsigned looks;
    struct ingest_again key;
    int64_t tries;            /* with the key, this one try */
    char *owners[OWNERS_MAX]; /* whose rows are awaited */
    unsigned waits;
    bool written; /* all that were answered */
    unsigned events;
    bool full;
    struct quarantine_status status;
};

static void set_step(struct quarantine *q, enum quarantine_step to)
{
    switch (to) {
    case STEP_IDLE:
        assert(q->step == STEP_ASKING || q->step == STEP_SETTLING);
        break;
    case STEP_ASKING:
        assert(q->step == STEP_IDLE);
        break;
    case STEP_TRYING:
        assert(q->step == STEP_ASKING);
        break;
    case STEP_SETTLING:
        assert(q->step == STEP_ASKING || q->step == STEP_TRYING);
        break;
    }
    q->step = to;
}

/* --- settling ---------------------------------------------------------------------------- */

/* Only this try: somebody may have dropped the row meanwhile, or asked for another. */
static const struct pg_statement settle_done = {
    "quarantine_done",
    "SELECT xs.quarantine_drop(q.spool, q.pos) FROM xs.quarantine q"
    " WHERE q.spool = $1::uuid AND q.pos = $2::bigint AND q.tries = $3::bigint"
    "   AND q.retry_at IS NOT NULL"};

static const struct pg_statement settle_failed = {
    "quarantine_failed",
    "UPDATE xs.quarantine q SET retry_at = NULL, retry_error = $4::text"
    " WHERE q.spool = $1::uuid AND q.pos = $2::bigint AND q.tries = $3::bigint"};

static void on_settled(void *ctx, const struct pg_result *r, const struct pg_error *e)
{
    struct quarantine *q = ctx;
    set_step(q, STEP_IDLE);
    if (!r) /* it is tried again: what is stored is not stored twice */
        log_warn(PREFIX, "a retry could not be settled: %s", e->text);
}

static void settle(struct quarantine *q, const char *error)
{
    struct pg_params p;
    set_step(q, STEP_SETTLING);
    log_info(PREFIX, "tried again pos=%lld %s", (long long)q->key.pos,
             error ? error : "archived");
    pg_params_init(&p);
    pg_add_uuid(&p, q->key.spool);
    pg_add_i64(&p, q->key.pos);
    pg_add_i64(&p, q->tries);
    if (error)
        pg_add_text(&p, error);
    pg_pool_send(q->opts.pool, error ? &settle_failed : &settle_done, &p, on_settled, q);
}

/* --- trying ------------------------------------------------------------------------------ */

static void forget_owners(struct quarantine *q)
{
    for (size_t i = 0; i < OWNERS_MAX; i++) {
        free(q->owners[i]);
        q->owners[i] = NULL;
    }
}

static void remember_owner(struct quarantine *q, const char *owner)
{
    for (size_t i = 0; i < OWNERS_MAX; i++) {
        if (q->owners[i] && strcmp(q->owners[i], owner) == 0)
            return;
        if (!q->owners[i]) {
            q->owners[i] = strdup(owner);
            if (!q->owners[i])
                abort();
            return;
        }
    }
}

static void on_written(void *ctx, bool done)
{
    struct quarantine *q = ctx;
    q->written = q->written && done;
    if (--q->waits > 0 || !q->written)
        return; /* the timer waits once more */
    forget_owners(q);
    settle(q, q->full ? "the archive had no room" : NULL);
}

static void wait_for_owners(struct quarantine *q)
{
    int64_t deadline_ms = clock_mono_ms() + WAIT_MS;
    q->written = true;
    for (size_t i = 0; i < OWNERS_MAX && q->owners[i]; i++) {
        q->waits++;
        ingest_wait(q->opts.ingest, q->owners[i], deadline_ms, on_written, q);
    }
}

static void on_event(void *ctx, const struct event *ev)
{
    struct quarantine *q = ctx;
    q->events++;
    q->full = q->full || ingest_again(q->opts.ingest, ev, &q->key) != INGEST_TAKEN;
    /* Either may own what came of it, also one that is not of our hosts: a room. */
    remember_owner(q, ev->from);
    remember_owner(q, ev->to);
}

static const char *try_row(struct quarantine *q, const struct pg_result *r, struct err *e)
{
    struct quarantine_stanza s = {.received_us = pg_time_us(r, 0, 6)};
    s.bytes = pg_bytes(r, 0, 3, &s.bytes_n);
    s.header = pg_bytes(r, 0, 5, &s.header_n);
    q->events = 0;
    q->full = false;
    if (q->tries > TRIES_MAX)
        return "workers died while they tried it";
    if ((uint64_t)pg_i64(r, 0, 4) > s.bytes_n)
        return "only its beginning was kept";
    if (q->opts.read(q->opts.ctx, &s, on_event, q, e) != ERR_NONE)
        return e->text;
    return q->events == 0 ? "nothing in it is for the archive" : NULL;
}

/* The oldest wish.  The count is committed before the stanza is looked at: what kills the
 * worker is not tried for ever. */
static const struct pg_statement claim = {
    "quarantine_claim",
    "UPDATE xs.quarantine q SET tries = q.tries + 1"
    " FROM (SELECT w.spool, w.pos FROM xs.quarantine w WHERE w.retry_at IS NOT NULL"
    "       ORDER BY w.retry_at, w.spool, w.pos LIMIT 1) d"
    " WHERE q.spool = d.spool AND q.pos = d.pos"
    " RETURNING q.spool, q.pos, q.tries, q.bytes, q.length, q.header, q.received_at"};

static void on_claimed(void *ctx, const struct pg_result *r, const struct pg_error *e)
{
    struct quarantine *q = ctx;
    struct err why;
    (void)e;
    if (!r || pg_rows(r) == 0) {
        set_step(q, STEP_IDLE);
        return;
    }
    pg_uuid(r, 0, 0, q->key.spool);
    q->key.pos = pg_i64(r, 0, 1);
    q->tries = pg_i64(r, 0, 2);
    const char *error = try_row(q, r, &why);
    if (error) {
        forget_owners(q);
        settle(q, error);
        return;
    }
    set_step(q, STEP_TRYING);
    wait_for_owners(q);
}

/* --- looking ----------------------------------------------------------------------------- */

static const struct pg_statement count = {
    "quarantine_count", "SELECT s.rows, s.bytes, s.total, s.evicted,"
                        " (SELECT count(*) FROM xs.quarantine q WHERE q.retry_at IS NOT NULL)"
                        " FROM xs.quarantine_state s"};

static void on_counted(void *ctx, const struct pg_result *r, const struct pg_error *e)
{
    struct quarantine *q = ctx;
    (void)e;
    if (r && pg_rows(r) == 1)
        q->status = (struct quarantine_status){.rows = (uint64_t)pg_i64(r, 0, 0),
                                               .bytes = (uint64_t)pg_i64(r, 0, 1),
                                               .total = (uint64_t)pg_i64(r, 0, 2),
                                               .evicted = (uint64_t)pg_i64(r, 0, 3),
                                               .waiting = (uint64_t)pg_i64(r, 0, 4)};
}

static bool archive_has_time(const struct quarantine *q)
{
    struct ingest_stats s;
    ingest_get_stats(q->opts.ingest, &s);
    return s.up && s.queue_rows < QUEUE_ROWS_MAX;
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what;
    struct quarantine *q = arg;
    struct pg_params none;
    pg_params_init(&none);
    if (!pg_pool_is_up(q->opts.pool))
        return;
    if (q->looks++ % STATUS_EVERY == 0)
        pg_pool_send(q->opts.pool, &count, &none, on_counted, q);
    if (q->step == STEP_TRYING && q->waits == 0)
        wait_for_owners(q);
    if (q->step != STEP_IDLE || !archive_has_time(q))
        return;
    set_step(q, STEP_ASKING);
    pg_pool_send(q->opts.pool, &claim, &none, on_claimed, q);
}

struct quarantine *quarantine_new(struct event_base *base, const struct quarantine_opts *opts)
{
    struct quarantine *q = calloc(1, sizeof *q);
    if (!q || !(q->timer = event_new(base, -1, EV_PERSIST, on_timer, q)))
        abort();
    q->opts = *opts;
    event_add(q->timer, &(struct timeval){LOOK_MS / 1000, LOOK_MS % 1000 * 1000});
    event_active(q->timer, EV_TIMEOUT, 0);
    return q;
}

void quarantine_free(struct quarantine **q)
{
    if (!*q)
        return;
    event_free((*q)->timer);
    forget_owners(*q);
    free(*q);
    *q = NULL;
}

void quarantine_get_status(const struct quarantine *q, struct quarantine_status *out)
{
    *out = q->status;
}
