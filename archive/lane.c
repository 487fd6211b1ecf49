// SPDX-License-Identifier: Apache-2.0
#include "archive/lane_int.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "archive/ident.h"
#include "archive/known.h"
#include "archive/prefs_cache.h"
#include "archive/recent.h"
#include "base/arena.h"
#include "base/clock.h"
#include "base/crypt.h"
#include "base/failpoint.h"

#define ARRAY_BYTES_MAX ((size_t)512 << 20)
#define DAY_US INT64_C(86400000000)
#define CLOCK_SLACK "2 s" /* ids never run further ahead of the database's clock */
#define CLOCK_SLACK_US INT64_C(2000000)

/* --- statements ------------------------------------------------------------------------- */

static const struct pg_statement lock_lane = {
    "lane_lock", "SELECT last_id, clock_timestamp() + interval '" CLOCK_SLACK "'"
                 " FROM xs.lane WHERE lane = $1::int FOR UPDATE"};

/* The guard: finds no row when somebody else has moved the place. */
static const struct pg_statement advance = {
    "lane_advance", "UPDATE xs.spool_position SET pos = $4::bigint"
                    " WHERE lane = $1::int AND spool = $2::uuid AND pos = $3::bigint"};

/* The bound on id opens only the partitions that can hold a copy; what exactly is a copy is
 * decided by the caller. */
static const struct pg_statement probe = {
    "lane_probe",
    "SELECT d.n::int, m.id, m.sent_at, m.peer"
    " FROM unnest($1::uuid[], $2::bigint[]) WITH ORDINALITY AS d (ref_id, body, n)"
    " CROSS JOIN LATERAL (SELECT m.id, m.sent_at, m.peer FROM xs.message m"
    "   WHERE m.ref_id = d.ref_id AND m.ref_body = d.body"
    "   AND m.id >= $3::bigint AND m.id <= $4::bigint OFFSET 0) m"};

static const struct pg_statement read_convs = {
    "lane_convs",
    "SELECT d.n::int, c.last_id, c.read_id, c.unread, c.peer_read_id, c.pending_ref,"
    "   c.pending_at"
    " FROM unnest($1::uuid[], $2::bigint[]) WITH ORDINALITY AS d (owner, peer, n)"
    " JOIN xs.conversation c ON c.owner = d.owner AND c.peer = d.peer"};

static const struct pg_statement read_unread = {
    "lane_unread", "SELECT c.peer, c.last_id, c.read_id, c.unread, c.peer_read_id"
                   " FROM xs.conversation c WHERE c.owner = $1::uuid AND c.unread > 0"};

/* --- answers ---------------------------------------------------------------------------- */

static void step(struct lane_writer *w);

static void set_state(struct lane_writer *w, enum lane_state to)
{
    switch (to) {
    case LANE_IDLE:
        assert(w->state != LANE_IDLE);
        break;
    case LANE_LOOKING:
        assert(w->state == LANE_IDLE);
        break;
    case LANE_WRITING:
        assert(w->state == LANE_LOOKING);
        break;
    case LANE_ROLLING_BACK:
        assert(w->state == LANE_LOOKING || w->state == LANE_WRITING);
        break;
    }
    w->state = to;
}

/* The first failure counts; an abort whose cause was none of ours came from a hook. */
static void take_error(struct lane_writer *w, const struct pg_error *e)
{
    struct lane_outcome *o = &w->outcome;
    if (e->failure == PG_OK || (o->failure != PG_OK && !o->by_hook) ||
        w->state == LANE_ROLLING_BACK)
        return;
    bool first = o->failure == PG_OK;
    if (e->failure != PG_ABORTED) {
        o->by_hook = false;
    } else if (first) {
        o->by_hook = true;
    } else {
        return;
    }
    o->error = *e;
    o->failure = e->failure == PG_ABORTED ? pg_failure_of(e->sqlstate) : e->failure;
}

static void answered(struct lane_writer *w, const struct pg_error *e)
{
    take_error(w, e);
    assert(w->open > 0);
    if (--w->open == 0)
        step(w);
}

