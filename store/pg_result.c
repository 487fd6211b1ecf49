// SPDX-License-Identifier: Apache-2.0
/* Parameters to PostgreSQL's binary format, and results out of it.  libpq's PGresult is a
 * struct pg_result, so what our header leaves opaque needs no wrapper. */
#include "store/pg.h"

#include <assert.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include <libpq-fe.h>

#include "store/pg_array.h"

/* Microseconds from 1970 to 2000, where PostgreSQL's timestamps begin. */
#define PG_EPOCH_US INT64_C(946684800000000)

void pg_params_init(struct pg_params *p)
{
    p->n = 0;
}

static void add(struct pg_params *p, const void *v, size_t len, int format)
{
    assert(p->n < PG_PARAMS_MAX && len <= INT_MAX);
    p->values[p->n] = v;
    p->lengths[p->n] = (int)len;
    p->formats[p->n] = format;
    p->n++;
}

static uint8_t *scratch(struct pg_params *p)
{
    assert(p->n < PG_PARAMS_MAX);
    return p->scratch[p->n];
}

void pg_add_null(struct pg_params *p)
{
    add(p, NULL, 0, 1);
}

void pg_add_i64(struct pg_params *p, int64_t v)
{
    uint8_t *at = scratch(p);
    for (int i = 0; i < 8; i++)
        at[i] = (uint8_t)((uint64_t)v >> (56 - 8 * i));
    add(p, at, 8, 1);
}

void pg_add_i32(struct pg_params *p, int32_t v)
{
    uint8_t *at = scratch(p);
    for (int i = 0; i < 4; i++)
        at[i] = (uint8_t)((uint32_t)v >> (24 - 8 * i));
    add(p, at, 4, 1);
}

void pg_add_bool(struct pg_params *p, bool v)
{
    uint8_t *at = scratch(p);
    *at = v;
    add(p, at, 1, 1);
}

void pg_add_text(struct pg_params *p, const char *v)
{
    add(p, v, v ? strlen(v) : 0, 0);
}

void pg_add_bytes(struct pg_params *p, const void *v, size_t len)
{
    add(p, v ? v : "", len, 1);
}

void pg_add_uuid(struct pg_params *p, const uint8_t v[16])
{
    add(p, v, 16, 1);
}

void pg_add_array(struct pg_params *p, const struct pg_array *a)
{
    assert(!buf_failed(&a->buf));
    add(p, buf_data(&a->buf), buf_len(&a->buf), 1);
}

int pg_rows(const struct pg_result *r)
{
    return PQntuples(r);
}

int64_t pg_affected(const struct pg_result *r)
{
    /* PQcmdTuples only forgot its const. */
    return strtoll(PQcmdTuples((PGresult *)(uintptr_t)r), NULL, 10);
}

bool pg_is_null(const struct pg_result *r, int row, int col)
{
    return PQgetisnull(r, row, col);
}

int64_t pg_i64(const struct pg_result *r, int row, int col)
{
    if (PQgetisnull(r, row, col))
        return 0;
    const unsigned char *at = (const unsigned char *)PQgetvalue(r, row, col);
    int len = PQgetlength(r, row, col);
    assert(len == 2 || len == 4 || len == 8);
    uint64_t v = at[0] & 0x80 ? UINT64_MAX : 0;
    for (int i = 0; i < len; i++)
        v = v << 8 | at[i];
    return (int64_t)v;
}

bool pg_bool(const struct pg_result *r, int row, int col)
{
    return !PQgetisnull(r, row, col) && *PQgetvalue(r, row, col);
}

const char *pg_text(const struct pg_result *r, int row, int col)
{
    return PQgetvalue(r, row, col); /* libpq ends every value with a NUL; "" for NULL */
}

const uint8_t *pg_bytes(const struct pg_result *r, int row, int col, size_t *len_out)
{
    *len_out = (size_t)PQgetlength(r, row, col);
    return (const uint8_t *)PQgetvalue(r, row, col);
}

void pg_uuid(const struct pg_result *r, int row, int col, uint8_t out[16])
{
    if (PQgetisnull(r, row, col)) {
        memset(out, 0, 16);
        return;
    }
    assert(PQgetlength(r, row, col) == 16);
    memcpy(out, PQgetvalue(r, row, col), 16);
}

int64_t pg_time_us(const struct pg_result *r, int row, int col)
{
    if (PQgetisnull(r, row, col))
        return 0;
    return pg_i64(r, row, col) + PG_EPOCH_US;
}
