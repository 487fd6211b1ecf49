// SPDX-License-Identifier: Apache-2.0
/*
 * What a UnifiedPush endpoint of ours ends in: who is behind it and until when, sealed, so
 * that nothing need be stored and whoever sends there learns nothing.  Pure functions.
 */
#ifndef SIDECAR_UNIFIED_PUSH_TOKEN_H
#define SIDECAR_UNIFIED_PUSH_TOKEN_H

#include <stdbool.h>
#include <stdint.h>

#define UP_HASH_BYTES 32
#define UP_HASH_TEXT_BYTES 45 /* in base64, as clients write it, with its NUL */
#define UP_JID_MAX 400        /* bytes: endpoints have at most 1000 characters */
#define UP_TOKEN_BYTES 680

struct up_registration {
    int64_t until_s;
    uint8_t application[UP_HASH_BYTES], instance[UP_HASH_BYTES];
    char jid[UP_JID_MAX + 1]; /* full */
};

/* 32 bytes in base64 with padding, and nothing else. */
bool up_read_hash(const char *text, uint8_t out[UP_HASH_BYTES]);

void up_seal(const uint8_t key[32], const struct up_registration *r, char out[UP_TOKEN_BYTES]);
/* False when we have not made it. */
bool up_open(const uint8_t key[32], const char *token, struct up_registration *out);

#endif
