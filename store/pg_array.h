// SPDX-License-Identifier: Apache-2.0
/* One-dimensional arrays in PostgreSQL's binary format, for INSERT ... SELECT unnest(...). */
#ifndef STORE_PG_ARRAY_H
#define STORE_PG_ARRAY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"

enum pg_array_type { PG_INT8, PG_INT4, PG_BOOL, PG_TEXT, PG_BYTEA, PG_UUID };

struct pg_array {
    enum pg_array_type type;
    uint32_t count;
    bool has_null;
    struct buf buf;
};

/* max in bytes. */
void pg_array_init(struct pg_array *a, enum pg_array_type type, size_t max);
void pg_array_deinit(struct pg_array *a);
void pg_array_reset(struct pg_array *a); /* empty again, memory kept */

void pg_array_add_i64(struct pg_array *a, int64_t v); /* INT8 */
void pg_array_add_i32(struct pg_array *a, int32_t v); /* INT4 */
void pg_array_add_bool(struct pg_array *a, bool v);
void pg_array_add_text(struct pg_array *a, const char *v); /* NULL allowed */
void pg_array_add_bytes(struct pg_array *a, const void *v,
                        size_t len); /* BYTEA; v NULL = null */
void pg_array_add_uuid(struct pg_array *a, const uint8_t v[16]);
/* The bytes with a right header; borrowed until the next change. */
const uint8_t *pg_array_finish(struct pg_array *a, size_t *len_out);

#endif
