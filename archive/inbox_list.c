// SPDX-License-Identifier: Apache-2.0
#include "archive/inbox_list.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "archive/inbox_room.h"
#include "archive/lookup.h"
#include "archive/opts.h"
#include "archive/result.h"
#include "archive/rows.h"
#include "base/buf.h"
#include "base/stanza.h"

#define MESSAGE_BYTES_MAX (24 << 20)
#define PAGE_BYTES_MAX "16777216" /* stored stanzas of so many end a page */
#define NUMBER_BYTES 24

/* --- statements ------------------------------------------------------------------------- */

/* $1 to $4 are owner, box and bounds of last_id, which lies strictly between.  A conversation
 * with last_id 0 has no message yet. */
#define WITHIN                                                                                \
    "(box = $2::int OR $2::int < 0) AND last_id > $3::bigint AND last_id < $4::bigint"
#define OF_ACCOUNTS                                                                           \
    "SELECT peer, jid, last_id, unread, box, NULL::uuid AS room, NULL::bigint AS room_id"     \
    " FROM xs.conversation WHERE owner = $1::uuid AND " WITHIN
#define AND_ROOMS                                                                             \
    "SELECT * FROM xs.inbox_with_rooms($1::uuid)"                                             \
    "   AS x (peer, jid, last_id, unread, box, room, room_id) WHERE " WITHIN

/* The newest that may be seen. */
#define NEWEST                                                                                \
    "SELECT id, CASE WHEN $6::boolean THEN stanza END AS stanza, false AS in_room"            \
    " FROM xs.message WHERE owner = $1::uuid AND peer = c.peer AND id <= c.last_id"           \
    " AND " ROW_SHOWN " ORDER BY id DESC LIMIT 1"
#define NEWEST_OR_IN_ROOM                                                                     \
    "SELECT id, stanza, in_room FROM ((" NEWEST ") UNION ALL"                                 \
    " SELECT id, CASE WHEN $6::boolean THEN stanza END, true FROM xs.message"                 \
    " WHERE owner = c.room AND id = c.room_id) x ORDER BY id DESC LIMIT 1"

/* Totals and page from one look at the conversations: in rooms, what is unread is counted. The
 * page has its own bounds, $8 and $9.  Its conversations are sorted first, then each one's
 * newest message is looked up until the page is full.  What has none is not in the list.  What
 * is too much for a page is cut off before it is anywhere in memory. */
#define PAGE(of, newest, order, limit)                                                        \
    "WITH w AS MATERIALIZED (" of ")"                                                         \
    " SELECT t.*, p.last_id, p.jid, p.unread, p.box, p.id,"                                   \
    "   CASE WHEN sum(p.bytes) OVER (ORDER BY p.last_id " order                               \
    "     ROWS UNBOUNDED PRECEDING) - p.bytes < " PAGE_BYTES_MAX " THEN p.stanza END,"        \
    "   p.muted, p.until, p.in_room"                                                          \
    " FROM (SELECT count(*), count(*) FILTER (WHERE unread > 0),"                             \
    "   sum(unread)::bigint FROM w) t"                                                        \
    " LEFT JOIN (SELECT c.last_id, c.jid, c.unread, c.box, m.id, m.stanza,"                   \
    "   coalesce(octet_length(m.stanza), 0) AS bytes,"                                        \
    "   mute.owner IS NOT NULL AS muted, mute.until, m.in_room"                               \
    " FROM (SELECT * FROM w WHERE (unread > 0 OR NOT $5::boolean)"                            \
    "   AND last_id > $8::bigint AND last_id < $9::bigint ORDER BY last_id " order ") c"      \
    " CROSS JOIN LATERAL (" newest ") m"                                                      \
    " LEFT JOIN LATERAL (SELECT owner, until FROM xs.mute"                                    \
    "   WHERE owner = $1::uuid AND peer = c.peer"                                             \
    "   AND (until IS NULL OR until > now())) mute ON true"                                   \
    " ORDER BY c.last_id " order " " limit ") p ON true ORDER BY p.last_id " order
#define PAGE_OF_ACCOUNTS(order) PAGE(OF_ACCOUNTS, NEWEST, order, "LIMIT $7::int")
/* Rooms have their ids of other lanes, where two may be the same: an anchor must not part
 * them, so that such a page is longer than was asked for. */
#define PAGE_AND_ROOMS(order)                                                                 \
    PAGE(AND_ROOMS, NEWEST_OR_IN_ROOM, order, "FETCH FIRST ($7::int) ROWS WITH TIES")

/* Without rooms, and with them. */
static const struct pg_statement read_older[] = {
    {"inbox_older", PAGE_OF_ACCOUNTS("DESC")}, {"inbox_older_rooms", PAGE_AND_ROOMS("DESC")}};
