// SPDX-License-Identifier: Apache-2.0
/*
 * Counts of times by size: 64 steps to each power of two, so that a quantile read from it is
 * at most 1/64 above the true one.  The maximum is exact.
 */
#ifndef TESTS_BENCH_LOADGEN_HISTOGRAM_H
#define TESTS_BENCH_LOADGEN_HISTOGRAM_H

#include <stdint.h>

#define HISTOGRAM_STEPS 64
#define HISTOGRAM_POWERS 32 /* up to 2^38 us, three days */

struct histogram {
    uint32_t counts[HISTOGRAM_POWERS * HISTOGRAM_STEPS + HISTOGRAM_STEPS];
    uint64_t n;
    int64_t max_us;
};

/* A negative time counts as 0, one beyond the range as the largest. */
void histogram_add(struct histogram *h, int64_t us);
/* The upper end of the step in which the share q of all lies, at most the maximum; 0 when
 * nothing was added. */
int64_t histogram_quantile(const struct histogram *h, double q);

#endif
