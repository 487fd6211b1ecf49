// SPDX-License-Identifier: Apache-2.0
/* A P-256 private key, and the JWTs it signs (RFC 7515, RFC 7518 section 3.4). */
#ifndef APNS_ES256_H
#define APNS_ES256_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

#define ES256_PUBLIC_BYTES 65 /* an uncompressed point */

struct es256;

/* key_pem: an unencrypted PKCS#8 or SEC1 P-256 private key; not borrowed.  CONFIG. */
MUST_CHECK enum err_kind es256_new(const char *key_pem, struct es256 **out, struct err *e);
void es256_free(struct es256 **k);

void es256_public(const struct es256 *k, uint8_t out[ES256_PUBLIC_BYTES]);

/* Room for a JWT of so many bytes of header and claims, with its NUL. */
#define ES256_JWT_ROOM(json_bytes) ((json_bytes)*4 / 3 + 100)
/* header.claims.signature, NUL-terminated; returns its length. */
size_t es256_jwt(const struct es256 *k, const char *header, const char *claims, char *out);

#endif
