// SPDX-License-Identifier: Apache-2.0
/*
 * Rooms: which of their messages they have told of, who belongs to them, and what each has
 * read (xs.room_member).  A message costs its row and nothing for each member: what is unread
 * is counted from the position when somebody asks, and pushes are made later.
 */
#include "archive/lane_int.h"

#include "archive/ident.h"

/* What they are called who said so, and that the members are to be told of it: one row, and
 * the worker goes through the members later (archive/room_push.h). */
#define TOLD_SQL                                                                              \
    ", due AS (INSERT INTO xs.room_due (owner, id)"                                           \
    "   SELECT t.owner, t.id FROM told t WHERE t.flags & 512 = 512 ON CONFLICT DO NOTHING)"   \
    " INSERT INTO xs.room_nick AS n (owner, peer, nick, nick_words)"                          \
    " SELECT DISTINCT ON (t.owner, t.peer) t.owner, t.peer, t.nick, t.words FROM told t"      \
    " ORDER BY t.owner, t.peer, t.id DESC"                                                    \
    " ON CONFLICT (owner, peer) DO UPDATE SET nick = excluded.nick,"                          \
    "   nick_words = excluded.nick_words WHERE n.nick <> excluded.nick"

static const struct pg_statement confirm_rows = {
    "lane_confirm",
    "WITH told AS (UPDATE xs.message m SET"
    "   flags = m.flags & CASE WHEN m.flags & 128 = 128 THEN ~1024 ELSE ~(1024 | 32) END"
    " FROM unnest($1::uuid[], $2::bigint[], $4::text[], $5::text[])"
    "   AS d (ref_id, body, nick, words)"
    " WHERE m.ref_id = d.ref_id AND m.ref_body = d.body AND m.id >= $3::bigint"
    "   AND m.flags & 1024 = 1024"
    " RETURNING m.owner, m.id, m.peer, m.flags, d.nick, d.words)" TOLD_SQL};

/* The rows of this batch that it has told of. */
static const struct pg_statement told_rows = {
    "lane_told", "WITH told AS (SELECT * FROM unnest($1::uuid[], $2::bigint[], $3::bigint[],"
                 "   $4::int[], $5::text[], $6::text[]) AS u (owner, id, peer, flags, nick,"
                 "   words))" TOLD_SQL};

/* What the room itself calls them: markers name that. */
static const struct pg_statement add_aliases = {
    "lane_room_alias",
    "INSERT INTO xs.room_stanza_id (ref_id, id)"
    " SELECT d.alias, max(m.id) FROM unnest($1::uuid[], $2::bigint[], $3::uuid[])"
    "   AS d (ref_id, body, alias)"
    " JOIN xs.message m ON m.ref_id = d.ref_id AND m.ref_body = d.body AND m.id >= $4::bigint"
    " GROUP BY d.alias ON CONFLICT DO NOTHING"};

static const struct pg_statement add_member = {
    "lane_room_member",
    "SELECT 1 FROM xs.room_member_add($1::uuid, $2::text, $3::bigint, $4::uuid, $5::text,"
    "   $6::bigint, $7::int, $8::bigint, $9::text, $10::text)"};

static const struct pg_statement remove_member = {
    "lane_room_leave", "SELECT 1 FROM xs.room_member_remove($1::uuid, $2::bigint, $3::int)"};

/* Phones of who has read show less of it; members are other lanes' owners, so they are only
 * noted (archive/room_push.h). */
#define MOVED_SQL(update)                                                                     \
    "WITH moved AS (" update " RETURNING r.member)"                                           \
    " SELECT xs.badge_due_add(ARRAY(SELECT m.member FROM moved m))::text"

static const struct pg_statement move_by_id = {
    "lane_room_own",
    MOVED_SQL("UPDATE xs.room_member r SET read_id = d.id"
              " FROM (SELECT owner, peer, max(id) AS id FROM unnest($1::uuid[], $2::bigint[],"
              "   $3::bigint[]) AS u (owner, peer, id) GROUP BY owner, peer) d"
              " WHERE r.owner = d.owner AND r.peer = d.peer AND r.read_id < d.id")};

/* By the sender's name for the message, or by the room's.  Others may call a later one so: the
 * last before it is meant, or the first behind it. */
