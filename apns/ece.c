// SPDX-License-Identifier: Apache-2.0
#include "apns/ece.h"

#include <assert.h>
#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>

#include "apns/ece_int.h"
#include "base/crypt.h"

#define KEY_BYTES 16
#define NONCE_BYTES 12
#define TAG_BYTES 16
#define HEADER_BYTES (ECE_SALT_BYTES + 4 + 1 + ECE_PUBLIC_BYTES)
#define LAST_RECORD 2 /* the delimiter of a last record, RFC 8188 section 2 */

_Static_assert(HEADER_BYTES + ECE_PLAIN_MAX + 1 + TAG_BYTES == ECE_BODY_MAX, "the sizes fit");

/* NULL when it is no point of the curve: OpenSSL looks. */
static EVP_PKEY *peer_key(const uint8_t public[ECE_PUBLIC_BYTES])
{
    EVP_PKEY *key = NULL;
    uint8_t copy[ECE_PUBLIC_BYTES];
    char group[] = "P-256";
    memcpy(copy, public, sizeof copy);
    OSSL_PARAM params[] = {
        OSSL_PARAM_construct_utf8_string(OSSL_PKEY_PARAM_GROUP_NAME, group, 0),
        OSSL_PARAM_construct_octet_string(OSSL_PKEY_PARAM_PUB_KEY, copy, sizeof copy),
        OSSL_PARAM_construct_end()};
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_name(NULL, "EC", NULL);
    if (!ctx || EVP_PKEY_fromdata_init(ctx) != 1)
        abort();
    if (EVP_PKEY_fromdata(ctx, &key, EVP_PKEY_PUBLIC_KEY, params) != 1)
        key = NULL;
    EVP_PKEY_CTX_free(ctx);
    ERR_clear_error();
    return key;
}

bool ece_is_point(const uint8_t public[ECE_PUBLIC_BYTES])
{
    if (public[0] != POINT_CONVERSION_UNCOMPRESSED)
        return false;
    EVP_PKEY *key = peer_key(public);
    EVP_PKEY_free(key);
    return key != NULL;
}

/* The point is on the curve, and the curve has a prime order: more need not be looked at, and
 * would take longer than all the rest. */
static void agree(EVP_PKEY *own, const uint8_t public[ECE_PUBLIC_BYTES],
                  uint8_t out[SHA256_BYTES])
{
    size_t len = SHA256_BYTES;
    EVP_PKEY *peer = peer_key(public);
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new(own, NULL);
    if (!peer || !ctx || EVP_PKEY_derive_init(ctx) != 1 ||
        EVP_PKEY_derive_set_peer_ex(ctx, peer, 0) != 1 ||
        EVP_PKEY_derive(ctx, out, &len) != 1 || len != SHA256_BYTES)
        abort();
    EVP_PKEY_CTX_free(ctx);
    EVP_PKEY_free(peer);
}

/* HKDF (RFC 5869) for no more than one hash: extract, then the first block of expand. */
static void hkdf(const uint8_t *salt, size_t salt_len, const uint8_t ikm[SHA256_BYTES],
                 const uint8_t *info, size_t info_len, uint8_t *out, size_t out_len)
{
    uint8_t prk[SHA256_BYTES], block[SHA256_BYTES], text[160];
    assert(info_len < sizeof text && out_len <= sizeof block);
    memcpy(text, info, info_len);
    text[info_len] = 1;
    crypt_hmac_sha256(salt, salt_len, ikm, SHA256_BYTES, prk);
    crypt_hmac_sha256(prk, sizeof prk, text, info_len + 1, block);
    memcpy(out, block, out_len);
    OPENSSL_cleanse(prk, sizeof prk);
    OPENSSL_cleanse(block, sizeof block);
}

