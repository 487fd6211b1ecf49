// SPDX-License-Identifier: Apache-2.0
#include "apns/outbox.h"

#include <assert.h>
#include <event2/event.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "apns/gateway.h"
#include "apns/opts.h"
#include "apns/outbox_int.h"
#include "apns/payload.h"
#include "base/clock.h"
#include "base/crypt.h"
#include "base/log.h"

#define PREFIX "outbox"
#define BADGE_WAIT_MS 2000 /* a read is seldom alone */
/* A call is told at once, but for what comes right behind it: the server's refusal, of who is
 * blocked, or the answer of a device that has heard it already. */
#define CALL_SETTLE_MS 250
#define BEHIND_AGAIN_MS 1000

bool outbox_is_call(uint64_t peer)
{
    return peer != OUTBOX_TEST_PEER && peer >= OUTBOX_TEST_PEER - OUTBOX_CALLS;
}

uint64_t outbox_call_peer(uint64_t hash)
{
    return OUTBOX_TEST_PEER - 1 - hash % OUTBOX_CALLS;
}

static void on_timer(evutil_socket_t fd, short what, void *ctx)
{
    (void)fd;
    (void)what;
    outbox_run(ctx);
}

struct outbox *outbox_new(struct event_base *base, const struct outbox_opts *opts)
{
    struct outbox *o = calloc(1, sizeof *o);
    if (!o)
        abort();
    o->magic = OUTBOX_MAGIC;
    o->base = base;
    o->hooks = opts->hooks;
    o->gateways = opts->gateways;
    if (!o->gateways.submit)
        o->gateways = (struct outbox_gateway_ops){gateway_room, gateway_submit};
    o->names = crypt_hmac_new(opts->key, OUTBOX_KEY_BYTES);
    o->tokens = opts->tokens;
    o->memory_max = opts->memory_max ? opts->memory_max : OUTBOX_MEMORY_MAX;
    o->sql = outbox_sql_new(opts->pool, opts->reads, opts->worker);
    o->set = outbox_set_new();
    o->timer = evtimer_new(base, on_timer, o);
    if (!o->timer)
        abort();
    buf_init(&o->payload, 2 * PAYLOAD_MAX);
    LIST_INIT(&o->jobs);
    LIST_INIT(&o->txns);
    o->paused = o->released = true;
    o->stored = o->retry = o->parked = -1;
    outbox_reload(o, opts->push);
    return o;
}

static void forget_txn(struct outbox *o, struct outbox_txn *t)
{
    while (!STAILQ_EMPTY(&t->pending)) {
        struct outbox_pending *p = STAILQ_FIRST(&t->pending);
        STAILQ_REMOVE_HEAD(&t->pending, next);
        free(p);
    }
    o->pending_n -= t->n;
    LIST_REMOVE(t, all);
    free(t);
}

void outbox_free(struct outbox **out)
{
    struct outbox *o = *out;
    if (!o)
        return;
    struct outbox_job *job;
    while ((job = LIST_FIRST(&o->jobs))) {
        LIST_REMOVE(job, all);
        job->o = NULL;
    }
    while (!LIST_EMPTY(&o->txns))
        forget_txn(o, LIST_FIRST(&o->txns));
    event_free(o->timer);
    outbox_set_free(&o->set);
    outbox_sql_free(&o->sql);
    crypt_hmac_free(&o->names);
    buf_deinit(&o->payload);
    free(o->outcomes);
    free(o->outcome_entries);
    free(o);
    *out = NULL;
}

/* Settings and gateways. */

void outbox_reload(struct outbox *o, const struct push_opts *push)
{
    o->push = push;
    for (struct outbox_app *app = outbox_set_apps(o->set); app; app = app->next) {
        app->opts = NULL;
        app->gateway = NULL;
        app->stopped = false;
    }
    for (size_t i = 0; i < push->apps_n; i++)
        outbox_set_app(o->set, push->apps[i].id)->opts = &push->apps[i];
    outbox_soon(o);
}

static struct outbox_app *app_at(const struct outbox *o, size_t index)
{
    assert(index < o->push->apps_n);
    return outbox_set_app(o->set, o->push->apps[index].id);
}

void outbox_set_gateway(struct outbox *o, size_t app, struct gateway *g)
{
    app_at(o, app)->gateway = g;
    outbox_soon(o);
}

static void woken(struct outbox *o, struct outbox_job *job, const struct pg_result *r)
{
    (void)job;
    if (r && pg_i64(r, 0, 0) > 0)
        outbox_look(o);
}

