// SPDX-License-Identifier: Apache-2.0
#include "tests/bench/loadgen/histogram.h"

#include <stddef.h>

#define STEP_BITS 6
#define LAST (HISTOGRAM_POWERS * HISTOGRAM_STEPS + HISTOGRAM_STEPS - 1)

/* Below 128 every value has its own place; above, the first seven bits say which. */
static size_t place_of(uint64_t us)
{
    if (us < 2 * HISTOGRAM_STEPS)
        return us;
    unsigned shift = 63 - (unsigned)__builtin_clzll(us) - STEP_BITS;
    size_t at = (shift + 1) * (size_t)HISTOGRAM_STEPS + (us >> shift) - HISTOGRAM_STEPS;
    return at < LAST ? at : LAST;
}

/* The largest value of a place. */
static int64_t end_of(size_t at)
{
    if (at < 2 * HISTOGRAM_STEPS)
        return (int64_t)at;
    unsigned shift = (unsigned)(at / HISTOGRAM_STEPS) - 1;
    int64_t first = (int64_t)(at % HISTOGRAM_STEPS + HISTOGRAM_STEPS) << shift;
    return first + ((int64_t)1 << shift) - 1;
}

void histogram_add(struct histogram *h, int64_t us)
{
    if (us < 0)
        us = 0;
    h->counts[place_of((uint64_t)us)]++;
    h->n++;
    if (us > h->max_us)
        h->max_us = us;
}

int64_t histogram_quantile(const struct histogram *h, double q)
{
    double wanted = q * (double)h->n;
    uint64_t seen = 0;
    for (size_t i = 0; i < LAST; i++) {
        seen += h->counts[i];
        if (seen > 0 && (double)seen >= wanted)
            return end_of(i) < h->max_us ? end_of(i) : h->max_us;
    }
    return h->max_us;
}
