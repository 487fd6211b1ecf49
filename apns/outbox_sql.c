// SPDX-License-Identifier: Apache-2.0
#include "apns/outbox_sql_int.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "apns/opts.h"
#include "apns/outbox.h"
#include "base/clock.h"
#include "base/event.h"
#include "store/pg_array.h"

#define ARRAY_BYTES_MAX (4 * 1024 * 1024)
#define EPOCH_2020_US INT64_C(1577836800000000)

/* OUTBOX_ADD_SQL of what the arrays hold. */
#define ADDED "unnest($5::uuid[], $6::text[], $7::bigint[], $8::bigint[], $9::bigint[])"
static const struct pg_statement add_st = {"outbox_add", OUTBOX_ADD_SQL(ADDED, "")};
/* What did not get through, for the devices that have not been told of it.  What they were
 * told longer ago is worth telling again. */
static const struct pg_statement again_st = {
    "outbox_again",
    OUTBOX_ADD_SQL(ADDED,
                   " WHERE NOT EXISTS (SELECT FROM xs.push_log p WHERE p.owner = d.owner"
                   "   AND p.at > now() - interval '1 hour' AND p.device = r.device"
                   "   AND p.peer = d.peer AND p.newest_id >= d.newest AND p.status = 200)")};
/* A badge entry for each device of which.  These are also made when an account leaves a phone,
 * which does not take the lanes of the others: hence ON CONFLICT. */
#define BADGES_SQL(which)                                                                     \
    "WITH added AS ("                                                                         \
    " INSERT INTO xs.outbox AS o (owner, device, peer, gen, newest_id, counted_at, state, "   \
    "due,"                                                                                    \
    "   lease_by)"                                                                            \
    " SELECT r.owner, r.device, 0, $3::bigint, 0, clock_timestamp(), $2::int,"                \
    "   now() + $4::bigint * interval '1 ms', CASE WHEN $2::int = 1 THEN $1::uuid END"        \
    " FROM " which " ORDER BY r.owner, r.device"                                              \
    " ON CONFLICT (owner, device, peer) DO UPDATE SET"                                        \
    "   gen = greatest(o.gen + 1, excluded.gen), counted_at = excluded.counted_at,"           \
    "   state = CASE o.state WHEN 3 THEN excluded.state ELSE o.state END,"                    \
    "   due = CASE o.state WHEN 3 THEN excluded.due ELSE o.due END,"                          \
    "   attempts = CASE o.state WHEN 3 THEN 0 ELSE o.attempts END,"                           \
    "   reason = CASE o.state WHEN 3 THEN NULL ELSE o.reason END,"                            \
    "   lease_by = CASE o.state WHEN 3 THEN excluded.lease_by WHEN 1 THEN $1::uuid END"       \
    " RETURNING o.owner, o.device, o.peer, o.state, o.due, o.attempts, o.counted_at, o.gen,"  \
    "   o.newest_id)"                                                                         \
    " SELECT a.owner, a.device, a.peer,"                                                      \
    "   greatest(0, date_part('epoch', a.due - now()) * 1000)::bigint, a.attempts,"           \
    "   a.counted_at, a.gen, a.newest_id, acc.jid, r.resource, r.app"                         \
    " FROM added a"                                                                           \
    " JOIN xs.account acc ON acc.owner = a.owner"                                             \
    " JOIN xs.registration r ON r.owner = a.owner AND r.device = a.device"                    \
    " WHERE a.state = 1"
/* Totals fell: those of the owners' devices that show another number, or will, because a push
 * to them may be under way with the old one. */
static const struct pg_statement badges_st = {
    "outbox_badges",
    BADGES_SQL("unnest($5::uuid[]) AS c (owner)"
               " JOIN xs.registration r ON r.owner = c.owner"
               " JOIN xs.device d ON d.device = r.device"
               " CROSS JOIN LATERAL xs.device_badge(r.device) b"
               " CROSS JOIN LATERAL xs.device_muted(r.device) muted"
               " WHERE d.badge_sent <> b.badge + muted.badge OR EXISTS ("
               "   SELECT FROM xs.registration r2"
               "   JOIN xs.outbox o2 ON o2.owner = r2.owner AND o2.device = r2.device"
               "   WHERE r2.device = r.device AND o2.state <> 3)")};