void outbox_room(void *ctx, struct gateway *g)
{
    struct outbox *o = ctx;
    assert(o->magic == OUTBOX_MAGIC);
    for (struct outbox_app *app = outbox_set_apps(o->set); app; app = app->next) {
        if (app->gateway != g || !app->stopped)
            continue;
        app->stopped = false;
        outbox_sql_wake(o->sql, app->id, outbox_job_result, outbox_job_new(o, 0, woken));
    }
    outbox_soon(o);
}

/* Statements. */

struct outbox_job *outbox_job_new(struct outbox *o, size_t entries, outbox_job_fn done)
{
    struct outbox_job *job = calloc(1, sizeof *job + entries * sizeof(struct entry *));
    if (!job)
        abort();
    job->o = o;
    job->done = done;
    LIST_INSERT_HEAD(&o->jobs, job, all);
    return job;
}

void outbox_job_result(void *ctx, const struct pg_result *r, const struct pg_error *e)
{
    struct outbox_job *job = ctx;
    struct outbox *o = job->o;
    if (!o) {
        free(job);
        return;
    }
    LIST_REMOVE(job, all);
    if (r) {
        o->sql_up = true;
    } else {
        if (e->failure != PG_LOST)
            log_warn(PREFIX, "statement failed sqlstate=%s error=\"%s\"", e->sqlstate,
                     e->text);
        o->sql_up = false;
        o->sql_failure = e->failure;
        o->sql_again_ms = clock_mono_ms() + OUTBOX_SQL_AGAIN_MS;
    }
    job->done(o, job, r);
    free(job);
    outbox_soon(o);
}

/* Collecting: entries come with a transaction and count only after its COMMIT.  A crash before
 * it leaves neither message nor entry; after it both, and the next worker takes the entry. */

static struct outbox_txn *txn_of(struct outbox *o, struct pg *conn)
{
    struct outbox_txn *t;
    for (t = LIST_FIRST(&o->txns); t; t = LIST_NEXT(t, all))
        if (t->conn == conn)
            return t;
    t = calloc(1, sizeof *t);
    if (!t)
        abort();
    t->conn = conn;
    STAILQ_INIT(&t->pending);
    LIST_INSERT_HEAD(&o->txns, t, all);
    return t;
}

static char *put_text(char **at, const char *text)
{
    char *start = *at;
    *at = stpcpy(start, text) + 1;
    return start;
}

static void keep_pending(struct outbox *o, struct outbox_txn *t, const struct outbox_row *row)
{
    size_t len = strlen(row->jid) + strlen(row->resource) + strlen(row->app) + 3;
    struct outbox_pending *p = malloc(sizeof *p + len);
    if (!p)
        abort();
    char *at = p->text;
    p->row = *row;
    p->row.jid = put_text(&at, row->jid);
    p->row.resource = put_text(&at, row->resource);
    p->row.app = put_text(&at, row->app);
    STAILQ_INSERT_TAIL(&t->pending, p, next);
    t->n++;
    o->pending_n++;
}

/* The answer inside the transaction. */
static void added(struct outbox *o, struct outbox_job *job, const struct pg_result *r)
{
    struct outbox_txn *t = job->arg;
    t->asked--;
    if (!r) {
        t->lost = true;
        return;
    }
    for (int i = 0; i < pg_rows(r); i++) {
        struct outbox_row row;
        outbox_sql_row(r, i, &row);
        keep_pending(o, t, &row);
    }
}

/* A failure here is ingest's to heal: it sends the batch again.  So it is no sign for our own
 * statements, which go through the pool. */
static void added_result(void *ctx, const struct pg_result *r, const struct pg_error *e)
{
    (void)e;
    struct outbox_job *job = ctx;
    if (job->o) {
        LIST_REMOVE(job, all);
        job->done(job->o, job, r);
    }
    free(job);
}

static struct outbox_job *adding(struct outbox *o, struct outbox_txn *t)
{
    struct outbox_job *job = outbox_job_new(o, 0, added);
    job->arg = t;
    return job;
}

void outbox_upkeep_soon(struct outbox *o)
{
    int64_t soon_ms = clock_mono_ms() + OUTBOX_ROUND_SOON_MS;
    o->upkeep_soon = o->upkeep_running; /* it has passed by what it is asked for, perhaps */
    if (o->upkeep_ms > soon_ms)
        o->upkeep_ms = soon_ms;
}

