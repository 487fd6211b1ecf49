// SPDX-License-Identifier: Apache-2.0
/*
 * The keys under which the database keeps the devices' tokens: the first seals (AES-256-GCM,
 * bound to the device's id, so that a row cannot be given the token of another), all open.
 * Without one that seals, tokens are kept in clear.  It knows no SQL and logs nothing.
 */
#ifndef APNS_TOKEN_KEYS_H
#define APNS_TOKEN_KEYS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "apns/devices.h"
#include "base/crypt.h"

struct token_keys;
struct token_key_opts;

#define TOKEN_IN_CLEAR 0 /* in place of a key's id */
#define TOKEN_SEALED_MAX (DEVICE_TOKEN_MAX + CRYPT_SEAL_BYTES)

/* opts: only read here; NULL: no keys. */
struct token_keys *token_keys_new(const struct token_key_opts *opts);
void token_keys_free(struct token_keys **k);

/* The id of the key that seals, or TOKEN_IN_CLEAR.  An id is above 0 and says nothing of its
 * key. */
int32_t token_keys_current(const struct token_keys *k);
/* Whether what was kept under this id can be read. */
bool token_keys_has(const struct token_keys *k, int32_t id);

/* With the current key, which there must be; how many bytes.  token: DEVICE_TOKEN_MAX at most.
 */
size_t token_keys_seal(struct token_keys *k, const uint8_t device[16], const char *token,
                       uint8_t out[TOKEN_SEALED_MAX]);
/* False when it is not the device's, or damaged.  The id must be of a key that is there. */
bool token_keys_open(struct token_keys *k, int32_t id, const uint8_t device[16],
                     const uint8_t *sealed, size_t len, char token[DEVICE_TOKEN_MAX + 1]);

#endif
