// SPDX-License-Identifier: Apache-2.0
/* ece_encrypt with what it draws by lot, for the vector of RFC 8291. */
#ifndef APNS_ECE_INT_H
#define APNS_ECE_INT_H

#include "apns/ece.h"

#define ECE_SALT_BYTES 16

struct evp_pkey_st;

/* own: a P-256 key pair. */
size_t ece_encrypt_with(struct evp_pkey_st *own, const uint8_t salt[ECE_SALT_BYTES],
                        const struct ece_keys *to, const uint8_t *plain, size_t len,
                        size_t pad_to, uint8_t out[ECE_BODY_MAX]);

#endif