static int64_t call_wait_ms(const struct outbox *o)
{
    return o->push->settle_ms < CALL_SETTLE_MS ? o->push->settle_ms : CALL_SETTLE_MS;
}

/* As a new entry has.  One that we do not have and that has waited was a dead worker's. */
static bool has_whole_wait(const struct outbox *o, int64_t due_ms)
{
    return due_ms == o->push->settle_ms || due_ms == call_wait_ms(o) ||
           due_ms == BADGE_WAIT_MS;
}

void outbox_batch(struct outbox *o, struct pg *conn, const struct unread_change *changes,
                  size_t n)
{
    struct outbox_txn *t = txn_of(o, conn);
    assert(t->asked == 0 && t->n == 0);
    bool held = outbox_set_count(o->set) + o->pending_n < o->memory_max;
    const struct outbox_changes all = {conn, changes, n, held, added_result};
    struct outbox_job *job = adding(o, t);
    for (int kind = OUTBOX_SQL_COUNTED; kind <= OUTBOX_SQL_UNDELIVERED; kind++) {
        if (!outbox_sql_add(o->sql, &all, (enum outbox_sql_kind)kind, o->push->settle_ms, job))
            continue;
        t->asked++;
        job = adding(o, t);
    }
    if (outbox_sql_add_calls(o->sql, &all, call_wait_ms(o), o->push, job)) {
        t->asked++;
        job = adding(o, t);
    }
    /* Badges are locked last, see outbox_sql_int.h. */
    if (outbox_sql_add_badges(o->sql, &all, BADGE_WAIT_MS, job)) {
        t->asked++;
        job = adding(o, t);
    }
    if (outbox_withdraws(o) && outbox_sql_add_read(o->sql, &all, BADGE_WAIT_MS, job)) {
        t->asked++;
        job = adding(o, t);
    }
    if (outbox_sql_end_calls(o->sql, &all, job)) {
        t->asked++;
    } else {
        LIST_REMOVE(job, all);
        free(job);
    }
    t->unheld = !held;
}

struct entry *outbox_adopt(struct outbox *o, const struct outbox_row *row)
{
    struct entry *e = outbox_set_find(o->set, row->owner, row->device, row->peer);
    if (!e) {
        e = outbox_set_add(o->set, row->owner, row->device, row->peer, row->jid, row->resource,
                           row->app);
        e->counted_us = row->counted_us;
        e->newest_us = row->counted_us;
        e->attempts = row->attempts;
        e->gen = row->gen;
        e->newest_id = row->newest_id;
        outbox_set_time(o->set, e, clock_mono_ms() + row->due_ms);
        return e;
    }
    /* While it waits, its time stays: a busy conversation must not put its push off for ever.
     * One that is being sent does not end when its generation has moved on; while its end is
     * being stored, this may even be a new entry under the same key. */
    if (row->counted_us > e->newest_us)
        e->newest_us = row->counted_us;
    if (row->gen > e->gen)
        e->gen = row->gen;
    if (row->newest_id > e->newest_id)
        e->newest_id = row->newest_id;
    if (e->state == ENTRY_SETTLING && e->again_us == 0)
        e->again_us = row->counted_us;
    return NULL;
}

/* The outcome is known before the answers are: they will not be heard any more. */
static void stop_listening(struct outbox *o, struct outbox_txn *t)
{
    struct outbox_job *job = LIST_FIRST(&o->jobs);
    while (job) {
        struct outbox_job *next = LIST_NEXT(job, all);
        if (job->arg == t) {
            LIST_REMOVE(job, all);
            job->o = NULL;
        }
        job = next;
    }
    t->lost = true;
}

/* What a message's way to the commit took of its entry's wait.  Not more than a fifth of it:
 * what else comes in that time, a bounce or a marker, takes the same way. */
static int64_t already_waited_ms(const struct outbox_row *row)
{
    int64_t age_ms = (clock_real_us() - row->counted_us) / 1000;
    if (row->peer == 0 || age_ms < 0)
        return 0;
    return age_ms < row->due_ms / 5 ? age_ms : row->due_ms / 5;
}

