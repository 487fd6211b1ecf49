// SPDX-License-Identifier: Apache-2.0
/* One collection of XEP-0136, page by page: what was archived and what clients saved in it. */
#include "archive/xep0136_int.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "archive/ident.h"
#include "archive/rows.h"
#include "base/arena.h"
#include "base/datetime.h"
#include "base/stanza.h"
#include "base/xml_parse.h"
#include "store/pg.h"

#define PAGE_BYTES_MAX "262144"          /* of one answer: it is a single stanza */
#define TREE_BYTES_MAX ((size_t)8 << 20) /* half of what an answer may take in memory */
#define SECOND_US INT64_C(1000000)
#define NO_TIME_US INT64_C(253402300800000000) /* later than anything */
#define ARCHIVED_MAX 255                       /* n of a message; saved entries have more */
#define COUNT_MAX 1000
#define COUNT_LIMIT "1001"

static const struct pg_statement find_chat = {
    "chat_find",
    "SELECT jid, start_us, thread, subject, version, first_id, last_id,"
    " previous, next, form FROM xs.collection WHERE owner = $1::uuid AND peer = $2::bigint"
    " AND start_us = $3::bigint AND NOT removed"};

/* Messages keep their place by (time, n): n of an archived one is the last byte of its id.
 * What is too much for a page comes without its content, of which only the first may be more.
 */
#define ARCHIVED " FROM xs.message WHERE owner = $1::uuid AND peer = $2::bigint AND " ROW_SHOWN
#define SAVED                                                                                 \
    " FROM xs.saved WHERE owner = $1::uuid AND peer = $2::bigint AND start_us = $3::bigint"
#define CHAT(direction)                                                                       \
    "SELECT at_us, n, flags, CASE WHEN c.before = 0 OR c.before + octet_length(xml) "         \
    "<= " PAGE_BYTES_MAX " THEN xml END FROM (SELECT p.*, sum(octet_length(xml))"             \
    "   OVER (ORDER BY at_us " direction ", n " direction " ROWS UNBOUNDED PRECEDING)"        \
    "   - octet_length(xml) AS before FROM ("                                                 \
    "(SELECT (id >> 8) + 1577836800000000 AS at_us, (id & 255)::int AS n, flags, stanza AS "  \
    "xml" ARCHIVED " AND id > $4::bigint AND id < $5::bigint ORDER BY id " direction          \
    " LIMIT $10::int) UNION ALL (SELECT at_us, n, NULL, xml" SAVED                            \
    " AND (at_us, n) > ($6::bigint, $7::int) AND (at_us, n) < ($8::bigint, $9::int)"          \
    " ORDER BY at_us " direction ", n " direction " LIMIT $10::int)"                          \
    " ORDER BY at_us " direction ", n " direction " LIMIT $10::int) p) c"                     \
    " ORDER BY at_us " direction ", n " direction

static const struct pg_statement chat_up = {"chat_up", CHAT("ASC")};
static const struct pg_statement chat_down = {"chat_down", CHAT("DESC")};
static const struct pg_statement chat_count = {
    "chat_count", "SELECT count(*) FROM ((SELECT 1" ARCHIVED
                  " AND id >= $4::bigint AND id <= $5::bigint LIMIT " COUNT_LIMIT ")"
                  " UNION ALL (SELECT 1" SAVED " LIMIT " COUNT_LIMIT ")) few"};

struct place_in_chat {
    int64_t at_us;
    int32_t n;
};

struct chat {
    struct stanza *el;
    int64_t start_us;
    int64_t first_id; /* 0: nothing was archived */
    int64_t last_id;
    struct place_in_chat after;
    struct place_in_chat before;
    bool has_count;
    int64_t count;
};

static bool is_backward(const struct xep0136_ask *a)
{
    return a->query.rsm.before || a->query.rsm.last_page;
}

/* --- elements ---------------------------------------------------------------------------- */

static bool is_for_servers(const struct stanza *el)
{
    return stanza_is(el, "stanza-id", "urn:xmpp:sid:0") ||
           stanza_is(el, "delay", "urn:xmpp:delay") || stanza_is(el, "thread", NULL) ||
           stanza_is(el, NULL, "urn:xmpp:hints");
}

/* A body is of the archive's namespace there (XEP-0136, section 3). */
static void add_child(struct stanza *parent, const struct stanza *message,
                      const struct stanza *child)
{
    struct stanza *copy = stanza_copy(parent->arena, child);
    if (!copy)
        return;
    if (strcmp(child->ns, message->ns) == 0)
        copy->ns = parent->ns;
    stanza_append(parent, copy);
}

