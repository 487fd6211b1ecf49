// SPDX-License-Identifier: Apache-2.0
#include "archive/lane_int.h"

#include "archive/known.h"
#include "archive/tombstone.h"
#include "base/clock.h"
#include "base/failpoint.h"
#include "base/log.h"

#define AHEAD_WARN_MS 60000

/* --- statements ------------------------------------------------------------------------- */

static const struct pg_statement set_lane = {
    "lane_set", "UPDATE xs.lane SET last_id = $2::bigint WHERE lane = $1::int"};

static const struct pg_statement insert_rows = {
    "lane_rows",
    "INSERT INTO xs.message (owner, id, peer, ref_id, ref_body, flags, sent_at, body, stanza)"
    " SELECT unnest($1::uuid[]), unnest($2::bigint[]), unnest($3::bigint[]),"
    "   unnest($4::uuid[]), unnest($5::bigint[]), unnest($6::int[]),"
    "   timestamptz 'epoch' + nullif(unnest($7::bigint[]), 0) * interval '1 us',"
    "   unnest($8::text[]), unnest($9::bytea[])"};

static const struct pg_statement set_flags = {
    "lane_flags", "UPDATE xs.message m SET flags = (m.flags & ~513) | d.flags"
                  " FROM unnest($1::uuid[], $2::bigint[], $3::int[]) AS d (owner, id, flags)"
                  " WHERE m.owner = d.owner AND m.id = d.id"};

/* The start tag stays: it is written so that no value in it has a bare ">". */
static const struct pg_statement set_tombstones = {
    "lane_tombstones",
    "UPDATE xs.message m SET body = NULL, stanza = convert_to("
    "   rtrim(substring(convert_from(m.stanza, 'UTF8') FROM '^[^>]*'), '/') || '>'"
    "   || d.retracted || '</message>', 'UTF8')"
    " FROM unnest($1::uuid[], $2::bigint[], $3::text[]) AS d (owner, id, retracted)"
    " WHERE m.owner = d.owner AND m.id = d.id AND m.stanza <> ''"};

/* What was taken back is not in the full-text index either. */
static const struct pg_statement forget_words = {
    "lane_forget", "SELECT 1 FROM unnest($1::uuid[], $2::bigint[]) AS d (owner, id),"
                   " LATERAL xs.search_forget(d.owner, d.id, d.id)"};

static const struct pg_statement update_convs = {
    "lane_conv_update",
    "UPDATE xs.conversation c SET last_id = d.last_id, read_id = d.read_id, unread = d.unread,"
    "   read_at = CASE WHEN d.read_id > c.read_id THEN now() ELSE c.read_at END,"
    "   box = CASE WHEN d.last_id > c.last_id THEN 0 ELSE c.box END," /* back in the inbox */
    "   first_id = CASE WHEN c.first_id = 0 THEN d.first_id ELSE c.first_id END"
    " FROM unnest($1::uuid[], $2::bigint[], $3::bigint[], $4::bigint[], $5::bigint[],"
    "   $6::int[]) AS d (owner, peer, first_id, last_id, read_id, unread)"
    " WHERE c.owner = d.owner AND c.peer = d.peer"};

static const struct pg_statement insert_convs = {
    "lane_conv_insert",
    "INSERT INTO xs.conversation (owner, peer, jid, first_id, last_id, read_id, unread)"
    " SELECT unnest($1::uuid[]), unnest($2::bigint[]), unnest($3::text[]),"
    "   unnest($4::bigint[]), unnest($5::bigint[]), unnest($6::bigint[]), unnest($7::int[])"};

/* What a push may call a stranger by. */
static const struct pg_statement set_nicks = {
    "lane_nicks",
    "UPDATE xs.conversation c SET nick_id = d.id FROM (SELECT x.owner, x.peer, max(x.id) AS id"
    "   FROM unnest($1::uuid[], $2::bigint[], $3::bigint[]) AS x (owner, peer, id)"
    "   GROUP BY 1, 2) d WHERE c.owner = d.owner AND c.peer = d.peer"};

