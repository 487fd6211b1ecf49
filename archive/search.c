// SPDX-License-Identifier: Apache-2.0
#include "archive/search.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "archive/search_block.h"
#include "archive/search_sql.h"
#include "base/log.h"
#include "store/pg.h"
#include "store/pg_array.h"

#define BLOCKS_FIRST 8 /* asked for at once; twice as many each time */
#define BLOCKS_MAX 64
#define BODIES_MAX 128 /* read at once */
#define SCAN_ROWS 512  /* the same, where there is no index */
#define ARRAY_BYTES_MAX ((size_t)1 << 20)

/* A part of the archive that is searched as one, above < id <= last. */
struct piece {
    int64_t above;
    int64_t last;
    bool indexed;
    struct search_rows rows; /* indexed: these may match */
};

enum find_state {
    FIND_BOUND,    /* where does the index end? -> PIECES, SCANNING */
    FIND_PIECES,   /* which rows of the next blocks may match? -> READING, SCANNING, end */
    FIND_READING,  /* do they? -> PIECES, READING, SCANNING, end */
    FIND_SCANNING, /* what matches where there is no index? the same */
};

#define FIND_MAGIC 0x66696e64

struct find {
    unsigned magic;
    struct search *search;
    struct search_request r;
    struct search_text text;
    search_found_fn found;
    void *ctx;
    enum find_state state;
    int64_t low; /* what is left to be searched lies strictly between, in r's order */
    int64_t high;
    int64_t bound;    /* the index ends here */
    bool tail_done;   /* what lies behind it was searched */
    bool blocks_done; /* there are no more blocks */
    int32_t blocks;   /* to be asked for next */
    uint32_t grams[SEARCH_GRAMS_MAX + 1];
    size_t grams_n;
    struct piece pieces[BLOCKS_MAX];
    size_t pieces_n;
    size_t piece; /* in hand */
    size_t looked;
    bool
        read_all; /* of the pieces up to and with .piece, the last query asked for every row */
    int64_t *ids;
    size_t n;
};

struct search {
    struct pg_pool *pool;
    size_t looked_max;
    struct fold fold;
    struct pg_array arrays[2];
    unsigned open;
};

struct search *search_new(struct pg_pool *pool, size_t looked_max)
{
    struct search *s = calloc(1, sizeof *s);
    if (!s)
        abort();
    s->pool = pool;
    s->looked_max = looked_max;
    fold_init(&s->fold);
    pg_array_init(&s->arrays[0], PG_INT8, ARRAY_BYTES_MAX);
    pg_array_init(&s->arrays[1], PG_INT4, ARRAY_BYTES_MAX);
    return s;
}

void search_free(struct search **sp)
{
    struct search *s = *sp;
    *sp = NULL;
    if (!s)
        return;
    assert(s->open == 0);
    fold_deinit(&s->fold);
    pg_array_deinit(&s->arrays[0]);
    pg_array_deinit(&s->arrays[1]);
    free(s);
}

enum search_text_kind search_read(struct search *s, const char *text, struct search_text *out)
{
    return search_text_read(out, &s->fold, text);
}

static void finish(struct find *f, enum search_end end)
{
    struct search_found found = {end, f->ids, f->n, f->r.backward ? f->high : f->low};
    f->search->open--;
    f->found(f->ctx, &found);
    f->magic = 0;
    free(f->ids);
    free(f);
}

static struct find *check(void *ctx, const struct pg_result *r, const struct pg_error *e)
{
    struct find *f = ctx;
    assert(f->magic == FIND_MAGIC);
    if (r)
        return f;
    if (e->failure != PG_LOST)
        log_warn("search", "failed sqlstate=%s why=\"%s\"", e->sqlstate, e->text);
    finish(f, SEARCH_AWAY);
    return NULL;
}

static void go_on(struct find *f);

/* Everything up to this id was searched. */
static void pass(struct find *f, int64_t id)
{
    if (f->r.backward && id < f->high)
        f->high = id;
    else if (!f->r.backward && id > f->low)
        f->low = id;
}

/* False when there are enough. */
static bool look_at(struct find *f, int64_t id, const char *body)
{
    pass(f, id);
    if (!body)
        return true;
    search_text_fold(&f->search->fold, body);
    if (search_text_matches(&f->text, &f->search->fold))
        f->ids[f->n++] = id;
    return f->n < f->r.want;
}

/* --- where there is no index ------------------------------------------------------------ */

static int64_t piece_low(const struct find *f, const struct piece *p)
{
    return p->above > f->low ? p->above : f->low;
}

static int64_t piece_high(const struct find *f, const struct piece *p)
{
    return p->last < f->high ? p->last + 1 : f->high;
}

/* A piece is behind us. */
static void pass_piece(struct find *f)
{
    const struct piece *p = &f->pieces[f->piece++];
    if (f->r.backward)
        pass(f, p->above + 1);
    else
        pass(f, p->last);
}

