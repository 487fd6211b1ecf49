// SPDX-License-Identifier: Apache-2.0
/* What clients save themselves (XEP-0136, manual archiving): kept apart from what was
 * archived, as it is only their word. */
#include "archive/xep0136_int.h"

#include <stdlib.h>
#include <string.h>

#include "archive/ident.h"
#include "base/buf.h"
#include "base/clock.h"
#include "base/datetime.h"
#include "base/stanza.h"
#include "store/pg.h"
#include "store/pg_array.h"

#define ENTRIES_MAX 10000          /* of one collection */
#define SAVED_BYTES_MAX (64 << 20) /* of one account */
#define ENTRY_BYTES_MAX ((size_t)8 << 20)
#define NAME_BYTES_MAX 1000 /* of thread and subject, which a list has of every chat */
#define TIME_MAX_US INT64_C(253402300800000000) /* 10000-01-01T00:00:00Z */
#define NS_DATA_FORMS "jabber:x:data"

/* Nothing comes back when either is passed.  A link or form that is NULL stays as it is, an
 * empty one is taken away. */
static const struct pg_statement save_chat = {
    "chat_save",
    "WITH mine AS (INSERT INTO xs.collected AS t (owner, upto, changed, saved_bytes)"
    "   VALUES ($1::uuid, 0, $7::bigint, $8::bigint)"
    "   ON CONFLICT (owner) DO UPDATE SET changed = greatest(t.changed + 1, $7::bigint),"
    "     saved_bytes = t.saved_bytes + $8::bigint"
    "   WHERE t.saved_bytes + $8::bigint <= $9::bigint AND $10::int +"
    "     coalesce((SELECT saved FROM xs.collection WHERE owner = $1::uuid"
    "       AND peer = $2::bigint AND start_us = $3::bigint AND NOT removed), 0) <= $11::int"
    "   RETURNING t.changed),"
    " chat AS (INSERT INTO xs.collection AS c (owner, peer, start_us, jid, thread, subject,"
    "     version, changed, saved, previous, next, form)"
    "   SELECT $1::uuid, $2::bigint, $3::bigint, $4::text, $5::text, $6::text, 0,"
    "     mine.changed, $10::int, nullif($12::bytea, ''), nullif($13::bytea, ''),"
    "     nullif($14::bytea, '') FROM mine"
    "   ON CONFLICT (owner, peer, start_us) DO UPDATE SET version = c.version + 1,"
    "     changed = excluded.changed, removed = false,"
    "     saved = CASE WHEN c.removed THEN 0 ELSE c.saved END + excluded.saved,"
    "     thread = CASE WHEN c.removed THEN excluded.thread"
    "       ELSE coalesce(c.thread, excluded.thread) END,"
    "     subject = coalesce(excluded.subject, c.subject),"
    "     previous = CASE WHEN $12::bytea IS NULL THEN c.previous"
    "       ELSE excluded.previous END,"
    "     next = CASE WHEN $13::bytea IS NULL THEN c.next ELSE excluded.next END,"
    "     form = CASE WHEN $14::bytea IS NULL THEN c.form ELSE excluded.form END"
    "   RETURNING c.jid, c.start_us, c.thread, c.subject, c.version, c.saved),"
    " entries AS (INSERT INTO xs.saved (owner, peer, start_us, at_us, n, xml)"
    "   SELECT $1::uuid, $2::bigint, $3::bigint, d.at_us, 255 + chat.saved - $10::int + d.n,"
    "     d.xml FROM chat, unnest($15::bigint[], $16::bytea[]) WITH ORDINALITY"
    "     AS d (at_us, xml, n))"
    " SELECT jid, start_us, thread, subject, version FROM chat"};

/* --- reading a <chat/> ------------------------------------------------------------------- */

struct saved {
    struct pg_array times;
    struct pg_array xml;
    struct buf entry;
    int64_t bytes;
    int64_t at_us; /* of the entry before */
    /* Each "" when it is to be taken away, failed when it is none. */
    struct buf links[3];
    bool has_link[3];
    const char *error;
};

static void saved_init(struct saved *s, int64_t start_us)
{
    *s = (struct saved){.at_us = start_us};
    pg_array_init(&s->times, PG_INT8, ENTRY_BYTES_MAX);
    pg_array_init(&s->xml, PG_BYTEA, 2 * ENTRY_BYTES_MAX);
    buf_init(&s->entry, ENTRY_BYTES_MAX);
    for (int i = 0; i < 3; i++)
        buf_init(&s->links[i], ENTRY_BYTES_MAX);
}

static void saved_deinit(struct saved *s)
{
    pg_array_deinit(&s->times);
    pg_array_deinit(&s->xml);
    buf_deinit(&s->entry);
    for (int i = 0; i < 3; i++)
        buf_deinit(&s->links[i]);
}

static bool read_secs(const char *text, int64_t *out)
{
    char *end;
    long long n = strtoll(text, &end, 10);
    *out = n;
    return *text >= '0' && *text <= '9' && *end == '\0' && n <= TIME_MAX_US / 1000000;
}

/* secs counts from the entry before, utc says it (A4). */
static bool read_time(struct saved *s, const struct stanza *el)
{
    const char *utc = stanza_get(el, "utc"), *secs = stanza_get(el, "secs");
    int64_t n = 0;
    if (utc)
        return datetime_parse_any(utc, &s->at_us);
    if (secs && !read_secs(secs, &n))
        return false;
    s->at_us += n * 1000000;
    return s->at_us < TIME_MAX_US;
}