static const struct pg_statement update_markers = {
    "lane_conv_markers",
    "UPDATE xs.conversation c SET peer_read_id = d.peer_read_id,"
    "   pending_ref = CASE WHEN d.waits THEN d.pending_ref END,"
    "   pending_at = CASE WHEN d.waits THEN timestamptz 'epoch' + d.at * interval '1 us' END"
    " FROM unnest($1::uuid[], $2::bigint[], $3::bigint[], $4::boolean[], $5::bigint[],"
    "   $6::bigint[]) AS d (owner, peer, peer_read_id, waits, pending_ref, at)"
    " WHERE c.owner = d.owner AND c.peer = d.peer"};

/* An account whose row we do not know to be there, with what its first rows count. */
static const struct pg_statement ensure_accounts = {
    "lane_account_ensure",
    "INSERT INTO xs.account AS a (owner, jid, proven, first_id, unread, unread_conversations)"
    " SELECT unnest($1::uuid[]), unnest($2::text[]), unnest($3::boolean[]),"
    "   unnest($4::bigint[]), unnest($5::int[]), unnest($6::int[])"
    " ON CONFLICT (owner) DO UPDATE SET proven = a.proven OR excluded.proven,"
    "   first_id = coalesce(a.first_id, excluded.first_id),"
    "   unread = a.unread + excluded.unread,"
    "   unread_conversations = a.unread_conversations + excluded.unread_conversations"
    " WHERE a.first_id IS NULL OR (excluded.proven AND NOT a.proven)"
    "   OR excluded.unread <> 0 OR excluded.unread_conversations <> 0"};

static const struct pg_statement count_accounts = {
    "lane_account_count",
    "WITH u AS (UPDATE xs.account a SET unread = a.unread + d.unread,"
    "     unread_conversations = a.unread_conversations + d.conversations"
    "   FROM unnest($1::uuid[], $3::int[], $4::int[]) AS d (owner, unread, conversations)"
    "   WHERE a.owner = d.owner RETURNING a.owner)"
    " INSERT INTO xs.account (owner, jid, unread, unread_conversations)"
    " SELECT d.* FROM unnest($1::uuid[], $2::text[], $3::int[], $4::int[])"
    "   AS d (owner, jid, unread, conversations)"
    " WHERE d.owner NOT IN (SELECT u.owner FROM u)"};

static const struct pg_statement quarantine = {
    "lane_quarantine",
    "SELECT 1 FROM xs.quarantine_add($1::uuid, $2::bigint, $3::text, $4::bytea, $5::bigint,"
    "   $6::bytea, $7::bigint)"};

static const struct pg_statement refuse_again = {
    "lane_refuse_again", "UPDATE xs.quarantine SET retry_at = NULL, retry_error = $3::text"
                         " WHERE spool = $1::uuid AND pos = $2::bigint"};

/* Both say the same when they are said again: a place may be read twice. */
static const struct pg_statement begin_gap = {
    "lane_gap_begin",
    "SELECT 1 FROM xs.gap_begin($1::uuid, $2::bigint, $3::text, $4::bigint, $5::text)"};

static const struct pg_statement end_gap = {
    "lane_gap_end", "SELECT 1 FROM xs.gap_end($1::uuid, $2::bigint, $3::bigint)"};

/* --- writing ---------------------------------------------------------------------------- */

static void send_lane(struct lane_writer *w)
{
    if (w->batch.last_id == w->stored_last)
        return;
    struct pg_params p;
    pg_params_init(&p);
    pg_add_i32(&p, (int32_t)w->job.lane);
    pg_add_i64(&p, w->batch.last_id);
    lane_send(w, &set_lane, &p, lane_on_plain);
}

