// SPDX-License-Identifier: Apache-2.0
#include "apns/settings.h"

#include <stdlib.h>

#include "store/pg.h"
#include "store/pg_array.h"

static const struct pg_statement get_st = {
    "settings_get", "SELECT content, quiet_from, quiet_to, zone, always, muted_in_badge,"
                    " rooms"
                    " FROM xs.push_settings WHERE owner = $1::uuid"};
static const struct pg_statement set_st = {
    "settings_set", "SELECT xs.push_settings_set($1::uuid, $2::int, $3::int, $4::int,"
                    " $5::text, $6::text, $7::bigint[], $8::boolean, $9::int)"};
static const struct pg_statement set_room_st = {
    "settings_room", "SELECT 1 FROM xs.notify_set($1::uuid, $2::bigint, $3::int)"};

struct call {
    union {
        settings_got_fn got;
        settings_set_fn set;
        settings_room_fn room;
    } fn;
    void *ctx;
};

static struct call *new_call(void *ctx)
{
    struct call *c = calloc(1, sizeof *c);
    if (!c)
        abort();
    c->ctx = ctx;
    return c;
}

static int number(const struct pg_result *r, int col, int none)
{
    return pg_is_null(r, 0, col) ? none : (int)pg_i64(r, 0, col);
}

static void on_got(void *ctx, const struct pg_result *r, const struct pg_error *e)
{
    struct call c = *(struct call *)ctx;
    struct push_settings s = {.content = SETTINGS_AS_CONFIGURED,
                              .quiet_from = SETTINGS_NEVER,
                              .quiet_to = SETTINGS_NEVER,
                              .zone = "",
                              .always = ""};
    free(ctx);
    if (r && pg_rows(r) == 1)
        s = (struct push_settings){.content = number(r, 0, SETTINGS_AS_CONFIGURED),
                                   .quiet_from = number(r, 1, SETTINGS_NEVER),
                                   .quiet_to = number(r, 2, SETTINGS_NEVER),
                                   .zone = pg_text(r, 0, 3),
                                   .always = pg_text(r, 0, 4),
                                   .muted_in_badge = pg_bool(r, 0, 5),
                                   .rooms = (enum event_notify)pg_i64(r, 0, 6)};
    c.fn.got(c.ctx, r ? &s : NULL, e);
}

void settings_get(struct pg_pool *pool, const uint8_t owner[OWNER_BYTES], settings_got_fn fn,
                  void *ctx)
{
    struct pg_params p;
    pg_params_init(&p);
    pg_add_uuid(&p, owner);
    struct call *c = new_call(ctx);
    c->fn.got = fn;
    pg_pool_send(pool, &get_st, &p, on_got, c);
}

static void on_set(void *ctx, const struct pg_result *r, const struct pg_error *e)
{
    struct call c = *(struct call *)ctx;
    free(ctx);
    c.fn.set(c.ctx, r && pg_bool(r, 0, 0), e);
}

static void add_number(struct pg_params *p, int value)
{
    if (value < 0)
        pg_add_null(p);
    else
        pg_add_i32(p, value);
}

void settings_set(struct pg_pool *pool, const uint8_t owner[OWNER_BYTES],
                  const struct push_settings *s, const uint64_t *peers, size_t peers_n,
                  settings_set_fn fn, void *ctx)
{
    struct pg_params p;
    struct pg_array hashes;
    pg_array_init(&hashes, PG_INT8, 64 + 16 * SETTINGS_ALWAYS_MAX);
    for (size_t i = 0; i < peers_n; i++)
        pg_array_add_i64(&hashes, (int64_t)peers[i]);
    pg_params_init(&p);
    pg_add_uuid(&p, owner);
    add_number(&p, s->content);
    add_number(&p, s->quiet_from);
    add_number(&p, s->quiet_to);
    pg_add_text(&p, s->quiet_from < 0 ? NULL : s->zone);
    pg_add_text(&p, s->always);
    pg_add_array(&p, &hashes);
    pg_add_bool(&p, s->muted_in_badge);
    pg_add_i32(&p, (int32_t)s->rooms);
    struct call *c = new_call(ctx);
    c->fn.set = fn;
    pg_pool_send(pool, &set_st, &p, on_set, c);
    pg_array_deinit(&hashes);
}

static void on_room_set(void *ctx, const struct pg_result *r, const struct pg_error *e)
{
    struct call c = *(struct call *)ctx;
    (void)r;
    free(ctx);
    c.fn.room(c.ctx, e);
}

void settings_set_room(struct pg_pool *pool, const uint8_t owner[OWNER_BYTES], uint64_t peer,
                       enum event_notify notify, settings_room_fn fn, void *ctx)
{
    struct pg_params p;
    pg_params_init(&p);
    pg_add_uuid(&p, owner);
    pg_add_i64(&p, (int64_t)peer);
    pg_add_i32(&p, (int32_t)notify);
    struct call *c = new_call(ctx);
    c->fn.room = fn;
    pg_pool_send(pool, &set_room_st, &p, on_room_set, c);
}
