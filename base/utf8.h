// SPDX-License-Identifier: Apache-2.0
/* The one question we ask of UTF-8 ourselves: where does the next good character end? */
#ifndef BASE_UTF8_H
#define BASE_UTF8_H

#include <stddef.h>

/* Bytes of the character at text (1 to 4); 0 when the len bytes there do not begin with a
 * well-formed one (cut short, overlong, surrogate, beyond U+10FFFF) or len is 0. */
size_t utf8_char(const char *text, size_t len);

/* The longest part of text, at most max bytes, that does not cut a character in two. */
size_t utf8_cut(const char *text, size_t len, size_t max);

#endif
