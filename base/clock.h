// SPDX-License-Identifier: Apache-2.0
/*
 * The only place that asks the system what time it is.  Protocol code takes time as an
 * argument; the files that own a loop ask here, and a test may set a fake clock.
 */
#ifndef BASE_CLOCK_H
#define BASE_CLOCK_H

#include <stdint.h>

int64_t clock_mono_ms(void); /* never goes back; for deadlines */
int64_t clock_real_us(void); /* microseconds since 1970 UTC; for stamps and ids */

/* Tests: from now on both clocks stand still at these values; clock_fake_off ends it. */
void clock_fake(int64_t mono_ms, int64_t real_us);
void clock_fake_off(void);

#endif
