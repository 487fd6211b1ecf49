// SPDX-License-Identifier: Apache-2.0
/*
 * What is searched for, and what of a text the index knows.  A query is words parted by white
 * space; a message matches when each of them is somewhere in its folded body, also inside a
 * longer word (XEP-0431 leaves that to us).  The index knows *grams*: hashes of two
 * neighbouring characters, so a word of two characters is the shortest it can help with, in
 * any language. Pure.
 */
#ifndef ARCHIVE_SEARCH_TEXT_H
#define ARCHIVE_SEARCH_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/fold.h"

#define SEARCH_GRAM_BITS 22
#define SEARCH_WORDS_MAX 16
#define SEARCH_CHARS_MAX 256    /* of all words, folded */
#define SEARCH_BODY_BYTES 65536 /* only so much of a message is searched */
#define SEARCH_GRAMS_MAX 8      /* asked for; the text itself decides in the end */

struct search_word {
    size_t at; /* in chars */
    size_t n;
};

struct search_text {
    uint32_t chars[SEARCH_CHARS_MAX];
    struct search_word words[SEARCH_WORDS_MAX];
    size_t words_n;
    uint32_t grams[SEARCH_GRAMS_MAX];
    size_t grams_n; /* 0: no word has two characters */
};

enum search_text_kind {
    SEARCH_TEXT_GOOD,
    SEARCH_TEXT_EMPTY, /* nothing but white space */
    SEARCH_TEXT_LONG,  /* over one of the limits above */
};

enum search_text_kind search_text_read(struct search_text *out, struct fold *f,
                                       const char *text);

/* The part of a message that is searched, folded. */
void search_text_fold(struct fold *f, const char *body);
/* body was folded so. */
bool search_text_matches(const struct search_text *t, const struct fold *body);

/* Of two characters, 0 <= gram < 1 << SEARCH_GRAM_BITS. */
static inline uint32_t search_gram(uint32_t a, uint32_t b)
{
    uint64_t h = ((uint64_t)a << 32 | b) * UINT64_C(0x9e3779b97f4a7c15);
    return (uint32_t)((h ^ h >> 29) * UINT64_C(0xbf58476d1ce4e5b9) >> (64 - SEARCH_GRAM_BITS));
}

/* Of a message with that peer, so that the index helps to find those, too. */
static inline uint32_t search_gram_of_peer(uint64_t peer)
{
    return search_gram(UINT32_MAX ^ (uint32_t)(peer >> 32), (uint32_t)peer);
}

#endif
