// SPDX-License-Identifier: Apache-2.0
#include "tests/gateway/jwt_check.h"

#include <cjson/cJSON.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#include "tests/gateway/jwt_parts.h"
#include "tests/gateway/text.h"

enum { LIFETIME_S = 3600, CHANGE_MIN_S = 1200, FUTURE_MAX_S = 60, KEPT_MAX = 256 };

struct key {
    char *kid, *team, *topics; /* topics: comma separated, NULL for all */
    EVP_PKEY *pkey;
    SLIST_ENTRY(key) next;
};

struct token {
    char *text;
    const struct key *key;
    int64_t iat;
    unsigned number;
    bool revoked;
    TAILQ_ENTRY(token) next;
};

TAILQ_HEAD(token_list, token);

struct gw_jwts {
    SLIST_HEAD(, key) keys;
    struct token_list tokens; /* the one used last is first */
    size_t n_tokens;
    unsigned last_number, number_at_reset;
    bool sticky;
};

struct gw_jwts *gw_jwts_new(void)
{
    struct gw_jwts *j = gw_alloc(sizeof(*j));

    SLIST_INIT(&j->keys);
    TAILQ_INIT(&j->tokens);
    return j;
}

static void forget_last_token(struct gw_jwts *j)
{
    struct token *t = TAILQ_LAST(&j->tokens, token_list);

    TAILQ_REMOVE(&j->tokens, t, next);
    j->n_tokens--;
    free(t->text);
    free(t);
}

static void key_free(struct key *k)
{
    free(k->kid);
    free(k->team);
    free(k->topics);
    EVP_PKEY_free(k->pkey);
    free(k);
}

void gw_jwts_free(struct gw_jwts **j)
{
    struct key *k;

    if (*j == NULL)
        return;
    while (j[0]->n_tokens > 0)
        forget_last_token(*j);
    while ((k = SLIST_FIRST(&j[0]->keys)) != NULL) {
        SLIST_REMOVE_HEAD(&j[0]->keys, next);
        key_free(k);
    }
    free(*j);
    *j = NULL;
}

static EVP_PKEY *read_public_key(const char *path)
{
    FILE *f = fopen(path, "re");
    EVP_PKEY *pkey;

    if (f == NULL) {
        perror(path);
        return NULL;
    }
    pkey = PEM_read_PUBKEY(f, NULL, NULL, NULL);
    fclose(f);
    if (pkey == NULL || EVP_PKEY_get_base_id(pkey) != EVP_PKEY_EC ||
        EVP_PKEY_get_bits(pkey) != 256) {
        fprintf(stderr, "%s: no P-256 public key\n", path);
        EVP_PKEY_free(pkey);
        return NULL;
    }
    return pkey;
}

bool gw_jwts_add_key(struct gw_jwts *j, const char *spec)
{
    char *copy = gw_strdup(spec), *rest = copy;
    const char *kid = strsep(&rest, ":"), *team = strsep(&rest, ":");
    const char *path = strsep(&rest, ":");
    struct key *k = gw_alloc(sizeof(*k));
    bool ok = false;

    if (path == NULL || *kid == '\0' || *team == '\0') {
        fprintf(stderr, "--auth-key wants KID:TEAM:public-key.pem[:topic,topic]\n");
        goto out;
    }
    k->kid = gw_strdup(kid);
    k->team = gw_strdup(team);
    k->topics = rest == NULL ? NULL : gw_strdup(rest);
    k->pkey = read_public_key(path);
    if (k->pkey == NULL)
        goto out;
    SLIST_INSERT_HEAD(&j->keys, k, next);
    ok = true;
out:
    if (!ok)
        key_free(k);
    free(copy);
    return ok;
}

size_t gw_jwts_keys(const struct gw_jwts *j)
{
    const struct key *k;
    size_t n = 0;

    SLIST_FOREACH(k, &j->keys, next)
    n++;
    return n;
}

static const struct key *find_key(const struct gw_jwts *j, const char *kid)
{
    const struct key *k;

    SLIST_FOREACH(k, &j->keys, next)
    if (strcmp(k->kid, kid) == 0)
        return k;
    return NULL;
}

static bool verify_der(EVP_PKEY *pkey, const uint8_t *sig, size_t sig_len,
                       const char *signed_part, size_t signed_len)
{
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    bool ok;

    ok = ctx != NULL && EVP_DigestVerifyInit(ctx, NULL, EVP_sha256(), NULL, pkey) == 1 &&
         EVP_DigestVerify(ctx, sig, sig_len, (const uint8_t *)signed_part, signed_len) == 1;
    EVP_MD_CTX_free(ctx);
    ERR_clear_error();
    return ok;
}

bool gw_es256_verify(EVP_PKEY *pkey, const uint8_t raw[64], const char *signed_part,
                     size_t signed_len)
{
    ECDSA_SIG *sig = ECDSA_SIG_new();
    BIGNUM *r = BN_bin2bn(raw, 32, NULL), *s = BN_bin2bn(raw + 32, 32, NULL);
    uint8_t *der = NULL;
    int der_len;
    bool ok = false;

    if (sig == NULL || r == NULL || s == NULL || ECDSA_SIG_set0(sig, r, s) != 1) {
        BN_free(r);
        BN_free(s);
        goto out;
    }
    der_len = i2d_ECDSA_SIG(sig, &der);
    ok = der_len > 0 && verify_der(pkey, der, (size_t)der_len, signed_part, signed_len);
out:
    OPENSSL_free(der);
    ECDSA_SIG_free(sig);
    return ok;
}