static void on_scanned(void *ctx, const struct pg_result *r, const struct pg_error *e)
{
    struct find *f = check(ctx, r, e);
    if (!f)
        return;
    int n = pg_rows(r);
    f->looked += (size_t)n;
    for (int i = 0; i < n; i++)
        if (!look_at(f, pg_i64(r, i, 0), pg_is_null(r, i, 1) ? NULL : pg_text(r, i, 1))) {
            finish(f, SEARCH_ENOUGH);
            return;
        }
    if (n < SCAN_ROWS)
        pass_piece(f);
    go_on(f);
}

static void scan(struct find *f)
{
    const struct piece *p = &f->pieces[f->piece];
    struct pg_params params;
    pg_params_init(&params);
    pg_add_uuid(&params, f->r.owner);
    pg_add_i64(&params, piece_low(f, p));
    pg_add_i64(&params, piece_high(f, p));
    pg_add_i32(&params, SCAN_ROWS);
    pg_add_i64(&params, (int64_t)f->r.peer);
    f->state = FIND_SCANNING;
    pg_pool_send(f->search->pool, f->r.backward ? &search_sql_scan_down : &search_sql_scan_up,
                 &params, on_scanned, f);
}

/* --- where there is one ----------------------------------------------------------------- */

static bool is_empty(const struct piece *p)
{
    for (size_t i = 0; i < SEARCH_BLOCK_WORDS; i++)
        if (p->rows.bits[i])
            return false;
    return true;
}

/* Takes the next row out of a piece, in the order of the search; false when it has none. */
static bool take_row(struct find *f, struct piece *p, unsigned *row_out)
{
    for (size_t i = 0; i < SEARCH_BLOCK_WORDS; i++) {
        size_t at = f->r.backward ? SEARCH_BLOCK_WORDS - 1 - i : i;
        uint64_t *bits = &p->rows.bits[at];
        if (!*bits)
            continue;
        unsigned bit =
            (unsigned)(f->r.backward ? 63 - __builtin_clzll(*bits) : __builtin_ctzll(*bits));
        *bits &= ~(UINT64_C(1) << bit);
        *row_out = (unsigned)at * 64 + bit;
        return true;
    }
    return false;
}

static void on_bodies(void *ctx, const struct pg_result *r, const struct pg_error *e)
{
    struct find *f = check(ctx, r, e);
    if (!f)
        return;
    int n = pg_rows(r);
    if (n > 0 && pg_is_null(r, 0, 0)) { /* a block was emptied since we asked for it */
        f->pieces_n = f->piece = 0;
        f->blocks_done = false;
        n = 0;
    }
    for (int i = 0; i < n; i++) {
        int row = f->r.backward ? n - 1 - i : i;
        if (!look_at(f, pg_i64(r, row, 0), pg_text(r, row, 1))) {
            finish(f, SEARCH_ENOUGH);
            return;
        }
    }
    go_on(f);
}

/* The rows that may match, of this piece and those behind it up to one without index. */
static void read_bodies(struct find *f)
{
    struct pg_array *above = &f->search->arrays[0], *rows = &f->search->arrays[1];
    pg_array_reset(above);
    pg_array_reset(rows);
    size_t want = f->r.want - f->n + 8; /* some will not match after all */
    if (want > BODIES_MAX)
        want = BODIES_MAX;
    for (size_t at = f->piece; at < f->pieces_n && f->pieces[at].indexed; at++) {
        unsigned row;
        while (rows->count < want && take_row(f, &f->pieces[at], &row)) {
            pg_array_add_i64(above, f->pieces[at].above);
            pg_array_add_i32(rows, (int32_t)row + 1);
        }
        if (rows->count == want)
            break;
    }
    struct pg_params params;
    pg_params_init(&params);
    pg_add_uuid(&params, f->r.owner);
    pg_add_array(&params, above);
    pg_add_array(&params, rows);
    pg_add_i64(&params, f->low);
    pg_add_i64(&params, f->high);
    pg_add_i64(&params, (int64_t)f->r.peer);
    f->state = FIND_READING;
    f->looked += rows->count;
    pg_pool_send(f->search->pool, &search_sql_bodies, &params, on_bodies, f);
}

static struct piece *add_piece(struct find *f, int64_t above, int64_t last, bool indexed)
{
    struct piece *p = &f->pieces[f->pieces_n++];
    *p = (struct piece){.above = above, .last = last, .indexed = indexed};
    memset(&p->rows, 0xff, sizeof p->rows);
    return p;
}

/* Keeps the rows that have all grams of this bucket. */
static void apply_bucket(const struct find *f, struct piece *p, unsigned bucket,
                         const uint8_t *bytes, size_t len)
{
    for (size_t i = 0; i < f->grams_n; i++)
        if (search_bucket_of(f->grams[i]) == bucket)
            search_bucket_keep(bytes, len, f->grams[i], &p->rows);
}

