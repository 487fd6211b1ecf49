// SPDX-License-Identifier: Apache-2.0
#include "apns/devices.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#include "apns/token_keys.h"
#include "base/buf.h"
#include "base/crypt.h"
#include "store/pg.h"

#define ID_TEXT_MAX 4096

/* A call whose answer is awaited. */
struct call {
    LIST_ENTRY(call) all;
    struct devices *d; /* NULL: the registry is gone, the listener has heard so */
    union {
        devices_registered_fn registered;
        devices_removed_fn removed;
        devices_list_fn list;
        devices_owner_fn owner;
        devices_known_fn known;
    } fn;
    void *ctx;
    void (*lost)(struct call *c, const struct pg_error *e);
};

/* A look-up by node, with the secret that was given. */
struct finding {
    struct call *call;
    char secret[];
};

struct devices {
    struct pg_pool *pool;
    uint8_t key[DEVICES_KEY_BYTES];
    struct token_keys *tokens;
    unsigned per_account;
    LIST_HEAD(calls, call) calls;
};

static const struct pg_statement register_st = {
    "device_register",
    "SELECT g.*, CASE WHEN $15::boolean THEN xs.device_take_over($1::uuid, $3::uuid)"
    "            ELSE 0 END, xs.registration_voip($1::uuid, $3::uuid, $16::text,"
    "            $17::bytea, $18::int),"
    " CASE WHEN $9::int <> 4 THEN xs.app_opened($1::uuid, $3::uuid, NULL) END"
    " FROM xs.device_register($1::uuid, $2::text, $3::uuid, $4::text, $5::text, $6::bytea,"
    " $7::int, $8::uuid, $9::int, $10::text, $11::text, $12::text, $13::text, $14::int) g"};
static const struct pg_statement unregister_st = {
    "device_unregister",
    "SELECT xs.device_unregister($1::uuid, $2::uuid, $3::uuid, $4::text)"};
static const struct pg_statement remove_st = {"device_remove",
                                              "SELECT xs.device_remove($1::uuid, $2::uuid)"};
static const struct pg_statement test_st = {"device_test", "SELECT xs.test_push($1::uuid)"};
static const struct pg_statement opened_st = {
    "device_opened", "SELECT xs.app_opened($1::uuid, NULL, $2::text)"};
static const struct pg_statement list_st = {
    "device_list",
    "SELECT d.app, r.resource, d.device, r.dialect, r.registered_at, d.answered_at,"
    " d.badge_sent FROM xs.registration r JOIN xs.device d USING (device)"
    " WHERE r.owner = $1::uuid ORDER BY r.registered_at, d.device"};

static const struct pg_statement know_st = {
    "device_know",
    "SELECT EXISTS (SELECT FROM xs.registration r WHERE r.owner = $1::uuid"
    "   AND r.device = $2::uuid),"
    " EXISTS (SELECT FROM xs.push_log p WHERE p.owner = $1::uuid AND p.device = $2::uuid"
    "   AND (p.status = 410 OR p.reason IN ('BadDeviceToken', 'DeviceTokenNotForTopic',"
    "        'UNREGISTERED', 'SENDER_ID_MISMATCH')))"};

/* A node that a client chose may be that of several accounts. */
static const struct pg_statement find_st = {
    "device_find", "SELECT r.owner, a.jid, r.resource, r.device, r.app, r.secret"
                   " FROM xs.registration r JOIN xs.account a USING (owner)"
                   " WHERE r.node = $1::text ORDER BY r.registered_at DESC LIMIT 100"};

struct devices *devices_new(struct pg_pool *pool, const uint8_t *key,
                            struct token_keys *tokens, unsigned per_account)
{
    struct devices *d = calloc(1, sizeof *d);
    if (!d)
        abort();
    d->pool = pool;
    d->tokens = tokens;
    memcpy(d->key, key, sizeof d->key);
    LIST_INIT(&d->calls);
    devices_set_limit(d, per_account);
    return d;
}

void devices_set_limit(struct devices *d, unsigned per_account)
{
    assert(per_account > 0);
    d->per_account = per_account;
}

static struct call *new_call(struct devices *d, void *ctx)
{
    struct call *c = calloc(1, sizeof *c);
    if (!c)
        abort();
    c->d = d;
    c->ctx = ctx;
    LIST_INSERT_HEAD(&d->calls, c, all);
    return c;
}

/* False when nobody listens any more. */
static bool end_call(struct call *c)
{
    if (c->d)
        LIST_REMOVE(c, all);
    return c->d != NULL;
}