static void add_content(struct lane_writer *w, const struct op *op, struct pg_array *body,
                        struct pg_array *stanza)
{
    if ((!op->taken_back && !op->early_us) || op->w.stanza_len == 0) {
        pg_array_add_text(body, op->w.body);
        pg_array_add_bytes(stanza, op->w.stanza, op->w.stanza_len);
        return;
    }
    /* What took it back before it came was the first to do so. */
    const struct op *by = op->early_us ? NULL : &w->batch.ops[op->taken_back - 1];
    buf_reset(&w->scratch);
    tombstone_write(&w->scratch, op->w.stanza, op->w.stanza_len,
                    by ? by->w.body : op->early_by, by ? by->received_us : op->early_us);
    pg_array_add_text(body, NULL);
    pg_array_add_bytes(stanza, buf_data(&w->scratch), buf_len(&w->scratch));
}

static void send_rows(struct lane_writer *w)
{
    struct batch *b = &w->batch;
    if (b->stored == 0)
        return;
    struct pg_array *owner = lane_array(w, 0, PG_UUID), *id = lane_array(w, 1, PG_INT8),
                    *peer = lane_array(w, 2, PG_INT8), *ref = lane_array(w, 3, PG_UUID),
                    *content = lane_array(w, 4, PG_INT8), *flags = lane_array(w, 5, PG_INT4),
                    *sent = lane_array(w, 6, PG_INT8), *body = lane_array(w, 7, PG_TEXT),
                    *stanza = lane_array(w, 8, PG_BYTEA);
    bool any_sent = false;
    for (size_t i = 0; i < b->n; i++) {
        const struct op *op = &b->ops[b->sorted[i]];
        if (op->w.kind != WRITE_ROW || op->fate != FATE_NEW)
            continue;
        FAILPOINT_TEXT("lane-row", op->w.body ? op->w.body : "");
        pg_array_add_uuid(owner, op->w.owner);
        pg_array_add_i64(id, op->id);
        pg_array_add_i64(peer, (int64_t)op->w.peer);
        lane_add_ref(ref, &op->w);
        pg_array_add_i64(content, (int64_t)op->w.content);
        pg_array_add_i32(flags, (int32_t)op->w.flags);
        pg_array_add_i64(sent, op->w.stamp_us);
        any_sent = any_sent || op->w.stamp_us;
        add_content(w, op, body, stanza);
    }
    struct pg_params p;
    pg_params_init(&p);
    for (int i = 0; i < 9; i++)
        if (&w->arrays[i] == sent && !any_sent)
            pg_add_null(&p); /* an array that has ended gives NULLs */
        else
            pg_add_array(&p, &w->arrays[i]);
    lane_send(w, &insert_rows, &p, lane_on_plain);
}

static void send_flags(struct lane_writer *w)
{
    struct batch *b = &w->batch;
    if (b->flags_n == 0)
        return;
    struct pg_array *owner = lane_array(w, 0, PG_UUID), *id = lane_array(w, 1, PG_INT8),
                    *flags = lane_array(w, 2, PG_INT4);
    for (size_t i = 0; i < b->flags_n; i++) {
        pg_array_add_uuid(owner, b->flags[i].owner);
        pg_array_add_i64(id, b->flags[i].id);
        pg_array_add_i32(flags, b->flags[i].set);
    }
    lane_send_arrays(w, &set_flags, 3, lane_on_plain);
}

/* The first retraction counts. */
static void send_tombstones(struct lane_writer *w)
{
    struct pg_array *owner = lane_array(w, 0, PG_UUID), *id = lane_array(w, 1, PG_INT8),
                    *retracted = lane_array(w, 2, PG_TEXT);
    for (size_t i = 0; i < w->batch.n; i++) {
        const struct op *op = &w->batch.ops[i];
        if (op->w.kind != WRITE_RETRACT || !op->found || op->target_flags & ROW_RETRACTED)
            continue;
        buf_reset(&w->scratch);
        tombstone_retracted(&w->scratch, op->w.body, op->received_us);
        pg_array_add_uuid(owner, op->w.owner);
        pg_array_add_i64(id, op->target_id);
        pg_array_add_text(retracted, buf_cstr(&w->scratch));
    }
    if (owner->count == 0)
        return;
    lane_send_arrays(w, &set_tombstones, 3, lane_on_plain);
    lane_send_arrays(w, &forget_words, 2, lane_on_plain);
}

