// SPDX-License-Identifier: Apache-2.0
#include "archive/fill_store.h"

#include <stdio.h>

#include "store/pg.h"

static const struct pg_statement next_st = {
    "fill_next",
    "SELECT why, from_us, to_us, owner, tasks FROM xs.fill_next($1::bigint, $2::bigint)"};
static const struct pg_statement accounts_st = {
    "fill_accounts",
    "SELECT owner, jid FROM xs.account WHERE proven AND ($1::uuid IS NULL OR owner > $1::uuid)"
    " ORDER BY owner LIMIT $2::int"};
static const struct pg_statement save_st = {
    "fill_save", "SELECT xs.fill_save($1::text, $2::bigint, $3::bigint, $4::uuid, $5::int,"
                 "   $6::int, $7::bigint, $8::boolean)"};
static const struct pg_statement add_st = {
    "fill_add", "SELECT 1 FROM xs.fill_add($1::text,"
                "   timestamptz 'epoch' + $2::bigint * interval '1 us',"
                "   timestamptz 'epoch' + $3::bigint * interval '1 us')"};

void fill_store_next(struct pg_pool *pool, int64_t since_us, int64_t every_us,
                     fill_store_fn fn, void *ctx)
{
    struct pg_params p;
    pg_params_init(&p);
    pg_add_i64(&p, since_us);
    pg_add_i64(&p, every_us);
    pg_pool_send(pool, &next_st, &p, fn, ctx);
}

void fill_store_read_task(const struct pg_result *r, struct fill_task *out)
{
    *out = (struct fill_task){.why = ""};
    if (pg_rows(r) == 0)
        return;
    snprintf(out->why, sizeof out->why, "%s", pg_text(r, 0, 0));
    out->from_us = pg_i64(r, 0, 1);
    out->to_us = pg_i64(r, 0, 2);
    out->begun = !pg_is_null(r, 0, 3);
    if (out->begun)
        pg_uuid(r, 0, 3, out->owner);
    out->tasks = pg_i64(r, 0, 4);
}

static void add_owner(struct pg_params *p, const struct fill_task *t)
{
    if (t->begun)
        pg_add_uuid(p, t->owner);
    else
        pg_add_null(p);
}

void fill_store_accounts(struct pg_pool *pool, const struct fill_task *t, fill_store_fn fn,
                         void *ctx)
{
    struct pg_params p;
    pg_params_init(&p);
    add_owner(&p, t);
    pg_add_i32(&p, FILL_ACCOUNTS);
    pg_pool_send(pool, &accounts_st, &p, fn, ctx);
}

int fill_store_accounts_n(const struct pg_result *r)
{
    return pg_rows(r);
}

const char *fill_store_account(const struct pg_result *r, int i, uint8_t owner[OWNER_BYTES])
{
    pg_uuid(r, i, 0, owner);
    return pg_text(r, i, 1);
}

void fill_store_save(struct pg_pool *pool, const struct fill_task *t,
                     const struct fill_progress *progress, fill_store_fn fn, void *ctx)
{
    struct pg_params p;
    pg_params_init(&p);
    pg_add_text(&p, t->why);
    pg_add_i64(&p, t->from_us);
    pg_add_i64(&p, t->to_us);
    add_owner(&p, t);
    pg_add_i32(&p, (int32_t)progress->accounts);
    pg_add_i32(&p, (int32_t)progress->failed);
    pg_add_i64(&p, (int64_t)progress->messages);
    pg_add_bool(&p, progress->done);
    pg_pool_send(pool, &save_st, &p, fn, ctx);
}

bool fill_store_saved(const struct pg_result *r)
{
    return pg_bool(r, 0, 0);
}

void fill_store_add(struct pg_pool *pool, const char *why, int64_t from_us, int64_t to_us,
                    fill_store_fn fn, void *ctx)
{
    struct pg_params p;
    pg_params_init(&p);
    pg_add_text(&p, why);
    pg_add_i64(&p, from_us);
    pg_add_i64(&p, to_us);
    pg_pool_send(pool, &add_st, &p, fn, ctx);
}