/* A keyed hash of the parts, with their lengths so that they cannot run into each other. */
static void keyed_id(const struct devices *d, const char *what, const void *a, size_t a_len,
                     const char *b, uint8_t out[16])
{
    struct buf text;
    uint8_t hash[SHA256_BYTES];
    buf_init(&text, ID_TEXT_MAX);
    buf_add_str(&text, what);
    buf_add_u32(&text, (uint32_t)a_len);
    buf_add(&text, a, a_len);
    buf_add_str(&text, b);
    assert(!buf_failed(&text));
    crypt_hmac_sha256(d->key, sizeof d->key, buf_data(&text), buf_len(&text), hash);
    buf_deinit(&text);
    memcpy(out, hash, 16);
    out[6] = (uint8_t)((out[6] & 0x0f) | 0x80);
    out[8] = (uint8_t)((out[8] & 0x3f) | 0x80);
}

void devices_id(const struct devices *d, const char *app, const char *token, uint8_t out[16])
{
    keyed_id(d, "device", app, strlen(app), token, out);
}

/* id: room for what is borrowed until the statement is sent. */
static void add_client(const struct devices *d, struct pg_params *p,
                       const struct device_key *key, uint8_t id[16])
{
    if (!key->client_id) {
        pg_add_null(p);
        return;
    }
    keyed_id(d, "client", key->owner, OWNER_BYTES, key->client_id, id);
    pg_add_uuid(p, id);
}

static void copy_text(char *out, size_t size, const char *text)
{
    size_t len = strlen(text);
    assert(len < size);
    memcpy(out, text, len + 1);
}

static void lost_register(struct call *c, const struct pg_error *e)
{
    c->fn.registered(c->ctx, NULL, e);
}

static void on_registered(void *ctx, const struct pg_result *r, const struct pg_error *e)
{
    struct call *c = ctx;
    if (end_call(c)) {
        struct device_registered got = {0};
        if (r) {
            copy_text(got.node, sizeof got.node, pg_text(r, 0, 0));
            copy_text(got.secret, sizeof got.secret, pg_text(r, 0, 1));
            got.fresh = pg_bool(r, 0, 2);
            got.evicted = (unsigned)pg_i64(r, 0, 3);
            got.ended = (unsigned)pg_i64(r, 0, 4);
        }
        c->fn.registered(c->ctx, r ? &got : NULL, e);
    }
    free(c);
}

/* p2: 9 and 18 random bytes.  Where there is no secret the node must be one: 18 bytes.
 * False: there is no secret. */
static bool make_names(const struct device_registration *r, char *node, char *secret)
{
    uint8_t raw[18];
    crypt_random(raw, sizeof raw);
    crypt_base64(raw, 18, secret);
    crypt_random(raw, sizeof raw);
    switch (r->dialect) {
    case DEVICE_TIGASE:
    case DEVICE_STATELESS:
        crypt_base64url(raw, 18, node);
        return false;
    case DEVICE_P2:
        crypt_base64(raw, 9, node);
        return true;
    case DEVICE_APPSERVER:
        copy_text(node, DEVICE_NODE_BYTES, r->key.client_id);
        return true;
    }
    return false;
}

/* One token cannot take the place of the other. */
void devices_voip_id(const uint8_t device[16], uint8_t out[16])
{
    memcpy(out, device, 16);
    out[15] ^= 1;
}

/* The token in clear, or sealed in room; both are borrowed until the statement is sent.  NULL:
 * none. */
static void add_token(const struct devices *d, struct pg_params *p, const uint8_t id[16],
                      const char *token, uint8_t room[TOKEN_SEALED_MAX])
{
    int32_t current = token ? token_keys_current(d->tokens) : TOKEN_IN_CLEAR;
    if (current == TOKEN_IN_CLEAR) {
        pg_add_text(p, token);
        pg_add_null(p);
    } else {
        pg_add_null(p);
        pg_add_bytes(p, room, token_keys_seal(d->tokens, id, token, room));
    }
    pg_add_i32(p, current);
}

