// SPDX-License-Identifier: Apache-2.0
/* Reading back what buf_add_u16 and its like wrote: one flag says at the end whether anything
 * was missing or too long. */
#ifndef COMPONENT_READER_H
#define COMPONENT_READER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct reader {
    const uint8_t *at;
    size_t left;
    bool bad;
};

static inline uint64_t reader_int(struct reader *r, unsigned bytes)
{
    uint64_t v = 0;
    if (r->left < bytes) {
        r->bad = true;
        return 0;
    }
    for (unsigned i = 0; i < bytes; i++)
        v = v << 8 | *r->at++;
    r->left -= bytes;
    return v;
}

/* A text with its length in 16 bits before it; "" when bad. */
static inline void reader_text(struct reader *r, char *out, size_t size)
{
    size_t len = reader_int(r, 2);
    if (len >= size || len > r->left) {
        r->bad = true;
        len = 0;
    }
    if (len > 0)
        memcpy(out, r->at, len);
    out[len] = '\0';
    r->at += len;
    r->left -= len;
}

#endif
