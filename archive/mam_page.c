// SPDX-License-Identifier: Apache-2.0
/* A page: which ids it may hold, and reading it. */
#include "archive/mam_int.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "archive/ident.h"
#include "archive/mam_sql.h"
#include "archive/opts.h"
#include "base/stanza.h"
#include "base/xml_parse.h"

#define ROW_BYTES_MAX (16 << 20)
#define IDS_MAX 1000   /* named in one query */
#define CHUNKS_MAX 500 /* scans for one page that filters by resource */
#define CHUNK_MIN 200  /* rows in each of these */

/* --- reading ----------------------------------------------------------------------------- */

static bool names_resource(const struct mam_page *p)
{
    return p->query.has_with && !jid_is_bare(&p->query.with);
}

/* with names a resource: only messages from or to exactly it (M5). */
static bool resource_matches(const struct mam_page *p, const uint8_t *xml, size_t len)
{
    if (!names_resource(p))
        return true;
    struct err e;
    struct stanza *s = xml_parse_element((const char *)xml, len, &e);
    if (!s)
        return false;
    struct jid from, to;
    bool match =
        (jid_parse(&from, stanza_get(s, "from")) && jid_same(&from, &p->query.with)) ||
        (jid_parse(&to, stanza_get(s, "to")) && jid_same(&to, &p->query.with));
    stanza_free(&s);
    return match;
}

/* False when the page is full: this row is beyond it. */
bool mam_page_take(struct mam_page *p, int64_t id, const uint8_t *xml, size_t len)
{
    *(p->backward ? &p->to : &p->from) = id;
    if (!resource_matches(p, xml, len))
        return true;
    bool too_large = p->rows_n > 0 && buf_len(&p->bytes) >= MAM_PAGE_BYTES;
    if (p->rows_n == p->want || too_large) {
        p->more = true;
        return false;
    }
    p->rows[p->rows_n++] = (struct mam_row){id, buf_len(&p->bytes), len};
    buf_add(&p->bytes, xml, len);
    return true;
}

void mam_page_select(const struct mam_page *p, struct mam_selection *out)
{
    *out = (struct mam_selection){
        .owner = p->lookup.owner,
        .filters = (p->peer ? MAM_BY_PEER : 0u) | (p->ids.count > 0 ? MAM_BY_IDS : 0u),
        .peer = (int64_t)p->peer,
        .ids = &p->ids,
    };
}

size_t mam_page_chunk(const struct mam_page *p)
{
    size_t rows = p->want + 1;
    return names_resource(p) && rows < CHUNK_MIN ? CHUNK_MIN : rows;
}

static void on_rows(void *ctx, const struct pg_result *r, const struct pg_error *e);

enum mam_read mam_page_order(const struct mam_page *p)
{
    if (p->large)
        return p->backward ? MAM_LARGE_DOWN : MAM_LARGE_UP;
    return p->backward ? MAM_DOWN : MAM_UP;
}

static void read_chunk(struct mam_page *p)
{
    struct mam_selection what;
    struct pg_params params;
    mam_page_select(p, &what);
    what.low = p->from;
    what.high = p->to;
    what.limit = (int32_t)mam_page_chunk(p);
    p->chunks++;
    const struct pg_statement *st = mam_sql(p->mam->sql, mam_page_order(p), &what, &params);
    lookup_send(&p->lookup, st, &params, on_rows, p);
}

void mam_page_give_up(struct mam_page *p, const char *advice)
{
    p->more = true;
    if (p->rows_n > 0)
        mam_page_answer(p);
    else
        lookup_refuse(&p->lookup, "wait", "resource-constraint", advice);
}

void mam_page_read(struct mam_page *p)
{
    bool late = p->chunks >= CHUNKS_MAX || (p->chunks > 0 && lookup_should_end(&p->lookup));
    if (late && (names_resource(p) || p->text))
        mam_page_give_up(p, "too few matches; ask without resource");
    else if (p->text)
        mam_search_read(p);
    else
        read_chunk(p);
}

