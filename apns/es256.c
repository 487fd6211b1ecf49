// SPDX-License-Identifier: Apache-2.0
#include "apns/es256.h"

#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>

#include "apns/pem.h"
#include "base/crypt.h"

#define RAW_HALF 32

struct es256 {
    EVP_PKEY *key;
    uint8_t public[ES256_PUBLIC_BYTES];
};

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
        return err_set(e, ERR_CONFIG, "the key file must hold a P-256 private key");
    }
    *out = key;
    return ERR_NONE;
}

/* A key that was written with a compressed point is given out as a whole one. */
static void read_public(EVP_PKEY *key, uint8_t out[ES256_PUBLIC_BYTES])
{
    size_t len = 0;
    if (EVP_PKEY_set_utf8_string_param(key, OSSL_PKEY_PARAM_EC_POINT_CONVERSION_FORMAT,
                                       "uncompressed") != 1 ||
        EVP_PKEY_get_octet_string_param(key, OSSL_PKEY_PARAM_PUB_KEY, out, ES256_PUBLIC_BYTES,
                                        &len) != 1 ||
        len != ES256_PUBLIC_BYTES)
        abort();
}

enum err_kind es256_new(const char *key_pem, struct es256 **out, struct err *e)
{
    EVP_PKEY *key = NULL;
    enum err_kind kind = read_key(key_pem, &key, e);
    if (kind)
        return kind;
    struct es256 *k = calloc(1, sizeof *k);
    if (!k)
        abort();
    k->key = key;
    read_public(key, k->public);
    *out = k;
    return ERR_NONE;
}

void es256_free(struct es256 **k)
{
    if (!*k)
        return;
    EVP_PKEY_free((*k)->key);
    free(*k);
    *k = NULL;
}

void es256_public(const struct es256 *k, uint8_t out[ES256_PUBLIC_BYTES])
{
    memcpy(out, k->public, ES256_PUBLIC_BYTES);
}

/* ES256 wants r and s side by side; OpenSSL gives DER. */
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

size_t es256_jwt(const struct es256 *k, const char *header, const char *claims, char *out)
{
    uint8_t raw[2 * RAW_HALF];
    char *at = out;
    crypt_base64url(header, strlen(header), at);
    at += strlen(at);
    *at++ = '.';
    crypt_base64url(claims, strlen(claims), at);
    at += strlen(at);
    sign_raw(k->key, out, (size_t)(at - out), raw);
    *at++ = '.';
    crypt_base64url(raw, sizeof raw, at);
    return (size_t)(at - out) + strlen(at);
}