void lane_on_plain(void *ctx, const struct pg_result *r, const struct pg_error *e)
{
    (void)r;
    answered(ctx, e);
}

/* A window of identity was made by our clock, but ids never run ahead of the database's: what
 * arrived later than ids may tell is looked for where its copy was given its id. */
static int64_t too_late_us(const struct op *op, int64_t max_us)
{
    return op->received_us > max_us ? op->received_us - max_us : 0;
}

static int64_t earlier_id(int64_t id, int64_t by_us)
{
    return by_us ? ident_id_from_us(ident_us_from_id(id) - by_us) : id;
}

int64_t lane_low(const struct lane_writer *w, const struct op *op)
{
    return earlier_id(op->w.low, too_late_us(op, w->max_us));
}

/* True when the probe, sent before the database's time was known, did not go back enough. */
static bool clock_has_jumped(struct lane_writer *w)
{
    int64_t before = w->ahead_us, worst = 0;
    for (size_t i = 0; i < w->batch.n; i++) {
        int64_t late = too_late_us(&w->batch.ops[i], w->max_us);
        worst = late > worst ? late : worst;
    }
    w->ahead_us = worst;
    return worst > before + CLOCK_SLACK_US;
}

static void on_lock(void *ctx, const struct pg_result *r, const struct pg_error *e)
{
    struct lane_writer *w = ctx;
    struct pg_error own = *e;
    if (r && pg_rows(r) == 1) {
        w->stored_last = pg_i64(r, 0, 0);
        w->max_us = pg_time_us(r, 0, 1);
        if (clock_has_jumped(w))
            own = (struct pg_error){.failure = PG_CONFLICT, .text = "our clock has jumped"};
    } else if (r) {
        own = (struct pg_error){.failure = PG_SCHEMA, .text = "a lane is missing"};
    }
    answered(w, &own);
}

/* Nothing is written before this has answered. */
static void on_advance(void *ctx, const struct pg_result *r, const struct pg_error *e)
{
    struct lane_writer *w = ctx;
    struct pg_error own = *e;
    if (r && pg_affected(r) != 1)
        own = (struct pg_error){.failure = PG_GUARD, .text = "the place has been moved"};
    answered(w, &own);
}

/* In a room two people may use the same id for the same words. */
static bool is_copy(const struct lane_writer *w, const struct op *op, int64_t id,
                    int64_t sent_us, uint64_t peer)
{
    return peer == op->w.peer && id >= lane_low(w, op) &&
           (id <= op->w.high || (op->w.stamp_us && op->w.stamp_us == sent_us));
}

static void on_probe(void *ctx, const struct pg_result *r, const struct pg_error *e)
{
    struct lane_writer *w = ctx;
    for (int i = 0; r && i < pg_rows(r); i++) {
        uint32_t op = w->asked[pg_i64(r, i, 0) - 1];
        if (is_copy(w, &w->batch.ops[op], pg_i64(r, i, 1), pg_time_us(r, i, 2),
                    (uint64_t)pg_i64(r, i, 3)))
            batch_set_duplicate(&w->batch, op);
    }
    answered(w, e);
}

static void on_convs(void *ctx, const struct pg_result *r, const struct pg_error *e)
{
    struct lane_writer *w = ctx;
    for (int i = 0; r && i < pg_rows(r); i++) {
        size_t conv = (size_t)pg_i64(r, i, 0) - 1;
        batch_set_conv(&w->batch, conv, pg_i64(r, i, 1), pg_i64(r, i, 2), pg_i64(r, i, 3),
                       pg_i64(r, i, 4));
        if (!pg_is_null(r, i, 5))
            batch_set_pending(&w->batch, conv, (uint64_t)pg_i64(r, i, 5), pg_time_us(r, i, 6));
    }
    answered(w, e);
}

/* Conversations that only reading everything touches; the others are known already, and these
 * statements are answered behind those. */
