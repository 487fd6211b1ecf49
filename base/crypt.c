// SPDX-License-Identifier: Apache-2.0
#include "base/crypt.h"

#include <assert.h>
#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/rand.h>
#include <stdlib.h>
#include <string.h>

#include "base/hex.h"

void crypt_random(void *out, size_t len)
{
    uint8_t *at = out;
    while (len > 0) {
        int part = len > 1 << 20 ? 1 << 20 : (int)len;
        if (RAND_bytes(at, part) != 1)
            abort();
        at += part;
        len -= (size_t)part;
    }
}

uint64_t crypt_random_u64(void)
{
    uint64_t v;
    crypt_random(&v, sizeof v);
    return v;
}

void crypt_sha1_hex(const char *a, const char *b, char out[SHA1_HEX_BYTES])
{
    uint8_t raw[EVP_MAX_MD_SIZE];
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    if (!ctx || EVP_DigestInit_ex(ctx, EVP_sha1(), NULL) != 1 ||
        EVP_DigestUpdate(ctx, a, strlen(a)) != 1 || EVP_DigestUpdate(ctx, b, strlen(b)) != 1 ||
        EVP_DigestFinal_ex(ctx, raw, NULL) != 1)
        abort();
    EVP_MD_CTX_free(ctx);
    hex_text(raw, 20, out);
}

void crypt_sha1_hex_of(const void *data, size_t len, char out[SHA1_HEX_BYTES])
{
    uint8_t raw[EVP_MAX_MD_SIZE];
    if (EVP_Digest(data, len, raw, NULL, EVP_sha1(), NULL) != 1)
        abort();
    hex_text(raw, 20, out);
}

void crypt_sha256(const void *data, size_t len, uint8_t out[SHA256_BYTES])
{
    if (EVP_Digest(data, len, out, NULL, EVP_sha256(), NULL) != 1)
        abort();
}

void crypt_hmac_sha256(const uint8_t *key, size_t key_len, const void *data, size_t len,
                       uint8_t out[SHA256_BYTES])
{
    if (key_len > 1 << 20)
        abort();
    /* HMAC() takes a NULL key for "the same as before". */
    if (!HMAC(EVP_sha256(), key_len ? key : (const uint8_t *)"", (int)key_len, data, len, out,
              NULL))
        abort();
}

struct crypt_hmac {
    EVP_MAC_CTX *ctx;
};

/* To look the algorithm up takes longer than to run it: here that is done once. */
struct crypt_hmac *crypt_hmac_new(const uint8_t *key, size_t key_len)
{
    struct crypt_hmac *h = calloc(1, sizeof *h);
    EVP_MAC *mac = EVP_MAC_fetch(NULL, "HMAC", NULL);
    char digest[] = "SHA2-256";
    OSSL_PARAM params[] = {OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, digest, 0),
                           OSSL_PARAM_construct_end()};
    if (!h || !mac || !(h->ctx = EVP_MAC_CTX_new(mac)) ||
        EVP_MAC_init(h->ctx, key, key_len, params) != 1)
        abort();
    EVP_MAC_free(mac);
    return h;
}

void crypt_hmac_free(struct crypt_hmac **h)
{
    if (!*h)
        return;
    EVP_MAC_CTX_free((*h)->ctx);
    free(*h);
    *h = NULL;
}

void crypt_hmac(struct crypt_hmac *h, const void *data, size_t len, uint8_t out[SHA256_BYTES])
{
    size_t got = 0;
    if (EVP_MAC_init(h->ctx, NULL, 0, NULL) != 1 || EVP_MAC_update(h->ctx, data, len) != 1 ||
        EVP_MAC_final(h->ctx, out, &got, SHA256_BYTES) != 1 || got != SHA256_BYTES)
        abort();
}

static inline uint64_t rotl(uint64_t v, int bits)
{
    return v << bits | v >> (64 - bits);
}

static inline uint64_t load_le64(const uint8_t *p)
{
    uint64_t v = 0;
    for (int i = 7; i >= 0; i--)
        v = v << 8 | p[i];
    return v;
}

#define SIP_ROUND                                                                             \
    do {                                                                                      \
        v0 += v1;                                                                             \
        v1 = rotl(v1, 13) ^ v0;                                                               \
        v0 = rotl(v0, 32);                                                                    \
        v2 += v3;                                                                             \
        v3 = rotl(v3, 16) ^ v2;                                                               \
        v0 += v3;                                                                             \
        v3 = rotl(v3, 21) ^ v0;                                                               \
        v2 += v1;                                                                             \
        v1 = rotl(v1, 17) ^ v2;                                                               \
        v2 = rotl(v2, 32);                                                                    \
    } while (0)

/* Written out here because OpenSSL's EVP_MAC costs a microsecond to set up per call, which is
 * a hundred times the hash of a JID; it guards hash tables and lookups, no secrets. */
