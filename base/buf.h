// SPDX-License-Identifier: Apache-2.0
/*
 * A queue of bytes that grows up to a maximum: appended at the tail, consumed at the head.
 * When an append does not fit, the buffer is marked failed and keeps what it had; the caller
 * checks once, with buf_failed, after a series of appends.
 */
#ifndef BASE_BUF_H
#define BASE_BUF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

struct buf {
    uint8_t *data; /* start of the allocation; live bytes are [head, head + len) */
    size_t head;
    size_t len;
    size_t cap;
    size_t max; /* bytes it may hold at once */
    bool failed;
};

void buf_init(struct buf *b, size_t max);
void buf_deinit(struct buf *b);

/* Forgets the bytes and the failure, keeps the memory. */
void buf_reset(struct buf *b);

static inline const uint8_t *buf_data(const struct buf *b)
{
    return b->data + b->head;
}
static inline size_t buf_len(const struct buf *b)
{
    return b->len;
}
static inline bool buf_failed(const struct buf *b)
{
    return b->failed;
}

void buf_add(struct buf *b, const void *data, size_t len);
void buf_add_str(struct buf *b, const char *text);
void buf_add_char(struct buf *b, char c);
void buf_addf(struct buf *b, const char *fmt, ...) PRINTF_LIKE(2, 3);

/* Big-endian integers, as PostgreSQL's binary format and our frames want them. */
void buf_add_u16(struct buf *b, uint16_t v);
void buf_add_u32(struct buf *b, uint32_t v);
void buf_add_u64(struct buf *b, uint64_t v);

/* Room for len bytes to be written in place; then buf_commit what was written.
 * NULL (and failed) when it would pass max. */
uint8_t *buf_reserve(struct buf *b, size_t len);
void buf_commit(struct buf *b, size_t len);

/* Drops len bytes (at most buf_len) from the head. */
void buf_consume(struct buf *b, size_t len);

/* The bytes as a NUL-terminated string (the NUL is not counted); "" when failed. */
const char *buf_cstr(struct buf *b);

#endif
