// SPDX-License-Identifier: Apache-2.0
#include "archive/ingest_int.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <event2/event.h>

#include "base/clock.h"
#include "base/crypt.h"
#include "base/failpoint.h"
#include "base/log.h"
#include "base/utf8.h"
#include "store/pg.h"
#include "store/pg_array.h"

#define PREFIX "ingest"
#define BATCH_ROWS 2000
#define NEXT_ROWS 32
#define NEXT_MS 5
#define STATEMENT_TIMEOUT_MS 30000
#define UNKNOWN_FAILURES_MAX 5
#define QUARANTINED_MAX 20 /* in a row; then something else is wrong, and we slow down */
#define ASK_AGAIN_MS 1000

/* The plans are made once, maybe while a table is still empty, and must hold when it is not:
 * everything here is a few rows by key. */
static const char plans[] = "SELECT set_config('enable_seqscan', 'off', false),"
                            " set_config('enable_bitmapscan', 'off', false),"
                            " set_config('enable_hashjoin', 'off', false),"
                            " set_config('enable_mergejoin', 'off', false),"
                            " set_config('jit', 'off', false)";

static void set_state(struct slot *s, enum slot_state to)
{
    switch (to) {
    case SLOT_DOWN:
    case SLOT_IDLE:
        break;
    case SLOT_LOADING:
        assert(s->state == SLOT_DOWN || s->state == SLOT_IDLE || s->state == SLOT_LOADING);
        break;
    case SLOT_WRITING:
        assert(s->state == SLOT_IDLE);
        break;
    case SLOT_RELOADING:
        assert(s->lane && s->state != SLOT_LOADING && s->state != SLOT_IDLE);
        break;
    case SLOT_PARTITIONS:
        assert(s->lane && s->state == SLOT_WRITING);
        break;
    }
    s->state = to;
}

static void tell_state(struct ingest *ing, bool up, const char *why)
{
    char *last = ing->stats.last_error;
    if (ing->told && ing->up == up && strcmp(up ? "" : last, why) == 0)
        return;
    ing->told = true;
    ing->up = up;
    snprintf(last, sizeof ing->stats.last_error, "%s", why);
    if (ing->hooks.state)
        ing->hooks.state(ing->hooks.ctx, up, why);
}

/* --- the end of a batch ------------------------------------------------------------------ */

/* At the promise: hooks.committed hears true only when the database said so itself, in answer
 * to COMMIT or by the position it has stored. */
static void tell_hook(struct slot *s, bool ok)
{
    bool owed = s->hooked;
    s->hooked = false;
    if (owed && s->ing->hooks.committed)
        s->ing->hooks.committed(s->ing->hooks.ctx, s->pg, ok);
}

static void release(struct slot *s)
{
    s->lane->busy = false;
    s->lane = NULL;
    set_state(s, SLOT_IDLE);
}

static void committed(struct slot *s)
{
    struct ingest *ing = s->ing;
    struct lane *lane = s->lane;
    struct op *ops = NULL;
    bool again = lane->mode == MODE_QUARANTINE && op_queue_front(lane->queue, 1, &ops) > 0 &&
                 ops[0].w.again;
    FAILPOINT("lane-committed");
    memcpy(lane->stored, s->to, ing->spools * sizeof *s->to);
    op_queue_drop(lane->queue, s->n);
    if (lane->mode == MODE_QUARANTINE) {
        ing->stats.quarantined += !again;
        lane->quarantined++;
    } else if (s->n > 0) {
        lane->quarantined = 0;
    }
    lane->mode = MODE_NORMAL;
    lane->limit = lane->limit * 2 < BATCH_ROWS ? lane->limit * 2 : BATCH_ROWS;
    lane->unknown_failures = 0;
    lane->partitions_made = false;
    backoff_reset(&lane->backoff);
    if (lane->quarantined > QUARANTINED_MAX)
        lane->not_before_ms = clock_mono_ms() + 10 * ASK_AGAIN_MS;
    ing->stats.batches++;
    tell_hook(s, true);
    release(s);
    tell_state(ing, true, "");
    ingest_tell_waiters(ing, lane);
    if (ing->hooks.progress)
        ing->hooks.progress(ing->hooks.ctx);
    ingest_schedule(ing);
}

static void try_later(struct slot *s, const struct pg_error *e)
{
    struct ingest *ing = s->ing;
    struct lane *lane = s->lane;
    lane->not_before_ms =
        clock_mono_ms() + backoff_next_ms(&lane->backoff, crypt_random_u64());
    ing->stats.retries++;
    release(s);
    if (e->failure != PG_CONFLICT)
        tell_state(ing, false, e->text);
    ingest_schedule(ing);
}