/* Conversations were read: the devices that may still show a notification of one. */
static const struct pg_statement read_st = {
    "outbox_read", BADGES_SQL("(SELECT DISTINCT e.owner, s.device"
                              " FROM unnest($5::uuid[], $6::bigint[]) AS e (owner, peer)"
                              " JOIN xs.shown s ON s.owner = e.owner AND s.peer = e.peer) r")};
#define FETCH_SQL(columns, more)                                                              \
    "SELECT f.*, CASE WHEN $2::boolean AND f.o_peer_jid = ANY ($6::text[]) THEN"              \
    "   xs.outbox_notice(($3::uuid[])[f.o_n], ($5::bigint[])[f.o_n], f.o_newest_id) END,"     \
    "   CASE WHEN $8::boolean AND ($5::bigint[])[f.o_n] = 0 THEN"                             \
    "   xs.withdrawable(($3::uuid[])[f.o_n], ($4::uuid[])[f.o_n]) END,"                       \
    "   CASE WHEN $9::boolean THEN xs.opened_badge(($4::uuid[])[f.o_n]) ELSE f.o_badge "      \
    "END," columns                                                                            \
    " FROM xs.outbox_fetch($1::uuid, $2::boolean, $7::boolean, $3::uuid[], $4::uuid[],"       \
    "   $5::bigint[]) f" more
static const struct pg_statement fetch_st = {"outbox_fetch", FETCH_SQL(" NULL::bigint", "")};
/* The same where there is a call among them, which is seldom. */
static const struct pg_statement fetch_calls_st = {
    "outbox_fetch_calls",
    FETCH_SQL(
        " k.o_peer, k.o_jid, k.o_session, k.o_media, k.o_muted, k.o_quiet,"
        " k.o_voip_token, k.o_voip_sealed, k.o_voip_sealed_by,"
        " CASE WHEN $7::boolean THEN (SELECT x.name FROM xs.contact_name x"
        "   WHERE x.owner = ($3::uuid[])[f.o_n] AND x.peer = k.o_peer) END, k.o_over_because",
        " LEFT JOIN LATERAL xs.outbox_call(($3::uuid[])[f.o_n], ($4::uuid[])[f.o_n],"
        "   ($5::bigint[])[f.o_n]) k ON true")};
#define FETCHED_PUBLISHED 16 /* the first column of what a server has published */
#define FETCHED_NICK 20
#define FETCHED_SANDBOX 21
#define FETCHED_SEALED_BY 22
#define FETCHED_SEALED 23
#define FETCHED_CONTACT 24
#define FETCHED_SAID 25
#define FETCHED_CONTACTS 26
#define FETCHED_NAMES_OLD 27
#define FETCHED_NOTICE 28
#define FETCHED_WITHDRAW 29
#define FETCHED_BADGE 30
#define FETCHED_CALL 31 /* NULL, and the last: none is known */
static const struct pg_statement environment_st = {
    "outbox_environment",
    "UPDATE xs.device SET sandbox = $2::boolean WHERE device = $1::uuid"};
static const struct pg_statement settle_st = {
    "outbox_settle",
    "SELECT * FROM xs.outbox_settle($1::uuid, $2::uuid[], $3::uuid[], $4::bigint[],"
    " $5::bigint[], $6::bigint[], $7::int[], $8::bigint[], $9::int[], $10::int[], $11::int[],"
    " $12::uuid[], $13::text[], $14::text[])"};
static const struct pg_statement shown_st = {
    "outbox_shown", "SELECT 1 FROM xs.shown_add($1::uuid[], $2::uuid[], $3::bigint[])"};
static const struct pg_statement withdrawn_st = {
    "outbox_withdrawn", "SELECT 1 FROM xs.withdrawn($1::uuid, $2::uuid, $3::bigint[])"};
static const struct pg_statement read_there_st = {
    "outbox_read_there", "SELECT 1 FROM xs.shown_forget($1::uuid, $2::uuid)"};
