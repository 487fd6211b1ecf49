// SPDX-License-Identifier: Apache-2.0
#include "archive/search_index.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include <event2/event.h>

#include "archive/search_block.h"
#include "archive/search_sql.h"
#include "archive/search_text.h"
#include "base/fold.h"
#include "base/log.h"
#include "store/pg.h"
#include "store/pg_array.h"

#define PREFIX "search"
#define WAITING_MAX 4096 /* owners */
#define READ_ROWS 256    /* at once: the loop has other work */
#define ACCOUNTS_AT_ONCE 64
#define AFTER_FAILURE_MS 5000
#define GRAMS_MAX (1 << 19) /* then a block ends before it has all its rows */
#define ARRAY_BYTES_MAX ((size_t)32 << 20)

enum index_state {
    INDEX_IDLE,     /* -> PROBING, SWEEPING */
    INDEX_PROBING,  /* is there enough for a block? -> OPENING, READING, IDLE */
    INDEX_OPENING,  /* its place is taken, for who forgets to find it -> READING, IDLE */
    INDEX_READING,  /* -> WRITING, IDLE */
    INDEX_WRITING,  /* -> PROBING, IDLE */
    INDEX_SWEEPING, /* which of the next accounts have enough? -> PROBING, IDLE */
};

struct search_index {
    struct pg_pool *pool;
    struct event *timer;
    int64_t every_ms;
    enum index_state state;
    bool paused;
    bool swept; /* all accounts were looked at */
    uint8_t swept_to[16];
    uint8_t waiting[WAITING_MAX][16]; /* a ring */
    size_t first;
    size_t waiting_n;
    struct search_index_stats stats;

    /* The block that is being made: messages in (above, last]. */
    uint8_t owner[16];
    int64_t above;
    int64_t last;
    int64_t read_to;
    bool again; /* it was there, and is emptied */
    int32_t forgot;
    unsigned rows;
    struct search_block block;
    struct fold fold;
    struct pg_array ids;
    struct pg_array buckets;
    struct pg_array grams;
    struct buf bytes;
};

static void next(struct search_index *s);

static void on_timer(evutil_socket_t fd, short what, void *ctx)
{
    (void)fd, (void)what;
    next(ctx);
}

static void wake_in(struct search_index *s, int64_t ms)
{
    event_add(s->timer, &(struct timeval){ms / 1000, ms % 1000 * 1000});
}

/* The owner is forgotten: some later message, or the next start, brings it here again. */
static void give_up(struct search_index *s, const struct pg_error *e)
{
    if (e->failure != PG_LOST)
        log_warn(PREFIX, "an index was not made sqlstate=%s why=\"%s\"", e->sqlstate, e->text);
    s->state = INDEX_IDLE;
    wake_in(s, AFTER_FAILURE_MS);
}

/* --- one block -------------------------------------------------------------------------- */

static void probe(struct search_index *s);
static void read_rows(struct search_index *s);

static void on_written(void *ctx, const struct pg_result *r, const struct pg_error *e)
{
    struct search_index *s = ctx;
    if (!r) {
        give_up(s, e);
        return;
    }
    if (pg_affected(r) > 0) {
        s->stats.blocks++;
        s->stats.rows += s->rows;
    }
    s->state = INDEX_IDLE;
    if (s->paused)
        search_index_look(s, s->owner);
    else
        probe(s);
}

static void add_buckets(struct search_index *s)
{
    search_block_sort(&s->block);
    for (unsigned i = 0; i < SEARCH_BUCKETS; i++) {
        buf_reset(&s->bytes);
        search_block_bucket(&s->block, i, &s->bytes);
        if (buf_len(&s->bytes) == 0)
            continue;
        pg_array_add_i32(&s->buckets, (int32_t)i);
        pg_array_add_bytes(&s->grams, buf_data(&s->bytes), buf_len(&s->bytes));
    }
}

