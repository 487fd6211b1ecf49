// SPDX-License-Identifier: Apache-2.0
#include "archive/search_block.h"

#include <assert.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "archive/search_text.h"

#define ROW_BITS 10
#define KEY_BITS 16
#define DIGIT_BITS 11 /* of sorting: two digits make a gram */
#define BITS_BYTES (SEARCH_BLOCK_ROWS / 8)
#define LENGTH_BITS 255 /* instead of a length: one bit for each row */

static_assert(SEARCH_BLOCK_ROWS == 1 << ROW_BITS, "a row's number fits");
static_assert(SEARCH_GRAM_BITS + ROW_BITS == 32, "an entry fits");
static_assert(SEARCH_BUCKETS == 1 << (SEARCH_GRAM_BITS - KEY_BITS), "a key fits");
static_assert(BITS_BYTES < LENGTH_BITS, "a length fits");

void search_block_init(struct search_block *b)
{
    *b = (struct search_block){0};
}

void search_block_deinit(struct search_block *b)
{
    free(b->entries);
    free(b->sorted);
    *b = (struct search_block){0};
}

void search_block_reset(struct search_block *b)
{
    b->n = 0;
}

static uint32_t *grow(uint32_t *at, size_t *cap, size_t need)
{
    if (need <= *cap)
        return at;
    size_t want = *cap ? 2 * *cap : 1 << 16;
    while (want < need)
        want *= 2;
    at = realloc(at, want * sizeof *at);
    if (!at)
        abort();
    *cap = want;
    return at;
}

void search_block_add(struct search_block *b, unsigned row, uint32_t gram)
{
    assert(row < SEARCH_BLOCK_ROWS);
    if (b->n == b->cap)
        b->entries = grow(b->entries, &b->cap, b->n + 1);
    b->entries[b->n++] = gram << ROW_BITS | row;
}

static void sort_digit(const uint32_t *from, uint32_t *to, size_t n, unsigned shift)
{
    size_t at[1 << DIGIT_BITS] = {0}, sum = 0;
    const uint32_t mask = (1 << DIGIT_BITS) - 1;
    for (size_t i = 0; i < n; i++)
        at[from[i] >> shift & mask]++;
    for (size_t d = 0; d <= mask; d++) {
        size_t count = at[d];
        at[d] = sum;
        sum += count;
    }
    for (size_t i = 0; i < n; i++)
        to[at[from[i] >> shift & mask]++] = from[i];
}

/* Rows came in order and sorting keeps it, so only the grams need to be sorted. */
void search_block_sort(struct search_block *b)
{
    b->sorted = grow(b->sorted, &b->sorted_cap, b->n);
    if (b->n == 0)
        return;
    sort_digit(b->entries, b->sorted, b->n, ROW_BITS);
    sort_digit(b->sorted, b->entries, b->n, ROW_BITS + DIGIT_BITS);
}

/* The first entry that is not below; they are sorted. */
static size_t find(const struct search_block *b, uint64_t entry)
{
    size_t low = 0, high = b->n;
    while (low < high) {
        size_t mid = (low + high) / 2;
        if (b->entries[mid] < entry)
            low = mid + 1;
        else
            high = mid;
    }
    return low;
}

static unsigned row_of(uint32_t entry)
{
    return entry & (SEARCH_BLOCK_ROWS - 1);
}

/* Distances of one gram's rows; BITS_BYTES or more: too many to be told so. */
static size_t write_distances(const uint32_t *entries, size_t n, uint8_t out[BITS_BYTES + 2])
{
    size_t len = 0;
    unsigned next = 0;
    for (size_t i = 0; i < n && len < BITS_BYTES; i++) {
        unsigned row = row_of(entries[i]);
        if (i > 0 && row + 1 == next)
            continue; /* the same gram once more in this row */
        unsigned distance = row - next;
        for (; distance > 0x7f; distance >>= 7)
            out[len++] = (uint8_t)(distance | 0x80);
        out[len++] = (uint8_t)distance;
        next = row + 1;
    }
    return len;
}

static void write_entry(const uint32_t *entries, size_t n, struct buf *out)
{
    uint8_t bytes[BITS_BYTES + 2];
    buf_add_u16(out, (uint16_t)(entries[0] >> ROW_BITS));
    size_t len = write_distances(entries, n, bytes);
    if (len < BITS_BYTES) {
        buf_add_char(out, (char)len);
        buf_add(out, bytes, len);
        return;
    }
    uint8_t bits[BITS_BYTES] = {0};
    for (size_t i = 0; i < n; i++)
        bits[row_of(entries[i]) / 8] |= (uint8_t)(1u << row_of(entries[i]) % 8);
    buf_add_char(out, (char)LENGTH_BITS);
    buf_add(out, bits, sizeof bits);
}

void search_block_bucket(const struct search_block *b, unsigned bucket, struct buf *out)
{
    size_t at = find(b, (uint64_t)bucket << (KEY_BITS + ROW_BITS));
    size_t end = find(b, (uint64_t)(bucket + 1) << (KEY_BITS + ROW_BITS));
    while (at < end) {
        size_t next = at + 1;
        while (next < end && b->entries[next] >> ROW_BITS == b->entries[at] >> ROW_BITS)
            next++;
        write_entry(b->entries + at, next - at, out);
        at = next;
    }
}

unsigned search_bucket_of(uint32_t gram)
{
    return gram >> KEY_BITS;
}

/* --- reading ---------------------------------------------------------------------------- */

static void read_distances(const uint8_t *bytes, size_t len, struct search_rows *out)
{
    unsigned row = 0;
    for (size_t i = 0; i < len;) {
        unsigned distance = 0;
        for (unsigned shift = 0; i < len; shift += 7) {
            distance |= (bytes[i] & 0x7fu) << (shift & 31);
            if (!(bytes[i++] & 0x80))
                break;
        }
        row += distance;
        if (row >= SEARCH_BLOCK_ROWS)
            return; /* not ours; what it says is checked against the text anyway */
        out->bits[row / 64] |= UINT64_C(1) << row % 64;
        row++;
    }
}

static void read_bits(const uint8_t *bytes, size_t len, struct search_rows *out)
{
    for (size_t i = 0; i < len; i++)
        out->bits[i / 8] |= (uint64_t)bytes[i] << (i % 8 * 8);
}

void search_bucket_keep(const uint8_t *bucket, size_t len, uint32_t gram,
                        struct search_rows *rows)
{
    struct search_rows found = {0};
    uint32_t key = gram & ((1u << KEY_BITS) - 1);
    for (size_t at = 0; at + 3 <= len;) {
        uint32_t its = (uint32_t)bucket[at] << 8 | bucket[at + 1];
        bool bits = bucket[at + 2] == LENGTH_BITS;
        size_t n = bits ? BITS_BYTES : bucket[at + 2];
        at += 3;
        if (n > len - at || its > key)
            break;
        if (its == key && bits)
            read_bits(bucket + at, n, &found);
        else if (its == key)
            read_distances(bucket + at, n, &found);
        at += n;
    }
    for (size_t i = 0; i < SEARCH_BLOCK_WORDS; i++)
        rows->bits[i] &= found.bits[i];
}