static const struct pg_statement app_st = {
    "outbox_app", "INSERT INTO xs.app AS a (app, badge) VALUES ($1::text, $2::int)"
                  " ON CONFLICT (app) DO UPDATE SET badge = excluded.badge"
                  " WHERE a.badge <> excluded.badge"};
static const struct pg_statement drop_st = {
    "outbox_drop",
    "SELECT * FROM xs.device_drop($1::uuid, $2::uuid, $3::bigint, $4::bigint, $5::bigint,"
    " timestamptz 'epoch' + $6::bigint * interval '1 microsecond', $7::uuid, $8::int,"
    " $9::text)"};
static const struct pg_statement wake_st = {"outbox_wake",
                                            "SELECT xs.outbox_wake($1::text, $2::int)"};
static const struct pg_statement give_back_st = {
    "outbox_give_back", "SELECT xs.outbox_give_back($1::text, $2::int)"};
/* A copy of a call's message may come for an hour. */
static const struct pg_statement purge_st = {
    "outbox_purge", "WITH calls AS (DELETE FROM xs.call WHERE at < now() - interval '1 hour')"
                    " SELECT xs.outbox_purge($1::bigint, $2::int)"};
static const struct pg_statement depth_st = {
    "outbox_depth", "SELECT count(*), count(*) FILTER (WHERE state = 2),"
                    " count(*) FILTER (WHERE state = 3),"
                    " min(counted_at) FILTER (WHERE state <> 3) FROM xs.outbox"};

static void init_all(struct pg_array *arrays, const enum pg_array_type *types, size_t n)
{
    for (size_t i = 0; i < n; i++)
        pg_array_init(&arrays[i], types[i], ARRAY_BYTES_MAX);
}

static void reset_all(struct pg_array *arrays, size_t n)
{
    for (size_t i = 0; i < n; i++)
        pg_array_reset(&arrays[i]);
}

static void deinit_all(struct pg_array *arrays, size_t n)
{
    for (size_t i = 0; i < n; i++)
        pg_array_deinit(&arrays[i]);
}

struct outbox_sql *outbox_sql_new(struct pg_pool *pool, struct pg_pool *reads,
                                  const uint8_t worker[16])
{
    static const enum pg_array_type add[] = {PG_UUID, PG_TEXT, PG_INT8, PG_INT8, PG_INT8};
    static const enum pg_array_type call[OUTBOX_CALL_ARRAYS] = {
        PG_UUID, PG_TEXT, PG_INT8, PG_INT8, PG_TEXT,
        PG_INT8, PG_TEXT, PG_TEXT, PG_INT8, PG_TEXT};
    static const enum pg_array_type over[OUTBOX_OVER_ARRAYS] = {PG_UUID, PG_INT8, PG_TEXT,
                                                                PG_INT8, PG_TEXT, PG_INT8};
    static const enum pg_array_type fetch[] = {PG_UUID, PG_UUID, PG_INT8, PG_TEXT};
    static const enum pg_array_type settle[OUTBOX_SETTLE_ARRAYS] = {
        PG_UUID, PG_UUID, PG_INT8, PG_INT8, PG_INT8, PG_INT4, PG_INT8,
        PG_INT4, PG_INT4, PG_INT4, PG_UUID, PG_TEXT, PG_TEXT};
    struct outbox_sql *q = calloc(1, sizeof *q);
    if (!q)
        abort();
    q->pool = pool;
    q->reads = reads ? reads : pool;
    memcpy(q->worker, worker, 16);
    init_all(q->add, add, 5);
    init_all(q->call, call, OUTBOX_CALL_ARRAYS);
    init_all(q->over, over, OUTBOX_OVER_ARRAYS);
    pg_array_init(&q->badges, PG_UUID, ARRAY_BYTES_MAX);
    init_all(q->fetch, fetch, 4);
    init_all(q->settle, settle, OUTBOX_SETTLE_ARRAYS);
    init_all(q->keys, settle, 3);
    pg_array_init(&q->peers, PG_INT8, ARRAY_BYTES_MAX);
    return q;
}