static const struct pg_statement move_by_ref = {
    "lane_room_mark",
    MOVED_SQL("UPDATE xs.room_member r SET read_id = d.id"
              " FROM (SELECT u.owner, u.peer, max(greatest(coalesce("
              "     (SELECT m.id FROM xs.message m WHERE m.ref_id = u.ref_id"
              "      AND m.id <= u.at_id ORDER BY m.id DESC LIMIT 1),"
              "     (SELECT m.id FROM xs.message m WHERE m.ref_id = u.ref_id"
              "      AND m.id > u.at_id ORDER BY m.id LIMIT 1)),"
              "     (SELECT s.id FROM xs.room_stanza_id s WHERE s.ref_id = u.ref_id))) AS id"
              "   FROM unnest($1::uuid[], $2::bigint[], $3::uuid[], $4::bigint[])"
              "     AS u (owner, peer, ref_id, at_id)"
              "   GROUP BY u.owner, u.peer) d"
              " WHERE r.owner = d.owner AND r.peer = d.peer AND r.read_id < d.id")};

/* Of the rooms of this lane. */
static const struct pg_statement move_all = {
    "lane_rooms_read", MOVED_SQL("UPDATE xs.room_member r SET read_id = $2::bigint"
                                 " WHERE r.member = $1::uuid AND r.read_id < $2::bigint"
                                 "   AND xs.lane_of(r.owner) = $3::int")};

/* $3 0: the bookmark says nothing, or is gone. */
static const struct pg_statement set_notify = {
    "lane_notify", "SELECT 1 FROM xs.notify_bookmarked($1::uuid, $2::bigint, $3::int)"};

