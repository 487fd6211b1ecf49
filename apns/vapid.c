// SPDX-License-Identifier: Apache-2.0
#include "apns/vapid.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "apns/es256.h"
#include "base/crypt.h"

#define SUBJECT_MAX 255
#define CLAIMS_BYTES (SUBJECT_MAX + VAPID_ORIGIN_MAX + 64)

struct vapid {
    struct es256 *key;
    char subject[SUBJECT_MAX + 1];
    char public[VAPID_PUBLIC_BYTES];
};

/* It goes into JSON unescaped.  Some services refuse what they could not write to. */
static bool is_subject(const char *s)
{
    size_t len = s ? strlen(s) : 0;
    for (size_t i = 0; i < len; i++)
        if (s[i] <= ' ' || s[i] > '~' || strchr("\"\\<>", s[i]))
            return false;
    if (len > SUBJECT_MAX)
        return false;
    return len > 0 && ((strncmp(s, "mailto:", 7) == 0 && s[7] && strchr(s + 8, '@')) ||
                       (strncmp(s, "https://", 8) == 0 && s[8]));
}

enum err_kind vapid_new(const char *key_pem, const char *subject, struct vapid **out,
                        struct err *e)
{
    if (!key_pem)
        return err_set(e, ERR_CONFIG, "private_key_file is missing");
    if (!is_subject(subject))
        return err_set(e, ERR_CONFIG,
                       "subject must be mailto:somebody@example.org or an https: address");
    struct es256 *key = NULL;
    enum err_kind kind = es256_new(key_pem, &key, e);
    if (kind)
        return kind;
    struct vapid *v = calloc(1, sizeof *v);
    if (!v)
        abort();
    v->key = key;
    strcpy(v->subject, subject);
    uint8_t public[ES256_PUBLIC_BYTES];
    es256_public(key, public);
    crypt_base64url(public, sizeof public, v->public);
    *out = v;
    return ERR_NONE;
}

void vapid_free(struct vapid **v)
{
    if (!*v)
        return;
    es256_free(&(*v)->key);
    free(*v);
    *v = NULL;
}

const char *vapid_public(const struct vapid *v)
{
    return v->public;
}

void vapid_authorization(const struct vapid *v, const char *origin, int64_t real_s,
                         char out[VAPID_AUTHORIZATION_BYTES])
{
    static const char header[] = "{\"typ\":\"JWT\",\"alg\":\"ES256\"}";
    char claims[CLAIMS_BYTES];
    _Static_assert(ES256_JWT_ROOM(sizeof header + CLAIMS_BYTES) + VAPID_PUBLIC_BYTES + 20 <
                       VAPID_AUTHORIZATION_BYTES,
                   "room for all of it");
    assert(strlen(origin) <= VAPID_ORIGIN_MAX);
    snprintf(claims, sizeof claims, "{\"aud\":\"%s\",\"exp\":%" PRId64 ",\"sub\":\"%s\"}",
             origin, real_s + VAPID_LIFE_S, v->subject);
    char *at = stpcpy(out, "vapid t=");
    at += es256_jwt(v->key, header, claims, at);
    sprintf(at, ", k=%s", v->public);
}