static void on_rows(void *ctx, const struct pg_result *r, const struct pg_error *e)
{
    struct mam_page *p = ctx;
    if (lookup_is_over(&p->lookup, e))
        return;
    assert(p->magic == MAM_PAGE_MAGIC);
    int n = pg_rows(r);
    bool room = true, cut = false; /* at a row that came without its stanza */
    for (int i = 0; i < n && room && !cut; i++) {
        size_t len;
        const uint8_t *xml = pg_bytes(r, i, 1, &len);
        cut = pg_is_null(r, i, 1);
        room = cut || mam_page_take(p, pg_i64(r, i, 0), xml, len);
    }
    bool full = cut && !names_resource(p) && (p->large || p->rows_n == p->want);
    p->more |= full;
    p->large |= cut;
    /* A short chunk means that the index has ended; else filtering left room for more. */
    if (buf_failed(&p->bytes))
        lookup_refuse(&p->lookup, "wait", "internal-server-error", NULL);
    else if (!room || full || (!cut && (size_t)n < mam_page_chunk(p)))
        mam_page_answer(p);
    else
        mam_page_read(p);
}

/* --- counting and looking up ------------------------------------------------------------- */

static void on_count(void *ctx, const struct pg_result *r, const struct pg_error *e)
{
    struct mam_page *p = ctx;
    if (lookup_is_over(&p->lookup, e))
        return;
    p->count = pg_i64(r, 0, 0);
    p->has_count = p->count <= MAM_COUNT_MAX;
    read_chunk(p); /* whether there are any beyond the anchor */
}

/* <max>0</max>: how many are there (R9), as long as counting is cheap.  All that pass the
 * filter, whatever the anchors (R3). */
static void count(struct mam_page *p)
{
    struct mam_selection what;
    struct pg_params params;
    mam_page_select(p, &what);
    what.low = p->low;
    what.high = p->high;
    what.limit = MAM_COUNT_MAX + 1;
    const struct pg_statement *st = mam_sql(p->mam->sql, MAM_COUNT, &what, &params);
    lookup_send(&p->lookup, st, &params, on_count, p);
}

static void read_rows(struct mam_page *p)
{
    bool counts = p->want == 0 && !names_resource(p);
    if (counts && p->text)
        mam_search_count(p);
    else if (counts)
        count(p);
    else
        mam_page_read(p);
}

static const struct pg_statement held = {
    "mam_held", "SELECT count(*) FROM unnest($2::bigint[]) AS wanted CROSS JOIN LATERAL"
                " (SELECT 1 FROM xs.message WHERE owner = $1::uuid AND id = wanted LIMIT 1)"
                " AS message"};

static void on_held(void *ctx, const struct pg_result *r, const struct pg_error *e)
{
    struct mam_page *p = ctx;
    if (lookup_is_over(&p->lookup, e))
        return;
    if (pg_i64(r, 0, 0) == p->ids.count)
        read_rows(p);
    else
        lookup_refuse(&p->lookup, "cancel", "item-not-found", NULL);
}

/* All of them have to be in the archive (M9), whatever else is asked. */
static void look_ids_up(struct mam_page *p)
{
    struct pg_params params;
    pg_params_init(&params);
    pg_add_uuid(&params, p->lookup.owner);
    pg_add_array(&params, &p->ids);
    lookup_send(&p->lookup, &held, &params, on_held, p);
}

static void read_page(struct lookup *l)
{
    struct mam_page *p = (struct mam_page *)l;
    if (p->ids.count > 0)
        look_ids_up(p);
    else
        read_rows(p);
}

/* --- which ids --------------------------------------------------------------------------- */

/* An id of ours, or a client's that comes from ejabberd's mod_mam: its ids are the time in
 * microseconds, sixteen digits. */
static bool read_id(const struct mam_page *p, const char *text, int64_t *id_out)
{
    if (strlen(text) == 16 && strspn(text, "0123456789") == 16) {
        *id_out = ident_id_from_us(strtoll(text, NULL, 10));
        return true;
    }
    return ident_archive_id_parse(lookups_ident(p->mam->lookups), p->lookup.owner, text,
                                  id_out);
}

/* NULL is no anchor; false: an unknown one. */
static bool narrow_below(const struct mam_page *p, const char *after, int64_t *low)
{
    int64_t id;
    if (!after)
        return true;
    if (!read_id(p, after, &id))
        return false;
    *low = id > *low ? id : *low;
    return true;
}

static bool narrow_above(const struct mam_page *p, const char *before, int64_t *high)
{
    int64_t id;
    if (!before)
        return true;
    if (!read_id(p, before, &id))
        return false;
    *high = id < *high ? id : *high;
    return true;
}

/* Times, neighbours and anchors as open intervals of ids: an anchor need not pass the filter,
 * its place counts (M11).  False: one of them is not of this archive. */