static void write_block(struct search_index *s)
{
    struct pg_params p;
    pg_array_reset(&s->buckets);
    pg_array_reset(&s->grams);
    add_buckets(s);
    pg_params_init(&p);
    pg_add_uuid(&p, s->owner);
    pg_add_i64(&p, s->above);
    pg_add_i64(&p, s->last);
    pg_add_array(&p, &s->ids);
    pg_add_array(&p, &s->buckets);
    pg_add_array(&p, &s->grams);
    pg_add_i32(&p, s->forgot);
    s->state = INDEX_WRITING;
    pg_pool_send(s->pool, &search_sql_write, &p, on_written, s);
}

static void add_row(struct search_index *s, int64_t id, uint64_t peer, const char *body)
{
    unsigned row = s->rows++;
    pg_array_add_i64(&s->ids, id);
    search_block_add(&s->block, row, search_gram_of_peer(peer));
    search_text_fold(&s->fold, body);
    const uint32_t *c = s->fold.chars;
    for (size_t i = 1; i < s->fold.n; i++)
        if (c[i - 1] != ' ' && c[i] != ' ')
            search_block_add(&s->block, row, search_gram(c[i - 1], c[i]));
}

static void on_rows(void *ctx, const struct pg_result *r, const struct pg_error *e)
{
    struct search_index *s = ctx;
    if (!r) {
        give_up(s, e);
        return;
    }
    int n = pg_rows(r);
    bool full = false;
    for (int i = 0; i < n && !full; i++) {
        s->read_to = pg_i64(r, i, 0);
        if (!pg_is_null(r, i, 2))
            add_row(s, s->read_to, (uint64_t)pg_i64(r, i, 1), pg_text(r, i, 2));
        /* One that is made again keeps its place between the others: it was not too much. */
        full = !s->again && s->block.n >= GRAMS_MAX;
    }
    if (full)
        s->last = s->read_to;
    if (n == 0 || s->read_to >= s->last)
        write_block(s);
    else
        read_rows(s);
}

static void read_rows(struct search_index *s)
{
    struct pg_params p;
    pg_params_init(&p);
    pg_add_uuid(&p, s->owner);
    pg_add_i64(&p, s->read_to);
    pg_add_i64(&p, s->last);
    pg_add_i32(&p, READ_ROWS);
    s->state = INDEX_READING;
    pg_pool_send(s->pool, &search_sql_rows, &p, on_rows, s);
}

/* When somebody else has begun it, he goes on with it; and an account may have gone. */
static void on_opened(void *ctx, const struct pg_result *r, const struct pg_error *e)
{
    struct search_index *s = ctx;
    if (!r) {
        give_up(s, e);
    } else if (pg_affected(r) > 0) {
        read_rows(s);
    } else {
        s->state = INDEX_IDLE;
        next(s);
    }
}

static void open_block(struct search_index *s)
{
    struct pg_params p;
    pg_params_init(&p);
    pg_add_uuid(&p, s->owner);
    pg_add_i64(&p, s->above);
    pg_add_i64(&p, s->last);
    s->state = INDEX_OPENING;
    pg_pool_send(s->pool, &search_sql_open, &p, on_opened, s);
}

static void on_probed(void *ctx, const struct pg_result *r, const struct pg_error *e)
{
    struct search_index *s = ctx;
    if (!r) {
        give_up(s, e);
        return;
    }
    s->state = INDEX_IDLE;
    if (pg_rows(r) == 0) {
        next(s);
        return;
    }
    s->above = s->read_to = pg_i64(r, 0, 0);
    s->last = pg_i64(r, 0, 1);
    s->again = pg_bool(r, 0, 2);
    s->forgot = (int32_t)pg_i64(r, 0, 3);
    s->rows = 0;
    search_block_reset(&s->block);
    pg_array_reset(&s->ids);
    if (s->again)
        read_rows(s);
    else
        open_block(s);
}

