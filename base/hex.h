// SPDX-License-Identifier: Apache-2.0
/* Bytes as hexadecimal digits. */
#ifndef BASE_HEX_H
#define BASE_HEX_H

#include <stddef.h>
#include <stdint.h>

/* 0 to 15, or -1 for what is no digit; in either case. */
int hex_digit(char c);

/* n bytes in small digits, and a NUL: 2 * n + 1 characters. */
void hex_text(const uint8_t *raw, size_t n, char *out);

#endif
