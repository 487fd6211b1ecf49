// SPDX-License-Identifier: Apache-2.0
#include "tests/gateway/oauth.h"

#include <cjson/cJSON.h>
#include <inttypes.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#include "tests/gateway/jwt_parts.h"
#include "tests/gateway/request.h"
#include "tests/gateway/text.h"

#define GRANT "urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Ajwt-bearer"
#define SCOPE "https://www.googleapis.com/auth/firebase.messaging"

enum { LIFE_S = 3599, ASSERTION_MAX_S = 3600, TOKEN_TEXT = 72, KEPT_MAX = 64 };

struct token {
    char text[TOKEN_TEXT];
    int64_t until_s;
    unsigned number;
    bool revoked;
    TAILQ_ENTRY(token) next;
};

struct gw_oauth {
    char *project, *email, *kid;
    EVP_PKEY *key;
    TAILQ_HEAD(token_list, token) tokens; /* the newest first */
    size_t n_tokens;
    unsigned last_number;
    int64_t life_s, clock_s;
    uint64_t issued, refused;
};

struct gw_oauth *gw_oauth_new(void)
{
    struct gw_oauth *o = gw_alloc(sizeof(*o));

    TAILQ_INIT(&o->tokens);
    o->life_s = LIFE_S;
    return o;
}

static void forget_oldest(struct gw_oauth *o)
{
    struct token *t = TAILQ_LAST(&o->tokens, token_list);

    TAILQ_REMOVE(&o->tokens, t, next);
    o->n_tokens--;
    free(t);
}

void gw_oauth_free(struct gw_oauth **o)
{
    if (*o == NULL)
        return;
    while (o[0]->n_tokens > 0)
        forget_oldest(*o);
    free(o[0]->project);
    free(o[0]->email);
    free(o[0]->kid);
    EVP_PKEY_free(o[0]->key);
    free(*o);
    *o = NULL;
}

static EVP_PKEY *read_public_key(const char *path)
{
    FILE *f = fopen(path, "re");
    EVP_PKEY *key;

    if (f == NULL) {
        perror(path);
        return NULL;
    }
    key = PEM_read_PUBKEY(f, NULL, NULL, NULL);
    fclose(f);
    if (key == NULL || EVP_PKEY_get_base_id(key) != EVP_PKEY_RSA) {
        fprintf(stderr, "%s: no RSA public key\n", path);
        EVP_PKEY_free(key);
        return NULL;
    }
    return key;
}

bool gw_oauth_set_account(struct gw_oauth *o, const char *spec)
{
    char *copy = gw_strdup(spec), *rest = copy;
    const char *project = strsep(&rest, ":"), *email = strsep(&rest, ":");
    const char *kid = strsep(&rest, ":");

    if (rest == NULL || *project == '\0' || *email == '\0' || *kid == '\0' || o->key != NULL) {
        fprintf(stderr, "--fcm-account wants PROJECT:EMAIL:KID:public-key.pem, once\n");
        free(copy);
        return false;
    }
    o->project = gw_strdup(project);
    o->email = gw_strdup(email);
    o->kid = gw_strdup(kid);
    o->key = read_public_key(rest);
    free(copy);
    return o->key != NULL;
}

bool gw_oauth_has_account(const struct gw_oauth *o)
{
    return o->key != NULL;
}

const char *gw_oauth_project(const struct gw_oauth *o)
{
    return o->project;
}

int64_t gw_oauth_now_s(const struct gw_oauth *o)
{
    return gw_now_ms() / 1000 + o->clock_s;
}

/* What is wrong with the claims; NULL when nothing is. */
static const char *check_claims(const struct gw_oauth *o, const cJSON *claims,
                                const char *audience)
{
    const char *iss = gw_json_text(claims, "iss"), *scope = gw_json_text(claims, "scope");
    const char *aud = gw_json_text(claims, "aud");
    int64_t iat, exp, now_s = gw_oauth_now_s(o);

    if (cJSON_GetArraySize(claims) != 5 || iss == NULL || scope == NULL || aud == NULL ||
        !gw_json_seconds(claims, "iat", &iat) || !gw_json_seconds(claims, "exp", &exp))
        return "the claims must be iss, scope, aud, iat and exp";
    if (strcmp(iss, o->email) != 0)
        return "account not found";
    if (strcmp(scope, SCOPE) != 0)
        return "another scope";
    if (strcmp(aud, audience) != 0)
        return "another audience";
    if (exp <= iat || exp - iat > ASSERTION_MAX_S)
        return "exp is not within an hour of iat";
    if (iat > now_s || exp <= now_s)
        return "Token must be a short-lived token and in a reasonable timeframe";
    return NULL;
}

static bool verify(EVP_PKEY *key, const uint8_t *sig, size_t sig_len, const char *text,
                   size_t len)
{
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    bool ok;

    ok = ctx != NULL && EVP_DigestVerifyInit(ctx, NULL, EVP_sha256(), NULL, key) == 1 &&
         EVP_DigestVerify(ctx, sig, sig_len, (const uint8_t *)text, len) == 1;
    EVP_MD_CTX_free(ctx);
    ERR_clear_error();
    return ok;
}

