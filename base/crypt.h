// SPDX-License-Identifier: Apache-2.0
/*
 * The few cryptographic primitives everybody shares, all OpenSSL's.  Failing to get random
 * bytes or a digest is a broken machine: abort.
 */
#ifndef BASE_CRYPT_H
#define BASE_CRYPT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SHA1_HEX_BYTES 41
#define SHA256_BYTES 32
#define UUID_BYTES 16
#define UUID_TEXT_BYTES 37

void crypt_random(void *out, size_t len);
uint64_t crypt_random_u64(void);
/* Lower-case hex of SHA-1 over the pieces joined (XEP-0114's handshake). */
void crypt_sha1_hex(const char *a, const char *b, char out[SHA1_HEX_BYTES]);
void crypt_sha1_hex_of(const void *data, size_t len, char out[SHA1_HEX_BYTES]);
void crypt_sha256(const void *data, size_t len, uint8_t out[SHA256_BYTES]);
void crypt_hmac_sha256(const uint8_t *key, size_t key_len, const void *data, size_t len,
                       uint8_t out[SHA256_BYTES]);
/* The same for many messages under one key, several times as fast. */
struct crypt_hmac;
struct crypt_hmac *crypt_hmac_new(const uint8_t *key, size_t key_len);
void crypt_hmac_free(struct crypt_hmac **h);
void crypt_hmac(struct crypt_hmac *h, const void *data, size_t len, uint8_t out[SHA256_BYTES]);
/* Keyed 64-bit hash for lookups (SipHash-2-4); key is 16 bytes. */
uint64_t crypt_siphash(const uint8_t key[16], const void *data, size_t len);
/* One AES-128 block, for ids that must be opaque but reversible. */
struct crypt_aes;
struct crypt_aes *crypt_aes_new(const uint8_t key[16]);
void crypt_aes_free(struct crypt_aes **c);
void crypt_aes_encrypt(struct crypt_aes *c, const uint8_t in[16], uint8_t out[16]);
void crypt_aes_decrypt(struct crypt_aes *c, const uint8_t in[16], uint8_t out[16]);
/* Takes the same time whatever the contents; false when the lengths differ. */
bool crypt_same(const void *a, size_t a_len, const void *b, size_t b_len);

/* AES-256-GCM under a random nonce: out gets len + CRYPT_SEAL_BYTES bytes.  Opening fails when
 * a single bit is another; len there is that of sealed, at least CRYPT_SEAL_BYTES. */
#define CRYPT_SEAL_BYTES 28
void crypt_seal(const uint8_t key[32], const void *plain, size_t len, uint8_t *out);
bool crypt_unseal(const uint8_t key[32], const uint8_t *sealed, size_t len, void *out);
/* The same for many under one key, several times as fast, and bound to something that is kept
 * beside them: with anything else there they do not open. */
struct crypt_sealer;
struct crypt_sealer *crypt_sealer_new(const uint8_t key[32]);
void crypt_sealer_free(struct crypt_sealer **s);
void crypt_sealer_seal(struct crypt_sealer *s, const void *bound, size_t bound_len,
                       const void *plain, size_t len, uint8_t *out);
bool crypt_sealer_open(struct crypt_sealer *s, const void *bound, size_t bound_len,
                       const uint8_t *sealed, size_t len, void *out);

/* Lower-case 8-4-4-4-12. */
void uuid_format(const uint8_t raw[UUID_BYTES], char out[UUID_TEXT_BYTES]);
bool uuid_parse(const char *text, uint8_t raw_out[UUID_BYTES]);
/* A random version 4 UUID. */
void uuid_random(uint8_t out[UUID_BYTES]);
/* Standard base64 with padding; out needs 4 * ((len + 2) / 3) + 1 bytes. */
void crypt_base64(const void *data, size_t len, char *out);
/* base64url without padding (RFC 7515); the same room. */
void crypt_base64url(const void *data, size_t len, char *out);
/* The other way, for exactly size bytes; false for anything else. */
bool crypt_base64url_decode(const char *text, uint8_t *out, size_t size);

#endif