static bool find_range(struct mam_page *p)
{
    const struct mam_query *q = &p->query;
    p->low = ident_id_from_us(q->start_us) - 1;
    p->high = INT64_MAX;
    if (q->end_us < ident_us_from_id(INT64_MAX))
        p->high = ident_id_from_us(q->end_us + 1);
    if (!narrow_below(p, q->after_id, &p->low) || !narrow_above(p, q->before_id, &p->high))
        return false;
    p->from = p->low;
    p->to = p->high;
    p->backward = q->rsm.before || q->rsm.last_page;
    p->anchored = q->rsm.before || q->rsm.after;
    return narrow_below(p, q->rsm.after, &p->from) && narrow_above(p, q->rsm.before, &p->to);
}

static int compare_ids(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

/* A copy of sorted ids without repetitions. */
static int64_t *keep_once(const int64_t *ids, size_t n)
{
    int64_t *copy = malloc(n * sizeof *copy);
    if (!copy)
        abort();
    size_t kept = 0;
    for (size_t i = 0; i < n; i++)
        if (i == 0 || ids[i] != ids[i - 1])
            copy[kept++] = ids[i];
    return copy;
}

/* False: it has been refused. */
static bool find_ids(struct mam_page *p)
{
    int64_t ids[IDS_MAX];
    size_t n = 0;
    const struct stanza *at = NULL;
    const char *text;
    while (p->query.ids && (text = mam_query_next_id(&p->query, &at)) != NULL) {
        if (n == IDS_MAX) {
            lookup_refuse(&p->lookup, "modify", "not-acceptable", "too many ids in one query");
            return false;
        }
        if (!read_id(p, text, &ids[n++])) {
            lookup_refuse(&p->lookup, "cancel", "item-not-found", NULL);
            return false;
        }
    }
    if (n == 0)
        return true;
    qsort(ids, n, sizeof *ids, compare_ids);
    for (size_t i = 0; i < n; i++)
        if (i == 0 || ids[i] != ids[i - 1])
            pg_array_add_i64(&p->ids, ids[i]);
    if (p->query.fulltext)
        p->wanted = keep_once(ids, n);
    return true;
}

static void set_page_size(struct mam_page *p)
{
    const struct archive_opts *o = p->mam->opts;
    const struct rsm *rsm = &p->query.rsm;
    p->want = rsm->has_max ? rsm->max : o->page_default;
    if (p->want > o->page_max)
        p->want = o->page_max;
    p->rows = calloc(p->want + 1, sizeof *p->rows);
    if (!p->rows)
        abort();
}

static void page_begin(struct mam_page *p)
{
    if (p->query.has_with)
        p->peer =
            ident_peer(lookups_ident(p->mam->lookups), p->lookup.owner, p->query.with.bare);
    if (!find_range(p)) {
        lookup_refuse(&p->lookup, "cancel", "item-not-found", NULL);
        return;
    }
    if (!find_ids(p) || !mam_search_begin(p))
        return;
    set_page_size(p);
    /* What may look at many more rows than it answers with. */
    bool scans =
        names_resource(p) || p->want == 0 || p->ids.count > p->want || p->text != NULL;
    lookup_wait(&p->lookup, scans ? TURN_SCAN : TURN_PAGE);
}

static void page_free(struct lookup *l)
{
    struct mam_page *p = (struct mam_page *)l;
    p->magic = 0;
    buf_deinit(&p->bytes);
    pg_array_deinit(&p->ids);
    free(p->rows);
    free(p->text);
    free(p->wanted);
    free(p);
}

void mam_page_ask(struct mam *m, const struct archive_request *r,
                  const struct archive_answer *answer)
{
    static const struct lookup_kind kind = {.read = read_page, .free = page_free};
    struct mam_refusal why;
    struct mam_page *p = calloc(1, sizeof *p);
    if (!p)
        abort();
    p->magic = MAM_PAGE_MAGIC;
    p->mam = m;
    buf_init(&p->bytes, MAM_PAGE_BYTES + ROW_BYTES_MAX);
    pg_array_init(&p->ids, PG_INT8, IDS_MAX * 16);
    bool good = mam_query_read(&p->query, r->payload, &why);
    if (!good) {
        page_free(&p->lookup);
        answer->error(answer->ctx, why.type, why.condition, why.text);
    } else if (lookup_begin(m->lookups, &p->lookup, &kind, r, answer)) {
        page_begin(p);
    }
}