static int64_t lower(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static void send_confirms(struct lane_writer *w)
{
    const struct batch *b = &w->batch;
    struct pg_array *ref = lane_array(w, 0, PG_UUID), *content = lane_array(w, 1, PG_INT8),
                    *nick = lane_array(w, 2, PG_TEXT), *words = lane_array(w, 3, PG_TEXT);
    int64_t low = INT64_MAX;
    for (size_t i = 0; i < b->n; i++) {
        const struct op *op = &b->ops[i];
        if (op->w.kind != WRITE_CONFIRM)
            continue;
        lane_add_ref(ref, &op->w);
        pg_array_add_i64(content, (int64_t)op->w.content);
        pg_array_add_text(nick, op->w.peer_resource);
        pg_array_add_text(words, op->w.body);
        low = lower(low, lane_low(w, op));
    }
    struct pg_params p;
    pg_params_init(&p);
    pg_add_array(&p, ref);
    pg_add_array(&p, content);
    pg_add_i64(&p, low);
    pg_add_array(&p, nick);
    pg_add_array(&p, words);
    lane_send(w, &confirm_rows, &p, lane_on_plain);
}

static void send_told(struct lane_writer *w)
{
    const struct batch *b = &w->batch;
    struct pg_array *owner = lane_array(w, 0, PG_UUID), *id = lane_array(w, 1, PG_INT8),
                    *peer = lane_array(w, 2, PG_INT8), *flags = lane_array(w, 3, PG_INT4),
                    *nick = lane_array(w, 4, PG_TEXT), *words = lane_array(w, 5, PG_TEXT);
    for (size_t i = 0; i < b->n; i++) {
        const struct op *op = &b->ops[i];
        if (op->w.kind != WRITE_ROW || op->fate != FATE_NEW || !op->told)
            continue;
        const struct op *by = &b->ops[op->told - 1];
        pg_array_add_uuid(owner, op->w.owner);
        pg_array_add_i64(id, op->id);
        pg_array_add_i64(peer, (int64_t)op->w.peer);
        pg_array_add_i32(flags, (int32_t)op->w.flags);
        pg_array_add_text(nick, by->w.peer_resource);
        pg_array_add_text(words, by->w.body);
    }
    if (owner->count > 0)
        lane_send_arrays(w, &told_rows, 6, lane_on_plain);
}

static void send_aliases(struct lane_writer *w)
{
    const struct batch *b = &w->batch;
    struct pg_array *ref = lane_array(w, 0, PG_UUID), *content = lane_array(w, 1, PG_INT8),
                    *alias = lane_array(w, 2, PG_UUID);
    int64_t low = INT64_MAX;
    for (size_t i = 0; i < b->n; i++) {
        const struct op *op = &b->ops[i];
        if (op->w.kind != WRITE_CONFIRM || !op->w.alias)
            continue;
        uint8_t key[16];
        ident_ref_key(op->w.owner, op->w.alias, key);
        lane_add_ref(ref, &op->w);
        pg_array_add_i64(content, (int64_t)op->w.content);
        pg_array_add_uuid(alias, key);
        low = lower(low, lane_low(w, op));
    }
    if (ref->count == 0)
        return;
    struct pg_params p;
    pg_params_init(&p);
    pg_add_array(&p, ref);
    pg_add_array(&p, content);
    pg_add_array(&p, alias);
    pg_add_i64(&p, low);
    lane_send(w, &add_aliases, &p, lane_on_plain);
}

/* Who has come has read what was there. */
static void send_member(struct lane_writer *w, const struct op *op)
{
    struct pg_params p;
    pg_params_init(&p);
    pg_add_uuid(&p, op->w.owner);
    if (op->w.kind == WRITE_MEMBER)
        pg_add_text(&p, op->w.owner_jid);
    pg_add_i64(&p, (int64_t)op->w.content);
    if (op->w.kind == WRITE_MEMBER) {
        pg_add_uuid(&p, op->w.stanza);
        pg_add_text(&p, op->w.peer_jid);
        pg_add_i64(&p, (int64_t)op->w.alias);
    }
    pg_add_i32(&p, (int32_t)op->w.flags);
    if (op->w.kind == WRITE_MEMBER) {
        pg_add_i64(&p, op->id);
        pg_add_text(&p, op->w.peer_resource);
        pg_add_text(&p, op->w.body);
    }
    lane_send(w, op->w.kind == WRITE_MEMBER ? &add_member : &remove_member, &p, lane_on_plain);
}

static void send_members(struct lane_writer *w)
{
    for (size_t i = 0; i < w->batch.n; i++) {
        const struct op *op = &w->batch.ops[i];
        if (op->w.kind == WRITE_MEMBER || op->w.kind == WRITE_NO_MEMBER)
            send_member(w, op);
    }
}

static bool reads_to_its_id(const struct op *op)
{
    if (op->w.kind == WRITE_ROOM_READ)
        return !op->w.ref;
    return op->w.kind == WRITE_ROW && op->fate == FATE_NEW && op->w.flags & ROW_GROUPCHAT &&
           op->w.reads;
}

static void send_own(struct lane_writer *w)
{
    struct pg_array *owner = lane_array(w, 0, PG_UUID), *peer = lane_array(w, 1, PG_INT8),
                    *id = lane_array(w, 2, PG_INT8);
    for (size_t i = 0; i < w->batch.n; i++) {
        const struct op *op = &w->batch.ops[i];
        if (!reads_to_its_id(op))
            continue;
        pg_array_add_uuid(owner, op->w.owner);
        pg_array_add_i64(peer,
                         (int64_t)(op->w.kind == WRITE_ROW ? op->w.peer : op->w.content));
        pg_array_add_i64(id, op->id);
    }
    if (owner->count > 0)
        lane_send_arrays(w, &move_by_id, 3, lane_on_plain);
}

static void send_marks(struct lane_writer *w)
{
    struct pg_array *owner = lane_array(w, 0, PG_UUID), *peer = lane_array(w, 1, PG_INT8),
                    *ref = lane_array(w, 2, PG_UUID), *at = lane_array(w, 3, PG_INT8);
    for (size_t i = 0; i < w->batch.n; i++) {
        const struct op *op = &w->batch.ops[i];
        if (op->w.kind != WRITE_ROOM_READ || !op->w.ref)
            continue;
        pg_array_add_uuid(owner, op->w.owner);
        pg_array_add_i64(peer, (int64_t)op->w.content);
        lane_add_ref(ref, &op->w);
        pg_array_add_i64(at, op->id);
    }
    if (owner->count > 0)
        lane_send_arrays(w, &move_by_ref, 4, lane_on_plain);
}

static void send_all_read(struct lane_writer *w)
{
    for (size_t i = 0; i < w->batch.n; i++) {
        const struct op *op = &w->batch.ops[i];
        if (op->w.kind != WRITE_ROOMS_READ)
            continue;
        struct pg_params p;
        pg_params_init(&p);
        pg_add_uuid(&p, op->w.owner);
        /* Not beyond what ids may tell: what comes next is not read. */
        pg_add_i64(&p, ident_id_from_us(lower(op->received_us, w->max_us)));
        pg_add_i32(&p, (int32_t)w->job.lane);
        lane_send(w, &move_all, &p, lane_on_plain);
    }
}

static void send_notify(struct lane_writer *w)
{
    for (size_t i = 0; i < w->batch.n; i++) {
        const struct op *op = &w->batch.ops[i];
        if (op->w.kind != WRITE_NOTIFY)
            continue;
        struct pg_params p;
        pg_params_init(&p);
        pg_add_uuid(&p, op->w.owner);
        pg_add_i64(&p, (int64_t)op->w.content);
        pg_add_i32(&p, (int32_t)op->w.flags);
        lane_send(w, &set_notify, &p, lane_on_plain);
    }
}

void lane_send_rooms(struct lane_writer *w)
{
    if (w->batch.in_rooms == 0)
        return;
    if (w->batch.confirms > 0) {
        send_told(w);
        send_confirms(w);
        send_aliases(w);
    }
    send_members(w);
    send_own(w);
    send_marks(w);
    send_all_read(w);
    send_notify(w);
}