void outbox_committed(struct outbox *o, struct pg *conn, bool ok)
{
    struct outbox_txn *t = txn_of(o, conn);
    if (t->asked > 0)
        stop_listening(o, t);
    if (ok) {
        for (struct outbox_pending *p = STAILQ_FIRST(&t->pending); p;
             p = STAILQ_NEXT(p, next)) {
            const bool is_new = has_whole_wait(o, p->row.due_ms);
            p->row.due_ms -= already_waited_ms(&p->row);
            struct entry *e = outbox_adopt(o, &p->row);
            if (e)
                e->inherited = !is_new && outbox_inherits(o);
        }
        o->reconcile |= t->lost;
        o->unheld |= t->unheld;
        if (t->lost || t->unheld)
            outbox_upkeep_soon(o);
        outbox_soon(o);
    }
    forget_txn(o, t);
}

/* Timing and deciding. */

void outbox_retime(struct outbox *o, struct entry *e, int64_t in_ms)
{
    if (e->state != ENTRY_TIMED)
        outbox_set_state(e, ENTRY_TIMED);
    outbox_set_time(o->set, e, clock_mono_ms() + in_ms);
}

/* The device was there for what this push is about.  For what came later it may not have been:
 * that is decided by itself. */
static bool later_message(struct outbox *o, struct entry *e)
{
    if (e->peer == 0 || e->newest_us <= e->counted_us)
        return false;
    e->counted_us = e->newest_us;
    e->asked = 0;
    memset(e->decisions, 0, sizeof e->decisions);
    int64_t age_ms = (clock_real_us() - e->newest_us) / 1000;
    int64_t rest_ms =
        age_ms >= 0 && age_ms < o->push->settle_ms ? o->push->settle_ms - age_ms : 0;
    outbox_set_time(o->set, e, clock_mono_ms() + rest_ms);
    return true;
}

/* A device that was there shows the right number by itself, but not when an older one arrives
 * afterwards: then it is told once more what is unread, or, where an alert is not wanted, it
 * is known that nothing is known. */
static bool skips_later(struct outbox *o, struct entry *e)
{
    if (!outbox_set_is_behind(o->set, e))
        return false;
    if (e->peer == 0) {
        outbox_set_state(e, ENTRY_READY);
        outbox_set_queue(o->set, e);
    } else {
        outbox_set_time(o->set, e, clock_mono_ms() + BEHIND_AGAIN_MS);
    }
    return true;
}

/* From 1; 0: none, or there are too many. */
static uint8_t number_of_reason(struct outbox *o, const char *reason)
{
    size_t i = 0;
    if (!reason)
        return 0;
    while (i < o->reasons_n && o->reasons[i] != reason)
        i++;
    if (i == OUTBOX_REASONS_MAX)
        return 0;
    if (i == o->reasons_n)
        o->reasons[o->reasons_n++] = reason;
    return (uint8_t)(i + 1);
}

/* The same one again says nothing new. */
static void note_decision(struct outbox *o, struct entry *e, const char *reason)
{
    uint8_t number = number_of_reason(o, reason);
    if (number == 0 || e->decisions[0] == number)
        return;
    for (size_t i = ENTRY_DECISIONS - 1; i > 0; i--)
        e->decisions[i] = e->decisions[i - 1];
    e->decisions[0] = number;
}

void outbox_decide(struct outbox *o, struct entry *e)
{
    outbox_set_untime(o->set, e);
    if (!e->app->opts) {
        outbox_settle(o, e, OUTBOX_PARK, o->push->history_ms, 0, OUTBOX_BADGE_SAME,
                      "the app is not configured");
        return;
    }
    struct outbox_candidate c = {
        .account = e->account->jid,
        .resource = e->resource,
        .app = e->app->id,
        .owner = e->account->owner,
        .device = e->device,
        .peer = e->peer,
        .counted_us = e->counted_us,
        .newest_us = e->newest_us,
        .asked = e->asked,
        .attempts = e->attempts,
    };
    struct outbox_decision d = o->hooks.decide(o->hooks.ctx, &c);
    if (e->asked < UINT16_MAX)
        e->asked++;
    note_decision(o, e, d.reason);
    switch (d.answer) {
    case OUTBOX_NOW:
        outbox_set_state(e, ENTRY_READY);
        outbox_set_queue(o->set, e);
        break;
    case OUTBOX_WAIT:
        outbox_set_time(o->set, e, clock_mono_ms() + (d.again_ms < 10 ? 10 : d.again_ms));
        break;
    case OUTBOX_SKIP:
        if (later_message(o, e) || skips_later(o, e))
            break;
        outbox_withdraw_read_there(o, e);
        outbox_settle(o, e, OUTBOX_END, 0, 0, OUTBOX_BADGE_UNKNOWN,
                      d.reason ? d.reason : "not wanted");
        break;
    }
}

