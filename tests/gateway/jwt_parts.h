// SPDX-License-Identifier: Apache-2.0
/* The parts of a JWT as RFC 7515 writes them. */
#ifndef GATEWAY_JWT_PARTS_H
#define GATEWAY_JWT_PARTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct cJSON;

enum { GW_JWT_TEXT_MAX = 4096 };

/* Without padding; out holds at least 3/4 of len. */
bool gw_base64url_decode(const char *s, size_t len, uint8_t *out, size_t *len_out);

/* header.claims.signature to two objects and the bytes of the signature (GW_JWT_TEXT_MAX are
 * room enough); false when it is not that.  The objects are the caller's. */
bool gw_jwt_split(const char *text, struct cJSON **header_out, struct cJSON **claims_out,
                  uint8_t *sig_out, size_t *sig_len_out, size_t *signed_len_out);

/* NULL when there is none, or it is no string. */
const char *gw_json_text(const struct cJSON *object, const char *name);
/* A whole number that is not negative. */
bool gw_json_seconds(const struct cJSON *object, const char *name, int64_t *out);

#endif
