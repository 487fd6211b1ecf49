// SPDX-License-Identifier: Apache-2.0
/* The lists of XEP-0136: collections by their start, and their changes. */
#include "archive/xep0136_int.h"

#include <stdlib.h>
#include <string.h>

#include "archive/ident.h"
#include "base/stanza.h"
#include "store/pg.h"
#include "store/pg_array.h"

#define COUNT_MAX 1000 /* counting stops here: a larger number is not told */
#define COUNT_LIMIT "1001"
#define PAGE_BYTES_MAX ((size_t)256 << 10)
#define ELEMENT_BYTES 100 /* of a chat or change, beside its texts */

/* --- pages ------------------------------------------------------------------------------- */

#define WHAT                                                                                  \
    "owner = $1::uuid AND NOT removed AND start_us >= $2::bigint AND start_us < $3::bigint"
#define WITH_PEER " AND peer = $9::bigint"
#define WITH_DOMAIN                                                                           \
    " AND (jid = $9::text OR right(jid, length($9::text) + 1) = '@' || $9::text)"

/* One index scan for the page, and a short one that counts. */
#define LIST(with, direction)                                                                 \
    "SELECT jid, start_us, thread, subject, version, peer,"                                   \
    " (SELECT count(*) FROM (SELECT 1 FROM xs.collection WHERE " WHAT with                    \
    "   LIMIT " COUNT_LIMIT ") few)"                                                          \
    " FROM xs.collection WHERE " WHAT with " AND (start_us, peer) > ($4::bigint, $5::bigint)" \
    " AND (start_us, peer) < ($6::bigint, $7::bigint)"                                        \
    " ORDER BY start_us " direction ", peer " direction " LIMIT $8::int"

static const struct pg_statement lists[3][2] = {
    {{"chats_up", LIST("", "ASC")}, {"chats_down", LIST("", "DESC")}},
    {{"chats_peer_up", LIST(WITH_PEER, "ASC")}, {"chats_peer_down", LIST(WITH_PEER, "DESC")}},
    {{"chats_domain_up", LIST(WITH_DOMAIN, "ASC")},
     {"chats_domain_down", LIST(WITH_DOMAIN, "DESC")}},
};

#define CHANGES                                                                               \
    "SELECT jid, start_us, version, removed, changed,"                                        \
    " (SELECT count(*) FROM (SELECT 1 FROM xs.collection WHERE owner = $1::uuid"              \
    "   AND changed > $2::bigint LIMIT " COUNT_LIMIT ") few)"                                 \
    " FROM xs.collection WHERE owner = $1::uuid AND changed > $2::bigint"                     \
    " AND changed > $3::bigint AND changed < $4::bigint"

static const struct pg_statement changes_up = {"changes_up",
                                               CHANGES " ORDER BY changed LIMIT $5::int"};
static const struct pg_statement changes_down = {"changes_down", CHANGES
                                                 " ORDER BY changed DESC LIMIT $5::int"};

/* Removed ones are still a place. */
static const struct pg_statement find_places = {
    "chats_places", "SELECT count(*) FROM unnest($2::bigint[], $3::bigint[]) d (peer, start)"
                    " JOIN xs.collection c ON c.owner = $1::uuid AND c.peer = d.peer"
                    " AND c.start_us = d.start"};

struct place_in_list {
    int64_t start_us;
    int64_t peer;
};

struct page {
    struct place_in_list after;
    struct place_in_list before;
    int64_t low; /* of changes */
    int64_t high;
};

static struct page *page_of(struct xep0136_ask *a)
{
    struct page *p = a->more = calloc(1, sizeof *p);
    if (!p)
        abort();
    *p = (struct page){{INT64_MIN, INT64_MIN}, {INT64_MAX, INT64_MAX}, 0, INT64_MAX};
    return p;
}

static bool is_backward(const struct xep0136_ask *a)
{
    return a->query.rsm.before || a->query.rsm.last_page;
}

/* The n-th element in the order of the answer, of rows that were read in the page's direction;
 * the one row more than wanted is not among them. */
static int row_of(const struct xep0136_ask *a, int rows, int n)
{
    return is_backward(a) ? rows - 1 - n : n;
}