void outbox_sql_free(struct outbox_sql **q)
{
    if (!*q)
        return;
    deinit_all((*q)->add, 5);
    deinit_all((*q)->call, OUTBOX_CALL_ARRAYS);
    deinit_all((*q)->over, OUTBOX_OVER_ARRAYS);
    pg_array_deinit(&(*q)->badges);
    deinit_all((*q)->fetch, 4);
    deinit_all((*q)->settle, OUTBOX_SETTLE_ARRAYS);
    deinit_all((*q)->keys, 3);
    pg_array_deinit(&(*q)->peers);
    free(*q);
    *q = NULL;
}

/* A generation nobody has used: a time, in the unit of message ids. */
static int64_t fresh_gen(void)
{
    return (clock_real_us() - EPOCH_2020_US) << 8;
}

void outbox_sql_begin_add(struct outbox_sql *q, struct pg_params *p, bool held,
                          int64_t wait_ms)
{
    pg_params_init(p);
    pg_add_uuid(p, q->worker);
    pg_add_i32(p, held ? 1 : 2);
    pg_add_i64(p, fresh_gen());
    pg_add_i64(p, wait_ms);
}

static bool is_wanted(const struct unread_change *c, enum outbox_sql_kind kind)
{
    if (c->peer == 0)
        return false;
    return kind == OUTBOX_SQL_COUNTED ? c->counted > 0 : c->undelivered && c->counted == 0;
}

bool outbox_sql_add(struct outbox_sql *q, const struct outbox_changes *c,
                    enum outbox_sql_kind kind, int64_t settle_ms, void *ctx)
{
    reset_all(q->add, 5);
    for (size_t i = 0; i < c->n; i++) {
        const struct unread_change *u = &c->all[i];
        if (!is_wanted(u, kind))
            continue;
        pg_array_add_uuid(&q->add[0], u->owner);
        pg_array_add_text(&q->add[1], u->owner_jid);
        pg_array_add_i64(&q->add[2], (int64_t)u->peer);
        pg_array_add_i64(&q->add[3], u->newest_id);
        pg_array_add_i64(&q->add[4], u->received_us);
    }
    if (q->add[0].count == 0)
        return false;
    struct pg_params p;
    outbox_sql_begin_add(q, &p, c->held, settle_ms);
    for (size_t i = 0; i < 5; i++)
        pg_add_array(&p, &q->add[i]);
    pg_send(c->conn, kind == OUTBOX_SQL_COUNTED ? &add_st : &again_st, &p, c->cb, ctx);
    return true;
}

bool outbox_sql_add_badges(struct outbox_sql *q, const struct outbox_changes *c,
                           int64_t wait_ms, void *ctx)
{
    pg_array_reset(&q->badges);
    const uint8_t *last = NULL;
    for (size_t i = 0; i < c->n; i++) { /* sorted by owner */
        const struct unread_change *u = &c->all[i];
        if (!u->lowered || (last && memcmp(last, u->owner, OWNER_BYTES) == 0))
            continue;
        last = u->owner;
        pg_array_add_uuid(&q->badges, u->owner);
    }
    if (q->badges.count == 0)
        return false;
    struct pg_params p;
    outbox_sql_begin_add(q, &p, c->held, wait_ms);
    pg_add_array(&p, &q->badges);
    pg_send(c->conn, &badges_st, &p, c->cb, ctx);
    return true;
}

bool outbox_sql_add_read(struct outbox_sql *q, const struct outbox_changes *c, int64_t wait_ms,
                         void *ctx)
{
    pg_array_reset(&q->badges);
    pg_array_reset(&q->peers);
    for (size_t i = 0; i < c->n; i++) {
        if (!c->all[i].emptied)
            continue;
        pg_array_add_uuid(&q->badges, c->all[i].owner);
        pg_array_add_i64(&q->peers, (int64_t)c->all[i].peer);
    }
    if (q->badges.count == 0)
        return false;
    struct pg_params p;
    outbox_sql_begin_add(q, &p, c->held, wait_ms);
    pg_add_array(&p, &q->badges);
    pg_add_array(&p, &q->peers);
    pg_send(c->conn, &read_st, &p, c->cb, ctx);
    return true;
}