static bool is_empty(const struct stanza *el)
{
    return !stanza_child(el, NULL, NULL);
}

static void add_entry(struct saved *s, const struct stanza *el)
{
    bool is_note = strcmp(el->name, "note") == 0;
    int64_t before_us = s->at_us;
    struct stanza *copy = stanza_copy(el->arena, el);
    if (!copy || !read_time(s, el)) {
        s->error = "secs or utc is no time";
        return;
    }
    if (!is_note && is_empty(el)) {
        s->error = "a message without content";
        return;
    }
    if (!is_note)
        stanza_set(copy, "utc", NULL);
    stanza_set(copy, "secs", NULL);
    buf_reset(&s->entry);
    stanza_write(&s->entry, copy, NULL);
    pg_array_add_i64(&s->times, s->at_us);
    pg_array_add_bytes(&s->xml, buf_data(&s->entry), buf_len(&s->entry));
    s->bytes += (int64_t)buf_len(&s->entry);
    if (is_note)
        s->at_us = before_us; /* messages count from messages */
}

/* One without attributes takes away what is there (A9). */
static void set_link(struct saved *s, int which, const struct stanza *el)
{
    const char *with = stanza_get(el, "with"), *start = stanza_get(el, "start");
    int64_t us;
    struct jid jid;
    buf_reset(&s->links[which]);
    s->has_link[which] = true;
    if (!with && !start)
        return;
    if (!jid_parse(&jid, with) || !datetime_parse_any(start, &us)) {
        s->error = "a link names no collection";
        return;
    }
    stanza_write(&s->links[which], el, NULL);
}

static void read_child(struct saved *s, const struct stanza *el)
{
    if (stanza_is(el, "from", NS_ARCHIVE) || stanza_is(el, "to", NS_ARCHIVE) ||
        stanza_is(el, "note", NS_ARCHIVE)) {
        add_entry(s, el);
    } else if (stanza_is(el, "previous", NS_ARCHIVE)) {
        set_link(s, 0, el);
    } else if (stanza_is(el, "next", NS_ARCHIVE)) {
        set_link(s, 1, el);
    } else if (stanza_is(el, "x", NS_DATA_FORMS)) {
        buf_reset(&s->links[2]);
        s->has_link[2] = true;
        stanza_write(&s->links[2], el, NULL);
    }
}

static void read_chat(struct saved *s, const struct stanza *chat)
{
    for (const struct stanza *el = chat->first; el && !s->error; el = el->next)
        if (el->name)
            read_child(s, el);
    for (int i = 0; i < 3; i++)
        s->bytes += (int64_t)buf_len(&s->links[i]);
}

/* --- writing it -------------------------------------------------------------------------- */

static void too_large(struct xep0136_ask *a)
{
    lookup_refuse(&a->lookup, "modify", "not-acceptable", "too much has been saved");
}

static void on_saved(void *ctx, const struct pg_result *r, const struct pg_error *e)
{
    struct xep0136_ask *a = ctx;
    if (lookup_is_over(&a->lookup, e))
        return;
    if (pg_rows(r) == 0) {
        too_large(a);
        return;
    }
    struct stanza *save = stanza_new(a->lookup.request.payload->arena, "save", NS_ARCHIVE);
    xep0136_set_chat(stanza_add(save, "chat", NS_ARCHIVE), r, 0, 0);
    lookup_done(&a->lookup, save);
}

static bool is_short(const char *text)
{
    return !text || strlen(text) <= NAME_BYTES_MAX;
}

static void send_save(struct xep0136_ask *a, const struct stanza *chat, const struct saved *s)
{
    struct pg_params p;
    pg_params_init(&p);
    pg_add_uuid(&p, a->lookup.owner);
    pg_add_i64(&p, (int64_t)a->peer);
    pg_add_i64(&p, a->query.start_us);
    pg_add_text(&p, a->query.with.bare);
    pg_add_text(&p, stanza_get(chat, "thread"));
    pg_add_text(&p, stanza_get(chat, "subject"));
    pg_add_i64(&p, ident_id_from_us(clock_real_us()));
    pg_add_i64(&p, s->bytes);
    pg_add_i64(&p, SAVED_BYTES_MAX);
    pg_add_i32(&p, (int32_t)s->times.count);
    pg_add_i32(&p, ENTRIES_MAX);
    for (int i = 0; i < 3; i++) {
        const struct buf *link = &s->links[i];
        if (s->has_link[i])
            pg_add_bytes(&p, buf_len(link) ? buf_data(link) : (const uint8_t *)"",
                         buf_len(link));
        else
            pg_add_null(&p);
    }
    pg_add_array(&p, &s->times);
    pg_add_array(&p, &s->xml);
    lookup_send(&a->lookup, &save_chat, &p, on_saved, a);
}

void xep0136_save(struct xep0136_ask *a)
{
    const struct stanza *chat = stanza_child(a->lookup.request.payload, "chat", NS_ARCHIVE);
    struct saved s;
    saved_init(&s, a->query.start_us);
    read_chat(&s, chat);
    if (s.error)
        lookup_refuse(&a->lookup, "modify", "bad-request", s.error);
    else if (s.times.count > ENTRIES_MAX || s.bytes > SAVED_BYTES_MAX ||
             !is_short(stanza_get(chat, "thread")) || !is_short(stanza_get(chat, "subject")))
        too_large(a);
    else
        send_save(a, chat, &s);
    saved_deinit(&s);
}