static void try_at_once(struct slot *s)
{
    s->ing->stats.retries++;
    release(s);
    ingest_schedule(s->ing);
}

/* --- reloading: what became of a batch --------------------------------------------------- */

static const struct pg_statement wait_for_lane = {
    "ingest_lane", "SELECT last_id FROM xs.lane WHERE lane = $1::int FOR UPDATE"};

static const struct pg_statement read_lane_positions = {
    "ingest_lane_positions", "SELECT spool, pos FROM xs.spool_position"
                             " WHERE lane = $1::int AND spool = ANY ($2::uuid[])"};

static int spool_index(const struct ingest *ing, const uint8_t id[16])
{
    for (unsigned s = 0; s < ing->spools; s++)
        if (memcmp(ing->spool_ids[s], id, 16) == 0)
            return (int)s;
    return -1;
}

static void ask_again_later(struct slot *s, const char *why)
{
    if (strcmp(s->ing->stats.last_error, why) != 0)
        log_error(PREFIX, "cannot go on why=\"%s\"", why);
    s->ask_again_ms = clock_mono_ms() + ASK_AGAIN_MS;
    tell_state(s->ing, false, why);
    ingest_schedule(s->ing);
}

static bool are_same(const struct ingest *ing, const uint64_t *a, const uint64_t *b)
{
    return memcmp(a, b, ing->spools * sizeof *a) == 0;
}

static bool is_at(const struct slot *s, const uint64_t *places)
{
    return are_same(s->ing, s->lane->stored, places);
}

/* At the promise that nothing is lost: what was committed is not in the queue any more.  Where
 * PostgreSQL has lost it all the same, to go on would move its place past what nobody reads
 * again; a worker that begins there does. */
static bool has_lost(const struct slot *s, const struct pg_result *r)
{
    bool lost = pg_rows(r) != (int)s->ing->spools;
    for (int i = 0; i < pg_rows(r); i++) {
        uint8_t id[16];
        pg_uuid(r, i, 0, id);
        int spool = spool_index(s->ing, id);
        lost = lost || (spool >= 0 && (uint64_t)pg_i64(r, i, 1) < s->from[spool]);
    }
    return lost;
}

static void give_up(struct slot *s)
{
    static const char why[] = "PostgreSQL has lost what it had committed";
    struct ingest *ing = s->ing;
    bool first = !ing->lost;
    log_error(PREFIX, "%s lane=%u: the spool is read again from the place that it has", why,
              s->lane->number);
    ing->lost = true;
    tell_hook(s, false);
    release(s);
    tell_state(ing, false, why);
    if (first && ing->hooks.lost)
        ing->hooks.lost(ing->hooks.ctx);
}

/* Of several statements in one unit, the first that failed says why. */
static void on_first(void *ctx, const struct pg_result *r, const struct pg_error *e)
{
    (void)r;
    struct slot *s = ctx;
    if (s->first.failure == PG_OK)
        s->first = *e;
}

static void on_lane(void *ctx, const struct pg_result *r, const struct pg_error *e)
{
    struct slot *s = ctx;
    s->lane_last_id = r && pg_rows(r) == 1 ? pg_i64(r, 0, 0) : 0;
    on_first(ctx, r, e);
}

static void spool_array(const struct ingest *ing, struct pg_array *out)
{
    pg_array_init(out, PG_UUID, 20 * (size_t)ing->spools + 32);
    for (unsigned i = 0; i < ing->spools; i++)
        pg_array_add_uuid(out, ing->spool_ids[i]);
}

static void on_reload(void *ctx, const struct pg_result *r, const struct pg_error *e)
{
    struct slot *s = ctx;
    struct ingest *ing = s->ing;
    if (e->failure == PG_LOST)
        return; /* asked again when the connection is back */
    if (s->first.failure != PG_OK)
        e = &s->first;
    if (e->failure != PG_OK) {
        ask_again_later(s, e->text);
        return;
    }
    if (has_lost(s, r)) {
        give_up(s);
        return;
    }
    uint64_t *stored = s->lane->stored;
    for (int i = 0; i < pg_rows(r); i++) {
        uint8_t id[16];
        pg_uuid(r, i, 0, id);
        int spool = spool_index(ing, id);
        if (spool >= 0)
            stored[spool] = (uint64_t)pg_i64(r, i, 1);
    }
    struct lane *lane = s->lane;
    bool moves = !are_same(ing, s->from, s->to);
    if (moves ? is_at(s, s->to) : s->last_id && s->lane_last_id == s->last_id) {
        committed(s);
        return;
    }
    if (!is_at(s, s->from))
        log_error(PREFIX, "another worker has written this spool lane=%u", lane->number);
    tell_hook(s, false);
    lane->mode = MODE_NORMAL; /* what stood in front may be gone */
    op_queue_drop_covered(lane->queue, stored);
    try_at_once(s);
    ingest_tell_waiters(ing, lane);
    /* What another worker has written may have been all that filled the queue. */
    if (ing->hooks.progress)
        ing->hooks.progress(ing->hooks.ctx);
}