static void add_buckets(const struct find *f, struct pg_array *out)
{
    uint64_t seen = 0;
    for (size_t i = 0; i < f->grams_n; i++) {
        unsigned bucket = search_bucket_of(f->grams[i]);
        if (!(seen >> bucket & 1))
            pg_array_add_i32(out, (int32_t)bucket);
        seen |= UINT64_C(1) << bucket;
    }
}

static void on_blocks(void *ctx, const struct pg_result *r, const struct pg_error *e)
{
    struct find *f = check(ctx, r, e);
    if (!f)
        return;
    struct piece *p = NULL;
    f->pieces_n = f->piece = 0;
    for (int i = 0, n = pg_rows(r); i < n; i++) {
        int64_t above = pg_i64(r, i, 0);
        size_t len;
        if (!p || p->above != above)
            p = add_piece(f, above, pg_i64(r, i, 1), pg_bool(r, i, 2));
        if (!p->indexed)
            continue;
        const uint8_t *bytes = pg_bytes(r, i, 4, &len);
        if (pg_is_null(r, i, 4)) /* no message of this block has any of the bucket's grams */
            memset(&p->rows, 0, sizeof p->rows);
        else
            apply_bucket(f, p, (unsigned)pg_i64(r, i, 3), bytes, len);
    }
    f->blocks_done = f->pieces_n < (size_t)f->blocks;
    f->blocks = f->blocks * 2 < BLOCKS_MAX ? f->blocks * 2 : BLOCKS_MAX;
    go_on(f);
}

static void ask_blocks(struct find *f)
{
    struct pg_array *buckets = &f->search->arrays[1];
    struct pg_params params;
    pg_array_reset(buckets);
    add_buckets(f, buckets);
    pg_params_init(&params);
    pg_add_uuid(&params, f->r.owner);
    pg_add_i64(&params, f->low);
    pg_add_i64(&params, f->high - 1 < f->bound ? f->high - 1 : f->bound);
    pg_add_i32(&params, f->blocks);
    pg_add_array(&params, buckets);
    f->state = FIND_PIECES;
    pg_pool_send(f->search->pool,
                 f->r.backward ? &search_sql_blocks_down : &search_sql_blocks_up, &params,
                 on_blocks, f);
}

/* --- the whole -------------------------------------------------------------------------- */

static bool is_over(const struct find *f)
{
    return f->low >= f->high - 1 || (f->blocks_done && f->tail_done);
}

/* Pieces that were read; the index ends where the tail begins. */
static void go_on(struct find *f)
{
    while (f->piece < f->pieces_n && f->pieces[f->piece].indexed &&
           is_empty(&f->pieces[f->piece]))
        pass_piece(f);
    bool left = f->piece < f->pieces_n;
    bool tail_first = f->r.backward || f->blocks_done;
    if (!left && is_over(f)) {
        finish(f, SEARCH_ALL);
    } else if (f->looked >= f->search->looked_max) {
        finish(f, SEARCH_WEARY);
    } else if (left && f->pieces[f->piece].indexed) {
        read_bodies(f);
    } else if (left) {
        scan(f);
    } else if (!f->tail_done && tail_first) {
        f->tail_done = true;
        f->pieces_n = f->piece = 0;
        add_piece(f, f->bound, INT64_MAX - 1, false);
        scan(f);
    } else {
        ask_blocks(f);
    }
}

static void on_bound(void *ctx, const struct pg_result *r, const struct pg_error *e)
{
    struct find *f = check(ctx, r, e);
    if (!f)
        return;
    /* Without grams the index is of no help, and all of it is tail. */
    f->bound = f->grams_n > 0 ? pg_i64(r, 0, 0) : 0;
    f->blocks_done = f->bound <= f->low;
    f->tail_done = f->bound >= f->high - 1;
    go_on(f);
}

void search_find(struct search *s, const struct search_request *r,
                 const struct search_text *text, search_found_fn found, void *ctx)
{
    struct find *f = calloc(1, sizeof *f);
    if (!f || !(f->ids = calloc(r->want, sizeof *f->ids)))
        abort();
    assert(r->want > 0 && text->words_n > 0);
    f->magic = FIND_MAGIC;
    f->search = s;
    f->r = *r;
    f->text = *text;
    f->found = found;
    f->ctx = ctx;
    f->low = r->low;
    f->high = r->high;
    f->blocks = BLOCKS_FIRST;
    f->grams_n = text->grams_n;
    memcpy(f->grams, text->grams, sizeof text->grams);
    if (f->grams_n > 0 && r->peer)
        f->grams[f->grams_n++] = search_gram_of_peer(r->peer);
    s->open++;
    struct pg_params params;
    pg_params_init(&params);
    pg_add_uuid(&params, r->owner);
    f->state = FIND_BOUND;
    pg_pool_send(s->pool, &search_sql_bound, &params, on_bound, f);
}
