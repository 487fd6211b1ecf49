// SPDX-License-Identifier: Apache-2.0
#include "apns/provider_token.h"

#include <stdlib.h>
#include <string.h>

#include "apns/jwt.h"
#include "base/clock.h"
#include "base/crypt.h"
#include "base/log.h"
#include "store/pg.h"

#define PREFIX "push"
#define AGAIN_MS 30000 /* after the database did not take it */
#define SEALED_MAX (JWT_TEXT_MAX + CRYPT_SEAL_BYTES)

struct provider_token {
    LIST_ENTRY(provider_token) next;
    struct pg_pool *pool;
    struct jwt *jwt;
    char *key_pem, *key_id, *team_id;
    uint8_t seal[SHA256_BYTES];
    LIST_HEAD(provider_listeners, provider_listener) listeners;
    bool asking;  /* an offer is with PostgreSQL */
    bool stored;  /* all others know the one we use */
    bool refused; /* by the service: the one we have is of no use */
    int64_t refused_iat_s;
    int64_t again_ms;         /* no offer before */
    struct jwt_token offered; /* while asking */
};

struct provider_tokens {
    struct pg_pool *pool;
    LIST_HEAD(provider_token_list, provider_token) all;
};

static const struct pg_statement offer_st = {
    "provider_token", "SELECT * FROM xs.provider_token_offer($1::text, $2::text, $3::bigint,"
                      " $4::bytea, $5::bigint, $6::bigint)"};

struct provider_tokens *provider_tokens_new(struct pg_pool *pool)
{
    struct provider_tokens *p = calloc(1, sizeof *p);
    if (!p)
        abort();
    p->pool = pool;
    LIST_INIT(&p->all);
    return p;
}

static void token_free(struct provider_token *t)
{
    jwt_free(&t->jwt);
    free(t->key_pem);
    free(t->key_id);
    free(t->team_id);
    free(t);
}

void provider_tokens_free(struct provider_tokens **p)
{
    if (!*p)
        return;
    while (!LIST_EMPTY(&(*p)->all)) {
        struct provider_token *t = LIST_FIRST(&(*p)->all);
        LIST_REMOVE(t, next);
        token_free(t);
    }
    free(*p);
    *p = NULL;
}

static char *copy(const char *text)
{
    char *out = strdup(text);
    if (!out)
        abort();
    return out;
}

/* Whoever has the private key can sign a token of his own: he may read this one. */
static void make_seal(struct provider_token *t)
{
    static const char name[] = "xmpp-sidecar provider token";
    crypt_hmac_sha256((const uint8_t *)t->key_pem, strlen(t->key_pem), name, sizeof name,
                      t->seal);
}

static struct provider_token *find(const struct provider_tokens *p, const char *key_pem,
                                   const char *key_id, const char *team_id)
{
    struct provider_token *t = LIST_FIRST(&p->all);
    while (t && (strcmp(t->key_id, key_id) != 0 || strcmp(t->team_id, team_id) != 0 ||
                 strcmp(t->key_pem, key_pem) != 0))
        t = LIST_NEXT(t, next);
    return t;
}

enum err_kind provider_token_find(struct provider_tokens *p, const char *key_pem,
                                  const char *key_id, const char *team_id,
                                  struct provider_token **out, struct err *e)
{
    struct jwt *jwt;
    enum err_kind kind = jwt_new(key_pem, key_id, team_id, &jwt, e);
    if (kind)
        return kind;
    *out = find(p, key_pem, key_id, team_id);
    if (*out) {
        jwt_free(&jwt);
        return ERR_NONE;
    }
    struct provider_token *t = calloc(1, sizeof *t);
    if (!t)
        abort();
    t->pool = p->pool;
    t->jwt = jwt;
    t->key_pem = copy(key_pem);
    t->key_id = copy(key_id);
    t->team_id = copy(team_id);
    make_seal(t);
    LIST_INIT(&t->listeners);
    LIST_INSERT_HEAD(&p->all, t, next);
    *out = t;
    return ERR_NONE;
}

void provider_token_listen(struct provider_token *t, struct provider_listener *l)
{
    LIST_INSERT_HEAD(&t->listeners, l, next);
}

void provider_token_unlisten(struct provider_listener *l)
{
    LIST_REMOVE(l, next);
}

/* Offers. */