/* The lock waits for a session that we lost and that may still be committing; only behind it
 * does the stored position tell the truth. */
static void reload(struct slot *s)
{
    struct pg_params p;
    struct pg_array ids;
    set_state(s, SLOT_RELOADING);
    s->ask_again_ms = 0;
    s->first.failure = PG_OK;
    pg_params_init(&p);
    pg_add_i32(&p, (int32_t)s->lane->number);
    pg_send(s->pg, &wait_for_lane, &p, on_lane, s);
    spool_array(s->ing, &ids);
    pg_add_array(&p, &ids);
    pg_send(s->pg, &read_lane_positions, &p, on_reload, s);
    pg_array_deinit(&ids);
    pg_sync(s->pg);
}

/* --- partitions -------------------------------------------------------------------------- */

static const struct pg_statement make_partitions = {
    "ingest_partitions",
    "SELECT xs.ensure_partitions(2),"
    " xs.ensure_partition(timestamptz 'epoch' + $1::bigint * interval '1 us'),"
    " xs.ensure_partition(timestamptz 'epoch' + $2::bigint * interval '1 us')"};

static void on_partitions(void *ctx, const struct pg_result *r, const struct pg_error *e)
{
    struct slot *s = ctx;
    (void)r;
    if (e->failure == PG_LOST)
        return; /* the batch is tried again when the connection is back */
    if (e->failure != PG_OK)
        try_later(s, e);
    else
        try_at_once(s);
}

/* A batch may be older than the partitions that are made ahead of time. */
static void make_missing_partitions(struct slot *s)
{
    struct op *ops;
    size_t n = op_queue_front(s->lane->queue, s->n, &ops);
    int64_t oldest = INT64_MAX, newest = 0;
    for (size_t i = 0; i < n; i++) {
        if (ops[i].received_us < oldest)
            oldest = ops[i].received_us;
        if (ops[i].received_us > newest)
            newest = ops[i].received_us;
    }
    struct pg_params p;
    set_state(s, SLOT_PARTITIONS);
    s->lane->partitions_made = true;
    pg_params_init(&p);
    pg_add_i64(&p, oldest);
    pg_add_i64(&p, newest);
    pg_send(s->pg, &make_partitions, &p, on_partitions, s);
    pg_sync(s->pg);
}

/* --- failures ---------------------------------------------------------------------------- */

static bool is_one_stanza(const struct op *ops, size_t n)
{
    for (size_t i = 1; i < n; i++)
        if (!ops[i].placed || !ops[0].placed || ops[i].place.spool != ops[0].place.spool ||
            ops[i].place.begin != ops[0].place.begin)
            return false;
    return n > 0;
}

/* It goes into the database, which would refuse half a character. */
static void set_why(struct lane *lane, const struct pg_error *e)
{
    size_t n = utf8_cut(e->text, strlen(e->text), sizeof lane->why - sizeof "XXXXX: ");
    snprintf(lane->why, sizeof lane->why, "%s: %.*s", e->sqlstate, (int)n, e->text);
}

/* PostgreSQL will never take this: halve the batch until the one stanza is found, and put that
 * aside.  When only what a hook added is refused, the rows still go in. */
