// SPDX-License-Identifier: Apache-2.0
#include "apns/jwt.h"

#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "apns/pem.h"
#include "base/crypt.h"

#define ID_MAX 32
#define EXPIRED_S (60 * 60)   /* the service refuses a token of this age */
#define FUTURE_MAX_S (5 * 60) /* a clock that was set back further than this */
#define RAW_HALF 32
#define AUTHORIZATION_MAX 512

struct token {
    unsigned serial; /* 0: never made */
    int64_t iat_s;
    size_t len;
    char text[AUTHORIZATION_MAX]; /* "bearer " and the JWT */
};

struct jwt {
    EVP_PKEY *key;
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

static enum err_kind read_key(const char *pem, EVP_PKEY **out, struct err *e)
{
    char group[64] = "";
    EVP_PKEY *key = pem_private_key(pem);
    if (!key)
        return err_set(e, ERR_CONFIG, "the key file holds no readable PEM private key");
    if (EVP_PKEY_get_base_id(key) != EVP_PKEY_EC ||
        EVP_PKEY_get_group_name(key, group, sizeof group, NULL) != 1 ||
        strcmp(group, "prime256v1") != 0) {
        EVP_PKEY_free(key);
        ERR_clear_error();
        return err_set(e, ERR_CONFIG,
                       "the key file must hold a P-256 private key (Apple's .p8 file)");
    }
    *out = key;
    return ERR_NONE;
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
    EVP_PKEY *key = NULL;
    enum err_kind kind = read_key(key_pem, &key, e);
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
    EVP_PKEY_free((*j)->key);
    free(*j);
    *j = NULL;
}

/* ES256 wants r and s side by side (RFC 7518 section 3.4); OpenSSL gives DER. */
static void sign_raw(EVP_PKEY *key, const char *text, size_t len, uint8_t raw[2 * RAW_HALF])
{
    uint8_t der[128];
    size_t der_len = sizeof der;
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    if (!ctx || EVP_DigestSignInit(ctx, NULL, EVP_sha256(), NULL, key) != 1 ||
        EVP_DigestSign(ctx, der, &der_len, (const unsigned char *)text, len) != 1)
        abort();
    EVP_MD_CTX_free(ctx);
    const unsigned char *at = der;
    ECDSA_SIG *sig = d2i_ECDSA_SIG(NULL, &at, (long)der_len);
    if (!sig || BN_bn2binpad(ECDSA_SIG_get0_r(sig), raw, RAW_HALF) != RAW_HALF ||
        BN_bn2binpad(ECDSA_SIG_get0_s(sig), raw + RAW_HALF, RAW_HALF) != RAW_HALF)
        abort();
    ECDSA_SIG_free(sig);
}

static void make_token(struct jwt *j, int64_t real_s, int64_t mono_ms)
{
    /* The oldest text goes; requests in flight may still point to the younger two. */
    unsigned next = (j->now + 1) % 3, other = (j->now + 2) % 3;
    if (j->tokens[other].serial < j->tokens[next].serial)
        next = other;
    struct token *t = &j->tokens[next];
    char header[128], claims[128];
    int header_len =
        snprintf(header, sizeof header, "{\"alg\":\"ES256\",\"kid\":\"%s\"}", j->key_id);
    int claims_len = snprintf(claims, sizeof claims, "{\"iss\":\"%s\",\"iat\":%lld}",
                              j->team_id, (long long)real_s);
    char *at = stpcpy(t->text, "bearer ");
    const char *signed_part = at;
    crypt_base64url(header, (size_t)header_len, at);
    at += strlen(at);
    *at++ = '.';
    crypt_base64url(claims, (size_t)claims_len, at);
    at += strlen(at);
    uint8_t raw[2 * RAW_HALF];
    sign_raw(j->key, signed_part, (size_t)(at - signed_part), raw);
    *at++ = '.';
    crypt_base64url(raw, sizeof raw, at);
    t->len = strlen(t->text);
    t->serial = ++j->serials;
    t->iat_s = real_s;
    j->before = j->now;
    j->now = next;
    j->made_mono_ms = mono_ms;
}

const char *jwt_authorization(struct jwt *j, int64_t real_s, int64_t mono_ms, size_t *len_out)
{
    if (j->serials == 0)
        make_token(j, real_s, mono_ms);
    const struct token *t = &j->tokens[j->now];
    int64_t age_s = real_s - t->iat_s;
    bool in_turn = mono_ms >= jwt_renewable_ms(j);
    /* A clock that was set right by an hour makes the token useless whatever we renewed
     * lately: the service counts from iat. */
    bool useless = age_s >= EXPIRED_S || age_s < -FUTURE_MAX_S;
    if (useless || (in_turn && age_s >= JWT_RENEW_S)) {
        make_token(j, real_s, mono_ms);
        t = &j->tokens[j->now];
    }
    *len_out = t->len;
    return t->text;
}

unsigned jwt_serial(const struct jwt *j)
{
    return j->serials == 0 ? 0 : j->tokens[j->now].serial;
}

bool jwt_renew(struct jwt *j, int64_t real_s, int64_t mono_ms)
{
    bool in_turn = j->serials == 0 || mono_ms >= jwt_renewable_ms(j);
    if (!in_turn) {
        if (j->forced && mono_ms < j->forced_mono_ms + JWT_MIN_S * INT64_C(1000))
            return false;
        j->forced = true;
        j->forced_mono_ms = mono_ms;
    }
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
