// SPDX-License-Identifier: Apache-2.0
/*
 * What the outbox does by itself: writing down its apps, taking over from dead workers,
 * loading what is due, forgetting what is old, counting.  Each statement starts the next; a
 * failure ends the round.
 */
#include "apns/opts.h"
#include "apns/outbox_int.h"
#include "base/clock.h"
#include "base/log.h"
#include "store/pg.h"

#define PREFIX "outbox"
#define LOAD_PAGE 4000 /* the more, the more of them lie side by side in every index */
#define WALK_PAGE 2000
#define PURGE_PAGE 5000
/* PostgreSQL may still be at what a worker that has just died asked it, but not so long: then
 * its statement timeouts are over. */
#define WALK_AGAIN_MS 60000

static void begin_pass(struct outbox *o)
{
    o->more = true;
    o->unheld = false;
    o->pass_ms = clock_mono_ms();
    o->at = (struct outbox_place){.due_us = 0};
    o->hold_at = 0;
}

/* A pass loads what is due until the next one begins. */
static void round_ends(struct outbox *o, bool ok)
{
    o->upkeep_running = false;
    const bool soon = !ok || o->more || o->released || o->upkeep_soon;
    const int64_t soon_ms = clock_mono_ms() + OUTBOX_ROUND_SOON_MS;
    const int64_t pass_ms = o->pass_ms + OUTBOX_ROUND_MS;
    o->upkeep_soon = false;
    o->upkeep_ms = soon || pass_ms < soon_ms ? soon_ms : pass_ms;
}

static void depth_counted(struct outbox *o, struct outbox_job *job, const struct pg_result *r)
{
    (void)job;
    if (r) {
        o->stored = pg_i64(r, 0, 0);
        o->retry = pg_i64(r, 0, 1);
        o->parked = pg_i64(r, 0, 2);
        o->oldest_us = pg_time_us(r, 0, 3);
    }
    round_ends(o, r != NULL);
}

static void purge(struct outbox *o);

static void purged(struct outbox *o, struct outbox_job *job, const struct pg_result *r)
{
    (void)job;
    if (!r) {
        round_ends(o, false);
    } else if (pg_i64(r, 0, 0) >= PURGE_PAGE) {
        purge(o);
    } else if (clock_mono_ms() < o->depth_ms) {
        round_ends(o, true);
    } else {
        o->depth_ms = clock_mono_ms() + OUTBOX_ROUND_MS;
        outbox_sql_depth(o->sql, outbox_job_result, outbox_job_new(o, 0, depth_counted));
    }
}

static void purge(struct outbox *o)
{
    outbox_sql_purge(o->sql, o->push->history_ms, PURGE_PAGE, outbox_job_result,
                     outbox_job_new(o, 0, purged));
}

static void load(struct outbox *o);

/* One that is here already was loaded before, or comes between its end and our knowing of it;
 * only what was added to it since is news.  What is due is decided in the order in which it
 * came: that of its keys, in which its rows lie in the indexes. */
static void take(struct outbox *o, const struct outbox_row *row)
{
    struct entry *e = outbox_set_find(o->set, row->owner, row->device, row->peer);
    if (e && row->gen <= e->gen)
        return;
    e = outbox_adopt(o, row);
    if (!e)
        return;
    outbox_set_loaded(o->set, e, true);
    e->inherited = outbox_inherits(o);
    if (row->due_ms == 0 && !o->paused)
        outbox_decide(o, e);
}

static void loaded(struct outbox *o, struct outbox_job *job, const struct pg_result *r)
{
    if (!r) {
        round_ends(o, false);
        return;
    }
    for (int i = 0; i < pg_rows(r); i++) {
        struct outbox_row row;
        outbox_sql_row(r, i, &row);
        take(o, &row);
    }
    outbox_sql_passed(r, &o->at);
    o->more = (size_t)pg_rows(r) == job->n;
    load(o);
}

