// SPDX-License-Identifier: Apache-2.0
/*
 * A message that only one Web Push subscription can read (RFC 8291): the aes128gcm coding of
 * RFC 8188 in one record, with a key made for this message alone.  A pure function; it may run
 * in any thread.
 */
#ifndef APNS_ECE_H
#define APNS_ECE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define ECE_PUBLIC_BYTES 65
#define ECE_AUTH_BYTES 16
#define ECE_BODY_MAX 4096  /* no push service need take more (RFC 8291 section 4) */
#define ECE_PLAIN_MAX 3993 /* what is left of it */

/* What the subscription gave out: p256dh and auth. */
struct ece_keys {
    uint8_t public[ECE_PUBLIC_BYTES];
    uint8_t auth[ECE_AUTH_BYTES];
};

/* Whether it is an uncompressed point of P-256. */
bool ece_is_point(const uint8_t public[ECE_PUBLIC_BYTES]);

/* len is 1 to ECE_PLAIN_MAX.  The plain text is padded to a multiple of pad_to (at least 1),
 * as far as there is room, so that its length says little.  Returns the length of the body.
 * The point must be one. */
size_t ece_encrypt(const struct ece_keys *to, const uint8_t *plain, size_t len, size_t pad_to,
                   uint8_t out[ECE_BODY_MAX]);

#endif
