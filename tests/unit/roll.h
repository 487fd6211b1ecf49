// SPDX-License-Identifier: Apache-2.0
/* Numbers at random that are the same in each run. */
#ifndef TESTS_UNIT_ROLL_H
#define TESTS_UNIT_ROLL_H

static unsigned rng;

/* 0 … n - 1 */
static inline unsigned roll(unsigned n)
{
    rng = rng * 1103515245 + 12345;
    return (rng >> 8) % n;
}

#endif