static void probe(struct search_index *s)
{
    struct pg_params p;
    pg_params_init(&p);
    pg_add_uuid(&p, s->owner);
    pg_add_i32(&p, SEARCH_BLOCK_ROWS - 1);
    s->state = INDEX_PROBING;
    pg_pool_send(s->pool, &search_sql_probe, &p, on_probed, s);
}

/* --- whose turn it is ------------------------------------------------------------------- */

static void on_accounts(void *ctx, const struct pg_result *r, const struct pg_error *e)
{
    struct search_index *s = ctx;
    if (!r) {
        give_up(s, e);
        return;
    }
    int n = pg_rows(r);
    uint8_t owner[16];
    for (int i = 0; i < n; i++) {
        pg_uuid(r, i, 0, owner);
        if (pg_bool(r, i, 1))
            search_index_look(s, owner);
    }
    if (n > 0)
        memcpy(s->swept_to, owner, sizeof owner);
    s->swept = n < ACCOUNTS_AT_ONCE;
    s->state = INDEX_IDLE;
    if (s->waiting_n > 0)
        next(s);
    else if (!s->swept)
        wake_in(s, s->every_ms);
}

static void sweep(struct search_index *s)
{
    struct pg_params p;
    pg_params_init(&p);
    pg_add_uuid(&p, s->swept_to);
    pg_add_i32(&p, ACCOUNTS_AT_ONCE);
    pg_add_i32(&p, SEARCH_BLOCK_ROWS - 1);
    s->state = INDEX_SWEEPING;
    pg_pool_send(s->pool, &search_sql_accounts, &p, on_accounts, s);
}

static void next(struct search_index *s)
{
    if (s->state != INDEX_IDLE || s->paused)
        return;
    if (s->waiting_n > 0) {
        memcpy(s->owner, s->waiting[s->first], sizeof s->owner);
        s->first = (s->first + 1) % WAITING_MAX;
        s->waiting_n--;
        probe(s);
    } else if (!s->swept) {
        sweep(s);
    }
}

void search_index_look(struct search_index *s, const uint8_t owner[16])
{
    if (s->waiting_n == WAITING_MAX)
        return;
    memcpy(s->waiting[(s->first + s->waiting_n) % WAITING_MAX], owner, 16);
    s->waiting_n++;
    if (s->state == INDEX_IDLE && !s->paused && !event_pending(s->timer, EV_TIMEOUT, NULL))
        wake_in(s, 0);
}

void search_index_pause(struct search_index *s, bool paused)
{
    s->paused = paused;
    if (!paused && s->state == INDEX_IDLE)
        wake_in(s, 0);
}

void search_index_get_stats(const struct search_index *s, struct search_index_stats *out)
{
    *out = s->stats;
    out->idle = s->state == INDEX_IDLE && s->waiting_n == 0 && s->swept;
}

struct search_index *search_index_new(struct event_base *base, struct pg_pool *pool,
                                      int64_t every_ms)
{
    struct search_index *s = calloc(1, sizeof *s);
    if (!s || !(s->timer = evtimer_new(base, on_timer, s)))
        abort();
    s->pool = pool;
    s->every_ms = every_ms;
    fold_init(&s->fold);
    search_block_init(&s->block);
    pg_array_init(&s->ids, PG_INT8, ARRAY_BYTES_MAX);
    pg_array_init(&s->buckets, PG_INT4, ARRAY_BYTES_MAX);
    pg_array_init(&s->grams, PG_BYTEA, ARRAY_BYTES_MAX);
    buf_init(&s->bytes, SEARCH_BUCKET_BYTES_MAX);
    wake_in(s, every_ms);
    return s;
}

void search_index_free(struct search_index **sp)
{
    struct search_index *s = *sp;
    *sp = NULL;
    if (!s)
        return;
    assert(s->state == INDEX_IDLE);
    event_free(s->timer);
    fold_deinit(&s->fold);
    search_block_deinit(&s->block);
    pg_array_deinit(&s->ids);
    pg_array_deinit(&s->buckets);
    pg_array_deinit(&s->grams);
    buf_deinit(&s->bytes);
    free(s);
}
