// SPDX-License-Identifier: Apache-2.0
/*
 * Text with the borders of its words marked, so that one text is in another as whole words
 * exactly when its bytes are: case, width and what cannot be seen make no difference
 * (base/fold.h).  In scripts that are written without spaces each character is a word, and
 * Katakana is one of its own.  Pure.
 */
#ifndef BASE_WORDS_H
#define BASE_WORDS_H

#include <stddef.h>

struct buf;
struct fold;

/* Appends text so, as UTF-8; nothing when there is no letter and no digit in it.  White space
 * around it is left out.  The mark is a character that XML cannot have. */
void words_mark(struct buf *out, struct fold *f, const char *text, size_t len);

#endif
