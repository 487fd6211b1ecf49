// SPDX-License-Identifier: Apache-2.0
/*
 * Exponential back-off with full jitter: each wait is random between min and the least of max,
 * min * 2^n and what was waited so far plus 2 * min.  So what was away for ten seconds is not
 * left alone for a minute because the first waits happened to be short.
 */
#ifndef BASE_BACKOFF_H
#define BASE_BACKOFF_H

#include <stdint.h>

struct backoff {
    int64_t min_ms;
    int64_t max_ms;
    unsigned failures; /* in a row */
    int64_t waited_ms; /* since the first of them, up to max */
};

void backoff_init(struct backoff *b, int64_t min_ms, int64_t max_ms);
void backoff_reset(struct backoff *b);
/* Counts a failure and says how long to wait; random is any 64 random bits. */
int64_t backoff_next_ms(struct backoff *b, uint64_t random);

#endif