/* Memory is filled from the database only to three quarters: new entries need room too. */
static size_t load_limit(const struct outbox *o)
{
    size_t full = o->memory_max / 4 * 3;
    size_t held = outbox_set_count(o->set);
    size_t room = full > held ? full - held : 0;
    return room < LOAD_PAGE ? room : LOAD_PAGE;
}

static void load(struct outbox *o)
{
    size_t limit = load_limit(o);
    if (limit == 0 || !o->more) {
        purge(o);
        return;
    }
    struct outbox_job *job = outbox_job_new(o, 0, loaded);
    job->n = limit;
    outbox_sql_load(o->sql, OUTBOX_ROUND_MS, &o->at, (unsigned)limit, outbox_job_result, job);
}

/* What was loaded before and is here still is written down as ours, so that no pass reads it
 * again.  Most is answered before that, and never written but to end it. */
static void hold(struct outbox *o);

static void held(struct outbox *o, struct outbox_job *job, const struct pg_result *r)
{
    (void)job;
    if (r)
        hold(o);
    else
        round_ends(o, false);
}

static void hold(struct outbox *o)
{
    struct entry *entries[OUTBOX_BATCH_MAX];
    struct outbox_key keys[OUTBOX_BATCH_MAX];
    size_t n = outbox_set_find_loaded(o->set, &o->hold_at, entries, OUTBOX_BATCH_MAX);
    if (n == 0) {
        load(o);
        return;
    }
    for (size_t i = 0; i < n; i++) {
        outbox_key_of(entries[i], &keys[i]);
        outbox_set_loaded(o->set, entries[i], false); /* if it fails: it is read once more */
    }
    outbox_sql_hold(o->sql, keys, n, outbox_job_result, outbox_job_new(o, 0, held));
}

/* What the brake has parked comes back in lots, app by app, before what is due is loaded. */
static void give_back(struct outbox *o, struct outbox_app *app);

static void given_back(struct outbox *o, struct outbox_job *job, const struct pg_result *r)
{
    struct outbox_app *app = job->arg;
    if (!r) {
        app->braked = true;
        round_ends(o, false);
        return;
    }
    unsigned n = (unsigned)pg_i64(r, 0, 0);
    brake_gave(&app->brake, n, clock_mono_ms());
    if (n > 0) {
        app->braked = true;
        log_info(PREFIX, "app=%s parked pushes come back n=%u", app->id, n);
        o->released = true;
    }
    give_back(o, app->next);
}

static void give_back(struct outbox *o, struct outbox_app *app)
{
    for (; app && !o->paused; app = app->next) {
        bool may = app->braked && app->opts && app->gateway && !app->stopped;
        unsigned lot = may ? brake_lot(&app->brake, clock_mono_ms()) : 0;
        if (lot == 0)
            continue;
        struct outbox_job *job = outbox_job_new(o, 0, given_back);
        job->arg = app;
        app->braked = false; /* unless something is parked from now on, or was found */
        outbox_sql_give_back(o->sql, app->id, lot, outbox_job_result, job);
        return;
    }
    if (o->more)
        hold(o);
    else
        purge(o);
}

static void walk(struct outbox *o);

/* Ours without our knowing: the answer that told of it was lost.  It goes back to the waiting
 * ones, from where it is loaded like any other. */
static void release_unknown(struct outbox *o, const struct pg_result *r, int row)
{
    const struct outbox_key *at = &o->walk;
    if (pg_bool(r, row, 3) && !outbox_set_find(o->set, at->owner, at->device, at->peer))
        outbox_release_unknown(o, at);
}

static void walked(struct outbox *o, struct outbox_job *job, const struct pg_result *r)
{
    (void)job;
    if (!r) {
        o->reconcile = true;
        round_ends(o, false);
        return;
    }
    int n = pg_rows(r);
    for (int i = 0; i < n; i++) {
        pg_uuid(r, i, 0, o->walk.owner);
        pg_uuid(r, i, 1, o->walk.device);
        o->walk.peer = (uint64_t)pg_i64(r, i, 2);
        release_unknown(o, r, i);
    }
    if (n == WALK_PAGE) {
        walk(o);
        return;
    }
    begin_pass(o); /* what was set free may lie where it has been */
    give_back(o, outbox_set_apps(o->set));
}

