// SPDX-License-Identifier: Apache-2.0
/* Reads what a JWT is made of (RFC 4648, section 5), by another way than it was written. */
#ifndef TESTS_UNIT_BASE64URL_H
#define TESTS_UNIT_BASE64URL_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

/* How many bytes there are; out has room for them. */
static inline size_t base64url_decode(const char *text, size_t len, uint8_t *out)
{
    static const char digits[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    uint32_t bits = 0;
    unsigned have = 0;
    size_t n = 0;
    for (size_t i = 0; i < len; i++) {
        const char *d = memchr(digits, text[i], 64);
        assert_non_null(d);
        bits = bits << 6 | (uint32_t)(d - digits);
        have += 6;
        if (have >= 8) {
            have -= 8;
            out[n++] = (uint8_t)(bits >> have);
        }
    }
    return n;
}

#endif