void devices_register(struct devices *d, const struct device_registration *r,
                      devices_registered_fn fn, void *ctx)
{
    uint8_t id[16];
    uint8_t client[16];
    char node[DEVICE_NODE_BYTES];
    char secret[DEVICE_SECRET_BYTES];
    uint8_t sealed[TOKEN_SEALED_MAX];
    uint8_t voip_id[16], voip_sealed[TOKEN_SEALED_MAX];
    devices_id(d, r->key.app, r->key.token, id);
    bool has_secret = make_names(r, node, secret);
    struct pg_params p;
    pg_params_init(&p);
    pg_add_uuid(&p, r->key.owner);
    pg_add_text(&p, r->account);
    pg_add_uuid(&p, id);
    pg_add_text(&p, r->key.app);
    add_token(d, &p, id, r->key.token, sealed);
    add_client(d, &p, &r->key, client);
    pg_add_i32(&p, (int32_t)r->dialect);
    pg_add_text(&p, node);
    pg_add_text(&p, has_secret ? secret : NULL);
    pg_add_text(&p, r->resource);
    pg_add_text(&p, r->account_name);
    pg_add_i32(&p, (int32_t)d->per_account);
    pg_add_bool(&p, r->alone);
    devices_voip_id(id, voip_id);
    add_token(d, &p, voip_id, r->voip_token, voip_sealed);
    struct call *c = new_call(d, ctx);
    c->fn.registered = fn;
    c->lost = lost_register;
    pg_pool_send(d->pool, &register_st, &p, on_registered, c);
}

static void lost_remove(struct call *c, const struct pg_error *e)
{
    c->fn.removed(c->ctx, 0, e);
}

static void on_removed(void *ctx, const struct pg_result *r, const struct pg_error *e)
{
    struct call *c = ctx;
    if (end_call(c))
        c->fn.removed(c->ctx, r ? (unsigned)pg_i64(r, 0, 0) : 0, e);
    free(c);
}

void devices_unregister(struct devices *d, const struct device_key *key, devices_removed_fn fn,
                        void *ctx)
{
    uint8_t id[16];
    uint8_t client[16];
    struct pg_params p;
    pg_params_init(&p);
    pg_add_uuid(&p, key->owner);
    if (key->token) {
        devices_id(d, key->app, key->token, id);
        pg_add_uuid(&p, id);
    } else {
        pg_add_null(&p);
    }
    add_client(d, &p, key, client);
    pg_add_text(&p, key->app);
    struct call *c = new_call(d, ctx);
    c->fn.removed = fn;
    c->lost = lost_remove;
    pg_pool_send(d->pool, &unregister_st, &p, on_removed, c);
}

void devices_remove(struct devices *d, const uint8_t owner[OWNER_BYTES],
                    const uint8_t device[16], devices_removed_fn fn, void *ctx)
{
    struct pg_params p;
    pg_params_init(&p);
    pg_add_uuid(&p, owner);
    pg_add_uuid(&p, device);
    struct call *c = new_call(d, ctx);
    c->fn.removed = fn;
    c->lost = lost_remove;
    pg_pool_send(d->pool, &remove_st, &p, on_removed, c);
}

/* Answered like a removal: with a number. */
void devices_test(struct devices *d, const uint8_t owner[OWNER_BYTES], devices_tested_fn fn,
                  void *ctx)
{
    struct pg_params p;
    pg_params_init(&p);
    pg_add_uuid(&p, owner);
    struct call *c = new_call(d, ctx);
    c->fn.removed = fn;
    c->lost = lost_remove;
    pg_pool_send(d->pool, &test_st, &p, on_removed, c);
}

/* Answered like a removal, too. */
void devices_opened(struct devices *d, const uint8_t owner[OWNER_BYTES], const char *node,
                    devices_opened_fn fn, void *ctx)
{
    struct pg_params p;
    pg_params_init(&p);
    pg_add_uuid(&p, owner);
    pg_add_text(&p, node);
    struct call *c = new_call(d, ctx);
    c->fn.removed = fn;
    c->lost = lost_remove;
    pg_pool_send(d->pool, &opened_st, &p, on_removed, c);
}

static void read_row(const struct pg_result *r, int row, struct device_row *out)
{
    out->app = pg_text(r, row, 0);
    out->resource = pg_text(r, row, 1);
    pg_uuid(r, row, 2, out->device);
    out->dialect = (enum device_dialect)pg_i64(r, row, 3);
    out->registered_us = pg_time_us(r, row, 4);
    out->answered_us = pg_time_us(r, row, 5);
    out->badge_sent = (int)pg_i64(r, row, 6);
}

static void lost_list(struct call *c, const struct pg_error *e)
{
    c->fn.list(c->ctx, NULL, 0, e);
}

