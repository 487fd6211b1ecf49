// SPDX-License-Identifier: Apache-2.0
#include "store/pg_array.h"

#include <assert.h>
#include <string.h>

/* The header of a one-dimensional array, as array_recv() reads it: number of dimensions,
 * whether there are nulls, type of the elements, then length and lower bound.  It is kept
 * right after each change, so that an array can be sent at any time. */
#define HEADER_BYTES 20
#define NULLS_AT 4
#define COUNT_AT 12

static uint32_t type_oid(enum pg_array_type type)
{
    switch (type) {
    case PG_INT8:
        return 20;
    case PG_INT4:
        return 23;
    case PG_BOOL:
        return 16;
    case PG_TEXT:
        return 25;
    case PG_BYTEA:
        return 17;
    case PG_UUID:
        return 2950;
    }
    return 0;
}

static void put_u32(uint8_t *at, uint32_t v)
{
    at[0] = (uint8_t)(v >> 24);
    at[1] = (uint8_t)(v >> 16);
    at[2] = (uint8_t)(v >> 8);
    at[3] = (uint8_t)v;
}

static void put_u64(uint8_t *at, uint64_t v)
{
    put_u32(at, (uint32_t)(v >> 32));
    put_u32(at + 4, (uint32_t)v);
}

static void write_header(struct pg_array *a)
{
    buf_add_u32(&a->buf, 1);
    buf_add_u32(&a->buf, 0);
    buf_add_u32(&a->buf, type_oid(a->type));
    buf_add_u32(&a->buf, 0);
    buf_add_u32(&a->buf, 1);
}

void pg_array_init(struct pg_array *a, enum pg_array_type type, size_t max)
{
    *a = (struct pg_array){.type = type};
    buf_init(&a->buf, max < HEADER_BYTES ? HEADER_BYTES : max);
    write_header(a);
}

void pg_array_deinit(struct pg_array *a)
{
    buf_deinit(&a->buf);
}

void pg_array_reset(struct pg_array *a)
{
    a->count = 0;
    a->has_null = false;
    buf_reset(&a->buf);
    write_header(a);
}

/* Room for one element of len bytes, its length already written; NULL when it does not fit. */
static uint8_t *add(struct pg_array *a, size_t len)
{
    if (len > INT32_MAX) {
        a->buf.failed = true;
        return NULL;
    }
    uint8_t *at = buf_reserve(&a->buf, 4 + len);
    if (!at)
        return NULL;
    put_u32(at, (uint32_t)len);
    buf_commit(&a->buf, 4 + len);
    a->count++;
    put_u32(a->buf.data + a->buf.head + COUNT_AT, a->count);
    return at + 4;
}

static void add_null(struct pg_array *a)
{
    uint8_t *at = add(a, 0);
    if (!at)
        return;
    put_u32(at - 4, UINT32_MAX);
    a->has_null = true;
    put_u32(a->buf.data + a->buf.head + NULLS_AT, 1);
}

void pg_array_add_i64(struct pg_array *a, int64_t v)
{
    assert(a->type == PG_INT8);
    uint8_t *at = add(a, 8);
    if (at)
        put_u64(at, (uint64_t)v);
}

void pg_array_add_i32(struct pg_array *a, int32_t v)
{
    assert(a->type == PG_INT4);
    uint8_t *at = add(a, 4);
    if (at)
        put_u32(at, (uint32_t)v);
}

void pg_array_add_bool(struct pg_array *a, bool v)
{
    assert(a->type == PG_BOOL);
    uint8_t *at = add(a, 1);
    if (at)
        *at = v;
}

static void add_raw(struct pg_array *a, const void *v, size_t len)
{
    if (!v) {
        add_null(a);
        return;
    }
    uint8_t *at = add(a, len);
    if (at && len)
        memcpy(at, v, len);
}

void pg_array_add_text(struct pg_array *a, const char *v)
{
    assert(a->type == PG_TEXT);
    add_raw(a, v, v ? strlen(v) : 0);
}

void pg_array_add_bytes(struct pg_array *a, const void *v, size_t len)
{
    assert(a->type == PG_BYTEA || a->type == PG_TEXT);
    add_raw(a, v, len);
}

void pg_array_add_uuid(struct pg_array *a, const uint8_t v[16])
{
    assert(a->type == PG_UUID);
    add_raw(a, v, 16);
}

const uint8_t *pg_array_finish(struct pg_array *a, size_t *len_out)
{
    *len_out = buf_len(&a->buf);
    return buf_data(&a->buf);
}
