// SPDX-License-Identifier: Apache-2.0
#include "store/pg.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

struct member {
    struct pg_pool *pool;
    struct pg *pg;
    char name[64];
    bool up;
};

struct pg_pool {
    void (*up)(void *ctx);
    void (*down)(void *ctx, const struct pg_error *why);
    void *ctx;
    unsigned n;
    unsigned up_n;
    struct member members[];
};

static void member_up(void *ctx)
{
    struct member *m = ctx;
    m->up = true;
    if (m->pool->up_n++ == 0 && m->pool->up)
        m->pool->up(m->pool->ctx);
}

/* The pool is down when its last connection goes, or cannot be made. */
static void member_down(void *ctx, const struct pg_error *why)
{
    struct member *m = ctx;
    if (m->up)
        m->pool->up_n--;
    m->up = false;
    if (m->pool->up_n == 0 && m->pool->down)
        m->pool->down(m->pool->ctx, why);
}

struct pg_pool *pg_pool_new(struct event_base *base, const struct pg_opts *opts, unsigned n)
{
    assert(n > 0);
    struct pg_pool *pool = calloc(1, sizeof *pool + n * sizeof *pool->members);
    if (!pool)
        abort();
    pool->up = opts->up;
    pool->down = opts->down;
    pool->ctx = opts->ctx;
    pool->n = n;
    for (unsigned i = 0; i < n; i++) {
        struct member *m = &pool->members[i];
        m->pool = pool;
        snprintf(m->name, sizeof m->name, "%s-%u", opts->name, i + 1);
        struct pg_opts own = *opts;
        own.name = m->name;
        own.up = member_up;
        own.down = member_down;
        own.ctx = m;
        m->pg = pg_new(base, &own);
    }
    return pool;
}

void pg_pool_free(struct pg_pool **pool)
{
    if (!*pool)
        return;
    for (unsigned i = 0; i < (*pool)->n; i++)
        pg_free(&(*pool)->members[i].pg);
    free(*pool);
    *pool = NULL;
}

bool pg_pool_is_up(const struct pg_pool *pool)
{
    return pool->up_n > 0;
}

void pg_pool_send(struct pg_pool *pool, const struct pg_statement *st,
                  const struct pg_params *params, pg_result_fn cb, void *ctx)
{
    struct pg *best = NULL;
    for (unsigned i = 0; i < pool->n; i++) {
        struct pg *pg = pool->members[i].pg;
        if (pg && pg_is_up(pg) && (!best || pg_in_flight(pg) < pg_in_flight(best)))
            best = pg;
    }
    if (!best)
        best = pool->members[0].pg; /* answers PG_LOST on the next turn */
    pg_send(best, st, params, cb, ctx);
    pg_sync(best);
}
