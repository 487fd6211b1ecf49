// SPDX-License-Identifier: Apache-2.0
/*
 * Text as a search compares it: letters without case, full and half width and other
 * compatibility forms as one (NFKC), white space as a space, what cannot be seen left out.
 * Works on code points, in any language; takes time in proportion to the text, whatever it is.
 */
#ifndef BASE_FOLD_H
#define BASE_FOLD_H

#include <stddef.h>
#include <stdint.h>

struct fold {
    uint32_t *chars; /* the last text's, until the next call */
    size_t n;

    /* private */
    size_t cap;
    uint32_t *mapped;
    size_t mapped_cap;
    size_t cases_n;
};

void fold_init(struct fold *f);
void fold_deinit(struct fold *f);

/* Bytes that are no UTF-8 become U+FFFD. */
void fold_text(struct fold *f, const char *text, size_t len);

#endif