static void data_failure(struct slot *s, const struct lane_outcome *o)
{
    struct lane *lane = s->lane;
    struct op *ops = NULL;
    size_t n = s->n ? op_queue_front(lane->queue, s->n, &ops) : 0;
    if (strcmp(o->error.sqlstate, "23514") == 0 && !lane->partitions_made && n > 0) {
        make_missing_partitions(s);
        return;
    }
    if (n == 0 || lane->mode == MODE_QUARANTINE) {
        try_later(s, &o->error);
        return;
    }
    if (!is_one_stanza(ops, n)) {
        lane->limit = n / 2;
    } else if (o->by_hook) {
        lane->mode = MODE_WITHOUT_HOOK;
        log_error(PREFIX, "a push could not be stored lane=%u sqlstate=%s why=\"%s\"",
                  lane->number, o->error.sqlstate, o->error.text);
    } else {
        lane->mode = MODE_QUARANTINE;
        set_why(lane, &o->error);
        log_error(PREFIX, "%s spool=%u pos=%llu sqlstate=%s why=\"%s\"",
                  ops[0].w.again ? "refused again" : "quarantined", ops[0].place.spool,
                  (unsigned long long)ops[0].place.begin, o->error.sqlstate, o->error.text);
    }
    try_at_once(s);
}

static void on_done(void *ctx, const struct lane_outcome *o)
{
    struct slot *s = ctx;
    struct lane *lane = s->lane;
    enum pg_failure failure = o->failure;
    s->hooked = o->hooked;
    s->last_id = o->last_id;
    if (failure == PG_OTHER && ++lane->unknown_failures >= UNKNOWN_FAILURES_MAX)
        failure = PG_DATA;
    if (failure != PG_OK && failure != PG_LOST && failure != PG_GUARD)
        tell_hook(s, false);
    switch (failure) {
    case PG_OK:
        s->ing->stats.rows += o->rows;
        s->ing->stats.late += o->late;
        s->ing->stats.duplicates += o->duplicates;
        s->ing->stats.quarantined += o->aside;
        committed(s);
        break;
    case PG_LOST:
        break; /* reloaded when the connection is back */
    case PG_GUARD:
        reload(s);
        break;
    case PG_DATA:
        data_failure(s, o);
        break;
    case PG_ABORTED:
    case PG_CONFLICT:
    case PG_RESOURCE:
    case PG_SCHEMA:
    case PG_OTHER:
        if (strcmp(o->error.sqlstate, "57014") == 0 && s->n > 1)
            lane->limit = s->n / 2; /* it took too long: maybe it is too much at once */
        if (lane->backoff.failures == 0)
            log_warn(PREFIX, "batch failed lane=%u kind=%s sqlstate=%s why=\"%s\"",
                     lane->number, pg_failure_name(failure), o->error.sqlstate, o->error.text);
        try_later(s, &o->error);
        break;
    }
}

/* --- loading: keys and positions, once --------------------------------------------------- */

static const struct pg_statement lock_lanes = {
    "ingest_lanes", "SELECT lane FROM xs.lane ORDER BY lane FOR UPDATE"};

static const struct pg_statement add_positions = {
    "ingest_add_positions",
    "INSERT INTO xs.spool_position (lane, spool, pos)"
    " SELECT l.lane, s.spool, 0 FROM xs.lane l, unnest($1::uuid[]) AS s (spool)"
    " ON CONFLICT (lane, spool) DO NOTHING"};

static const struct pg_statement read_positions = {
    "ingest_positions",
    "SELECT lane, spool, pos FROM xs.spool_position WHERE spool = ANY ($1::uuid[])"};

static void make_lanes(struct ingest *ing, const struct ident_keys *keys)
{
    ing->lanes = calloc(keys->lanes, sizeof *ing->lanes);
    if (!ing->lanes)
        abort();
    ing->lanes_n = keys->lanes;
    for (unsigned l = 0; l < ing->lanes_n; l++) {
        struct lane *lane = &ing->lanes[l];
        lane->number = l;
        lane->queue = op_queue_new(ing->spools);
        lane->stored = calloc(ing->spools + 1, sizeof *lane->stored);
        if (!lane->stored)
            abort();
        lane->limit = BATCH_ROWS;
        backoff_init(&lane->backoff, 200, 10000);
    }
}

static void on_keys(void *ctx, const struct pg_result *r, const struct pg_error *e)
{
    struct slot *s = ctx;
    struct err why = {0};
    on_first(s, r, e);
    if (r && ident_keys_read(&s->ing->keys, r, &why) != ERR_NONE) {
        s->first.failure = PG_SCHEMA;
        snprintf(s->first.text, sizeof s->first.text, "%s", why.text);
    }
}