static const struct pg_statement read_newer[] = {{"inbox_newer", PAGE_OF_ACCOUNTS("ASC")},
                                                 {"inbox_newer_rooms", PAGE_AND_ROOMS("ASC")}};

enum column {
    TOTAL,
    WITH_UNREAD,
    ALL_UNREAD,
    LAST_ID,
    JID,
    UNREAD,
    BOX,
    NEWEST_ID,
    STANZA,
    MUTED,
    MUTED_UNTIL,
    IN_ROOM
};

/* --- a page ----------------------------------------------------------------------------- */

struct inbox_page {
    struct lookup lookup; /* first */
    struct lookups *lookups;
    const struct inbox_protocol *protocol;
    struct inbox_query query;
    bool backward; /* read from its end */
    bool rooms;    /* are in the list */
    int64_t low;   /* the filter */
    int64_t high;
    int64_t from; /* what is left of it by the anchors */
    int64_t to;
    int32_t want;
    size_t message_max;
    struct inbox_totals totals;
};

void inbox_set_number(struct stanza *el, const char *name, int64_t value)
{
    char text[NUMBER_BYTES];
    (void)snprintf(text, sizeof text, "%" PRId64, value);
    stanza_set(el, name, text);
}

static void archive_id(const struct inbox_page *p, int64_t id, char out[ARCHIVE_ID_BYTES])
{
    ident_archive_id(lookups_ident(p->lookups), p->lookup.owner, id, out);
}

/* Rows are in the order in which they were read; first and last as they are shown.  An anchor
 * is a conversation's place in the order, which its last message made. */
static void finish(struct inbox_page *p, const struct pg_result *r, int rows)
{
    char first[ARCHIVE_ID_BYTES], last[ARCHIVE_ID_BYTES];
    struct stanza *fin = p->protocol->fin(&p->lookup.request, &p->query, &p->totals);
    struct rsm_answer set = {.has_count = true, .count = p->totals.conversations};
    if (p->query.unread_only)
        set.count = p->totals.with_unread;
    if (rows > 0) {
        archive_id(p, pg_i64(r, p->backward ? rows - 1 : 0, LAST_ID), first);
        archive_id(p, pg_i64(r, p->backward ? 0 : rows - 1, LAST_ID), last);
        set.first = first;
        set.last = last;
    }
    rsm_write(fin, &set);
    lookup_done(&p->lookup, fin);
}

int64_t inbox_muted_until(const struct pg_result *r, int row, int muted)
{
    if (!pg_bool(r, row, muted))
        return 0;
    return pg_is_null(r, row, muted + 1) ? INT64_MAX : pg_time_us(r, row, muted + 1);
}

/* Nothing when it was not asked for, or cannot be read. */
static void write_message(const struct inbox_page *p, const struct pg_result *r, int row,
                          const char *jid, struct buf *out)
{
    size_t len;
    const uint8_t *xml = pg_bytes(r, row, STANZA, &len);
    if (!p->query.with_messages || pg_is_null(r, row, STANZA))
        return;
    if (!pg_bool(r, row, IN_ROOM)) {
        archive_message_write(out, xml, len, p->message_max);
        return;
    }
    struct buf said;
    buf_init(&said, MESSAGE_BYTES_MAX);
    inbox_room_write(&said, xml, len, jid, p->lookup.request.account);
    archive_message_write(out, buf_data(&said), buf_len(&said), p->message_max);
    buf_deinit(&said);
}

static void write_entry(const struct inbox_page *p, const struct pg_result *r, int row,
                        struct buf *out)
{
    char id[ARCHIVE_ID_BYTES];
    int64_t newest = pg_i64(r, row, NEWEST_ID);
    archive_id(p, newest, id);
    struct inbox_entry entry = {.jid = pg_text(r, row, JID),
                                .unread = pg_i64(r, row, UNREAD),
                                .box = (enum inbox_box)pg_i64(r, row, BOX),
                                .muted_until_us = inbox_muted_until(r, row, MUTED),
                                .id = id,
                                .at_us = ident_us_from_id(newest)};
    struct buf said;
    buf_init(&said, MESSAGE_BYTES_MAX);
    write_message(p, r, row, entry.jid, &said);
    if (buf_len(&said) > 0) {
        entry.xml = buf_data(&said);
        entry.xml_len = buf_len(&said);
    }
    p->protocol->entry(&p->lookup.request, &entry, out);
    buf_deinit(&said);
}