static void send_conv_updates(struct lane_writer *w)
{
    struct pg_array *owner = lane_array(w, 0, PG_UUID), *peer = lane_array(w, 1, PG_INT8),
                    *first = lane_array(w, 2, PG_INT8), *last = lane_array(w, 3, PG_INT8),
                    *read = lane_array(w, 4, PG_INT8), *unread = lane_array(w, 5, PG_INT4);
    for (size_t i = 0; i < w->batch.convs_n; i++) {
        const struct batch_conv *c = &w->batch.convs[i];
        if (!c->stored || !c->changed)
            continue;
        pg_array_add_uuid(owner, c->owner);
        pg_array_add_i64(peer, (int64_t)c->peer);
        pg_array_add_i64(first, c->first_id);
        pg_array_add_i64(last, c->last_id);
        pg_array_add_i64(read, c->read.read_id);
        pg_array_add_i32(unread, (int32_t)c->read.unread);
    }
    if (owner->count > 0)
        lane_send_arrays(w, &update_convs, 6, lane_on_plain);
}

static void send_conv_inserts(struct lane_writer *w)
{
    struct pg_array *owner = lane_array(w, 0, PG_UUID), *peer = lane_array(w, 1, PG_INT8),
                    *jid = lane_array(w, 2, PG_TEXT), *first = lane_array(w, 3, PG_INT8),
                    *last = lane_array(w, 4, PG_INT8), *read = lane_array(w, 5, PG_INT8),
                    *unread = lane_array(w, 6, PG_INT4);
    for (size_t i = 0; i < w->batch.convs_n; i++) {
        const struct batch_conv *c = &w->batch.convs[i];
        if (c->stored || (!c->first_id && !c->changed_markers))
            continue;
        pg_array_add_uuid(owner, c->owner);
        pg_array_add_i64(peer, (int64_t)c->peer);
        pg_array_add_text(jid, c->jid);
        pg_array_add_i64(first, c->first_id);
        pg_array_add_i64(last, c->last_id);
        pg_array_add_i64(read, c->read.read_id);
        pg_array_add_i32(unread, (int32_t)c->read.unread);
    }
    if (owner->count > 0)
        lane_send_arrays(w, &insert_convs, 7, lane_on_plain);
}

static void send_nicks(struct lane_writer *w)
{
    struct pg_array *owner = lane_array(w, 0, PG_UUID), *peer = lane_array(w, 1, PG_INT8),
                    *id = lane_array(w, 2, PG_INT8);
    for (size_t i = 0; i < w->batch.n; i++) {
        const struct op *op = &w->batch.ops[i];
        if (op->w.kind != WRITE_ROW || op->fate != FATE_NEW || !op->w.nick)
            continue;
        pg_array_add_uuid(owner, op->w.owner);
        pg_array_add_i64(peer, (int64_t)op->w.peer);
        pg_array_add_i64(id, op->id);
    }
    if (owner->count > 0)
        lane_send_arrays(w, &set_nicks, 3, lane_on_plain);
}

static void send_conv_markers(struct lane_writer *w)
{
    struct pg_array *owner = lane_array(w, 0, PG_UUID), *peer = lane_array(w, 1, PG_INT8),
                    *peer_read = lane_array(w, 2, PG_INT8), *waits = lane_array(w, 3, PG_BOOL),
                    *ref = lane_array(w, 4, PG_INT8), *at = lane_array(w, 5, PG_INT8);
    for (size_t i = 0; i < w->batch.convs_n; i++) {
        const struct batch_conv *c = &w->batch.convs[i];
        if (!c->changed_markers)
            continue;
        pg_array_add_uuid(owner, c->owner);
        pg_array_add_i64(peer, (int64_t)c->peer);
        pg_array_add_i64(peer_read, c->peer_read_id);
        pg_array_add_bool(waits, c->has_pending);
        pg_array_add_i64(ref, (int64_t)c->pending_ref);
        pg_array_add_i64(at, c->pending_us);
    }
    if (owner->count > 0)
        lane_send_arrays(w, &update_markers, 6, lane_on_plain);
}