static void decide_due(struct outbox *o, int64_t now_ms)
{
    struct entry *e;
    /* A bound, so that a decision that puts nothing off cannot hold the loop. */
    for (size_t left = outbox_set_count(o->set);
         left > 0 && (e = outbox_set_next(o->set)) && e->due_ms <= now_ms; left--)
        outbox_decide(o, e);
}

void outbox_reconsider(struct outbox *o, const uint8_t owner[OWNER_BYTES])
{
    struct outbox_account *a = outbox_set_account(o->set, owner);
    if (!a)
        return;
    for (struct entry *e = LIST_FIRST(&a->entries); e; e = LIST_NEXT(e, of_account))
        if (e->state == ENTRY_TIMED && e->attempts == 0 && e->asked > 0)
            outbox_set_time(o->set, e, clock_mono_ms());
    outbox_soon(o);
}

void outbox_start(struct outbox *o)
{
    o->started = true;
    o->depth_ms = 0;
    outbox_soon(o);
}

void outbox_pause(struct outbox *o, bool pause)
{
    if (o->paused == pause)
        return;
    o->paused = pause;
    log_info(PREFIX, "%s", pause ? "sending paused: the archive is behind" : "sending");
    if (!pause)
        outbox_upkeep_soon(o); /* what the brake has parked was not looked at */
    outbox_soon(o);
}

void outbox_look(struct outbox *o)
{
    o->upkeep_ms = 0;
    o->released = true; /* also when a round has just looked */
    outbox_soon(o);
}

bool outbox_drain(struct outbox *o)
{
    o->draining = true;
    for (struct outbox_app *app = outbox_set_apps(o->set); app; app = app->next)
        if (app->by_state[ENTRY_FETCHING] || app->by_state[ENTRY_FLYING] ||
            app->by_state[ENTRY_SETTLING])
            return false;
    return o->outcomes_n == 0 && outbox_leave(o);
}

/* The timer. */

static void arm(struct outbox *o, int64_t in_ms)
{
    if (in_ms < 0)
        in_ms = 0;
    struct timeval tv = {.tv_sec = in_ms / 1000, .tv_usec = (in_ms % 1000) * 1000};
    if (evtimer_add(o->timer, &tv) != 0)
        abort();
}

void outbox_soon(struct outbox *o)
{
    arm(o, 0);
}

void outbox_run(struct outbox *o)
{
    assert(o->magic == OUTBOX_MAGIC);
    int64_t now_ms = clock_mono_ms();
    if (!o->paused)
        decide_due(o, now_ms);
    for (struct outbox_app *app = outbox_set_apps(o->set); app; app = app->next)
        outbox_pump(o, app);
    outbox_flush_outcomes(o);
    outbox_upkeep(o, now_ms);

    int64_t next_ms = now_ms + OUTBOX_ROUND_MS;
    struct entry *e = outbox_set_next(o->set);
    if (e && !o->paused && e->due_ms < next_ms)
        next_ms = e->due_ms;
    if (o->started && !o->upkeep_running && o->upkeep_ms < next_ms)
        next_ms = o->upkeep_ms;
    if (o->sql_again_ms > now_ms && next_ms > o->sql_again_ms)
        next_ms = o->sql_again_ms;
    if (next_ms <= now_ms) /* only what a failed statement holds back can be overdue here */
        next_ms = o->sql_again_ms > now_ms ? o->sql_again_ms : now_ms + 1;
    arm(o, next_ms - now_ms);
}

/* Status. */

void outbox_get_status(const struct outbox *o, struct outbox_status *out)
{
    *out = (struct outbox_status){
        .held = outbox_set_count(o->set),
        .stored = o->stored,
        .retry = o->retry,
        .parked = o->parked,
        .oldest_us = o->oldest_us,
        .paused = o->paused,
        .database_up = o->sql_up,
    };
}

void outbox_get_app_status(const struct outbox *o, size_t index, struct outbox_app_status *out)
{
    const struct outbox_app *app = app_at(o, index);
    *out = (struct outbox_app_status){
        .app = app->id,
        .waiting = app->by_state[ENTRY_TIMED],
        .ready = app->by_state[ENTRY_READY],
        .in_flight = app->by_state[ENTRY_FETCHING] + app->by_state[ENTRY_FLYING] +
                     app->by_state[ENTRY_SETTLING],
        .answered = app->answered,
        .accepted = app->accepted,
        .brake = app->brake.on,
    };
}