static void on_positions(void *ctx, const struct pg_result *r, const struct pg_error *e)
{
    struct slot *s = ctx;
    struct ingest *ing = s->ing;
    if (e->failure == PG_LOST)
        return;
    on_first(s, r, e);
    if (!r || s->first.failure != PG_OK) {
        ask_again_later(s, s->first.text);
        return;
    }
    make_lanes(ing, &ing->keys);
    for (int i = 0; i < pg_rows(r); i++) {
        uint8_t id[16];
        pg_uuid(r, i, 1, id);
        int64_t lane = pg_i64(r, i, 0);
        int spool = spool_index(ing, id);
        if (spool >= 0 && lane >= 0 && lane < (int64_t)ing->lanes_n)
            ing->lanes[lane].stored[spool] = (uint64_t)pg_i64(r, i, 2);
    }
    for (unsigned i = 0; i < ing->spools; i++)
        ing->reader[i] = ingest_start_position(ing, i); /* nobody has to offer that again */
    ing->ident = ident_new(&ing->keys);
    ing->rows = rows_new(ing->ident, ing->archive);
    log_info(PREFIX, "ready lanes=%u", ing->lanes_n);
    set_state(s, SLOT_IDLE);
    tell_state(ing, true, "");
    if (ing->hooks.progress)
        ing->hooks.progress(ing->hooks.ctx);
    ingest_schedule(ing);
}

/* The locks wait for what a worker before us may still be committing. */
static void load(struct slot *s)
{
    struct pg_params p;
    struct pg_array ids;
    set_state(s, SLOT_LOADING);
    s->ask_again_ms = 0;
    s->first.failure = PG_OK;
    spool_array(s->ing, &ids);
    pg_params_init(&p);
    pg_add_array(&p, &ids);
    pg_send(s->pg, &lock_lanes, NULL, on_first, s);
    pg_send(s->pg, &ident_statement, NULL, on_keys, s);
    pg_send(s->pg, &add_positions, &p, on_first, s);
    pg_send(s->pg, &read_positions, &p, on_positions, s);
    pg_array_deinit(&ids);
    pg_sync(s->pg);
}

static bool is_loading(const struct ingest *ing)
{
    for (unsigned i = 0; i < INGEST_SLOTS; i++)
        if (ing->slots[i].state == SLOT_LOADING)
            return true;
    return false;
}

/* --- scheduling -------------------------------------------------------------------------- */

static void start(struct slot *s, struct lane *lane)
{
    struct ingest *ing = s->ing;
    struct op *ops = NULL;
    size_t n =
        op_queue_count(lane->queue) ? op_queue_front(lane->queue, lane->limit, &ops) : 0;
    if (lane->mode != MODE_NORMAL)
        n = op_queue_count(lane->queue) ? op_queue_front(lane->queue, 1, &ops) : 0;
    for (unsigned i = 0; i < ing->spools; i++) {
        uint64_t next = op_queue_first_begin(lane->queue, i, n);
        s->from[i] = lane->stored[i];
        s->to[i] = next < ing->reader[i] ? next : ing->reader[i];
        if (s->to[i] < s->from[i])
            s->to[i] = s->from[i];
    }
    lane->busy = true;
    lane->advance_due = false;
    s->lane = lane;
    s->n = n;
    s->since_ms = clock_mono_ms();
    set_state(s, SLOT_WRITING);
    struct lane_job job = {.lane = lane->number,
                           .ops = ops,
                           .n = n,
                           .from = s->from,
                           .to = s->to,
                           .quarantine = lane->mode == MODE_QUARANTINE,
                           .why = lane->why,
                           .again = &ing->again,
                           .without_hook = lane->mode == MODE_WITHOUT_HOOK};
    lane_write(s->writer, &job);
}

/* Round robin over lanes with work; *wait_ms becomes the shortest back-off among the others.
 */
static struct lane *next_lane(struct ingest *ing, int64_t *wait_ms)
{
    int64_t now_ms = clock_mono_ms();
    for (unsigned i = 0; i < ing->lanes_n; i++) {
        struct lane *lane = &ing->lanes[(ing->next_lane + i) % ing->lanes_n];
        if (lane->busy || (op_queue_count(lane->queue) == 0 && !lane->advance_due))
            continue;
        if (lane->not_before_ms > now_ms) {
            if (lane->not_before_ms - now_ms < *wait_ms)
                *wait_ms = lane->not_before_ms - now_ms;
            continue;
        }
        ing->next_lane = (lane->number + 1) % ing->lanes_n;
        return lane;
    }
    return NULL;
}

/* Each batch costs a start and a commit, with few rows half of all.  So right behind the last
 * one another is begun only when rows pile up; whoever comes first after a pause waits for
 * nothing. */