static void walk(struct outbox *o)
{
    outbox_sql_walk(o->sql, o->walk.owner, o->walk.device, o->walk.peer, WALK_PAGE,
                    outbox_job_result, outbox_job_new(o, 0, walked));
}

static void write_app(struct outbox *o);

static void app_written(struct outbox *o, struct outbox_job *job, const struct pg_result *r)
{
    (void)job;
    if (!r) {
        round_ends(o, false);
        return;
    }
    o->apps_written++;
    write_app(o);
}

static void write_app(struct outbox *o)
{
    if (o->apps_written == o->push->apps_n) {
        o->reconcile = false;
        walk(o);
        return;
    }
    const struct apns_app_opts *app = &o->push->apps[o->apps_written];
    outbox_sql_app(o->sql, app->id, app->badge, outbox_job_result,
                   outbox_job_new(o, 0, app_written));
}

/* What another has claimed is loaded by it; what it held is set free when it is gone. */
static void claimed(struct outbox *o, struct outbox_job *job, const struct pg_result *r)
{
    (void)job;
    if (!r) {
        o->reconcile = true; /* it may have been taken all the same */
        round_ends(o, false);
        return;
    }
    enum outbox_claim claim = (enum outbox_claim)pg_i64(r, 0, 0);
    /* What was ours before we have heard so was taken by a claim whose answer was lost. */
    const bool taken =
        claim == OUTBOX_CLAIM_TAKEN || (claim == OUTBOX_CLAIM_KEPT && !o->claimed);
    o->claimed = true;
    if (claim == OUTBOX_CLAIM_OTHERS)
        o->more = false;
    if (taken || claim == OUTBOX_CLAIM_FOUND) {
        o->reconcile = true;
        o->walk_again_ms = clock_mono_ms() + WALK_AGAIN_MS;
    }
    if (taken)
        o->inherits_until_ms = clock_mono_ms() + OUTBOX_INHERITS_MS;
    if (o->reconcile) {
        o->walk = (struct outbox_key){.peer = (uint64_t)INT64_MIN};
        write_app(o);
    } else {
        give_back(o, outbox_set_apps(o->set));
    }
}

bool outbox_inherits(const struct outbox *o)
{
    return !o->claimed || clock_mono_ms() < o->inherits_until_ms;
}

static void left(struct outbox *o, struct outbox_job *job, const struct pg_result *r)
{
    (void)job, (void)r; /* without an answer the next worker asks itself what we have sent */
    o->left = LEAVE_DONE;
}

bool outbox_leave(struct outbox *o)
{
    if (o->claimed && o->left == LEAVE_NOT) {
        o->left = LEAVE_ASKED;
        outbox_sql_leave(o->sql, outbox_job_result, outbox_job_new(o, 0, left));
    }
    return o->left != LEAVE_ASKED;
}

void outbox_upkeep(struct outbox *o, int64_t now_ms)
{
    if (!o->started || o->upkeep_running || now_ms < o->upkeep_ms || now_ms < o->sql_again_ms)
        return;
    if (o->walk_again_ms > 0 && now_ms >= o->walk_again_ms) {
        o->walk_again_ms = 0;
        o->reconcile = true;
    }
    o->upkeep_running = true;
    /* A pass that waits for room in memory goes on where it stands, but not for ever: what was
     * put behind it meanwhile waits for the next. */
    if (o->released || (o->unheld && !o->more) || now_ms - o->pass_ms >= OUTBOX_ROUND_MS)
        begin_pass(o);
    o->released = false;
    outbox_sql_claim(o->sql, !o->claimed, outbox_job_result, outbox_job_new(o, 0, claimed));
}