static bool needs_account(const struct lane_writer *w, const struct batch_account *a)
{
    return a->first_id && !known_has(w->opts.known, a->owner, a->own);
}

/* What is taken off is only of one that is there; and a row to be inserted must hold the
 * table's constraint even where it turns into an update. */
static bool is_counted_with_its_row(const struct lane_writer *w, const struct batch_account *a)
{
    return needs_account(w, a) && a->unread >= 0 && a->conversations >= 0;
}

static void send_accounts(struct lane_writer *w)
{
    const struct batch *b = &w->batch;
    struct pg_array *owner = lane_array(w, 0, PG_UUID), *jid = lane_array(w, 1, PG_TEXT),
                    *own = lane_array(w, 2, PG_BOOL), *first = lane_array(w, 3, PG_INT8),
                    *unread = lane_array(w, 4, PG_INT4),
                    *conversations = lane_array(w, 5, PG_INT4);
    for (size_t i = 0; i < b->accounts_n; i++) {
        const struct batch_account *a = &b->accounts[i];
        if (!needs_account(w, a))
            continue;
        bool counted = is_counted_with_its_row(w, a);
        pg_array_add_uuid(owner, a->owner);
        pg_array_add_text(jid, a->jid);
        pg_array_add_bool(own, a->own);
        pg_array_add_i64(first, a->first_id);
        pg_array_add_i32(unread, counted ? a->unread : 0);
        pg_array_add_i32(conversations, counted ? a->conversations : 0);
    }
    if (owner->count > 0)
        lane_send_arrays(w, &ensure_accounts, 6, lane_on_plain);
}

static void send_account_counts(struct lane_writer *w)
{
    const struct batch *b = &w->batch;
    struct pg_array *owner = lane_array(w, 0, PG_UUID), *jid = lane_array(w, 1, PG_TEXT),
                    *unread = lane_array(w, 2, PG_INT4),
                    *conversations = lane_array(w, 3, PG_INT4);
    for (size_t i = 0; i < b->accounts_n; i++) {
        const struct batch_account *a = &b->accounts[i];
        if ((!a->unread && !a->conversations) || is_counted_with_its_row(w, a))
            continue;
        pg_array_add_uuid(owner, a->owner);
        pg_array_add_text(jid, a->jid);
        pg_array_add_i32(unread, a->unread);
        pg_array_add_i32(conversations, a->conversations);
    }
    if (owner->count > 0)
        lane_send_arrays(w, &count_accounts, 4, lane_on_plain);
}

static void send_gaps(struct lane_writer *w)
{
    for (size_t i = 0; i < w->batch.n; i++) {
        const struct op *op = &w->batch.ops[i];
        bool begins = op->w.kind == WRITE_GAP_BEGIN;
        if (!begins && op->w.kind != WRITE_GAP_END)
            continue;
        struct pg_params p;
        pg_params_init(&p);
        pg_add_uuid(&p, w->opts.spool_ids[op->place.spool]);
        pg_add_i64(&p, (int64_t)op->w.ref);
        if (begins)
            pg_add_text(&p, op->w.peer_jid);
        pg_add_i64(&p, op->w.stamp_us);
        if (begins)
            pg_add_text(&p, op->w.body);
        lane_send(w, begins ? &begin_gap : &end_gap, &p, lane_on_plain);
    }
}

