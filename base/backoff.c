// SPDX-License-Identifier: Apache-2.0
#include "base/backoff.h"

#include <assert.h>
#include <limits.h>

void backoff_init(struct backoff *b, int64_t min_ms, int64_t max_ms)
{
    assert(min_ms >= 0 && max_ms >= min_ms);
    *b = (struct backoff){.min_ms = min_ms, .max_ms = max_ms};
}

void backoff_reset(struct backoff *b)
{
    b->failures = 0;
}

int64_t backoff_next_ms(struct backoff *b, uint64_t random)
{
    if (b->failures < UINT_MAX)
        b->failures++;
    int64_t top = b->min_ms;
    for (unsigned n = 0; n < b->failures && top < b->max_ms; n++)
        top = top > b->max_ms / 2 ? b->max_ms : top * 2;
    if (top > b->max_ms)
        top = b->max_ms;
    uint64_t span = (uint64_t)(top - b->min_ms) + 1;
    return b->min_ms + (int64_t)(random % span);
}
