// SPDX-License-Identifier: Apache-2.0
#include "apns/publishes.h"

#include <stdlib.h>

#include "base/crypt.h"
#include "store/pg.h"

#define EPOCH "timestamptz 'epoch' + "

static const struct pg_statement push_st = {
    "publish_push",
    "SELECT 1 FROM xs.publish_push($1::uuid, $2::uuid, $3::bigint, $4::text, $5::text,"
    " $6::boolean, $7::int, $8::int, $9::boolean)"};
static const struct pg_statement keep_st = {
    "publish_keep", "SELECT 1 FROM xs.publish_keep($1::uuid, $2::uuid, $3::text, $4::text,"
                    " $5::text, " EPOCH "$6::bigint * interval '1 us', $7::uuid, $8::int,"
                    " $9::bigint)"};
/* One more row than is asked for tells that there are more. */
static const struct pg_statement due_st = {
    "publish_due", "SELECT p.owner, p.id, p.jid, p.sender, p.body, p.at, p.link, p.pos,"
                   "   p.at < " EPOCH "$1::bigint * interval '1 us'"
                   " FROM xs.publish p ORDER BY p.at LIMIT $2::int"};
static const struct pg_statement forget_st = {
    "publish_forget", "DELETE FROM xs.publish WHERE owner = $1::uuid AND id = $2::uuid"};

/* A push in the outbox has ended by then, one way or another. */
static const struct pg_statement purge_st = {
    "publish_purge", "DELETE FROM xs.published WHERE ctid = ANY (ARRAY("
                     " SELECT ctid FROM xs.published WHERE at < now() - interval '30 days'"
                     " ORDER BY at LIMIT 5000))"};

struct call {
    publishes_done_fn done;
    publishes_due_fn due;
    void *ctx;
};

static struct call *new_call(publishes_done_fn done, publishes_due_fn due, void *ctx)
{
    struct call *c = malloc(sizeof *c);
    if (!c)
        abort();
    *c = (struct call){done, due, ctx};
    return c;
}

static void on_done(void *ctx, const struct pg_result *r, const struct pg_error *e)
{
    struct call c = *(struct call *)ctx;
    (void)r;
    free(ctx);
    c.done(c.ctx, e);
}

void publishes_push(struct pg_pool *pool, const struct publishes_push *p, publishes_done_fn fn,
                    void *ctx)
{
    struct pg_params params;
    pg_params_init(&params);
    pg_add_uuid(&params, p->owner);
    pg_add_uuid(&params, p->device);
    pg_add_i64(&params, (int64_t)p->peer);
    pg_add_text(&params, p->jid);
    pg_add_text(&params, p->body);
    pg_add_bool(&params, p->encrypted);
    pg_add_i32(&params, p->weight);
    pg_add_i32(&params, p->count);
    pg_add_bool(&params, p->ours);
    pg_pool_send(pool, &push_st, &params, on_done, new_call(fn, NULL, ctx));
}

void publishes_keep(struct pg_pool *pool, const struct publishes_hint *h, publishes_done_fn fn,
                    void *ctx)
{
    uint8_t id[16];
    struct pg_params params;
    uuid_random(id);
    pg_params_init(&params);
    pg_add_uuid(&params, h->owner);
    pg_add_uuid(&params, id);
    pg_add_text(&params, h->account);
    pg_add_text(&params, h->sender);
    pg_add_text(&params, h->body);
    pg_add_i64(&params, h->at_us);
    pg_add_uuid(&params, h->device);
    pg_add_i32(&params, (int32_t)h->link);
    pg_add_i64(&params, (int64_t)h->pos);
    pg_pool_send(pool, &keep_st, &params, on_done, new_call(fn, NULL, ctx));
}

static void on_due(void *ctx, const struct pg_result *r, const struct pg_error *e)
{
    struct call c = *(struct call *)ctx;
    struct publishes_due due[PUBLISHES_DUE_MAX];
    size_t n = 0, rows = r ? (size_t)pg_rows(r) : 0;
    free(ctx);
    for (int i = 0; n < PUBLISHES_DUE_MAX && (size_t)i < rows && pg_bool(r, i, 8); i++, n++) {
        pg_uuid(r, i, 0, due[n].owner);
        pg_uuid(r, i, 1, due[n].id);
        due[n].account = pg_text(r, i, 2);
        due[n].sender = pg_text(r, i, 3);
        due[n].body = pg_text(r, i, 4);
        due[n].at_us = pg_time_us(r, i, 5);
        due[n].link = (unsigned)pg_i64(r, i, 6);
        due[n].pos = (uint64_t)pg_i64(r, i, 7);
    }
    c.due(c.ctx, r ? due : NULL, n, rows > n, e);
}

void publishes_due(struct pg_pool *pool, int64_t before_us, publishes_due_fn fn, void *ctx)
{
    struct pg_params params;
    pg_params_init(&params);
    pg_add_i64(&params, before_us);
    pg_add_i32(&params, PUBLISHES_DUE_MAX + 1);
    pg_pool_send(pool, &due_st, &params, on_due, new_call(NULL, fn, ctx));
}

void publishes_forget(struct pg_pool *pool, const uint8_t owner[OWNER_BYTES],
                      const uint8_t id[16], publishes_done_fn fn, void *ctx)
{
    struct pg_params params;
    pg_params_init(&params);
    pg_add_uuid(&params, owner);
    pg_add_uuid(&params, id);
    pg_pool_send(pool, &forget_st, &params, on_done, new_call(fn, NULL, ctx));
}

static void on_purged(void *ctx, const struct pg_result *r, const struct pg_error *e)
{
    (void)ctx, (void)r, (void)e; /* it is tried again anyway */
}

void publishes_purge(struct pg_pool *pool)
{
    struct pg_params params;
    pg_params_init(&params);
    pg_pool_send(pool, &purge_st, &params, on_purged, NULL);
}