void outbox_sql_row(const struct pg_result *r, int row, struct outbox_row *out)
{
    pg_uuid(r, row, 0, out->owner);
    pg_uuid(r, row, 1, out->device);
    out->peer = (uint64_t)pg_i64(r, row, 2);
    out->due_ms = pg_i64(r, row, 3);
    out->attempts = (uint16_t)pg_i64(r, row, 4);
    out->counted_us = pg_time_us(r, row, 5);
    out->gen = pg_i64(r, row, 6);
    out->newest_id = pg_i64(r, row, 7);
    out->jid = pg_text(r, row, 8);
    out->resource = pg_text(r, row, 9);
    out->app = pg_text(r, row, 10);
}

void outbox_sql_add_key(struct pg_array *arrays, const struct outbox_key *key)
{
    pg_array_add_uuid(&arrays[0], key->owner);
    pg_array_add_uuid(&arrays[1], key->device);
    pg_array_add_i64(&arrays[2], (int64_t)key->peer);
}

void outbox_sql_fetch(struct outbox_sql *q, const struct outbox_fetch *what, pg_result_fn cb,
                      void *ctx)
{
    assert(what->n <= OUTBOX_BATCH_MAX);
    bool calls = false;
    reset_all(q->fetch, 4);
    for (size_t i = 0; i < what->n; i++) {
        outbox_sql_add_key(q->fetch, &what->keys[i]);
        calls = calls || outbox_is_call(what->keys[i].peer);
    }
    for (size_t i = 0; i < what->notices->n; i++)
        pg_array_add_text(&q->fetch[3], what->notices->of[i].from);
    struct pg_params p;
    pg_params_init(&p);
    pg_add_uuid(&p, q->worker);
    pg_add_bool(&p, what->text);
    for (size_t i = 0; i < 4; i++)
        pg_add_array(&p, &q->fetch[i]);
    pg_add_bool(&p, what->names);
    pg_add_bool(&p, what->withdraws);
    pg_add_bool(&p, what->since_opened);
    /* It takes no lock, so it can be in no deadlock with what is stored meanwhile.  An entry
     * is fetched only when what made it ours has been answered, and the push before it to its
     * device was stored: a snapshot on another connection has both. */
    pg_pool_send(pg_pool_is_up(q->reads) ? q->reads : q->pool,
                 calls ? &fetch_calls_st : &fetch_st, &p, cb, ctx);
}

/* Of a message that we have not seen we know what its server says; what is counted here wins.
 */
static void take_published(const struct pg_result *r, int row, struct outbox_fetched *out)
{
    int at = FETCHED_PUBLISHED;
    if (pg_is_null(r, row, at) || out->unread > 0)
        return;
    out->unread = (int)pg_i64(r, row, at);
    out->peer_jid = pg_text(r, row, at + 1);
    out->encrypted = pg_bool(r, row, at + 2);
    out->body = pg_is_null(r, row, at + 3) ? NULL : pg_text(r, row, at + 3);
}

/* Peers of eight bytes each; 0 comes last, when nothing else is unread.  Apps of p2's dialect
 * are only woken: they have shown nothing that we could name. */
static void take_withdrawn(const struct pg_result *r, int row, struct outbox_fetched *out)
{
    size_t len = 0;
    const uint8_t *at = NULL;
    out->withdraw_n = 0;
    out->withdraw_complete = false;
    if (!out->account_name && !pg_is_null(r, row, FETCHED_WITHDRAW))
        at = pg_bytes(r, row, FETCHED_WITHDRAW, &len);
    for (; len >= 8; at += 8, len -= 8) {
        uint64_t peer = 0;
        for (size_t i = 0; i < 8; i++)
            peer = peer << 8 | at[i];
        if (peer == 0)
            out->withdraw_complete = true;
        else if (out->withdraw_n < PAYLOAD_WITHDRAW_MAX)
            out->withdraw[out->withdraw_n++] = peer;
    }
}

