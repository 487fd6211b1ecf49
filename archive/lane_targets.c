// SPDX-License-Identifier: Apache-2.0
/* Which stored rows are meant by markers, bounces, retractions and named positions. */
#include "archive/lane_int.h"

/* The row that a marker, bounce or retraction means, and for the owner's own markers how many
 * counted rows it reads.  A room's references do not tell its senders apart; the peer is asked
 * for in a way that leads no plan to its index. */
static const struct pg_statement read_targets = {
    "lane_targets",
    "SELECT d.n::int, t.id, t.flags,"
    "   CASE WHEN d.mark AND t.id > c.read_id THEN"
    "     (SELECT count(*) FROM xs.message m WHERE m.owner = d.owner AND m.peer = d.peer"
    "        AND m.id > c.read_id AND m.id <= t.id AND m.flags & 1 = 1)"
    "   ELSE 0 END"
    " FROM unnest($1::uuid[], $2::bigint[], $3::uuid[], $4::boolean[]) WITH ORDINALITY"
    "   AS d (owner, peer, ref_id, mark, n)"
    " JOIN xs.conversation c ON c.owner = d.owner AND c.peer = d.peer"
    " CROSS JOIN LATERAL (SELECT m.id, m.flags FROM xs.message m"
    "   WHERE m.ref_id = d.ref_id AND m.id >= c.first_id"
    "   AND m.peer IS NOT DISTINCT FROM d.peer"
    "   ORDER BY m.id DESC LIMIT 1) t"};

/* The same for a row that is named by its own id. */
static const struct pg_statement read_named = {
    "lane_named",
    "SELECT d.n::int, t.id, t.flags,"
    "   CASE WHEN t.id > c.read_id THEN"
    "     (SELECT count(*) FROM xs.message m WHERE m.owner = d.owner AND m.peer = d.peer"
    "        AND m.id > c.read_id AND m.id <= t.id AND m.flags & 1 = 1)"
    "   ELSE 0 END"
    " FROM unnest($1::uuid[], $2::bigint[], $3::bigint[]) WITH ORDINALITY"
    "   AS d (owner, peer, id, n)"
    " JOIN xs.conversation c ON c.owner = d.owner AND c.peer = d.peer"
    " CROSS JOIN LATERAL (SELECT m.id, m.flags FROM xs.message m"
    "   WHERE m.owner = d.owner AND m.id = d.id AND m.peer = d.peer OFFSET 0) t"};

/* And for one that a room calls so. */
static const struct pg_statement read_aliased = {
    "lane_aliased",
    "SELECT d.n::int, m.id, m.flags, 0"
    " FROM unnest($1::uuid[], $2::bigint[], $3::uuid[]) WITH ORDINALITY"
    "   AS d (owner, peer, ref_id, n)"
    " CROSS JOIN LATERAL (SELECT s.id FROM xs.room_stanza_id s WHERE s.ref_id = d.ref_id"
    "   OFFSET 0) s"
    " CROSS JOIN LATERAL (SELECT m.id, m.flags FROM xs.message m"
    "   WHERE m.owner = d.owner AND m.id = s.id"
    "   AND (d.peer = 0 OR m.peer IS NOT DISTINCT FROM d.peer) OFFSET 0) m"};

static void on_aliased(void *ctx, const struct pg_result *r, const struct pg_error *e)
{
    struct lane_writer *w = ctx;
    for (int i = 0; r && i < pg_rows(r); i++)
        batch_set_target(&w->batch, w->aliased[pg_i64(r, i, 0) - 1], pg_i64(r, i, 1),
                         (int32_t)pg_i64(r, i, 2), pg_i64(r, i, 3));
    lane_on_plain(w, r, e);
}

static void on_targets(void *ctx, const struct pg_result *r, const struct pg_error *e)
{
    struct lane_writer *w = ctx;
    for (int i = 0; r && i < pg_rows(r); i++)
        batch_set_target(&w->batch, w->targets[pg_i64(r, i, 0) - 1], pg_i64(r, i, 1),
                         (int32_t)pg_i64(r, i, 2), pg_i64(r, i, 3));
    lane_on_plain(w, r, e);
}

