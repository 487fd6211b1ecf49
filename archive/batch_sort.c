// SPDX-License-Identifier: Apache-2.0
#include <stdlib.h>

#include "archive/batch_int.h"

struct key {
    uint64_t owner;
    uint32_t index;
};

static int by_owner(const void *a, const void *b)
{
    const struct key *x = a, *y = b;
    if (x->owner != y->owner)
        return x->owner < y->owner ? -1 : 1;
    return x->index < y->index ? -1 : x->index > y->index;
}

/* By the first 8 bytes, as PostgreSQL orders uuids; two owners that share them may mix, which
 * costs locality and nothing else. */
static uint64_t owner_key(const uint8_t *owner)
{
    uint64_t key = 0;
    for (int i = 0; i < 8; i++)
        key = key << 8 | owner[i];
    return key;
}

void batch_sort_ops(struct batch *b)
{
    struct key *keys = malloc((b->n ? b->n : 1) * sizeof *keys);
    if (!keys)
        abort();
    for (uint32_t i = 0; i < b->n; i++)
        keys[i] = (struct key){owner_key(b->ops[i].w.owner), i};
    qsort(keys, b->n, sizeof *keys, by_owner);
    for (size_t i = 0; i < b->n; i++)
        b->sorted[i] = keys[i].index;
    free(keys);
}
