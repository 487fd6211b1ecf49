// SPDX-License-Identifier: Apache-2.0
/* What batch.c and batch_*.c share. */
#ifndef ARCHIVE_BATCH_INT_H
#define ARCHIVE_BATCH_INT_H

#include <string.h>

#include "archive/batch.h"

static inline bool batch_same_owner(const uint8_t *a, const uint8_t *b)
{
    return memcmp(a, b, OWNER_BYTES) == 0;
}

void *batch_grow(void *at, size_t *cap, size_t need, size_t size);
/* batch_sort.c: fills sorted. */
void batch_sort_ops(struct batch *b);
/* That stored row gets these flags. */
void batch_flag(struct batch *b, const uint8_t *owner, int64_t id, int32_t set);

/* batch_provisional.c: which new rows are the text of what was counted already; before and
 * after the new rows are counted. */
void batch_settle_provisional(struct batch *b);
void batch_uncount_provisional(struct batch *b);

/* The first row of this reference in the batch; NULL, with the slot for it, when none. */
struct op *batch_first_of_ref(const struct batch *b, const struct write *w, size_t *slot_out);

/* batch_rooms.c */
bool batch_is_of_room(const struct write *w);
/* In a room everybody's messages are called by the same references; op means its sender's, or
 * anybody's when it is the room's own. */
bool batch_is_by(const struct op *row, const struct op *op);
/* The new row that op means by what the room calls it, as this batch tells; NULL. */
struct op *batch_new_by_alias(struct batch *b, const struct op *op);
/* Rooms that have told of what is new in this batch; what is not kept stays hidden. */
void batch_settle_confirms(struct batch *b);

#endif
