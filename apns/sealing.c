// SPDX-License-Identifier: Apache-2.0
#include "apns/sealing.h"

#include <stdlib.h>
#include <string.h>

#include <event2/event.h>

#include "apns/token_keys.h"
#include "base/log.h"
#include "store/pg.h"
#include "store/pg_array.h"

#define PREFIX "push"
#define PAGE "500"
#define STEP_MS 20 /* pushes use the same connection */
#define FAILED_MS 30000
#define AGAIN_MS (3600 * 1000)
#define ARRAY_BYTES_MAX (4 * 1024 * 1024)

struct sealing {
    struct pg_pool *pool;
    struct token_keys *keys;
    struct event *timer;
    size_t walk;
    /* Where it stands, in the order of the index. */
    int32_t by;
    uint8_t device[16];
    uint8_t owner[16]; /* of a registration */
    uint64_t changed;
    bool missing; /* a key, in these walks */
    bool missing_told;
    struct pg_array devices, owners, tokens, sealed, was;
};

static void own_id(const uint8_t device[16], uint8_t out[16])
{
    memcpy(out, device, 16);
}

/* The two kinds of tokens, one walk after the other; both are asked with the same parameters,
 * of which devices need no owner.  Whoever else has changed a row since it was read has sealed
 * the token, or has another one of the second kind.  Devices and registrations are locked in
 * one order, as by whoever else changes several. */
static const struct walk {
    struct pg_statement page, change;
    void (*id)(const uint8_t device[16], uint8_t out[16]); /* that it is sealed for */
} walks[] = {
    {{"sealing_page",
      "SELECT d.sealed_by, d.device, NULL::uuid, d.token, d.sealed FROM xs.device d"
      " WHERE (d.sealed_by, d.device) > ($1::int, $2::uuid) AND $3::uuid IS NOT NULL"
      " ORDER BY d.sealed_by, d.device LIMIT " PAGE},
     {"sealing_change",
      "WITH n AS ("
      " SELECT d.device, x.token, x.sealed"
      " FROM unnest($1::uuid[], $2::uuid[], $3::text[], $4::bytea[], $5::bytea[])"
      "   AS x (device, owner, token, sealed, was)"
      " JOIN xs.device d ON d.device = x.device"
      " WHERE d.sealed_by = $7::int"
      "   AND coalesce(d.sealed, convert_to(d.token, 'UTF8')) = x.was"
      " ORDER BY d.device FOR NO KEY UPDATE OF d)"
      " UPDATE xs.device d SET token = n.token, sealed = n.sealed, sealed_by = $6::int"
      " FROM n WHERE d.device = n.device"},
     own_id},
    {{"sealing_voip_page",
      "SELECT r.voip_sealed_by, r.device, r.owner, r.voip_token, r.voip_sealed"
      " FROM xs.registration r"
      " WHERE (r.voip_sealed_by, r.device, r.owner) > ($1::int, $2::uuid, $3::uuid)"
      "   AND (r.voip_token IS NOT NULL OR r.voip_sealed IS NOT NULL)"
      " ORDER BY r.voip_sealed_by, r.device, r.owner LIMIT " PAGE},
     {"sealing_voip_change",
      "WITH n AS ("
      " SELECT r.owner, r.device, x.token, x.sealed"
      " FROM unnest($1::uuid[], $2::uuid[], $3::text[], $4::bytea[], $5::bytea[])"
      "   AS x (device, owner, token, sealed, was)"
      " JOIN xs.registration r ON r.owner = x.owner AND r.device = x.device"
      " WHERE r.voip_sealed_by = $7::int"
      "   AND coalesce(r.voip_sealed, convert_to(r.voip_token, 'UTF8')) = x.was"
      " ORDER BY r.device, r.owner FOR NO KEY UPDATE OF r)"
      " UPDATE xs.registration r SET voip_token = n.token, voip_sealed = n.sealed,"
      "   voip_sealed_by = $6::int"
      " FROM n WHERE r.owner = n.owner AND r.device = n.device"},
     devices_voip_id},
};
#define WALKS (sizeof walks / sizeof *walks)

static void wait_for(struct sealing *s, int64_t ms)
{
    struct timeval tv = {.tv_sec = ms / 1000, .tv_usec = ms % 1000 * 1000};
    if (evtimer_add(s->timer, &tv) != 0)
        abort();
}

static void begin_walk(struct sealing *s, size_t walk)
{
    s->walk = walk;
    s->by = TOKEN_IN_CLEAR;
    memset(s->device, 0, sizeof s->device);
    memset(s->owner, 0, sizeof s->owner);
}

static void begin_walks(struct sealing *s)
{
    begin_walk(s, 0);
    s->changed = 0;
    s->missing = false;
}

static void end_walk(struct sealing *s)
{
    if (s->walk + 1 < WALKS) {
        begin_walk(s, s->walk + 1);
        wait_for(s, 0);
        return;
    }
    if (s->changed > 0)
        log_info(PREFIX, "devices' tokens are %s now n=%llu",
                 token_keys_current(s->keys) == TOKEN_IN_CLEAR ? "in clear"
                                                               : "sealed with the first key",
                 (unsigned long long)s->changed);
    if (s->missing && !s->missing_told)
        log_error(PREFIX, "there are devices' tokens under a key that push.token_key_file "
                          "does not hold: their pushes wait");
    s->missing_told = s->missing;
    begin_walks(s);
    wait_for(s, AGAIN_MS);
}