static void take(struct provider_token *t, const struct jwt_token *token)
{
    bool had = !provider_token_waits(t);
    int64_t real_s = clock_real_us() / 1000000;
    t->refused = false;
    jwt_use(t->jwt, token, real_s, clock_mono_ms());
    struct provider_listener *l, *next;
    for (l = LIST_FIRST(&t->listeners); l && !had; l = next) {
        next = LIST_NEXT(l, next);
        l->changed(l->ctx);
    }
}

/* The row in force; ours when it is that, or cannot be read. */
static void read_row(const struct provider_token *t, const struct pg_result *r,
                     struct jwt_token *out)
{
    size_t len;
    const uint8_t *sealed = pg_bytes(r, 0, 1, &len);
    struct jwt_token row = {.iat_s = pg_i64(r, 0, 0)};
    *out = t->offered;
    if (len < CRYPT_SEAL_BYTES || len >= SEALED_MAX ||
        !crypt_unseal(t->seal, sealed, len, row.text)) {
        log_warn(PREFIX,
                 "the provider token in the database is of another key: each process makes "
                 "its own key_id=%s",
                 t->key_id);
        return;
    }
    row.text[len - CRYPT_SEAL_BYTES] = '\0';
    *out = row;
}

static void answered(void *ctx, const struct pg_result *r, const struct pg_error *e)
{
    struct provider_token *t = ctx;
    struct jwt_token token = t->offered;
    t->asking = false;
    t->stored = r && pg_rows(r) == 1;
    if (t->stored) {
        read_row(t, r, &token);
    } else {
        t->again_ms = clock_mono_ms() + AGAIN_MS;
        log_warn(PREFIX, "the provider token stays in memory for now: %s",
                 r ? "no answer" : e->text);
    }
    take(t, &token);
}

static void offer(struct provider_token *t, int64_t younger_s)
{
    uint8_t sealed[SEALED_MAX];
    struct pg_params p;
    size_t len = strlen(t->offered.text);
    crypt_seal(t->seal, t->offered.text, len, sealed);
    pg_params_init(&p);
    pg_add_text(&p, t->team_id);
    pg_add_text(&p, t->key_id);
    pg_add_i64(&p, t->offered.iat_s);
    pg_add_bytes(&p, sealed, len + CRYPT_SEAL_BYTES);
    pg_add_i64(&p, younger_s);
    pg_add_i64(&p, t->refused_iat_s);
    t->asking = true;
    pg_pool_send(t->pool, &offer_st, &p, answered, t);
}

/* A new one where it is time; else the one we have, which the others do not know yet. */
static void look_after(struct provider_token *t, int64_t real_s, int64_t mono_ms)
{
    bool due = t->refused || jwt_is_due(t->jwt, real_s, mono_ms);
    if (t->asking || (!due && (t->stored || mono_ms < t->again_ms)))
        return;
    if (due)
        jwt_sign(t->jwt, real_s, &t->offered);
    else
        jwt_present(t->jwt, &t->offered);
    offer(t, due ? JWT_RENEW_S : JWT_MIN_S);
}

const char *provider_token_authorization(struct provider_token *t, int64_t real_s,
                                         int64_t mono_ms, size_t *len_out,
                                         unsigned *serial_out)
{
    const char *text = NULL;
    *len_out = 0;
    if (!t->pool) {
        text = jwt_authorization(t->jwt, real_s, mono_ms, len_out);
    } else {
        look_after(t, real_s, mono_ms);
        if (!t->refused)
            text = jwt_text(t->jwt, real_s, len_out);
    }
    *serial_out = jwt_serial(t->jwt);
    return text;
}

bool provider_token_waits(const struct provider_token *t)
{
    size_t len;
    return t->pool && (t->refused || !jwt_text(t->jwt, clock_real_us() / 1000000, &len));
}

bool provider_token_renew(struct provider_token *t, unsigned serial, int64_t real_s,
                          int64_t mono_ms)
{
    if (t->refused || serial != jwt_serial(t->jwt))
        return true; /* another push has come back for the same reason */
    if (!t->pool)
        return jwt_renew(t->jwt, real_s, mono_ms);
    if (!jwt_may_renew(t->jwt, mono_ms))
        return false;
    struct jwt_token refused;
    jwt_present(t->jwt, &refused);
    t->refused = true;
    t->refused_iat_s = refused.iat_s;
    look_after(t, real_s, mono_ms);
    return true;
}

bool provider_token_revert(struct provider_token *t, unsigned serial, int64_t real_s,
                           int64_t *until_ms_out)
{
    *until_ms_out = jwt_renewable_ms(t->jwt);
    return serial != jwt_serial(t->jwt) || jwt_revert(t->jwt, real_s);
}
