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
    b->waited_ms = 0;
}

/* a + b, at most max; none is negative and b may be up to max. */
static int64_t sum_up_to(int64_t a, int64_t b, int64_t max)
{
    return a >= max - b ? max : a + b;
}

int64_t backoff_next_ms(struct backoff *b, uint64_t random)
{
    if (b->failures < UINT_MAX)
        b->failures++;
    int64_t top = b->min_ms;
    for (unsigned n = 0; n < b->failures && top < b->max_ms; n++)
        top = sum_up_to(top, top, b->max_ms);
    int64_t waited = sum_up_to(b->waited_ms, b->min_ms, b->max_ms);
    waited = sum_up_to(waited, b->min_ms, b->max_ms);
    if (top > waited)
        top = waited;
    uint64_t span = (uint64_t)(top - b->min_ms) + 1;
    int64_t wait_ms = b->min_ms + (int64_t)(random % span);
    b->waited_ms = sum_up_to(b->waited_ms, wait_ms, b->max_ms);
    return wait_ms;
}