/* <from/> and <to/> are never empty (A4). */
static struct stanza *add_archived(struct stanza *chat, int64_t flags, const struct stanza *m)
{
    struct stanza *el = stanza_add(chat, flags & ROW_OUTGOING ? "to" : "from", NS_ARCHIVE);
    for (const struct stanza *c = m->first; el && c; c = c->next)
        if (c->name && !is_for_servers(c))
            add_child(el, m, c);
    for (const struct stanza *c = m->first; el && !el->first && c; c = c->next)
        if (c->name)
            add_child(el, m, c);
    return el;
}

/* Whole seconds since the previous message, so that their sum is the time (A4): what was cut
 * off before counts again.  What lies before the previous one says its time. */
static void set_time(struct stanza *el, int64_t start_us, int64_t previous_us, int64_t at_us)
{
    int64_t before = (previous_us - start_us) / SECOND_US;
    int64_t now = (at_us - start_us) / SECOND_US;
    char text[DATETIME_BYTES];
    if (at_us < start_us || now < before) {
        datetime_format_short(at_us, text);
        stanza_set(el, "utc", text);
        return;
    }
    (void)snprintf(text, sizeof text, "%" PRId64, now - before);
    stanza_set(el, "secs", text);
}

/* True when it is a message, whose time the next one goes by. */
static bool add_entry(struct xep0136_ask *a, const struct pg_result *r, int row,
                      int64_t previous_us)
{
    const struct chat *chat = a->more;
    size_t len, max = a->x->opts->message_bytes_max;
    struct err e;
    const uint8_t *xml = pg_bytes(r, row, 3, &len);
    struct stanza *stored = xml_parse_element((const char *)xml, len, &e);
    /* One that is too large for any stanza is left out, as no client could get it. */
    if (!stored || arena_used(stored->arena) > TREE_BYTES_MAX || (max && len > max)) {
        stanza_free(&stored);
        return false;
    }
    struct stanza *el;
    if (pg_is_null(r, row, 2))
        stanza_append(chat->el, el = stanza_copy(chat->el->arena, stored));
    else
        el = add_archived(chat->el, pg_i64(r, row, 2), stored);
    stanza_free(&stored);
    bool is_message = el && strcmp(el->name, "note") != 0;
    if (is_message)
        set_time(el, chat->start_us, previous_us, pg_i64(r, row, 0));
    return is_message;
}

/* --- the page ---------------------------------------------------------------------------- */

/* Which of the rows that were read, in the order of reading, are in the page; one more may be
 * there, beyond its end. */
static int rows_in_page(const struct xep0136_ask *a, const struct pg_result *r)
{
    int n = 0;
    while (n < pg_rows(r) && (size_t)n < a->want && !pg_is_null(r, n, 3))
        n++;
    return n;
}

static void seal(const struct xep0136_ask *a, const struct pg_result *r, int row,
                 char out[ARCHIVE_ID_BYTES])
{
    uint64_t n = (uint64_t)pg_i64(r, row, 1);
    ident_seal(xep0136_ident(a), pg_i64(r, row, 0), n << 32 | (a->peer & UINT32_MAX), out);
}

static bool unseal(const struct xep0136_ask *a, const char *text, struct place_in_chat *out)
{
    uint64_t b;
    if (!text)
        return true;
    if (!ident_unseal(xep0136_ident(a), text, &out->at_us, &b) ||
        (b & UINT32_MAX) != (a->peer & UINT32_MAX) || b >> 32 > INT32_MAX)
        return false;
    out->n = (int32_t)(b >> 32);
    return true;
}

/* The time of what comes before the page's first: read with a page that goes back, the anchor
 * of one that goes on.  A saved entry may be a note, from which nothing counts: then the first
 * says its time. */
static int64_t time_before(const struct xep0136_ask *a, const struct pg_result *r, int n)
{
    const struct chat *chat = a->more;
    if (is_backward(a) && pg_rows(r) > n)
        return pg_i64(r, n, 1) > ARCHIVED_MAX ? NO_TIME_US : pg_i64(r, n, 0);
    if (a->query.rsm.after)
        return chat->after.n > ARCHIVED_MAX ? NO_TIME_US : chat->after.at_us;
    return chat->start_us;
}

static void on_page(void *ctx, const struct pg_result *r, const struct pg_error *e)
{
    struct xep0136_ask *a = ctx;
    const struct chat *chat = a->more;
    if (lookup_is_over(&a->lookup, e))
        return;
    char first[ARCHIVE_ID_BYTES], last[ARCHIVE_ID_BYTES];
    struct rsm_answer set = {.has_count = chat->has_count, .count = chat->count};
    int n = rows_in_page(a, r);
    int64_t previous_us = time_before(a, r, n);
    for (int i = 0; i < n; i++) {
        int row = is_backward(a) ? n - 1 - i : i;
        if (add_entry(a, r, row, previous_us))
            previous_us = pg_i64(r, row, 0);
        if (i == 0)
            seal(a, r, row, first);
        if (i == n - 1)
            seal(a, r, row, last);
    }
    if (n > 0) {
        set.first = first;
        set.last = last;
        set.has_index = !is_backward(a) && !a->query.rsm.after;
    }
    if (n > 0 || (a->query.rsm.has_max && a->query.rsm.max == 0))
        rsm_write(chat->el, &set);
    lookup_done(&a->lookup, chat->el);
}