/* The key and the nonce of the record; RFC 8291 section 3.4 says it in these words. */
static void derive(EVP_PKEY *own, const uint8_t own_public[ECE_PUBLIC_BYTES],
                   const uint8_t salt[ECE_SALT_BYTES], const struct ece_keys *to,
                   uint8_t key[KEY_BYTES], uint8_t nonce[NONCE_BYTES])
{
    static const uint8_t info_start[] = "WebPush: info"; /* each with its NUL */
    static const uint8_t key_info[] = "Content-Encoding: aes128gcm";
    static const uint8_t nonce_info[] = "Content-Encoding: nonce";
    uint8_t info[sizeof info_start + 2 * ECE_PUBLIC_BYTES];
    uint8_t secret[SHA256_BYTES], ikm[SHA256_BYTES];
    memcpy(info, info_start, sizeof info_start);
    memcpy(info + sizeof info_start, to->public, ECE_PUBLIC_BYTES);
    memcpy(info + sizeof info_start + ECE_PUBLIC_BYTES, own_public, ECE_PUBLIC_BYTES);
    agree(own, to->public, secret);
    hkdf(to->auth, ECE_AUTH_BYTES, secret, info, sizeof info, ikm, sizeof ikm);
    hkdf(salt, ECE_SALT_BYTES, ikm, key_info, sizeof key_info, key, KEY_BYTES);
    hkdf(salt, ECE_SALT_BYTES, ikm, nonce_info, sizeof nonce_info, nonce, NONCE_BYTES);
    OPENSSL_cleanse(secret, sizeof secret);
    OPENSSL_cleanse(ikm, sizeof ikm);
}

static size_t seal(const uint8_t key[KEY_BYTES], const uint8_t nonce[NONCE_BYTES],
                   const uint8_t *record, size_t len, uint8_t *out)
{
    int n = 0, last = 0;
    EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
    if (!ctx || EVP_EncryptInit_ex(ctx, EVP_aes_128_gcm(), NULL, key, nonce) != 1 ||
        EVP_EncryptUpdate(ctx, out, &n, record, (int)len) != 1 ||
        EVP_EncryptFinal_ex(ctx, out + n, &last) != 1 ||
        EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_GCM_GET_TAG, TAG_BYTES, out + len) != 1)
        abort();
    EVP_CIPHER_CTX_free(ctx);
    return len + TAG_BYTES;
}

static size_t padded(size_t len, size_t pad_to)
{
    size_t n = (len + pad_to - 1) / pad_to * pad_to;
    return n > ECE_PLAIN_MAX ? ECE_PLAIN_MAX : n;
}

size_t ece_encrypt_with(EVP_PKEY *own, const uint8_t salt[ECE_SALT_BYTES],
                        const struct ece_keys *to, const uint8_t *plain, size_t len,
                        size_t pad_to, uint8_t out[ECE_BODY_MAX])
{
    uint8_t key[KEY_BYTES], nonce[NONCE_BYTES], record[ECE_PLAIN_MAX + 1] = {0};
    uint8_t *at = out;
    size_t public_len = 0;
    assert(len > 0 && len <= ECE_PLAIN_MAX && pad_to > 0);
    memcpy(at, salt, ECE_SALT_BYTES);
    at += ECE_SALT_BYTES;
    memcpy(at, (const uint8_t[]){0, 0, ECE_BODY_MAX >> 8, 0}, 4); /* the record's size */
    at[4] = ECE_PUBLIC_BYTES;
    at += 5;
    if (EVP_PKEY_get_octet_string_param(own, OSSL_PKEY_PARAM_PUB_KEY, at, ECE_PUBLIC_BYTES,
                                        &public_len) != 1 ||
        public_len != ECE_PUBLIC_BYTES)
        abort();
    derive(own, at, salt, to, key, nonce);
    memcpy(record, plain, len);
    record[len] = LAST_RECORD;
    size_t n = seal(key, nonce, record, padded(len, pad_to) + 1, out + HEADER_BYTES);
    OPENSSL_cleanse(key, sizeof key);
    return HEADER_BYTES + n;
}

size_t ece_encrypt(const struct ece_keys *to, const uint8_t *plain, size_t len, size_t pad_to,
                   uint8_t out[ECE_BODY_MAX])
{
    uint8_t salt[ECE_SALT_BYTES];
    EVP_PKEY *own = EVP_EC_gen("P-256");
    if (!own)
        abort();
    crypt_random(salt, sizeof salt);
    size_t n = ece_encrypt_with(own, salt, to, plain, len, pad_to, out);
    EVP_PKEY_free(own);
    return n;
}