uint64_t crypt_siphash(const uint8_t key[16], const void *data, size_t len)
{
    const uint8_t *p = data;
    uint64_t k0 = load_le64(key), k1 = load_le64(key + 8);
    uint64_t v0 = k0 ^ UINT64_C(0x736f6d6570736575), v1 = k1 ^ UINT64_C(0x646f72616e646f6d);
    uint64_t v2 = k0 ^ UINT64_C(0x6c7967656e657261), v3 = k1 ^ UINT64_C(0x7465646279746573);
    uint64_t last = (uint64_t)len << 56;
    for (; len >= 8; p += 8, len -= 8) {
        uint64_t m = load_le64(p);
        v3 ^= m;
        SIP_ROUND;
        SIP_ROUND;
        v0 ^= m;
    }
    for (size_t i = 0; i < len; i++)
        last |= (uint64_t)p[i] << (8 * i);
    v3 ^= last;
    SIP_ROUND;
    SIP_ROUND;
    v0 ^= last;
    v2 ^= 0xff;
    for (int i = 0; i < 4; i++)
        SIP_ROUND;
    return v0 ^ v1 ^ v2 ^ v3;
}

struct crypt_aes {
    EVP_CIPHER_CTX *encrypt;
    EVP_CIPHER_CTX *decrypt;
};

static EVP_CIPHER_CTX *aes_ctx(const uint8_t key[16], int encrypt)
{
    EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
    if (!ctx || EVP_CipherInit_ex(ctx, EVP_aes_128_ecb(), NULL, key, NULL, encrypt) != 1 ||
        EVP_CIPHER_CTX_set_padding(ctx, 0) != 1)
        abort();
    return ctx;
}

struct crypt_aes *crypt_aes_new(const uint8_t key[16])
{
    struct crypt_aes *c = malloc(sizeof *c);
    if (!c)
        abort();
    c->encrypt = aes_ctx(key, 1);
    c->decrypt = aes_ctx(key, 0);
    return c;
}

void crypt_aes_free(struct crypt_aes **c)
{
    if (!*c)
        return;
    EVP_CIPHER_CTX_free((*c)->encrypt);
    EVP_CIPHER_CTX_free((*c)->decrypt);
    free(*c);
    *c = NULL;
}

static void aes_block(EVP_CIPHER_CTX *ctx, const uint8_t in[16], uint8_t out[16])
{
    int len = 0;
    if (EVP_CipherUpdate(ctx, out, &len, in, 16) != 1 || len != 16)
        abort();
}

void crypt_aes_encrypt(struct crypt_aes *c, const uint8_t in[16], uint8_t out[16])
{
    aes_block(c->encrypt, in, out);
}

void crypt_aes_decrypt(struct crypt_aes *c, const uint8_t in[16], uint8_t out[16])
{
    aes_block(c->decrypt, in, out);
}

bool crypt_same(const void *a, size_t a_len, const void *b, size_t b_len)
{
    return a_len == b_len && CRYPTO_memcmp(a, b, a_len) == 0;
}

static bool uuid_dash_before(size_t i)
{
    return i == 4 || i == 6 || i == 8 || i == 10;
}

#define NONCE_BYTES 12
#define TAG_BYTES 16

struct crypt_sealer {
    EVP_CIPHER_CTX *seal;
    EVP_CIPHER_CTX *open;
};

static EVP_CIPHER_CTX *gcm_ctx(const uint8_t key[32], int encrypt)
{
    EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
    if (!ctx || EVP_CipherInit_ex(ctx, EVP_aes_256_gcm(), NULL, key, NULL, encrypt) != 1)
        abort();
    return ctx;
}

struct crypt_sealer *crypt_sealer_new(const uint8_t key[32])
{
    struct crypt_sealer *s = malloc(sizeof *s);
    if (!s)
        abort();
    s->seal = gcm_ctx(key, 1);
    s->open = gcm_ctx(key, 0);
    return s;
}

void crypt_sealer_free(struct crypt_sealer **s)
{
    if (!*s)
        return;
    EVP_CIPHER_CTX_free((*s)->seal);
    EVP_CIPHER_CTX_free((*s)->open);
    free(*s);
    *s = NULL;
}

/* Only the nonce is new: setting up cipher and key takes longer than a short text. */
static void begin(EVP_CIPHER_CTX *ctx, const uint8_t *nonce, const void *bound,
                  size_t bound_len)
{
    int n = 0;
    if (EVP_CipherInit_ex(ctx, NULL, NULL, NULL, nonce, -1) != 1 ||
        (bound_len > 0 && EVP_CipherUpdate(ctx, NULL, &n, bound, (int)bound_len) != 1))
        abort();
}

void crypt_sealer_seal(struct crypt_sealer *s, const void *bound, size_t bound_len,
                       const void *plain, size_t len, uint8_t *out)
{
    int n = 0, end = 0;
    uint8_t *text = out + NONCE_BYTES;
    crypt_random(out, NONCE_BYTES);
    begin(s->seal, out, bound, bound_len);
    if (EVP_CipherUpdate(s->seal, text, &n, plain, (int)len) != 1 || (size_t)n != len ||
        EVP_CipherFinal_ex(s->seal, text + len, &end) != 1 ||
        EVP_CIPHER_CTX_ctrl(s->seal, EVP_CTRL_GCM_GET_TAG, TAG_BYTES, text + len) != 1)
        abort();
}

