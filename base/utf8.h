// SPDX-License-Identifier: Apache-2.0
/* What we ask of UTF-8 ourselves: where does the next good character end, and which is it? */
#ifndef BASE_UTF8_H
#define BASE_UTF8_H

#include <stddef.h>
#include <stdint.h>

/* Bytes of the character at text (1 to 4); 0 when the len bytes there do not begin with a
 * well-formed one (cut short, overlong, surrogate, beyond U+10FFFF) or len is 0. */
size_t utf8_char(const char *text, size_t len);
/* The code point of the character at text that utf8_char found to be so long. */
uint32_t utf8_code(const char *text, size_t size);

/* The longest part of text, at most max bytes, that does not cut a character in two. */
size_t utf8_cut(const char *text, size_t len, size_t max);

#endif
