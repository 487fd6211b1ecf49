// SPDX-License-Identifier: Apache-2.0
/*
 * The index of up to a thousand messages of one owner: for each gram, in which of them it is.
 * It is kept as some sixty strings of bytes ("buckets"), of which a search reads only those of
 * its grams; each takes about as much memory as a database page's part of a row.  Pure.
 *
 * A bucket is entries in order of key: the key (2 bytes, big-endian), a length, and so many
 * bytes: the distance to the next row less one, 7 bits a byte, least first.  Where that would
 * be longer than a bit for each row, the length is 255 and the bits follow.
 */
#ifndef ARCHIVE_SEARCH_BLOCK_H
#define ARCHIVE_SEARCH_BLOCK_H

#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"

#define SEARCH_BLOCK_ROWS 1024
#define SEARCH_BLOCK_WORDS (SEARCH_BLOCK_ROWS / 64)
#define SEARCH_BUCKETS 64
#define SEARCH_BUCKET_BYTES_MAX ((size_t)16 << 20)

/* The rows of a block that still may match. */
struct search_rows {
    uint64_t bits[SEARCH_BLOCK_WORDS];
};

struct search_block {
    uint32_t *entries; /* gram << 10 | row */
    size_t n;

    /* private */
    size_t cap;
    uint32_t *sorted;
    size_t sorted_cap;
};

void search_block_init(struct search_block *b);
void search_block_deinit(struct search_block *b);
void search_block_reset(struct search_block *b);

/* row < SEARCH_BLOCK_ROWS, never less than at the call before. */
void search_block_add(struct search_block *b, unsigned row, uint32_t gram);
/* Before the buckets are asked for; then only search_block_reset. */
void search_block_sort(struct search_block *b);
/* Nothing when no gram is in it. */
void search_block_bucket(const struct search_block *b, unsigned bucket, struct buf *out);

unsigned search_bucket_of(uint32_t gram);
/* Leaves of rows those that have the gram. */
void search_bucket_keep(const uint8_t *bucket, size_t len, uint32_t gram,
                        struct search_rows *rows);

#endif