static void take_unread(struct lane_writer *w, size_t op, const struct pg_result *r)
{
    for (int i = 0; i < pg_rows(r); i++) {
        size_t conv = batch_add_conv(&w->batch, op, (uint64_t)pg_i64(r, i, 0));
        if (!w->batch.convs[conv].stored)
            batch_set_conv(&w->batch, conv, pg_i64(r, i, 1), pg_i64(r, i, 2), pg_i64(r, i, 3),
                           pg_i64(r, i, 4));
    }
}

static void on_unread(void *ctx, const struct pg_result *r, const struct pg_error *e)
{
    struct lane_writer *w = ctx;
    /* Answers come in order: the next one belongs to the next such op. */
    while (w->unread_at < w->batch.n) {
        const struct op *op = &w->batch.ops[w->unread_at++];
        if (op->w.kind == WRITE_READ && !op->w.peer)
            break;
    }
    if (r)
        take_unread(w, w->unread_at - 1, r);
    answered(w, e);
}

/* --- looking ---------------------------------------------------------------------------- */

struct pg_array *lane_array(struct lane_writer *w, int i, enum pg_array_type type)
{
    struct pg_array *a = &w->arrays[i];
    a->type = type;
    pg_array_reset(a);
    return a;
}

void lane_add_ref(struct pg_array *a, const struct write *w)
{
    uint8_t ref[16];
    ident_ref_key(w->owner, w->ref, ref);
    pg_array_add_uuid(a, ref);
}

void lane_send(struct lane_writer *w, const struct pg_statement *st, const struct pg_params *p,
               pg_result_fn cb)
{
    w->open++;
    pg_send(w->opts.pg, st, p, cb, w);
}

void lane_send_arrays(struct lane_writer *w, const struct pg_statement *st, int n,
                      pg_result_fn cb)
{
    struct pg_params p;
    pg_params_init(&p);
    for (int i = 0; i < n; i++)
        pg_add_array(&p, &w->arrays[i]);
    lane_send(w, st, &p, cb);
}

void lane_send_plain(struct lane_writer *w, const char *sql)
{
    w->open++;
    pg_send_plain(w->opts.pg, sql, lane_on_plain, w);
}

static void send_lock_and_guard(struct lane_writer *w)
{
    struct pg_params p;
    lane_send_plain(w, "BEGIN");
    pg_params_init(&p);
    pg_add_i32(&p, (int32_t)w->job.lane);
    lane_send(w, &lock_lane, &p, on_lock);
    for (unsigned s = 0; s < w->opts.spools; s++) {
        if (w->job.from[s] == w->job.to[s])
            continue;
        pg_params_init(&p);
        pg_add_i32(&p, (int32_t)w->job.lane);
        pg_add_uuid(&p, w->opts.spool_ids[s]);
        pg_add_i64(&p, (int64_t)w->job.from[s]);
        pg_add_i64(&p, (int64_t)w->job.to[s]);
        lane_send(w, &advance, &p, on_advance);
    }
}

uint32_t *lane_room(uint32_t *at, size_t *cap, size_t n)
{
    if (n <= *cap)
        return at;
    free(at);
    at = malloc(n * sizeof *at);
    if (!at)
        abort();
    *cap = n;
    return at;
}

/* Asks for all rows, or only for those that may have a copy as far as we know. */
static void send_probe(struct lane_writer *w, bool all)
{
    struct batch *b = &w->batch;
    w->skipped = false;
    struct pg_array *ref = lane_array(w, 0, PG_UUID), *content = lane_array(w, 1, PG_INT8);
    int64_t low = INT64_MAX, now_us = clock_real_us();
    size_t n = 0;
    w->asked = lane_room(w->asked, &w->asked_cap, b->n);
    for (size_t i = 0; i < b->n; i++) {
        const struct op *op = &b->ops[b->sorted[i]];
        if (op->w.kind != WRITE_ROW || op->fate != FATE_NEW)
            continue;
        int64_t from = earlier_id(op->w.low, w->ahead_us + CLOCK_SLACK_US);
        if (!all && recent_is_new(w->opts.recent, w->job.lane, &op->w, from)) {
            w->skipped = true;
            continue;
        }
        w->asked[n++] = b->sorted[i];
        lane_add_ref(ref, &op->w);
        pg_array_add_i64(content, (int64_t)op->w.content);
        if (op->w.low < low)
            low = op->w.low;
        if (op->received_us > now_us)
            now_us = op->received_us;
    }
    if (n == 0)
        return;
    /* The upper bound only keeps partitions that are still empty out of it. */
    int64_t high = ident_id_from_us(now_us + DAY_US);
    struct pg_params p;
    pg_params_init(&p);
    pg_add_array(&p, ref);
    pg_add_array(&p, content);
    pg_add_i64(&p, earlier_id(low, w->ahead_us + CLOCK_SLACK_US));
    pg_add_i64(&p, high);
    lane_send(w, &probe, &p, on_probe);
}

