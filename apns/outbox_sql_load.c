// SPDX-License-Identifier: Apache-2.0
/* The outbox's statements about who loads, what is due, and what dead workers held. */
#include <assert.h>
#include <string.h>

#include "apns/outbox_sql_int.h"

static const struct pg_statement load_st = {
    "outbox_load",
    "SELECT * FROM xs.outbox_load($1::uuid, $2::bigint, $3::int,"
    " timestamptz 'epoch' + $4::bigint * interval '1 us', $5::uuid, $6::uuid, $7::bigint)"};
#define LOADED_DUE 11
static const struct pg_statement claim_st = {"outbox_claim",
                                             "SELECT xs.loader_claim($1::uuid, $2::boolean)"};
static const struct pg_statement leave_st = {"outbox_leave",
                                             "SELECT xs.loader_leave($1::uuid)"};
static const struct pg_statement hold_st = {
    "outbox_hold",
    "SELECT 1 FROM xs.outbox_hold($1::uuid, $2::uuid[], $3::uuid[], $4::bigint[])"};
static const struct pg_statement walk_st = {
    "outbox_walk",
    "SELECT * FROM xs.outbox_walk($1::uuid, $2::uuid, $3::uuid, $4::bigint, $5::int)"};

void outbox_sql_claim(struct outbox_sql *q, bool begins, pg_result_fn cb, void *ctx)
{
    struct pg_params p;
    pg_params_init(&p);
    pg_add_uuid(&p, q->worker);
    pg_add_bool(&p, begins);
    pg_pool_send(q->pool, &claim_st, &p, cb, ctx);
}

void outbox_sql_leave(struct outbox_sql *q, pg_result_fn cb, void *ctx)
{
    struct pg_params p;
    pg_params_init(&p);
    pg_add_uuid(&p, q->worker);
    pg_pool_send(q->pool, &leave_st, &p, cb, ctx);
}

void outbox_sql_load(struct outbox_sql *q, int64_t ahead_ms, const struct outbox_place *behind,
                     unsigned limit, pg_result_fn cb, void *ctx)
{
    struct pg_params p;
    pg_params_init(&p);
    pg_add_uuid(&p, q->worker);
    pg_add_i64(&p, ahead_ms);
    pg_add_i32(&p, (int32_t)limit);
    pg_add_i64(&p, behind->due_us);
    pg_add_uuid(&p, behind->key.owner);
    pg_add_uuid(&p, behind->key.device);
    pg_add_i64(&p, (int64_t)behind->key.peer);
    pg_pool_send(q->pool, &load_st, &p, cb, ctx);
}

/* As PostgreSQL orders them. */
static bool is_behind(const struct outbox_place *a, const struct outbox_place *b)
{
    if (a->due_us != b->due_us)
        return a->due_us > b->due_us;
    int owner = memcmp(a->key.owner, b->key.owner, 16);
    int device = memcmp(a->key.device, b->key.device, 16);
    if (owner != 0 || device != 0)
        return owner > 0 || (owner == 0 && device > 0);
    return (int64_t)a->key.peer > (int64_t)b->key.peer;
}

void outbox_sql_passed(const struct pg_result *r, struct outbox_place *place)
{
    for (int i = 0; i < pg_rows(r); i++) {
        struct outbox_place at = {.due_us = pg_time_us(r, i, LOADED_DUE),
                                  .key.peer = (uint64_t)pg_i64(r, i, 2)};
        if (at.due_us < place->due_us)
            continue;
        pg_uuid(r, i, 0, at.key.owner);
        pg_uuid(r, i, 1, at.key.device);
        if (is_behind(&at, place))
            *place = at;
    }
}

void outbox_sql_hold(struct outbox_sql *q, const struct outbox_key *keys, size_t n,
                     pg_result_fn cb, void *ctx)
{
    assert(n <= OUTBOX_BATCH_MAX);
    for (size_t i = 0; i < 3; i++)
        pg_array_reset(&q->keys[i]);
    for (size_t i = 0; i < n; i++)
        outbox_sql_add_key(q->keys, &keys[i]);
    struct pg_params p;
    pg_params_init(&p);
    pg_add_uuid(&p, q->worker);
    for (size_t i = 0; i < 3; i++)
        pg_add_array(&p, &q->keys[i]);
    pg_pool_send(q->pool, &hold_st, &p, cb, ctx);
}

void outbox_sql_walk(struct outbox_sql *q, const uint8_t owner[16], const uint8_t device[16],
                     uint64_t peer, unsigned limit, pg_result_fn cb, void *ctx)
{
    struct pg_params p;
    pg_params_init(&p);
    pg_add_uuid(&p, q->worker);
    pg_add_uuid(&p, owner);
    pg_add_uuid(&p, device);
    pg_add_i64(&p, (int64_t)peer);
    pg_add_i32(&p, (int32_t)limit);
    pg_pool_send(q->pool, &walk_st, &p, cb, ctx);
}
