// SPDX-License-Identifier: Apache-2.0
#include "apns/jwt.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "apns/es256.h"

#define ID_MAX 32
#define EXPIRED_S (60 * 60)   /* the service refuses a token of this age */
#define FUTURE_MAX_S (5 * 60) /* a clock that was set back further than this */

struct token {
    unsigned serial; /* 0: never made */
    int64_t iat_s;
    size_t len;
    char text[JWT_TEXT_MAX]; /* "bearer " and the JWT */
};

struct jwt {
    struct es256 *key;
    char key_id[ID_MAX + 1];
    char team_id[ID_MAX + 1];
    struct token tokens[3]; /* so that two older texts stay readable */
    unsigned now;           /* index of the one in use */
    unsigned before;        /* index of the one to go back to */
    unsigned serials;
    int64_t made_mono_ms;
    int64_t forced_mono_ms; /* of the last renewal out of turn */
    bool forced;
};

/* The ids go into JSON unescaped; Apple's have ten letters and digits. */
static bool id_is_good(const char *id)
{
    size_t n =
        id ? strspn(id, "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz") : 0;
    return n > 0 && n <= ID_MAX && id[n] == '\0';
}

enum err_kind jwt_new(const char *key_pem, const char *key_id, const char *team_id,
                      struct jwt **out, struct err *e)
{
    if (!id_is_good(key_id))
        return err_set(e, ERR_CONFIG, "key_id must be letters and digits only");
    if (!id_is_good(team_id))
        return err_set(e, ERR_CONFIG, "team_id must be letters and digits only");
    if (!key_pem)
        return err_set(e, ERR_CONFIG, "key_file is missing");
    struct es256 *key = NULL;
    enum err_kind kind = es256_new(key_pem, &key, e);
    if (kind)
        return kind;
    struct jwt *j = calloc(1, sizeof *j);
    if (!j)
        abort();
    j->key = key;
    strcpy(j->key_id, key_id);
    strcpy(j->team_id, team_id);
    *out = j;
    return ERR_NONE;
}

void jwt_free(struct jwt **j)
{
    if (!*j)
        return;
    es256_free(&(*j)->key);
    free(*j);
    *j = NULL;
}

void jwt_sign(const struct jwt *j, int64_t real_s, struct jwt_token *out)
{
    char header[128], claims[128];
    snprintf(header, sizeof header, "{\"alg\":\"ES256\",\"kid\":\"%s\"}", j->key_id);
    snprintf(claims, sizeof claims, "{\"iss\":\"%s\",\"iat\":%lld}", j->team_id,
             (long long)real_s);
    (void)es256_jwt(j->key, header, claims, stpcpy(out->text, "bearer "));
    out->iat_s = real_s;
}

void jwt_use(struct jwt *j, const struct jwt_token *token, int64_t real_s, int64_t mono_ms)
{
    int64_t age_s = real_s - token->iat_s;
    if (j->serials > 0 && strcmp(j->tokens[j->now].text, token->text) == 0)
        return;
    /* The oldest text goes; requests in flight may still point to the younger two. */
    unsigned next = (j->now + 1) % 3, other = (j->now + 2) % 3;
    if (j->tokens[other].serial < j->tokens[next].serial)
        next = other;
    struct token *t = &j->tokens[next];
    strcpy(t->text, token->text);
    t->len = strlen(t->text);
    t->serial = ++j->serials;
    t->iat_s = token->iat_s;
    j->before = j->now;
    j->now = next;
    j->made_mono_ms = mono_ms - (age_s > 0 ? age_s : 0) * 1000;
}

void jwt_present(const struct jwt *j, struct jwt_token *out)
{
    const struct token *t = &j->tokens[j->now];
    out->iat_s = t->iat_s;
    strcpy(out->text, t->text);
}

static void make_token(struct jwt *j, int64_t real_s, int64_t mono_ms)
{
    struct jwt_token t;
    jwt_sign(j, real_s, &t);
    jwt_use(j, &t, real_s, mono_ms);
}

/* A clock that was set right by an hour makes the token useless whatever we renewed lately:
 * the service counts from iat. */
static bool is_useless(const struct jwt *j, int64_t real_s)
{
    int64_t age_s = real_s - j->tokens[j->now].iat_s;
    return j->serials == 0 || age_s >= EXPIRED_S || age_s < -FUTURE_MAX_S;
}

bool jwt_is_due(const struct jwt *j, int64_t real_s, int64_t mono_ms)
{
    return is_useless(j, real_s) ||
           (mono_ms >= jwt_renewable_ms(j) && real_s - j->tokens[j->now].iat_s >= JWT_RENEW_S);
}

const char *jwt_text(const struct jwt *j, int64_t real_s, size_t *len_out)
{
    const struct token *t = &j->tokens[j->now];
    *len_out = t->len;
    return is_useless(j, real_s) ? NULL : t->text;
}

const char *jwt_authorization(struct jwt *j, int64_t real_s, int64_t mono_ms, size_t *len_out)
{
    if (jwt_is_due(j, real_s, mono_ms))
        make_token(j, real_s, mono_ms);
    const struct token *t = &j->tokens[j->now];
    *len_out = t->len;
    return t->text;
}

unsigned jwt_serial(const struct jwt *j)
{
    return j->serials == 0 ? 0 : j->tokens[j->now].serial;
}

bool jwt_may_renew(struct jwt *j, int64_t mono_ms)
{
    if (mono_ms >= jwt_renewable_ms(j))
        return true;
    if (j->forced && mono_ms < j->forced_mono_ms + JWT_MIN_S * INT64_C(1000))
        return false;
    j->forced = true;
    j->forced_mono_ms = mono_ms;
    return true;
}

bool jwt_renew(struct jwt *j, int64_t real_s, int64_t mono_ms)
{
    if (!jwt_may_renew(j, mono_ms))
        return false;
    make_token(j, real_s, mono_ms);
    return true;
}

bool jwt_revert(struct jwt *j, int64_t real_s)
{
    const struct token *t = &j->tokens[j->before];
    int64_t age_s = real_s - t->iat_s;
    if (t->serial == 0 || j->before == j->now || age_s >= EXPIRED_S - 60 ||
        age_s < -FUTURE_MAX_S)
        return false;
    j->now = j->before;
    return true;
}

int64_t jwt_renewable_ms(const struct jwt *j)
{
    return j->serials == 0 ? INT64_MIN : j->made_mono_ms + JWT_MIN_S * INT64_C(1000);
}