static void send_read_convs(struct lane_writer *w)
{
    struct batch *b = &w->batch;
    if (b->convs_n == 0)
        return;
    struct pg_array *owner = lane_array(w, 0, PG_UUID), *peer = lane_array(w, 1, PG_INT8);
    for (size_t i = 0; i < b->convs_n; i++) {
        pg_array_add_uuid(owner, b->convs[i].owner);
        pg_array_add_i64(peer, (int64_t)b->convs[i].peer);
    }
    lane_send_arrays(w, &read_convs, 2, on_convs);
}

static void send_read_unread(struct lane_writer *w)
{
    w->unread_at = 0;
    for (size_t i = 0; i < w->batch.n; i++) {
        const struct op *op = &w->batch.ops[i];
        if (op->w.kind != WRITE_READ || op->w.peer)
            continue;
        struct pg_params p;
        pg_params_init(&p);
        pg_add_uuid(&p, op->w.owner);
        lane_send(w, &read_unread, &p, on_unread);
    }
}

void lane_write(struct lane_writer *w, const struct lane_job *job)
{
    set_state(w, LANE_LOOKING);
    w->job = *job;
    w->outcome = (struct lane_outcome){0};
    batch_load(&w->batch, job->ops, job->quarantine ? 0 : job->n);
    prefs_cache_begin(w->opts.prefs, job->lane);
    FAILPOINT("lane-begin");
    send_lock_and_guard(w);
    send_probe(w, false);
    lane_ask_prefs(w);
    send_read_convs(w);
    lane_ask_targets(w);
    lane_ask_provisional(w);
    lane_ask_early(w);
    send_read_unread(w);
    pg_flush(w->opts.pg);
}

/* --- deciding -------------------------------------------------------------------------- */

/* Every row goes into the filter before it can be stored; one that is not stored after all is
 * only looked for without need. */
static void remember_rows(struct lane_writer *w)
{
    for (size_t i = 0; i < w->batch.n; i++) {
        const struct op *op = &w->batch.ops[i];
        if (op->w.kind == WRITE_ROW && op->fate == FATE_NEW)
            recent_put(w->opts.recent, w->job.lane, &op->w, op->id);
    }
}

static bool moves_a_place(const struct lane_writer *w)
{
    return memcmp(w->job.from, w->job.to, w->opts.spools * sizeof *w->job.to) != 0;
}

/* Whether it was committed must be seen when its answer is lost.  A transaction's number would
 * not do: after a crash of PostgreSQL it may be another's.  Less than a microsecond further,
 * so that what waits for long keeps the time at which it came. */
static void mint_for_itself(struct lane_writer *w)
{
    w->batch.last_id += 1 + (int64_t)(crypt_random_u64() % 200);
}

static void start_writing(struct lane_writer *w)
{
    /* Somebody else has written to this lane: what we knew of it may not hold any more. */
    if (!recent_meet(w->opts.recent, w->job.lane, w->stored_last)) {
        if (w->skipped)
            send_probe(w, true);
        prefs_cache_forget(w->opts.prefs, w->job.lane);
        lane_ask_prefs(w);
        if (w->open > 0) {
            pg_flush(w->opts.pg);
            return;
        }
    }
    set_state(w, LANE_WRITING);
    lane_apply_prefs(w);
    batch_resolve(&w->batch, w->stored_last, w->max_us);
    if (!moves_a_place(w))
        mint_for_itself(w);
    w->outcome.last_id = w->batch.last_id;
    remember_rows(w);
    lane_send_writes(w);
}