/* So many of the rows that were read make the page. */
static int count_fitting(const struct inbox_page *p, const struct pg_result *r)
{
    int n = 0, rows = pg_is_null(r, 0, LAST_ID) ? 0 : pg_rows(r); /* totals are always there */
    while (n < rows && !(p->query.with_messages && pg_is_null(r, n, STANZA)))
        n++;
    /* An anchor would part two of one moment. */
    int whole = n;
    while (n < rows && whole > 0 && pg_i64(r, whole - 1, LAST_ID) == pg_i64(r, whole, LAST_ID))
        whole--;
    return whole > 0 ? whole : n;
}

static void on_page(void *ctx, const struct pg_result *r, const struct pg_error *e)
{
    struct inbox_page *p = ctx;
    if (lookup_is_over(&p->lookup, e))
        return;
    p->totals.conversations = pg_i64(r, 0, TOTAL);
    p->totals.with_unread = pg_i64(r, 0, WITH_UNREAD);
    p->totals.unread = pg_is_null(r, 0, ALL_UNREAD) ? 0 : pg_i64(r, 0, ALL_UNREAD);
    int rows = count_fitting(p, r);
    bool sending = true;
    struct buf xml;
    buf_init(&xml, MESSAGE_BYTES_MAX);
    for (int i = 0; i < rows && sending; i++) {
        buf_reset(&xml);
        write_entry(p, r, p->backward ? rows - 1 - i : i, &xml);
        sending = !buf_failed(&xml) &&
                  p->lookup.answer.result(p->lookup.answer.ctx, buf_data(&xml), buf_len(&xml));
    }
    buf_deinit(&xml);
    finish(p, r, rows);
}

static void read_inbox(struct lookup *l)
{
    struct inbox_page *p = (struct inbox_page *)l;
    struct pg_params params;
    bool ascending = p->query.oldest_first != p->backward;
    pg_params_init(&params);
    pg_add_uuid(&params, p->lookup.owner);
    pg_add_i32(&params, p->query.box);
    pg_add_i64(&params, p->low);
    pg_add_i64(&params, p->high);
    pg_add_bool(&params, p->query.unread_only);
    pg_add_bool(&params, p->query.with_messages);
    pg_add_i32(&params, p->want);
    pg_add_i64(&params, p->from);
    pg_add_i64(&params, p->to);
    lookup_send(l, ascending ? &read_newer[p->rooms] : &read_older[p->rooms], &params, on_page,
                p);
}

static void page_free(struct lookup *l)
{
    free(l);
}

/* --- which ------------------------------------------------------------------------------- */

static bool find_anchor(const struct inbox_page *p, const char *text, int64_t *id)
{
    return ident_archive_id_parse(lookups_ident(p->lookups), p->lookup.owner, text, id);
}

/* False: an anchor is not of this archive. */
static bool find_range(struct inbox_page *p)
{
    const struct inbox_query *q = &p->query;
    p->low = ident_id_from_us(q->start_us) - 1;
    p->low = p->low > 0 ? p->low : 0;
    p->high = INT64_MAX;
    if (q->end_us < ident_us_from_id(INT64_MAX))
        p->high = ident_id_from_us(q->end_us + 1);
    p->from = p->low;
    p->to = p->high;
    const char *above = q->oldest_first ? q->rsm.after : q->rsm.before;
    const char *below = q->oldest_first ? q->rsm.before : q->rsm.after;
    int64_t id;
    if (above) {
        if (!find_anchor(p, above, &id))
            return false;
        p->from = id > p->from ? id : p->from;
    }
    if (below) {
        if (!find_anchor(p, below, &id))
            return false;
        p->to = id < p->to ? id : p->to;
    }
    return true;
}

void inbox_list(struct lookups *lookups, const struct archive_opts *opts,
                const struct inbox_protocol *protocol, const struct inbox_query *q,
                const struct archive_request *r, const struct archive_answer *answer)
{
    static const struct lookup_kind kind = {.read = read_inbox, .free = page_free};
    if (q->rsm.has_index) {
        answer->error(answer->ctx, "cancel", "feature-not-implemented", "no pages by index");
        return;
    }
    struct inbox_page *p = calloc(1, sizeof *p);
    if (!p)
        abort();
    if (!lookup_begin(lookups, &p->lookup, &kind, r, answer))
        return;
    uint32_t want = q->rsm.has_max ? q->rsm.max : opts->page_default;
    p->lookups = lookups;
    p->protocol = protocol;
    p->query = *q;
    p->rooms = opts->groupchat;
    p->message_max = opts->message_bytes_max;
    p->backward = q->rsm.before || q->rsm.last_page;
    p->want = (int32_t)(want < opts->page_max ? want : opts->page_max);
    if (find_range(p))
        lookup_wait(&p->lookup,
                    TURN_PAGE); /* of its own conversations only, sorted in memory */
    else
        lookup_refuse(&p->lookup, "cancel", "item-not-found", NULL);
}
