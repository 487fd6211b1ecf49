// SPDX-License-Identifier: Apache-2.0
#include "tests/gateway/webpush.h"

#include <cjson/cJSON.h>
#include <ctype.h>
#include <inttypes.h>
#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/gateway/devices.h"
#include "tests/gateway/gateway.h"
#include "tests/gateway/jwt_check.h"
#include "tests/gateway/jwt_parts.h"
#include "tests/gateway/script.h"
#include "tests/gateway/text.h"

enum {
    BODY_MAX = 4096,
    POINT = 65,
    HEADER = 16 + 4 + 1 + POINT,
    TAG = 16,
    TTL_DIGITS_MAX = 10,
    TOPIC_MAX = 32,
    DAY_S = 24 * 3600,
    KEY_TEXT = 87
};

static struct gw_verdict passed(void)
{
    return (struct gw_verdict){.status = 201};
}

static struct gw_verdict rejected(int status, const char *reason)
{
    return (struct gw_verdict){.status = status, .reason = reason};
}

static bool is_base64url(const char *s, size_t min, size_t max)
{
    size_t len = strspn(s, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_");

    return len >= min && len <= max && s[len] == '\0';
}

static bool read_path(const struct gw_request *r, struct gw_push *push)
{
    const char *path = gw_request_header(r, ":path");
    size_t i, start = sizeof(GW_WEBPUSH_PATH) - 1;

    if (path == NULL || strncmp(path, GW_WEBPUSH_PATH, start) != 0)
        return false;
    path += start;
    if (strlen(path) != GW_TOKEN_HEX)
        return false;
    for (i = 0; i < GW_TOKEN_HEX; i++)
        if (!isxdigit((unsigned char)path[i]) || isupper((unsigned char)path[i]))
            return false;
    memcpy(push->token, path, GW_TOKEN_HEX + 1);
    return true;
}

static struct gw_verdict check_fields(const struct gw_request *r, struct gw_push *push)
{
    static const char *const urgencies[] = {"very-low", "low", "normal", "high"};
    const char *ttl = gw_request_header(r, "ttl"), *topic = gw_request_header(r, "topic");
    const char *urgency = gw_request_header(r, "urgency");
    const char *coding = gw_request_header(r, "content-encoding");
    const char *type = gw_request_header(r, "content-type");
    size_t i, known = 0;

    if (gw_request_duplicate(r) != NULL)
        return rejected(400, "DuplicateHeaders");
    if (ttl == NULL || *ttl == '\0' || strlen(ttl) > TTL_DIGITS_MAX ||
        ttl[strspn(ttl, "0123456789")] != '\0')
        return rejected(400, "BadTTL");
    push->has_expiration = true;
    push->expiration_s = gw_now_ms() / 1000 + strtoll(ttl, NULL, 10);
    for (i = 0; urgency != NULL && i < 4; i++)
        known += strcmp(urgency, urgencies[i]) == 0;
    if (known != 1)
        return rejected(400, "BadUrgency");
    if (topic != NULL && !is_base64url(topic, 1, TOPIC_MAX))
        return rejected(400, "BadTopic");
    push->collapse_id = topic;
    if (coding == NULL || strcmp(coding, "aes128gcm") != 0)
        return rejected(400, "BadContentEncoding");
    if (type != NULL && strcmp(type, "application/octet-stream") != 0)
        return rejected(400, "BadContentType");
    return passed();
}

/* "vapid t=JWT, k=KEY", in this order and spelling. */
static bool split_authorization(const char *text, char jwt[GW_JWT_TEXT_MAX], char key[96])
{
    const char *k;

    if (text == NULL || strncmp(text, "vapid t=", 8) != 0)
        return false;
    text += 8;
    k = strstr(text, ", k=");
    if (k == NULL || (size_t)(k - text) >= GW_JWT_TEXT_MAX || strlen(k + 4) != KEY_TEXT)
        return false;
    snprintf(jwt, GW_JWT_TEXT_MAX, "%.*s", (int)(k - text), text);
    snprintf(key, 96, "%s", k + 4);
    return is_base64url(key, KEY_TEXT, KEY_TEXT);
}

static EVP_PKEY *read_key(const char *text)
{
    uint8_t raw[96];
    char group[] = "P-256";
    size_t len;
    EVP_PKEY *key = NULL;
    EVP_PKEY_CTX *ctx;

    if (!gw_base64url_decode(text, strlen(text), raw, &len) || len != POINT || raw[0] != 4)
        return NULL;
    OSSL_PARAM params[] = {
        OSSL_PARAM_construct_utf8_string(OSSL_PKEY_PARAM_GROUP_NAME, group, 0),
        OSSL_PARAM_construct_octet_string(OSSL_PKEY_PARAM_PUB_KEY, raw, len),
        OSSL_PARAM_construct_end()};
    ctx = EVP_PKEY_CTX_new_from_name(NULL, "EC", NULL);
    if (EVP_PKEY_fromdata_init(ctx) != 1 ||
        EVP_PKEY_fromdata(ctx, &key, EVP_PKEY_PUBLIC_KEY, params) != 1)
        key = NULL;
    EVP_PKEY_CTX_free(ctx);
    ERR_clear_error();
    return key;
}

static struct gw_verdict check_claims(const cJSON *header, const cJSON *claims,
                                      const char *authority)
{
    const char *alg = gw_json_text(header, "alg"), *typ = gw_json_text(header, "typ");
    const char *aud = gw_json_text(claims, "aud"), *sub = gw_json_text(claims, "sub");
    int64_t exp, now_s = gw_now_ms() / 1000;

    if (alg == NULL || strcmp(alg, "ES256") != 0 || typ == NULL || strcmp(typ, "JWT") != 0)
        return rejected(403, "BadJwtHeader");
    if (aud == NULL || authority == NULL || strncmp(aud, "https://", 8) != 0 ||
        strcmp(aud + 8, authority) != 0)
        return rejected(403, "BadAudience");
    if (sub == NULL || (strncmp(sub, "mailto:", 7) != 0 && strncmp(sub, "https://", 8) != 0))
        return rejected(403, "BadSubject");
    if (!gw_json_seconds(claims, "exp", &exp) || exp > now_s + DAY_S)
        return rejected(403, "BadExpiry");
    if (exp <= now_s)
        return rejected(401, "Expired");
    return passed();
}

static struct gw_verdict check_vapid(struct gateway *gw, const struct gw_request *r,
                                     struct gw_push *push)
{
    char jwt[GW_JWT_TEXT_MAX], key_text[96];
    uint8_t sig[GW_JWT_TEXT_MAX];
    size_t sig_len, signed_len;
    cJSON *header, *claims;
    struct gw_verdict v;
    EVP_PKEY *key;
    bool good;

    if (gw_request_header(r, "authorization") == NULL)
        return rejected(401, "MissingAuthorization");
    if (!split_authorization(gw_request_header(r, "authorization"), jwt, key_text))
        return rejected(401, "BadAuthorization");
    if (!gw_jwt_split(jwt, &header, &claims, sig, &sig_len, &signed_len))
        return rejected(401, "BadJwt");
    key = read_key(key_text);
    good = key != NULL && sig_len == 64 && gw_es256_verify(key, sig, jwt, signed_len);
    EVP_PKEY_free(key);
    v = good ? check_claims(header, claims, gw_request_header(r, ":authority"))
             : rejected(403, "BadSignature");
    cJSON_Delete(header);
    cJSON_Delete(claims);
    if (v.status != 201)
        return v;
    push->jwt = gw_text_number(&gw->webpush_jwts, jwt);
    /* A subscription is made for one key. */
    if (!gw_devices_has_topic(gw->devices, push->token, key_text, gw->opts.token_any))
        return rejected(403, "OtherKey");
    return v;
}

static struct gw_verdict check_body(const struct gw_request *r)
{
    uint32_t record;

    if (r->body_len > BODY_MAX)
        return rejected(413, "PayloadTooLarge");
    if (r->body_len < HEADER + 1 + 1 + TAG) /* a byte, the delimiter, the tag */
        return rejected(400, "BodyTooShort");
    record = (uint32_t)r->body[16] << 24 | (uint32_t)r->body[17] << 16 |
             (uint32_t)r->body[18] << 8 | r->body[19];
    if (r->body[20] != POINT || r->body[21] != 4)
        return rejected(400, "BadKeyId");
    if (record < 18 || r->body_len - HEADER > record)
        return rejected(400, "NotOneRecord");
    return passed();
}

struct gw_verdict gw_webpush_check(struct gateway *gw, const struct gw_request *r,
                                   struct gw_push *push_out)
{
    const char *method = gw_request_header(r, ":method");
    int64_t gone_ms;
    struct gw_verdict v;

    *push_out = (struct gw_push){.priority = 10, .kept = 4, .binary = true};
    if (!read_path(r, push_out))
        return rejected(404, "NoSuchPath");
    if (method == NULL || strcmp(method, "POST") != 0)
        return rejected(405, "MethodNotAllowed");
    v = check_fields(r, push_out);
    if (v.status == 201)
        v = check_vapid(gw, r, push_out);
    if (v.status == 201)
        v = check_body(r);
    if (v.status == 201 && gw_devices_expired(gw->devices, push_out->token, &gone_ms))
        v = rejected(410, "Gone");
    return v;
}

static void add(struct gw_webpush_fields *f, const char *name, const char *value)
{
    snprintf(f->name[f->n], sizeof(f->name[0]), "%s", name);
    snprintf(f->value[f->n], sizeof(f->value[0]), "%s", value);
    f->n++;
}

void gw_webpush_answer(const struct gw_request *r, const struct gw_push *push,
                       const struct gw_action *a, const struct gw_verdict *v,
                       struct gw_webpush_fields *out)
{
    const char *authority = gw_request_header(r, ":authority");
    const char *ttl = gw_request_header(r, "ttl");
    char text[GW_WEBPUSH_FIELD_SIZE];

    out->n = 0;
    if (v->status == 201) {
        snprintf(text, sizeof(text), "https://%.100s/message/%s", authority, push->token);
        add(out, "location", text);
        add(out, "ttl", ttl);
    }
    if (a->kind != GW_ACT_ANSWER)
        return;
    if (a->location[0] != '\0')
        add(out, "location", a->location);
    if (a->retry_after_s >= 0) {
        snprintf(text, sizeof(text), "%d", a->retry_after_s);
        if (a->retry_as_date)
            gw_http_date(gw_now_ms() / 1000 + a->retry_after_s, text, sizeof(text));
        add(out, "retry-after", text);
    }
}