static void roll_back(struct lane_writer *w)
{
    if (w->state == LANE_LOOKING)
        pg_sync(w->opts.pg); /* ends the unit that failed */
    set_state(w, LANE_ROLLING_BACK);
    lane_send_plain(w, "ROLLBACK");
    pg_sync(w->opts.pg);
}

/* References are keyed hashes: which rows are meant is as good as chance.  And those who took
 * something back, which has emptied a block. */
static void tell_sample(const struct lane_writer *w)
{
    const struct ingest_hooks *hooks = w->opts.hooks;
    for (size_t i = 0; hooks->sample && i < w->batch.n; i++) {
        const struct op *op = &w->batch.ops[i];
        bool stored = op->w.kind == WRITE_ROW && op->fate == FATE_NEW;
        bool taken_back = op->w.kind == WRITE_RETRACT && op->found;
        if (taken_back || (stored && op->w.ref % INGEST_SAMPLE == 0))
            hooks->sample(hooks->ctx, op->w.owner);
    }
}

static void finish(struct lane_writer *w)
{
    struct lane_outcome *o = &w->outcome;
    set_state(w, LANE_IDLE);
    if (o->failure != PG_OK)
        prefs_cache_forget(w->opts.prefs, w->job.lane);
    if (o->failure == PG_OK) {
        o->rows = w->batch.stored;
        o->late = w->batch.late;
        o->duplicates = w->batch.duplicates;
        o->aside = w->aside;
        recent_committed(w->opts.recent, w->job.lane, o->last_id);
        for (size_t i = 0; i < w->batch.accounts_n; i++) {
            const struct batch_account *a = &w->batch.accounts[i];
            if (a->first_id)
                known_put(w->opts.known, a->owner, a->own);
        }
        tell_sample(w);
        if (w->batch.in_rooms > 0 && w->opts.hooks->rooms)
            w->opts.hooks->rooms(w->opts.hooks->ctx);
    }
    w->opts.done(w->opts.ctx, o);
}

/* Everything that was asked is answered. */
static void step(struct lane_writer *w)
{
    enum pg_failure failure = w->outcome.failure;
    switch (w->state) {
    case LANE_LOOKING:
        if (failure == PG_OK)
            start_writing(w);
        else if (failure == PG_LOST)
            finish(w);
        else
            roll_back(w);
        break;
    case LANE_WRITING:
        if (failure == PG_OK || failure == PG_LOST)
            finish(w);
        else
            roll_back(w);
        break;
    case LANE_ROLLING_BACK:
        finish(w);
        break;
    case LANE_IDLE:
        assert(w->state != LANE_IDLE);
        break;
    }
}

struct lane_writer *lane_writer_new(const struct lane_writer_opts *opts)
{
    struct lane_writer *w = calloc(1, sizeof *w);
    if (!w)
        abort();
    w->opts = *opts;
    batch_init(&w->batch, opts->early);
    buf_init(&w->scratch, ARRAY_BYTES_MAX);
    for (int i = 0; i < LANE_ARRAYS; i++)
        pg_array_init(&w->arrays[i], PG_INT8, ARRAY_BYTES_MAX);
    return w;
}

void lane_writer_free(struct lane_writer **w)
{
    if (!*w)
        return;
    for (int i = 0; i < LANE_ARRAYS; i++)
        pg_array_deinit(&(*w)->arrays[i]);
    batch_deinit(&(*w)->batch);
    free((*w)->asked);
    free((*w)->targets);
    free((*w)->named);
    free((*w)->aliased);
    free((*w)->provisional);
    free((*w)->early_asked);
    arena_free(&(*w)->texts);
    free((*w)->prefs_asked);
    buf_deinit(&(*w)->scratch);
    free(*w);
    *w = NULL;
}