static void fail(struct sealing *s, const struct pg_error *e)
{
    if (e->failure != PG_LOST)
        log_warn(PREFIX, "devices' tokens stay as they are for now: sqlstate=%s %s",
                 e->sqlstate, e->text);
    begin_walks(s);
    wait_for(s, FAILED_MS);
}

static void on_changed(void *ctx, const struct pg_result *r, const struct pg_error *e)
{
    struct sealing *s = ctx;
    if (!r) {
        fail(s, e);
        return;
    }
    s->changed += (uint64_t)pg_affected(r);
    wait_for(s, STEP_MS);
}

/* One row to the arrays; one that does not open is left alone: its push says so. */
static void add_row(struct sealing *s, const struct pg_result *r, int row)
{
    char token[DEVICE_TOKEN_MAX + 1];
    uint8_t sealed[TOKEN_SEALED_MAX], id[16];
    const char *text = pg_text(r, row, 3);
    size_t len;
    const uint8_t *was = pg_bytes(r, row, 4, &len);
    walks[s->walk].id(s->device, id);
    if (s->by != TOKEN_IN_CLEAR) {
        if (!token_keys_open(s->keys, s->by, id, was, len, token))
            return;
        text = token;
    }
    if (strlen(text) > DEVICE_TOKEN_MAX)
        return;
    pg_array_add_uuid(&s->devices, s->device);
    pg_array_add_uuid(&s->owners, s->owner);
    if (s->by == TOKEN_IN_CLEAR)
        pg_array_add_bytes(&s->was, (const uint8_t *)text, strlen(text));
    else
        pg_array_add_bytes(&s->was, was, len);
    if (token_keys_current(s->keys) == TOKEN_IN_CLEAR) {
        pg_array_add_text(&s->tokens, text);
        pg_array_add_bytes(&s->sealed, NULL, 0);
    } else {
        pg_array_add_text(&s->tokens, NULL);
        pg_array_add_bytes(&s->sealed, sealed, token_keys_seal(s->keys, id, text, sealed));
    }
}

static void change(struct sealing *s, const struct pg_result *r)
{
    pg_array_reset(&s->devices);
    pg_array_reset(&s->owners);
    pg_array_reset(&s->tokens);
    pg_array_reset(&s->sealed);
    pg_array_reset(&s->was);
    for (int i = 0; i < pg_rows(r) && pg_i64(r, i, 0) == s->by; i++) {
        pg_uuid(r, i, 1, s->device);
        if (!pg_is_null(r, i, 2))
            pg_uuid(r, i, 2, s->owner);
        add_row(s, r, i);
    }
    if (s->devices.count == 0) {
        wait_for(s, STEP_MS);
        return;
    }
    struct pg_params p;
    pg_params_init(&p);
    pg_add_array(&p, &s->devices);
    pg_add_array(&p, &s->owners);
    pg_add_array(&p, &s->tokens);
    pg_add_array(&p, &s->sealed);
    pg_add_array(&p, &s->was);
    pg_add_i32(&p, token_keys_current(s->keys));
    pg_add_i32(&p, s->by);
    pg_pool_send(s->pool, &walks[s->walk].change, &p, on_changed, s);
}

static void on_page(void *ctx, const struct pg_result *r, const struct pg_error *e)
{
    struct sealing *s = ctx;
    if (!r) {
        fail(s, e);
        return;
    }
    if (pg_rows(r) == 0) {
        end_walk(s);
        return;
    }
    s->by = (int32_t)pg_i64(r, 0, 0);
    if (s->by != token_keys_current(s->keys) && token_keys_has(s->keys, s->by)) {
        change(s, r);
        return;
    }
    /* All of this key's: nothing is to be done with them, or can be. */
    s->missing |= s->by != token_keys_current(s->keys);
    memset(s->device, 0xff, sizeof s->device);
    memset(s->owner, 0xff, sizeof s->owner);
    wait_for(s, 0);
}

static void on_timer(evutil_socket_t fd, short what, void *ctx)
{
    struct sealing *s = ctx;
    (void)fd;
    (void)what;
    struct pg_params p;
    pg_params_init(&p);
    pg_add_i32(&p, s->by);
    pg_add_uuid(&p, s->device);
    pg_add_uuid(&p, s->owner);
    pg_pool_send(s->pool, &walks[s->walk].page, &p, on_page, s);
}

struct sealing *sealing_new(struct event_base *base, struct pg_pool *pool,
                            struct token_keys *keys)
{
    struct sealing *s = calloc(1, sizeof *s);
    if (!s)
        abort();
    s->pool = pool;
    s->keys = keys;
    s->timer = evtimer_new(base, on_timer, s);
    if (!s->timer)
        abort();
    pg_array_init(&s->devices, PG_UUID, ARRAY_BYTES_MAX);
    pg_array_init(&s->owners, PG_UUID, ARRAY_BYTES_MAX);
    pg_array_init(&s->tokens, PG_TEXT, ARRAY_BYTES_MAX);
    pg_array_init(&s->sealed, PG_BYTEA, ARRAY_BYTES_MAX);
    pg_array_init(&s->was, PG_BYTEA, ARRAY_BYTES_MAX);
    begin_walks(s);
    wait_for(s, 0);
    return s;
}

void sealing_free(struct sealing **s)
{
    if (!*s)
        return;
    event_free((*s)->timer);
    pg_array_deinit(&(*s)->devices);
    pg_array_deinit(&(*s)->owners);
    pg_array_deinit(&(*s)->tokens);
    pg_array_deinit(&(*s)->sealed);
    pg_array_deinit(&(*s)->was);
    free(*s);
    *s = NULL;
}
