// SPDX-License-Identifier: Apache-2.0
/* What outbox_sql.c and outbox_sql_call.c share. */
#ifndef APNS_OUTBOX_SQL_INT_H
#define APNS_OUTBOX_SQL_INT_H

#include "apns/outbox_sql.h"
#include "store/pg_array.h"

#define OUTBOX_SETTLE_ARRAYS 13
#define OUTBOX_CALL_ARRAYS 10
#define OUTBOX_OVER_ARRAYS 6

struct outbox_sql {
    struct pg_pool *pool;
    struct pg_pool *reads;
    uint8_t worker[16];
    /* One set of arrays for each statement that takes some; types are fixed at the start. */
    struct pg_array add[5];
    struct pg_array call[OUTBOX_CALL_ARRAYS];
    struct pg_array over[OUTBOX_OVER_ARRAYS];
    struct pg_array badges;
    struct pg_array fetch[4];
    struct pg_array settle[OUTBOX_SETTLE_ARRAYS];
    struct pg_array keys[3]; /* of statements that take nothing else */
    struct pg_array peers;
};

/* Messages were counted: an entry for each device of the owner.  Answers with what this worker
 * holds now.  A parked entry lives again; what a dead worker held is ours; what waits, waits.
 * Updates first and then inserts the rest: ON CONFLICT costs twice as much, and nobody else
 * makes such entries without the owner's lane.  Everybody who touches several entries does so
 * in this order, and comes to badges (peer 0) last: no deadlocks. */
#define OUTBOX_ADD_SQL(source, only)                                                          \
    "WITH c AS MATERIALIZED ("                                                                \
    " SELECT d.owner, r.device, d.peer, d.newest, d.jid, r.resource, r.app,"                  \
    "   timestamptz 'epoch' + d.counted_us * interval '1 us' AS counted_at"                   \
    " FROM " source " AS d (owner, jid, peer, newest, counted_us)"                            \
    " JOIN xs.registration r ON r.owner = d.owner" only                                       \
    " ORDER BY d.owner, r.device, d.peer),"                                                   \
    " u AS (UPDATE xs.outbox o SET"                                                           \
    "   gen = greatest(o.gen + 1, $3::bigint), newest_id = greatest(o.newest_id, c.newest),"  \
    "   counted_at = greatest(o.counted_at, c.counted_at),"                                   \
    "   state = CASE o.state WHEN 3 THEN $2::int ELSE o.state END,"                           \
    "   due = CASE o.state WHEN 3 THEN now() + $4::bigint * interval '1 ms' ELSE o.due END,"  \
    "   attempts = CASE o.state WHEN 3 THEN 0 ELSE o.attempts END,"                           \
    "   reason = CASE o.state WHEN 3 THEN NULL ELSE o.reason END,"                            \
    "   lease_by = CASE o.state WHEN 3 THEN CASE WHEN $2::int = 1 THEN $1::uuid END"          \
    "                           WHEN 1 THEN $1::uuid END"                                     \
    " FROM c WHERE o.owner = c.owner AND o.device = c.device AND o.peer = c.peer"             \
    " RETURNING o.owner, o.device, o.peer, o.state, o.due, o.attempts, o.gen, o.newest_id,"   \
    "   c.counted_at, c.jid, c.resource, c.app),"                                             \
    " n AS MATERIALIZED (SELECT c.* FROM c WHERE (c.owner, c.device, c.peer) NOT IN"          \
    "   (SELECT u.owner, u.device, u.peer FROM u)),"                                          \
    " i AS (INSERT INTO xs.outbox (owner, device, peer, gen, newest_id, counted_at, state, "  \
    "due,"                                                                                    \
    "   lease_by)"                                                                            \
    " SELECT n.owner, n.device, n.peer, $3::bigint, n.newest, n.counted_at, $2::int,"         \
    "   now() + $4::bigint * interval '1 ms', CASE WHEN $2::int = 1 THEN $1::uuid END FROM "  \
    "n)"                                                                                      \
    " SELECT u.owner, u.device, u.peer,"                                                      \
    "   greatest(0, date_part('epoch', u.due - now()) * 1000)::bigint, u.attempts,"           \
    "   u.counted_at, u.gen, u.newest_id, u.jid, u.resource, u.app FROM u WHERE u.state = 1"  \
    " UNION ALL SELECT n.owner, n.device, n.peer, $4::bigint, 0::smallint, n.counted_at,"     \
    "   $3::bigint, n.newest, n.jid, n.resource, n.app FROM n WHERE $2::int = 1"

/* To three arrays. */
void outbox_sql_add_key(struct pg_array *arrays, const struct outbox_key *key);
/* The first four parameters of every statement that adds. */
void outbox_sql_begin_add(struct outbox_sql *q, struct pg_params *p, bool held,
                          int64_t wait_ms);
/* at: the first of its columns, NULL where there is none; the last ones. */
void outbox_sql_take_call(const struct pg_result *r, int row, int at,
                          struct outbox_fetched *out);

#endif