/* The answer is one stanza: it has an end before it is too large for one.  Texts are in the
 * columns named. */
static int rows_wanted(const struct xep0136_ask *a, const struct pg_result *r,
                       const int *texts)
{
    size_t bytes = 0;
    int n = 0;
    for (; n < pg_rows(r) && (size_t)n < a->want && bytes < PAGE_BYTES_MAX; n++) {
        bytes += ELEMENT_BYTES;
        for (const int *col = texts; *col >= 0; col++)
            bytes += strlen(pg_text(r, n, *col));
    }
    return n;
}

/* How many there are is told where a row told it, or nothing was left out. */
static void count_set(const struct xep0136_ask *a, const struct pg_result *r, int col,
                      struct rsm_answer *set)
{
    const struct rsm *rsm = &a->query.rsm;
    bool anchored = rsm->after || rsm->before;
    set->count = pg_rows(r) > 0 ? pg_i64(r, 0, col) : 0;
    set->has_count = set->count <= COUNT_MAX && (pg_rows(r) > 0 || !anchored);
    set->has_index = set->first && !anchored && !rsm->last_page;
}

/* A6: an empty list has no set; one that was asked for its size alone has. */
static void finish(struct xep0136_ask *a, struct stanza *list, const struct rsm_answer *set)
{
    bool asked_size = a->query.rsm.has_max && a->query.rsm.max == 0;
    if (set->first || asked_size)
        rsm_write(list, set);
    lookup_done(&a->lookup, list);
}

/* --- collections ------------------------------------------------------------------------- */

static void seal(const struct xep0136_ask *a, const struct pg_result *r, int row,
                 char out[ARCHIVE_ID_BYTES])
{
    ident_seal(xep0136_ident(a), pg_i64(r, row, 1), (uint64_t)pg_i64(r, row, 5), out);
}

static void on_list(void *ctx, const struct pg_result *r, const struct pg_error *e)
{
    struct xep0136_ask *a = ctx;
    if (lookup_is_over(&a->lookup, e))
        return;
    char first[ARCHIVE_ID_BYTES], last[ARCHIVE_ID_BYTES];
    struct rsm_answer set = {0};
    struct stanza *list = stanza_new(a->lookup.request.payload->arena, "list", NS_ARCHIVE);
    static const int jid_thread_subject[] = {0, 2, 3, -1};
    int n = rows_wanted(a, r, jid_thread_subject);
    for (int i = 0; i < n; i++)
        xep0136_set_chat(stanza_add(list, "chat", NS_ARCHIVE), r, row_of(a, n, i), 0);
    if (n > 0) {
        seal(a, r, row_of(a, n, 0), first);
        seal(a, r, row_of(a, n, n - 1), last);
        set.first = first;
        set.last = last;
    }
    count_set(a, r, 6, &set);
    finish(a, list, &set);
}

static void read_list(struct xep0136_ask *a)
{
    const struct page *page = a->more;
    const struct xep0136_query *q = &a->query;
    struct pg_params p;
    pg_params_init(&p);
    pg_add_uuid(&p, a->lookup.owner);
    pg_add_i64(&p, q->start_us);
    pg_add_i64(&p, q->end_us);
    pg_add_i64(&p, page->after.start_us);
    pg_add_i64(&p, page->after.peer);
    pg_add_i64(&p, page->before.start_us);
    pg_add_i64(&p, page->before.peer);
    pg_add_i32(&p, (int32_t)a->want + 1);
    if (q->match == MATCH_BARE)
        pg_add_i64(&p, (int64_t)a->peer);
    else if (q->match == MATCH_DOMAIN)
        pg_add_text(&p, q->with.bare);
    lookup_send(&a->lookup, &lists[q->match][is_backward(a)], &p, on_list, a);
}

static void on_places(void *ctx, const struct pg_result *r, const struct pg_error *e)
{
    struct xep0136_ask *a = ctx;
    const struct rsm *rsm = &a->query.rsm;
    if (lookup_is_over(&a->lookup, e))
        return;
    if (pg_i64(r, 0, 0) == !!rsm->after + !!rsm->before)
        read_list(a);
    else
        xep0136_not_found(a);
}