/* The ids that lie after or before a place, which may be that of a saved entry. */
static int64_t id_after(const struct place_in_chat *p)
{
    int64_t id = ident_id_from_us(p->at_us);
    return id ? id | (p->n > 255 ? 255 : p->n) : 0;
}

static int64_t id_before(const struct place_in_chat *p)
{
    int64_t id = ident_id_from_us(p->at_us);
    return id && id < INT64_MAX - 256 ? id + (p->n > 256 ? 256 : p->n) : id;
}

static void add_bounds(const struct xep0136_ask *a, struct pg_params *p)
{
    const struct chat *chat = a->more;
    int64_t low = chat->first_id - 1, high = chat->last_id + 1;
    if (a->query.rsm.after && id_after(&chat->after) > low)
        low = id_after(&chat->after);
    if (a->query.rsm.before && id_before(&chat->before) < high)
        high = id_before(&chat->before);
    pg_add_i64(p, low);
    pg_add_i64(p, chat->first_id ? high : 0);
}

static void name_params(const struct xep0136_ask *a, struct pg_params *p)
{
    pg_params_init(p);
    pg_add_uuid(p, a->lookup.owner);
    pg_add_i64(p, (int64_t)a->peer);
    pg_add_i64(p, a->query.start_us);
}

static void read_page(struct xep0136_ask *a)
{
    const struct chat *chat = a->more;
    struct pg_params p;
    name_params(a, &p);
    add_bounds(a, &p);
    pg_add_i64(&p, chat->after.at_us);
    pg_add_i32(&p, chat->after.n);
    pg_add_i64(&p, chat->before.at_us);
    pg_add_i32(&p, chat->before.n);
    pg_add_i32(&p, (int32_t)a->want + 1);
    lookup_send(&a->lookup, is_backward(a) ? &chat_down : &chat_up, &p, on_page, a);
}

static void on_count(void *ctx, const struct pg_result *r, const struct pg_error *e)
{
    struct xep0136_ask *a = ctx;
    if (lookup_is_over(&a->lookup, e))
        return;
    struct chat *chat = a->more;
    chat->count = pg_i64(r, 0, 0);
    chat->has_count = chat->count <= COUNT_MAX;
    read_page(a);
}

/* Links and the form come before the messages (A9). */
static void add_links(struct stanza *el, const struct pg_result *r)
{
    for (int col = 7; col <= 9; col++) {
        size_t len;
        struct err e;
        const uint8_t *xml = pg_bytes(r, 0, col, &len);
        struct stanza *link = len ? xml_parse_element((const char *)xml, len, &e) : NULL;
        if (link)
            stanza_append(el, stanza_copy(el->arena, link));
        stanza_free(&link);
    }
}

static void on_chat(void *ctx, const struct pg_result *r, const struct pg_error *e)
{
    struct xep0136_ask *a = ctx;
    struct chat *chat = a->more;
    if (lookup_is_over(&a->lookup, e))
        return;
    if (pg_rows(r) == 0) {
        xep0136_not_found(a);
        return;
    }
    chat->el = stanza_new(a->lookup.request.payload->arena, "chat", NS_ARCHIVE);
    xep0136_set_chat(chat->el, r, 0, 0);
    chat->start_us = pg_i64(r, 0, 1);
    chat->first_id = pg_i64(r, 0, 5);
    chat->last_id = pg_i64(r, 0, 6);
    add_links(chat->el, r);
    struct pg_params p;
    name_params(a, &p);
    pg_add_i64(&p, chat->first_id);
    pg_add_i64(&p, chat->last_id);
    lookup_send(&a->lookup, &chat_count, &p, on_count, a);
}

void xep0136_retrieve(struct xep0136_ask *a)
{
    struct chat *chat = a->more = calloc(1, sizeof *chat);
    if (!chat)
        abort();
    chat->after.at_us = INT64_MIN;
    chat->before.at_us = INT64_MAX;
    if (!unseal(a, a->query.rsm.after, &chat->after) ||
        !unseal(a, a->query.rsm.before, &chat->before)) {
        xep0136_not_found(a);
        return;
    }
    struct pg_params p;
    name_params(a, &p);
    lookup_send(&a->lookup, &find_chat, &p, on_chat, a);
}