static bool verify(EVP_PKEY *pkey, const uint8_t *sig, size_t len, const char *text,
                   size_t signed_len)
{
    return (len == 64 && gw_es256_verify(pkey, sig, text, signed_len)) ||
           verify_der(pkey, sig, len, text, signed_len);
}

/* Fills key and iat of t when the token is well made and its signature good. */
static bool parse_token(const struct gw_jwts *j, const char *text, struct token *t)
{
    uint8_t sig[GW_JWT_TEXT_MAX];
    size_t sig_len, signed_len;
    cJSON *header, *claims;
    const char *kid, *iss, *alg;
    bool ok = false;

    if (!gw_jwt_split(text, &header, &claims, sig, &sig_len, &signed_len))
        return false;
    alg = gw_json_text(header, "alg");
    kid = gw_json_text(header, "kid");
    iss = gw_json_text(claims, "iss");
    if (alg == NULL || strcmp(alg, "ES256") != 0 || kid == NULL || iss == NULL ||
        !gw_json_seconds(claims, "iat", &t->iat))
        goto out;
    t->key = find_key(j, kid);
    ok = t->key != NULL && strcmp(t->key->team, iss) == 0 &&
         verify(t->key->pkey, sig, sig_len, text, signed_len);
out:
    cJSON_Delete(header);
    cJSON_Delete(claims);
    return ok;
}

static struct token *find_token(struct gw_jwts *j, const char *text)
{
    struct token found = {0}, *t;

    TAILQ_FOREACH(t, &j->tokens, next)
    {
        if (strcmp(t->text, text) != 0)
            continue;
        TAILQ_REMOVE(&j->tokens, t, next);
        TAILQ_INSERT_HEAD(&j->tokens, t, next);
        return t;
    }
    if (!parse_token(j, text, &found))
        return NULL;
    if (j->n_tokens == KEPT_MAX)
        forget_last_token(j);
    t = gw_alloc(sizeof(*t));
    *t = found;
    t->text = gw_strdup(text);
    t->number = ++j->last_number;
    TAILQ_INSERT_HEAD(&j->tokens, t, next);
    j->n_tokens++;
    return t;
}

static bool topic_allowed(const struct key *k, const char *bundle)
{
    const char *p = k->topics;
    size_t len;

    if (p == NULL)
        return true;
    for (;; p += len + 1) {
        len = strcspn(p, ",");
        if (strlen(bundle) == len && memcmp(p, bundle, len) == 0)
            return true;
        if (p[len] == '\0')
            return false;
    }
}

static bool is_expired(const struct token *t, int64_t now_s)
{
    return t->revoked || t->iat + LIFETIME_S <= now_s;
}

/* A connection whose own token is used up may change it at any time. */
static bool may_change(const struct gw_jwts *j, const struct gw_binding *b,
                       const struct token *to, int64_t now_s)
{
    const struct token *t;

    if (b->jwt == 0 || b->iat + LIFETIME_S <= now_s)
        return true;
    TAILQ_FOREACH(t, &j->tokens, next)
    if (t->number == b->jwt && t->revoked)
        return true;
    return to->iat - b->iat >= CHANGE_MIN_S;
}

enum gw_jwt_result gw_jwts_check(struct gw_jwts *j, struct gw_binding *b, const char *text,
                                 const char *bundle, int64_t now_s, unsigned *number_out)
{
    const struct token *t = find_token(j, text);

    if (t == NULL)
        return GW_JWT_INVALID;
    *number_out = t->number;
    if ((b->team[0] != '\0' && strcmp(b->team, t->key->team) != 0) ||
        !topic_allowed(t->key, bundle) || t->iat > now_s + FUTURE_MAX_S)
        return GW_JWT_INVALID;
    if (b->refused)
        return GW_JWT_EXPIRED;
    if (is_expired(t, now_s)) {
        b->refused = t->revoked && j->sticky;
        return GW_JWT_EXPIRED;
    }
    if (t->number == b->jwt || t->number == b->jwt_before)
        return GW_JWT_OK;
    if (!may_change(j, b, t, now_s))
        return GW_JWT_TOO_MANY;
    snprintf(b->team, sizeof(b->team), "%s", t->key->team);
    b->jwt_before = b->jwt;
    b->jwt = t->number;
    b->iat = t->iat;
    return GW_JWT_OK;
}

void gw_jwts_expire(struct gw_jwts *j, bool sticky)
{
    struct token *t;

    TAILQ_FOREACH(t, &j->tokens, next)
    t->revoked = true;
    j->sticky = sticky;
}

unsigned gw_jwts_count(const struct gw_jwts *j)
{
    return j->last_number - j->number_at_reset;
}

void gw_jwts_reset(struct gw_jwts *j)
{
    struct token *t;

    TAILQ_FOREACH(t, &j->tokens, next)
    t->revoked = false;
    j->number_at_reset = j->last_number;
    j->sticky = false;
}
