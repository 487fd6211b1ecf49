// SPDX-License-Identifier: Apache-2.0
/* What batch.c and batch_provisional.c share. */
#ifndef ARCHIVE_BATCH_INT_H
#define ARCHIVE_BATCH_INT_H

#include "archive/batch.h"

void *batch_grow(void *at, size_t *cap, size_t need, size_t size);
/* batch_sort.c: fills sorted. */
void batch_sort_ops(struct batch *b);
/* That stored row gets these flags. */
void batch_flag(struct batch *b, const uint8_t *owner, int64_t id, int32_t set);

/* batch_provisional.c: which new rows are the text of what was counted already; before and
 * after the new rows are counted. */
void batch_settle_provisional(struct batch *b);
void batch_uncount_provisional(struct batch *b);

#endif