bool crypt_sealer_open(struct crypt_sealer *s, const void *bound, size_t bound_len,
                       const uint8_t *sealed, size_t len, void *out)
{
    int n = 0, end = 0;
    uint8_t tag[TAG_BYTES];
    assert(len >= CRYPT_SEAL_BYTES);
    len -= CRYPT_SEAL_BYTES;
    memcpy(tag, sealed + NONCE_BYTES + len, sizeof tag);
    begin(s->open, sealed, bound, bound_len);
    if (EVP_CipherUpdate(s->open, out, &n, sealed + NONCE_BYTES, (int)len) != 1 ||
        EVP_CIPHER_CTX_ctrl(s->open, EVP_CTRL_GCM_SET_TAG, sizeof tag, tag) != 1)
        abort();
    return EVP_CipherFinal_ex(s->open, (uint8_t *)out + len, &end) == 1;
}

void crypt_seal(const uint8_t key[32], const void *plain, size_t len, uint8_t *out)
{
    struct crypt_sealer *s = crypt_sealer_new(key);
    crypt_sealer_seal(s, NULL, 0, plain, len, out);
    crypt_sealer_free(&s);
}

bool crypt_unseal(const uint8_t key[32], const uint8_t *sealed, size_t len, void *out)
{
    struct crypt_sealer *s = crypt_sealer_new(key);
    bool good = crypt_sealer_open(s, NULL, 0, sealed, len, out);
    crypt_sealer_free(&s);
    return good;
}

void uuid_format(const uint8_t raw[UUID_BYTES], char out[UUID_TEXT_BYTES])
{
    char *at = out;
    for (size_t i = 0; i < UUID_BYTES; i++) {
        if (uuid_dash_before(i))
            *at++ = '-';
        hex_text(&raw[i], 1, at);
        at += 2;
    }
}

bool uuid_parse(const char *text, uint8_t raw_out[UUID_BYTES])
{
    if (!text)
        return false;
    uint8_t raw[UUID_BYTES];
    for (size_t i = 0; i < UUID_BYTES; i++) {
        if (uuid_dash_before(i) && *text++ != '-')
            return false;
        int high = hex_digit(*text);
        if (high < 0)
            return false;
        int low = hex_digit(text[1]);
        if (low < 0)
            return false;
        raw[i] = (uint8_t)(high << 4 | low);
        text += 2;
    }
    if (*text != '\0')
        return false;
    memcpy(raw_out, raw, sizeof raw);
    return true;
}

void uuid_random(uint8_t out[UUID_BYTES])
{
    crypt_random(out, UUID_BYTES);
    out[6] = (uint8_t)((out[6] & 0x0f) | 0x40);
    out[8] = (uint8_t)((out[8] & 0x3f) | 0x80);
}

static char *base64(const uint8_t *in, size_t len, const char *alphabet, char *at)
{
    for (; len >= 3; in += 3, len -= 3) {
        *at++ = alphabet[in[0] >> 2];
        *at++ = alphabet[(in[0] & 3) << 4 | in[1] >> 4];
        *at++ = alphabet[(in[1] & 15) << 2 | in[2] >> 6];
        *at++ = alphabet[in[2] & 63];
    }
    if (len == 0)
        return at;
    *at++ = alphabet[in[0] >> 2];
    *at++ = alphabet[(in[0] & 3) << 4 | (len == 2 ? in[1] >> 4 : 0)];
    if (len == 2)
        *at++ = alphabet[(in[1] & 15) << 2];
    return at;
}

void crypt_base64(const void *data, size_t len, char *out)
{
    char *at = base64(data, len,
                      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/", out);
    for (; (at - out) % 4 != 0; at++)
        *at = '=';
    *at = '\0';
}

void crypt_base64url(const void *data, size_t len, char *out)
{
    char *at = base64(data, len,
                      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_", out);
    *at = '\0';
}

static int base64url_value(char c)
{
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    if (c >= '0' && c <= '9')
        return c - '0' + 52;
    if (c == '-')
        return 62;
    return c == '_' ? 63 : -1;
}

bool crypt_base64url_decode(const char *text, uint8_t *out, size_t size)
{
    uint32_t bits = 0;
    unsigned have = 0;
    size_t n = 0;
    for (; *text; text++) {
        int value = base64url_value(*text);
        if (value < 0)
            return false;
        bits = (bits << 6 | (uint32_t)value) & 0xffffff;
        have += 6;
        if (have < 8)
            continue;
        have -= 8;
        if (n == size)
            return false;
        out[n++] = (uint8_t)(bits >> have);
    }
    return n == size && have < 6;
}
