// SPDX-License-Identifier: Apache-2.0
#include "apns/service_account.h"

#include <cjson/cJSON.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "apns/pem.h"
#include "base/buf.h"
#include "base/crypt.h"

#define SCOPE "https://www.googleapis.com/auth/firebase.messaging"
#define TEXT_MAX 512
#define KEY_BITS_MIN 2048
#define SIGNATURE_MAX 1024
#define PLAIN                                                                                 \
    "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"                          \
    "-._~:/?#@!$&*+,;=%"

/* These texts go into JSON and paths as they are, so they must be plain. */
static enum err_kind take_text(const cJSON *root, const char *name, char **out, struct err *e)
{
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(root, name);
    const char *text = cJSON_IsString(item) ? item->valuestring : NULL;
    if (!text || !*text)
        return err_set(e, ERR_CONFIG, "the service account file has no %s", name);
    if (strlen(text) > TEXT_MAX || text[strspn(text, PLAIN)] != '\0')
        return err_set(e, ERR_CONFIG, "the service account file: %s is not usable", name);
    *out = strdup(text);
    if (!*out)
        abort();
    return ERR_NONE;
}

static enum err_kind take_key(const cJSON *root, struct evp_pkey_st **out, struct err *e)
{
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(root, "private_key");
    if (!cJSON_IsString(item))
        return err_set(e, ERR_CONFIG, "the service account file has no private_key");
    *out = pem_private_key(item->valuestring);
    if (!*out)
        return err_set(e, ERR_CONFIG,
                       "the service account file: private_key is no readable PEM private key");
    if (EVP_PKEY_get_base_id(*out) != EVP_PKEY_RSA || EVP_PKEY_get_bits(*out) < KEY_BITS_MIN ||
        EVP_PKEY_get_size(*out) > SIGNATURE_MAX)
        return err_set(e, ERR_CONFIG,
                       "the service account file: private_key must be an RSA key of 2048 to "
                       "8192 bits");
    return ERR_NONE;
}

static enum err_kind take_all(const cJSON *root, struct service_account *a, struct err *e)
{
    const cJSON *type = cJSON_GetObjectItemCaseSensitive(root, "type");
    if (!cJSON_IsObject(root))
        return err_set(e, ERR_CONFIG, "the service account file is no JSON object");
    if (!cJSON_IsString(type) || strcmp(type->valuestring, "service_account") != 0)
        return err_set(e, ERR_CONFIG,
                       "the service account file: type is not \"service_account\"; it is made "
                       "in the console under Service accounts, Keys");
    enum err_kind kind = take_text(root, "project_id", &a->project_id, e);
    if (!kind && (!a->project_id || strpbrk(a->project_id, "/?#%")))
        kind = err_set(e, ERR_CONFIG, "the service account file: project_id is not usable");
    if (!kind)
        kind = take_text(root, "client_email", &a->client_email, e);
    if (!kind)
        kind = take_text(root, "private_key_id", &a->key_id, e);
    if (!kind)
        kind = take_text(root, "token_uri", &a->token_uri, e);
    if (!kind && (!a->token_uri || strncmp(a->token_uri, "https://", 8) != 0))
        kind = err_set(e, ERR_CONFIG, "the service account file: token_uri is not https");
    return kind ? kind : take_key(root, &a->key, e);
}

enum err_kind service_account_read(const char *json, struct service_account **out,
                                   struct err *e)
{
    struct service_account *a = calloc(1, sizeof *a);
    if (!a)
        abort();
    cJSON *root = cJSON_Parse(json);
    enum err_kind kind = take_all(root, a, e);
    cJSON *secret = cJSON_GetObjectItemCaseSensitive(root, "private_key");
    if (cJSON_IsString(secret))
        explicit_bzero(secret->valuestring, strlen(secret->valuestring));
    cJSON_Delete(root);
    ERR_clear_error();
    if (kind)
        service_account_free(&a);
    else
        *out = a;
    return kind;
}

void service_account_free(struct service_account **ap)
{
    struct service_account *a = *ap;
    if (!a)
        return;
    free(a->project_id);
    free(a->client_email);
    free(a->key_id);
    free(a->token_uri);
    EVP_PKEY_free(a->key);
    free(a);
    *ap = NULL;
}

static void add_base64url(struct buf *b, const void *data, size_t len)
{
    size_t room = 4 * ((len + 2) / 3) + 1;
    char *out = (char *)buf_reserve(b, room);
    if (!out)
        return;
    crypt_base64url(data, len, out);
    buf_commit(b, strlen(out));
}

/* RSASSA-PKCS1-v1_5 with SHA-256 (RFC 7518 section 3.3). */
static void add_signature(struct buf *b, EVP_PKEY *key, const void *text, size_t text_len)
{
    uint8_t signature[SIGNATURE_MAX];
    size_t len = sizeof signature;
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    if (!ctx || EVP_DigestSignInit(ctx, NULL, EVP_sha256(), NULL, key) != 1 ||
        EVP_DigestSign(ctx, signature, &len, text, text_len) != 1)
        abort();
    EVP_MD_CTX_free(ctx);
    add_base64url(b, signature, len);
}

void service_account_assert(const struct service_account *a, const char *audience,
                            int64_t real_s, struct buf *b)
{
    struct buf part;
    size_t start = buf_len(b);
    buf_init(&part, ASSERTION_MAX);
    buf_addf(&part, "{\"alg\":\"RS256\",\"typ\":\"JWT\",\"kid\":\"%s\"}", a->key_id);
    add_base64url(b, buf_data(&part), buf_len(&part));
    buf_add_char(b, '.');
    buf_reset(&part);
    buf_addf(&part,
             "{\"iss\":\"%s\",\"scope\":\"" SCOPE "\",\"aud\":\"%s\",\"iat\":%lld,"
             "\"exp\":%lld}",
             a->client_email, audience, (long long)real_s, (long long)real_s + ASSERTION_S);
    add_base64url(b, buf_data(&part), buf_len(&part));
    buf_deinit(&part);
    size_t len = buf_len(b) - start;
    buf_add_char(b, '.');
    if (!buf_failed(b))
        add_signature(b, a->key, buf_data(b) + start, len);
}
