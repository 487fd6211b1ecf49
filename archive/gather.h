// SPDX-License-Identifier: Apache-2.0
/*
 * Brings an owner's collections (xs.collection) up to his messages: what was archived since
 * the last time is added, by whoever asks for collections.  A message is gathered once; who
 * asks again pays for what is new.  Two at once do each other no harm.
 */
#ifndef ARCHIVE_GATHER_H
#define ARCHIVE_GATHER_H

#include <stdint.h>

struct lookup;

/* done is called when everything archived up to now is gathered, never before this returned;
 * or l is refused: "wait" when it takes too long, and what was done by then stays done. */
void gather_start(struct lookup *l, int64_t gap_us, void (*done)(struct lookup *l));

#endif
