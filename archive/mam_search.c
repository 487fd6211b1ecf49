// SPDX-License-Identifier: Apache-2.0
/* A page of messages with certain words (XEP-0431): the search finds their ids, in the page's
 * order and within its range, and then they are read like any others.  */
#include "archive/mam_int.h"

#include <stdlib.h>
#include <string.h>

#include "archive/opts.h"

/* False: refused. */
bool mam_search_begin(struct mam_page *p)
{
    struct search *search = p->mam->search;
    if (!p->query.fulltext)
        return true;
    if (!search) {
        lookup_refuse(&p->lookup, "cancel", "feature-not-implemented",
                      "full-text search is not offered");
        return false;
    }
    struct search_text *text = malloc(sizeof *text);
    if (!text)
        abort();
    enum search_text_kind kind = search_read(search, p->query.fulltext, text);
    if (kind == SEARCH_TEXT_GOOD) {
        p->text = text;
        return true;
    }
    free(text);
    if (kind == SEARCH_TEXT_LONG)
        lookup_refuse(&p->lookup, "modify", "not-acceptable", "too much to search for");
    return kind == SEARCH_TEXT_EMPTY; /* as good as none */
}

static void search_in(struct mam_page *p, int64_t low, int64_t high, size_t want,
                      search_found_fn found)
{
    struct search_request r = {
        .peer = p->peer, .low = low, .high = high, .backward = p->backward, .want = want};
    memcpy(r.owner, p->lookup.owner, sizeof r.owner);
    lookup_expect(&p->lookup);
    search_find(p->mam->search, &r, p->text, found, p);
}

static bool is_over(struct mam_page *p, const struct search_found *f)
{
    struct pg_error e = {.failure = f->end == SEARCH_AWAY ? PG_LOST : PG_OK};
    return lookup_is_over(&p->lookup, &e);
}

/* What was found has been read, or there was nothing. */
static void go_on(struct mam_page *p)
{
    switch (p->end) {
    case SEARCH_ENOUGH:
        mam_page_read(p);
        break;
    case SEARCH_ALL:
        mam_page_answer(p);
        break;
    case SEARCH_WEARY:
        mam_page_give_up(p, "too few matches; search for a longer word, or in less time");
        break;
    case SEARCH_AWAY: /* has been refused */
        break;
    }
}

static void on_rows(void *ctx, const struct pg_result *r, const struct pg_error *e)
{
    struct mam_page *p = ctx;
    if (lookup_is_over(&p->lookup, e))
        return;
    bool room = true, cut = false; /* at a row that came without its stanza */
    for (int i = 0, n = pg_rows(r); i < n && room && !cut; i++) {
        size_t len;
        const uint8_t *xml = pg_bytes(r, i, 1, &len);
        cut = pg_is_null(r, i, 1);
        room = cut || mam_page_take(p, pg_i64(r, i, 0), xml, len);
    }
    bool full = cut && p->large && p->rows_n > 0;
    p->more |= full;
    if (buf_failed(&p->bytes)) {
        lookup_refuse(&p->lookup, "wait", "internal-server-error", NULL);
    } else if (!room || full) {
        mam_page_answer(p);
    } else if (cut) {
        p->large = true; /* what is left is read with large stanzas */
        mam_page_read(p);
    } else {
        /* Some of them may have been removed meanwhile. */
        *(p->backward ? &p->to : &p->from) = p->found_to;
        go_on(p);
    }
}

static int compare_ids(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

/* Those that the query's field ids has, too. */
static void keep_wanted(const struct mam_page *p, const struct search_found *f,
                        struct pg_array *out)
{
    for (size_t i = 0; i < f->n; i++)
        if (!p->wanted ||
            bsearch(&f->ids[i], p->wanted, p->ids.count, sizeof *p->wanted, compare_ids))
            pg_array_add_i64(out, f->ids[i]);
}

static void on_found(void *ctx, const struct search_found *f)
{
    struct mam_page *p = ctx;
    if (is_over(p, f))
        return;
    p->end = f->end;
    if (f->n == 0) {
        go_on(p);
        return;
    }
    struct pg_array ids;
    struct mam_selection what;
    struct pg_params params;
    pg_array_init(&ids, PG_INT8, (f->n + 4) * 16);
    keep_wanted(p, f, &ids);
    p->found_to = f->ids[f->n - 1];
    mam_page_select(p, &what);
    what.filters |= MAM_BY_IDS;
    what.ids = &ids;
    what.low = p->from;
    what.high = p->to;
    what.limit = (int32_t)f->n;
    const struct pg_statement *st = mam_sql(p->mam->sql, mam_page_order(p), &what, &params);
    lookup_send(&p->lookup, st, &params, on_rows, p);
    pg_array_deinit(&ids);
}

void mam_search_read(struct mam_page *p)
{
    /* Of those that have the words, few may be among the ids. */
    size_t want = p->wanted ? SEARCH_LOOKED_MAX : mam_page_chunk(p);
    p->chunks++;
    search_in(p, p->from, p->to, want, on_found);
}

static void on_counted(void *ctx, const struct search_found *f)
{
    struct mam_page *p = ctx;
    if (is_over(p, f))
        return;
    p->has_count = f->end == SEARCH_ALL && !p->wanted;
    p->count = (int64_t)f->n;
    mam_page_read(p); /* whether there are any beyond the anchor */
}

/* All that pass the filter, whatever the anchors (R3). */
void mam_search_count(struct mam_page *p)
{
    search_in(p, p->low, p->high, MAM_COUNT_MAX + 1, on_counted);
}