static void on_list(void *ctx, const struct pg_result *r, const struct pg_error *e)
{
    struct call *c = ctx;
    if (end_call(c)) {
        size_t n = r ? (size_t)pg_rows(r) : 0;
        struct device_row *rows = calloc(n + 1, sizeof *rows);
        if (!rows)
            abort();
        for (size_t i = 0; i < n; i++)
            read_row(r, (int)i, &rows[i]);
        c->fn.list(c->ctx, r ? rows : NULL, n, e);
        free(rows);
    }
    free(c);
}

void devices_list(struct devices *d, const uint8_t owner[OWNER_BYTES], devices_list_fn fn,
                  void *ctx)
{
    struct pg_params p;
    pg_params_init(&p);
    pg_add_uuid(&p, owner);
    struct call *c = new_call(d, ctx);
    c->fn.list = fn;
    c->lost = lost_list;
    pg_pool_send(d->pool, &list_st, &p, on_list, c);
}

static void lost_find(struct call *c, const struct pg_error *e)
{
    c->fn.owner(c->ctx, NULL, e);
}

/* How long it takes tells nothing of the secret; how many registrations have that node is
 * none. Where there is no secret, the node itself is one. */
static bool secret_fits(const struct pg_result *r, int row, const char *given)
{
    if (pg_is_null(r, row, 5))
        return true;
    const char *secret = pg_text(r, row, 5);
    return crypt_same(secret, strlen(secret), given, strlen(given));
}

static void on_found(void *ctx, const struct pg_result *r, const struct pg_error *e)
{
    struct finding *f = ctx;
    struct call *c = f->call;
    if (end_call(c)) {
        struct device_owner found;
        bool any = false;
        for (int i = 0; r && i < pg_rows(r); i++) {
            if (!secret_fits(r, i, f->secret) || any)
                continue;
            any = true;
            pg_uuid(r, i, 0, found.owner);
            found.account = pg_text(r, i, 1);
            found.resource = pg_text(r, i, 2);
            pg_uuid(r, i, 3, found.device);
            found.app = pg_text(r, i, 4);
            found.has_secret = !pg_is_null(r, i, 5);
        }
        c->fn.owner(c->ctx, any ? &found : NULL, e);
    }
    free(c);
    explicit_bzero(f->secret, strlen(f->secret));
    free(f);
}

void devices_find(struct devices *d, const char *node, const char *secret, devices_owner_fn fn,
                  void *ctx)
{
    size_t len = strlen(secret);
    struct finding *f = malloc(sizeof *f + len + 1);
    if (!f)
        abort();
    struct pg_params p;
    pg_params_init(&p);
    pg_add_text(&p, node);
    struct call *c = new_call(d, ctx);
    c->fn.owner = fn;
    c->lost = lost_find;
    f->call = c;
    memcpy(f->secret, secret, len + 1);
    pg_pool_send(d->pool, &find_st, &p, on_found, f);
}

void devices_stateless_id(const struct devices *d, const char *domain, const char *app,
                          const char *token, struct device_stateless *out)
{
    devices_id(d, app, token, out->device);
    keyed_id(d, "stateless", out->device, sizeof out->device, domain, out->owner);
}

static void lost_know(struct call *c, const struct pg_error *e)
{
    c->fn.known(c->ctx, DEVICE_UNKNOWN, e);
}

static void on_known(void *ctx, const struct pg_result *r, const struct pg_error *e)
{
    struct call *c = ctx;
    if (end_call(c))
        c->fn.known(c->ctx,
                    r && pg_bool(r, 0, 0)   ? DEVICE_KNOWN
                    : r && pg_bool(r, 0, 1) ? DEVICE_GONE
                                            : DEVICE_UNKNOWN,
                    e);
    free(c);
}

void devices_know(struct devices *d, const struct device_stateless *id, devices_known_fn fn,
                  void *ctx)
{
    struct pg_params p;
    pg_params_init(&p);
    pg_add_uuid(&p, id->owner);
    pg_add_uuid(&p, id->device);
    struct call *c = new_call(d, ctx);
    c->fn.known = fn;
    c->lost = lost_know;
    pg_pool_send(d->pool, &know_st, &p, on_known, c);
}

void devices_free(struct devices **d)
{
    if (!*d)
        return;
    static const struct pg_error lost = {.failure = PG_LOST, .text = "shutting down"};
    struct call *c;
    while ((c = LIST_FIRST(&(*d)->calls))) {
        LIST_REMOVE(c, all);
        c->d = NULL; /* its statement is still out; the answer frees it */
        c->lost(c, &lost);
    }
    free(*d);
    *d = NULL;
}