void outbox_sql_fetched(const struct pg_result *r, int row, struct outbox_fetched *out)
{

    out->n = (size_t)pg_i64(r, row, 0) - 1;
    out->gen = pg_i64(r, row, 1);
    out->newest_id = pg_i64(r, row, 2);
    out->counted_us = pg_time_us(r, row, 3);
    out->registered = pg_bool(r, row, 4);
    out->token = pg_text(r, row, 5);
    out->badge_sent = (int)pg_i64(r, row, 6);
    out->badge = (int)pg_i64(r, row, FETCHED_BADGE);
    out->unread = (int)pg_i64(r, row, 8);
    out->muted = pg_bool(r, row, 9);
    out->peer_jid = pg_text(r, row, 10);
    out->encrypted = pg_bool(r, row, 11);
    out->body = pg_is_null(r, row, 12) ? NULL : pg_text(r, row, 12);
    out->account_name = pg_is_null(r, row, 13) ? NULL : pg_text(r, row, 13);
    out->content = pg_is_null(r, row, 14) ? PUSH_CONTENT_BODY : (int)pg_i64(r, row, 14);
    out->quiet = pg_bool(r, row, 15);
    out->nick = pg_is_null(r, row, FETCHED_NICK) ? NULL : pg_text(r, row, FETCHED_NICK);
    out->notice = pg_is_null(r, row, FETCHED_NOTICE)
                      ? NULL
                      : (const char *)pg_bytes(r, row, FETCHED_NOTICE, &out->notice_len);
    out->environment = pg_is_null(r, row, FETCHED_SANDBOX) ? OUTBOX_AS_APP
                       : pg_bool(r, row, FETCHED_SANDBOX)  ? OUTBOX_SANDBOX
                                                           : OUTBOX_PRODUCTION;
    out->contact =
        pg_is_null(r, row, FETCHED_CONTACT) ? NULL : pg_text(r, row, FETCHED_CONTACT);
    out->said = pg_is_null(r, row, FETCHED_SAID)
                    ? NULL
                    : (const char *)pg_bytes(r, row, FETCHED_SAID, &out->said_len);
    out->contacts = pg_text(r, row, FETCHED_CONTACTS);
    out->names_old = pg_bool(r, row, FETCHED_NAMES_OLD);
    out->sealed_by = (int32_t)pg_i64(r, row, FETCHED_SEALED_BY);
    out->sealed = pg_bytes(r, row, FETCHED_SEALED, &out->sealed_len);
    take_published(r, row, out);
    take_withdrawn(r, row, out);
    outbox_sql_take_call(r, row, FETCHED_CALL, out);
}

void outbox_sql_settle(struct outbox_sql *q, const struct outbox_outcome *outcomes, size_t n,
                       pg_result_fn cb, void *ctx)
{
    assert(n <= OUTBOX_BATCH_MAX);
    struct pg_array *a = q->settle;
    reset_all(a, OUTBOX_SETTLE_ARRAYS);
    for (size_t i = 0; i < n; i++) {
        const struct outbox_outcome *o = &outcomes[i];
        outbox_sql_add_key(a, &o->key);
        pg_array_add_i64(&a[3], o->gen);
        pg_array_add_i64(&a[4], o->newest_id);
        pg_array_add_i32(&a[5], (int32_t)o->action);
        pg_array_add_i64(&a[6], o->delay_ms);
        pg_array_add_i32(&a[7], o->attempts);
        pg_array_add_i32(&a[8], o->status);
        pg_array_add_i32(&a[9], o->badge);
        pg_array_add_uuid(&a[10], o->apns_id);
        pg_array_add_text(&a[11], o->reason[0] ? o->reason : NULL);
        pg_array_add_text(&a[12], o->decision[0] ? o->decision : NULL);
    }
    struct pg_params p;
    pg_params_init(&p);
    pg_add_uuid(&p, q->worker);
    for (size_t i = 0; i < OUTBOX_SETTLE_ARRAYS; i++)
        pg_add_array(&p, &a[i]);
    pg_pool_send(q->pool, &settle_st, &p, cb, ctx);
}

size_t outbox_sql_kept(const struct pg_result *r, int row, int64_t *gen_out,
                       int64_t *counted_us_out)
{
    *gen_out = pg_i64(r, row, 1);
    *counted_us_out = pg_time_us(r, row, 2);
    return (size_t)pg_i64(r, row, 0) - 1;
}