/* The stanza is still in the spool: its place is not committed. */
static void put_aside(struct lane_writer *w, const struct op *op, const char *why)
{
    const struct ingest_hooks *hooks = w->opts.hooks;
    struct ingest_raw raw = {0};
    bool has = (op->w.kind != WRITE_ASIDE || op->w.flags) && hooks->raw &&
               hooks->raw(hooks->ctx, &op->place, &raw);
    if (!has)
        raw = (struct ingest_raw){.bytes = op->w.stanza, .bytes_n = op->w.stanza_len};
    if (raw.bytes_n > INGEST_RAW_BYTES) {
        raw.bytes_n = INGEST_RAW_BYTES;
        raw.cut = true;
    }
    uint64_t length = raw.bytes_n;
    if (raw.bytes_n == 0 || raw.cut)
        length = op->w.kind == WRITE_ASIDE ? op->w.content : op->place.end - op->place.begin;
    struct pg_params p;
    pg_params_init(&p);
    pg_add_uuid(&p, w->opts.spool_ids[op->place.spool]);
    pg_add_i64(&p, (int64_t)op->place.begin);
    pg_add_text(&p, why);
    pg_add_bytes(&p, raw.bytes_n ? raw.bytes : (const uint8_t *)"", raw.bytes_n);
    pg_add_i64(&p, (int64_t)length);
    pg_add_bytes(&p, raw.header_n ? raw.header : (const uint8_t *)"", raw.header_n);
    pg_add_i64(&p, op->received_us);
    lane_send(w, &quarantine, &p, lane_on_plain);
}

static void send_asides(struct lane_writer *w)
{
    w->aside = 0;
    for (size_t i = 0; i < w->batch.n; i++) {
        const struct op *op = &w->batch.ops[i];
        if (op->w.kind != WRITE_ASIDE)
            continue;
        put_aside(w, op, op->w.body);
        w->aside++;
    }
}

static void send_quarantine(struct lane_writer *w)
{
    const struct op *op = &w->job.ops[0];
    if (op->placed)
        put_aside(w, op, w->job.why);
    if (!op->w.again)
        return;
    struct pg_params p;
    pg_params_init(&p);
    pg_add_uuid(&p, w->job.again->spool);
    pg_add_i64(&p, w->job.again->pos);
    pg_add_text(&p, w->job.why);
    lane_send(w, &refuse_again, &p, lane_on_plain);
}

static void warn_ahead(struct lane_writer *w)
{
    if (w->batch.ahead_us == 0 || clock_mono_ms() < w->warned_ms)
        return;
    w->warned_ms = clock_mono_ms() + AHEAD_WARN_MS;
    log_warn("ingest", "our clock is ahead of PostgreSQL's: times are cut seconds=%lld",
             (long long)(w->batch.ahead_us / 1000000 + 2));
}

/* A crash anywhere before the server has the COMMIT leaves rows, counts, the others'
 * statements and the place as they were; after it, all of them are new. */
void lane_send_writes(struct lane_writer *w)
{
    const struct ingest_hooks *hooks = w->opts.hooks;
    warn_ahead(w);
    send_lane(w);
    send_rows(w);
    send_tombstones(w);
    send_flags(w);
    lane_send_early(w);
    send_conv_updates(w);
    send_conv_inserts(w);
    send_nicks(w);
    send_conv_markers(w);
    send_accounts(w);
    send_account_counts(w);
    lane_send_rooms(w);
    lane_send_prefs(w);
    send_gaps(w);
    send_asides(w);
    if (w->job.quarantine)
        send_quarantine(w);
    w->outcome.hooked = hooks->batch && w->batch.changes_n > 0 && !w->job.without_hook;
    if (w->outcome.hooked)
        hooks->batch(hooks->ctx, w->opts.pg, w->batch.changes, w->batch.changes_n);
    FAILPOINT("lane-commit");
    lane_send_plain(w, "COMMIT");
    pg_sync(w->opts.pg);
    FAILPOINT("lane-committing");
}
