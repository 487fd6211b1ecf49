// SPDX-License-Identifier: Apache-2.0
#include "apns/names.h"

#include <stdlib.h>

#include "apns/sender.h"
#include "base/log.h"
#include "store/pg.h"
#include "store/pg_array.h"

#define PREFIX "push"

struct names {
    struct pg_array peers, names;
};

struct call {
    names_changed_fn fn;
    void *ctx;
};

static const struct pg_statement set_st = {
    "names_set", "SELECT 1 FROM xs.contact_names_set($1::uuid, $2::bigint[], $3::text[])"};
static const struct pg_statement keep_st = {
    "names_keep", "UPDATE xs.registration SET names_at = now() WHERE owner = $1::uuid"};
static const struct pg_statement changed_st = {
    "names_changed", "UPDATE xs.registration SET names_at = NULL"
                     " WHERE owner = $1::uuid AND names_at IS NOT NULL RETURNING 1"};

struct names *names_new(void)
{
    struct names *n = calloc(1, sizeof *n);
    if (!n)
        abort();
    pg_array_init(&n->peers, PG_INT8, (size_t)NAMES_MAX * 16);
    pg_array_init(&n->names, PG_TEXT, (size_t)NAMES_MAX * (SENDER_NAME_BYTES + 8));
    return n;
}

void names_free(struct names **n)
{
    if (!*n)
        return;
    pg_array_deinit(&(*n)->peers);
    pg_array_deinit(&(*n)->names);
    free(*n);
    *n = NULL;
}

bool names_add(struct names *n, uint64_t peer, const char *name)
{
    char clean[SENDER_NAME_BYTES];
    if (n->peers.count == NAMES_MAX || !sender_clean(name, clean))
        return false;
    pg_array_add_i64(&n->peers, (int64_t)peer);
    pg_array_add_text(&n->names, clean);
    return true;
}

static void on_stored(void *ctx, const struct pg_result *r, const struct pg_error *e)
{
    (void)ctx;
    if (!r && e->failure != PG_LOST)
        log_warn(PREFIX, "names of contacts are not stored: %s", e->text);
}

void names_store(struct pg_pool *pool, const uint8_t owner[OWNER_BYTES], const struct names *n)
{
    struct pg_params p;
    pg_params_init(&p);
    pg_add_uuid(&p, owner);
    if (n) {
        pg_add_array(&p, &n->peers);
        pg_add_array(&p, &n->names);
    }
    pg_pool_send(pool, n ? &set_st : &keep_st, &p, on_stored, NULL);
}

static void on_changed(void *ctx, const struct pg_result *r, const struct pg_error *e)
{
    struct call c = *(struct call *)ctx;
    (void)e;
    free(ctx);
    c.fn(c.ctx, r && pg_rows(r) > 0);
}

void names_changed(struct pg_pool *pool, const uint8_t owner[OWNER_BYTES], names_changed_fn fn,
                   void *ctx)
{
    struct pg_params p;
    struct call *c = malloc(sizeof *c);
    if (!c)
        abort();
    *c = (struct call){fn, ctx};
    pg_params_init(&p);
    pg_add_uuid(&p, owner);
    pg_pool_send(pool, &changed_st, &p, on_changed, c);
}