void outbox_sql_shown(struct outbox_sql *q, const struct outbox_outcome *outcomes, size_t n,
                      pg_result_fn cb, void *ctx)
{
    reset_all(q->keys, 3);
    for (size_t i = 0; i < n; i++)
        if (outcomes[i].shown)
            outbox_sql_add_key(q->keys, &outcomes[i].key);
    struct pg_params p;
    pg_params_init(&p);
    for (size_t i = 0; i < 3; i++)
        pg_add_array(&p, &q->keys[i]);
    pg_pool_send(q->pool, &shown_st, &p, cb, ctx);
}

void outbox_sql_withdrawn(struct outbox_sql *q, const struct outbox_key *key,
                          const uint64_t *peers, size_t n, pg_result_fn cb, void *ctx)
{
    pg_array_reset(&q->peers);
    for (size_t i = 0; i < n; i++)
        pg_array_add_i64(&q->peers, (int64_t)peers[i]);
    struct pg_params p;
    pg_params_init(&p);
    pg_add_uuid(&p, key->owner);
    pg_add_uuid(&p, key->device);
    pg_add_array(&p, &q->peers);
    pg_pool_send(q->pool, &withdrawn_st, &p, cb, ctx);
}

void outbox_sql_read_there(struct outbox_sql *q, const struct outbox_key *key, pg_result_fn cb,
                           void *ctx)
{
    struct pg_params p;
    pg_params_init(&p);
    pg_add_uuid(&p, key->owner);
    pg_add_uuid(&p, key->device);
    pg_pool_send(q->pool, &read_there_st, &p, cb, ctx);
}

void outbox_sql_drop(struct outbox_sql *q, const struct outbox_outcome *o, int64_t before_us,
                     pg_result_fn cb, void *ctx)
{
    struct pg_params p;
    pg_params_init(&p);
    pg_add_uuid(&p, o->key.owner);
    pg_add_uuid(&p, o->key.device);
    pg_add_i64(&p, (int64_t)o->key.peer);
    pg_add_i64(&p, o->gen);
    pg_add_i64(&p, o->newest_id);
    pg_add_i64(&p, before_us);
    pg_add_uuid(&p, o->apns_id);
    pg_add_i32(&p, o->status);
    pg_add_text(&p, o->reason);
    pg_pool_send(q->pool, &drop_st, &p, cb, ctx);
}

void outbox_sql_environment(struct outbox_sql *q, const uint8_t device[16], bool sandbox,
                            pg_result_fn cb, void *ctx)
{
    struct pg_params p;
    pg_params_init(&p);
    pg_add_uuid(&p, device);
    pg_add_bool(&p, sandbox);
    pg_pool_send(q->pool, &environment_st, &p, cb, ctx);
}

void outbox_sql_wake(struct outbox_sql *q, const char *app, pg_result_fn cb, void *ctx)
{
    struct pg_params p;
    pg_params_init(&p);
    pg_add_text(&p, app);
    pg_add_i32(&p, 10000);
    pg_pool_send(q->pool, &wake_st, &p, cb, ctx);
}

void outbox_sql_give_back(struct outbox_sql *q, const char *app, unsigned n, pg_result_fn cb,
                          void *ctx)
{
    struct pg_params p;
    pg_params_init(&p);
    pg_add_text(&p, app);
    pg_add_i32(&p, (int32_t)n);
    pg_pool_send(q->pool, &give_back_st, &p, cb, ctx);
}

void outbox_sql_purge(struct outbox_sql *q, int64_t history_ms, unsigned limit,
                      pg_result_fn cb, void *ctx)
{
    struct pg_params p;
    pg_params_init(&p);
    pg_add_i64(&p, history_ms);
    pg_add_i32(&p, (int32_t)limit);
    pg_pool_send(q->pool, &purge_st, &p, cb, ctx);
}

void outbox_sql_app(struct outbox_sql *q, const char *app, enum push_badge badge,
                    pg_result_fn cb, void *ctx)
{
    struct pg_params p;
    pg_params_init(&p);
    pg_add_text(&p, app);
    pg_add_i32(&p, (int32_t)badge);
    pg_pool_send(q->pool, &app_st, &p, cb, ctx);
}

void outbox_sql_depth(struct outbox_sql *q, pg_result_fn cb, void *ctx)
{
    struct pg_params p;
    pg_params_init(&p);
    pg_pool_send(q->pool, &depth_st, &p, cb, ctx);
}