static const char *check_assertion(const struct gw_oauth *o, const char *text,
                                   const char *audience)
{
    uint8_t sig[GW_JWT_TEXT_MAX];
    size_t sig_len, signed_len;
    cJSON *header, *claims;
    const char *wrong, *alg, *typ, *kid;

    if (!gw_jwt_split(text, &header, &claims, sig, &sig_len, &signed_len))
        return "the assertion is no JWT";
    alg = gw_json_text(header, "alg");
    typ = gw_json_text(header, "typ");
    kid = gw_json_text(header, "kid");
    if (alg == NULL || strcmp(alg, "RS256") != 0 || typ == NULL || strcmp(typ, "JWT") != 0 ||
        kid == NULL || strcmp(kid, o->kid) != 0)
        wrong = "the header must have alg RS256, typ JWT and the key's kid";
    else if (!verify(o->key, sig, sig_len, text, signed_len))
        wrong = "Invalid JWT Signature.";
    else
        wrong = check_claims(o, claims, audience);
    cJSON_Delete(header);
    cJSON_Delete(claims);
    return wrong;
}

static int refuse(struct gw_oauth *o, const char *error, const char *why, struct gw_text *out)
{
    o->refused++;
    gw_text_puts(out, "{\"error\":");
    gw_text_json_str(out, error);
    gw_text_puts(out, ",\"error_description\":");
    gw_text_json_str(out, why);
    gw_text_puts(out, "}");
    return 400;
}

static int issue(struct gw_oauth *o, struct gw_text *out)
{
    struct token *t = gw_alloc(sizeof(*t));
    uint8_t random[32];
    size_t i;

    if (RAND_bytes(random, sizeof(random)) != 1)
        abort();
    memcpy(t->text, "ya29.", 5);
    for (i = 0; i < sizeof(random); i++)
        snprintf(t->text + 5 + 2 * i, 3, "%02x", random[i]);
    t->number = ++o->last_number;
    t->until_s = gw_now_ms() / 1000 + o->life_s;
    TAILQ_INSERT_HEAD(&o->tokens, t, next);
    o->n_tokens++;
    if (o->n_tokens > KEPT_MAX)
        forget_oldest(o);
    o->issued++;
    gw_text_printf(
        out, "{\"access_token\":\"%s\",\"expires_in\":%" PRId64 ",\"token_type\":\"Bearer\"}",
        t->text, o->life_s);
    return 200;
}

/* The value of a field that is there once; NULL otherwise.  Changes the form. */
static char *take_field(char *form, const char *name)
{
    char *at = form, *found = NULL, *pair;
    size_t len = strlen(name);

    while ((pair = strsep(&at, "&")) != NULL) {
        if (strncmp(pair, name, len) == 0 && pair[len] == '=') {
            if (found != NULL)
                return NULL;
            found = pair + len + 1;
        }
    }
    return found;
}

int gw_oauth_exchange(struct gw_oauth *o, const struct gw_request *r, struct gw_text *out)
{
    const char *method = gw_request_header(r, ":method");
    const char *type = gw_request_header(r, "content-type");
    const char *host = gw_request_header(r, ":authority");
    const char *wrong, *grant, *assertion;
    char *first = gw_strndup(r->body_kept > 0 ? (const char *)r->body : "", r->body_kept);
    char *second = gw_strdup(first);
    struct gw_text audience = {0};
    int status;

    gw_text_printf(&audience, "https://%s" GW_OAUTH_PATH, host == NULL ? "" : host);
    grant = take_field(first, "grant_type");
    assertion = take_field(second, "assertion");
    if (method == NULL || strcmp(method, "POST") != 0 || r->body_len != r->body_kept)
        status = refuse(o, "invalid_request", "a form by POST is wanted", out);
    else if (type == NULL || strcmp(type, "application/x-www-form-urlencoded") != 0)
        status = refuse(o, "invalid_request", "no form", out);
    else if (grant == NULL || strcmp(grant, GRANT) != 0)
        status = refuse(o, "unsupported_grant_type", "another grant_type", out);
    else if (assertion == NULL)
        status = refuse(o, "invalid_request", "no assertion", out);
    else if ((wrong = check_assertion(o, assertion, audience.s)) != NULL)
        status = refuse(o, "invalid_grant", wrong, out);
    else
        status = issue(o, out);
    gw_text_free(&audience);
    free(first);
    free(second);
    return status;
}

int gw_oauth_check(struct gw_oauth *o, const char *authorization, unsigned *number_out)
{
    const struct token *t;

    *number_out = 0;
    if (authorization == NULL || strncmp(authorization, "Bearer ", 7) != 0)
        return 401;
    TAILQ_FOREACH(t, &o->tokens, next)
    {
        if (strcmp(t->text, authorization + 7) != 0)
            continue;
        *number_out = t->number;
        return t->revoked || t->until_s <= gw_now_ms() / 1000 ? 401 : 200;
    }
    return 401;
}

void gw_oauth_set_life(struct gw_oauth *o, int64_t seconds)
{
    o->life_s = seconds;
}

void gw_oauth_set_clock(struct gw_oauth *o, int64_t seconds)
{
    o->clock_s = seconds;
}

void gw_oauth_revoke(struct gw_oauth *o)
{
    struct token *t;

    TAILQ_FOREACH(t, &o->tokens, next)
    t->revoked = true;
}

void gw_oauth_reset(struct gw_oauth *o)
{
    o->life_s = LIFE_S;
    o->clock_s = 0;
    o->issued = o->refused = 0;
}

void gw_oauth_write(const struct gw_oauth *o, struct gw_text *out)
{
    gw_text_printf(out, "\"oauth_issued\":%" PRIu64 ",\"oauth_refused\":%" PRIu64, o->issued,
                   o->refused);
}