static bool may_start(const struct ingest *ing, int64_t now_ms, int64_t *wait_ms)
{
    size_t in_hand = 0;
    int64_t left_ms = 0;
    for (unsigned i = 0; i < INGEST_SLOTS; i++) {
        const struct slot *s = &ing->slots[i];
        if (s->state == SLOT_WRITING)
            in_hand += s->n;
        if (s->since_ms + NEXT_MS - now_ms > left_ms)
            left_ms = s->since_ms + NEXT_MS - now_ms;
    }
    size_t waiting = ingest_queue_rows(ing) - in_hand;
    if (left_ms <= 0 || waiting == 0 || waiting >= NEXT_ROWS)
        return true;
    if (left_ms < *wait_ms)
        *wait_ms = left_ms;
    return false;
}

void ingest_schedule(struct ingest *ing)
{
    int64_t wait_ms = INT64_MAX, now_ms = clock_mono_ms();
    for (unsigned i = 0; i < INGEST_SLOTS && !ing->lost; i++) {
        struct slot *s = &ing->slots[i];
        if (s->ask_again_ms > now_ms) {
            if (s->ask_again_ms - now_ms < wait_ms)
                wait_ms = s->ask_again_ms - now_ms;
        } else if (s->ask_again_ms && s->state == SLOT_LOADING) {
            load(s);
        } else if (s->ask_again_ms && s->state == SLOT_RELOADING) {
            reload(s);
        } else if (s->state == SLOT_IDLE && !ing->ident) {
            if (!is_loading(ing))
                load(s);
        } else if (s->state == SLOT_IDLE && may_start(ing, now_ms, &wait_ms)) {
            struct lane *lane = next_lane(ing, &wait_ms);
            if (lane)
                start(s, lane);
        }
    }
    if (wait_ms < INT64_MAX)
        event_add(ing->retry, &(struct timeval){wait_ms / 1000, wait_ms % 1000 * 1000 + 999});
}

/* --- connections ------------------------------------------------------------------------- */

static void on_up(void *ctx)
{
    struct slot *s = ctx;
    pg_send_plain(s->pg, plans, NULL, NULL);
    pg_sync(s->pg);
    s->ask_again_ms = 0;
    if (s->lane) {
        reload(s);
        return;
    }
    set_state(s, SLOT_IDLE);
    if (s->ing->ident)
        tell_state(s->ing, true, "");
    ingest_schedule(s->ing);
}

static void on_down(void *ctx, const struct pg_error *why)
{
    struct slot *s = ctx;
    struct ingest *ing = s->ing;
    set_state(s, SLOT_DOWN);
    s->ask_again_ms = 0;
    for (unsigned i = 0; i < INGEST_SLOTS; i++)
        if (ing->slots[i].state != SLOT_DOWN) {
            ingest_schedule(ing); /* the other one may have to load what this one did not */
            return;
        }
    tell_state(ing, false, why->text);
}

void ingest_run_start(struct ingest *ing, const char *url)
{
    for (unsigned i = 0; i < INGEST_SLOTS; i++) {
        struct slot *s = &ing->slots[i];
        char name[16];
        snprintf(name, sizeof name, "lane-%u", i + 1);
        s->ing = ing;
        s->from = calloc(ing->spools + 1, sizeof *s->from);
        s->to = calloc(ing->spools + 1, sizeof *s->to);
        if (!s->from || !s->to)
            abort();
        struct pg_opts pg = {.url = url,
                             .name = name,
                             .statement_timeout_ms = STATEMENT_TIMEOUT_MS,
                             .plans = PG_PLANS_GENERIC,
                             .up = on_up,
                             .down = on_down,
                             .ctx = s};
        s->pg = pg_new(ing->base, &pg);
        struct lane_writer_opts opts = {.pg = s->pg,
                                        .spools = ing->spools,
                                        .spool_ids = (const uint8_t(*)[16])ing->spool_ids,
                                        .known = ing->known,
                                        .recent = ing->recent,
                                        .early = &ing->early,
                                        .prefs = ing->prefs,
                                        .hooks = &ing->hooks,
                                        .done = on_done,
                                        .ctx = s};
        s->writer = lane_writer_new(&opts);
    }
}

/* What is in flight may be committed or not: the next worker finds it in the positions. */
void ingest_run_stop(struct ingest *ing)
{
    for (unsigned i = 0; i < INGEST_SLOTS; i++) {
        struct slot *s = &ing->slots[i];
        struct pg *conn = s->pg; /* only its name from here on */
        pg_free(&s->pg);
        s->pg = conn;
        tell_hook(s, false);
        lane_writer_free(&s->writer);
        free(s->from);
        free(s->to);
    }
}