static void on_named(void *ctx, const struct pg_result *r, const struct pg_error *e)
{
    struct lane_writer *w = ctx;
    for (int i = 0; r && i < pg_rows(r); i++)
        batch_set_target(&w->batch, w->named[pg_i64(r, i, 0) - 1], pg_i64(r, i, 1),
                         (int32_t)pg_i64(r, i, 2), pg_i64(r, i, 3));
    lane_on_plain(w, r, e);
}

static bool means_a_row(const struct op *op)
{
    switch (op->w.kind) {
    case WRITE_BOUNCE:
    case WRITE_RETRACT:
    case WRITE_MARK:
    case WRITE_PEER_MARK:
        return true;
    case WRITE_ROW:
    case WRITE_CONFIRM:
    case WRITE_MEMBER:
    case WRITE_NO_MEMBER:
    case WRITE_ROOM_READ:
    case WRITE_ROOMS_READ:
    case WRITE_NOTIFY:
    case WRITE_READ:
    case WRITE_READ_TO:
    case WRITE_PREFS:
    case WRITE_ROSTER:
    case WRITE_ROSTER_OLD:
    case WRITE_GAP_BEGIN:
    case WRITE_GAP_END:
    case WRITE_ASIDE:
    case WRITE_CALL:
        return false;
    }
    return false;
}

static void ask_by_ref(struct lane_writer *w)
{
    struct batch *b = &w->batch;
    struct pg_array *owner = lane_array(w, 0, PG_UUID), *peer = lane_array(w, 1, PG_INT8),
                    *ref = lane_array(w, 2, PG_UUID), *mark = lane_array(w, 3, PG_BOOL);
    w->targets = lane_room(w->targets, &w->targets_cap, b->n);
    size_t n = 0;
    for (uint32_t i = 0; i < b->n; i++) {
        const struct op *op = &b->ops[i];
        if (!means_a_row(op))
            continue;
        w->targets[n++] = i;
        pg_array_add_uuid(owner, op->w.owner);
        pg_array_add_i64(peer, (int64_t)op->w.peer);
        lane_add_ref(ref, &op->w);
        pg_array_add_bool(mark, op->w.kind == WRITE_MARK);
    }
    if (n > 0)
        lane_send_arrays(w, &read_targets, 4, on_targets);
}

static void ask_by_id(struct lane_writer *w)
{
    struct pg_array *owner = lane_array(w, 0, PG_UUID), *peer = lane_array(w, 1, PG_INT8),
                    *id = lane_array(w, 2, PG_INT8);
    w->named = lane_room(w->named, &w->named_cap, w->batch.n);
    size_t n = 0;
    for (uint32_t i = 0; i < w->batch.n; i++) {
        const struct op *op = &w->batch.ops[i];
        if (op->w.kind != WRITE_READ_TO)
            continue;
        w->named[n++] = i;
        pg_array_add_uuid(owner, op->w.owner);
        pg_array_add_i64(peer, (int64_t)op->w.peer);
        pg_array_add_i64(id, op->w.low);
    }
    if (n > 0)
        lane_send_arrays(w, &read_named, 3, on_named);
}

static void ask_by_alias(struct lane_writer *w)
{
    struct pg_array *owner = lane_array(w, 0, PG_UUID), *peer = lane_array(w, 1, PG_INT8),
                    *ref = lane_array(w, 2, PG_UUID);
    size_t n = 0;
    for (uint32_t i = 0; i < w->batch.n; i++) {
        const struct op *op = &w->batch.ops[i];
        if (op->w.kind != WRITE_RETRACT || !op->w.alias)
            continue;
        w->aliased = lane_room(w->aliased, &w->aliased_cap, n ? 0 : w->batch.n);
        w->aliased[n++] = i;
        pg_array_add_uuid(owner, op->w.owner);
        pg_array_add_i64(peer, (int64_t)op->w.peer);
        lane_add_ref(ref, &op->w);
    }
    if (n > 0)
        lane_send_arrays(w, &read_aliased, 3, on_aliased);
}

void lane_ask_targets(struct lane_writer *w)
{
    ask_by_ref(w);
    ask_by_id(w);
    if (w->batch.in_rooms > 0)
        ask_by_alias(w);
}