static bool read_anchor(const struct xep0136_ask *a, const char *text,
                        struct place_in_list *out, struct pg_array *peers,
                        struct pg_array *starts)
{
    uint64_t peer;
    if (!text)
        return true;
    if (!ident_unseal(xep0136_ident(a), text, &out->start_us, &peer))
        return false;
    out->peer = (int64_t)peer;
    pg_array_add_i64(peers, out->peer);
    pg_array_add_i64(starts, out->start_us);
    return true;
}

/* A client that begins has no anchor, and nothing to look for. */
void xep0136_list(struct xep0136_ask *a)
{
    struct page *page = page_of(a);
    const struct rsm *rsm = &a->query.rsm;
    if (a->query.match == MATCH_NOBODY) {
        lookup_done(&a->lookup,
                    stanza_new(a->lookup.request.payload->arena, "list", NS_ARCHIVE));
        return;
    }
    struct pg_array peers, starts;
    pg_array_init(&peers, PG_INT8, 1024);
    pg_array_init(&starts, PG_INT8, 1024);
    bool good = read_anchor(a, rsm->after, &page->after, &peers, &starts) &&
                read_anchor(a, rsm->before, &page->before, &peers, &starts);
    struct pg_params p;
    pg_params_init(&p);
    pg_add_uuid(&p, a->lookup.owner);
    pg_add_array(&p, &peers);
    pg_add_array(&p, &starts);
    if (!good)
        xep0136_not_found(a);
    else if (peers.count > 0)
        lookup_send(&a->lookup, &find_places, &p, on_places, a);
    else
        read_list(a);
    pg_array_deinit(&peers);
    pg_array_deinit(&starts);
}

/* --- changes (A10) ----------------------------------------------------------------------- */

static void add_change(struct stanza *modified, const struct pg_result *r, int row)
{
    struct stanza *el =
        stanza_add(modified, pg_bool(r, row, 3) ? "removed" : "changed", NS_ARCHIVE);
    xep0136_set_name(el, pg_text(r, row, 0), pg_i64(r, row, 1));
    xep0136_set_version(el, pg_i64(r, row, 2));
}

static void on_changes(void *ctx, const struct pg_result *r, const struct pg_error *e)
{
    struct xep0136_ask *a = ctx;
    if (lookup_is_over(&a->lookup, e))
        return;
    char first[ARCHIVE_ID_BYTES], last[ARCHIVE_ID_BYTES];
    struct rsm_answer set = {0};
    struct ident *ident = xep0136_ident(a);
    struct stanza *modified =
        stanza_new(a->lookup.request.payload->arena, "modified", NS_ARCHIVE);
    static const int jid[] = {0, -1};
    int n = rows_wanted(a, r, jid);
    for (int i = 0; i < n; i++)
        add_change(modified, r, row_of(a, n, i));
    if (n > 0) {
        ident_archive_id(ident, a->lookup.owner, pg_i64(r, row_of(a, n, 0), 4), first);
        ident_archive_id(ident, a->lookup.owner, pg_i64(r, row_of(a, n, n - 1), 4), last);
        set.first = first;
        set.last = last;
    }
    count_set(a, r, 5, &set);
    finish(a, modified, &set);
}

/* A place among changes stays one when the collection that had it has changed again: clients
 * keep it over sessions. */
static bool read_change(const struct xep0136_ask *a, const char *text, int64_t *out)
{
    return !text || ident_archive_id_parse(xep0136_ident(a), a->lookup.owner, text, out);
}

void xep0136_modified(struct xep0136_ask *a)
{
    struct page *page = page_of(a);
    const struct rsm *rsm = &a->query.rsm;
    if (!read_change(a, rsm->after, &page->low) || !read_change(a, rsm->before, &page->high)) {
        xep0136_not_found(a);
        return;
    }
    struct pg_params p;
    pg_params_init(&p);
    pg_add_uuid(&p, a->lookup.owner);
    /* After that moment. */
    pg_add_i64(&p, ident_id_from_us(a->query.start_us) | 255);
    pg_add_i64(&p, page->low);
    pg_add_i64(&p, page->high);
    pg_add_i32(&p, (int32_t)a->want + 1);
    lookup_send(&a->lookup, is_backward(a) ? &changes_down : &changes_up, &p, on_changes, a);
}
