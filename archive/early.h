// SPDX-License-Identifier: Apache-2.0
/*
 * Refusals that came before the message that they refuse: a server that makes them while it
 * still routes the message may show us them first.  The last few are remembered for a while; a
 * worker that dies in between forgets them, and the message counts although nobody got it.
 */
#ifndef ARCHIVE_EARLY_H
#define ARCHIVE_EARLY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define EARLY_MAX 64
#define EARLY_US INT64_C(10000000)

struct early_ref {
    uint8_t owner[16];
    uint64_t ref;
    int64_t at_us;
};

/* All zero: none. */
struct early {
    struct early_ref refs[EARLY_MAX];
    size_t next;
    int64_t newest_us; /* 0: none */
};

/* The row of that owner with that reference was refused, and is not there. */
void early_add(struct early *e, const uint8_t owner[16], uint64_t ref, int64_t at_us);
/* Whether the row that came then was refused before. */
bool early_has(const struct early *e, const uint8_t owner[16], uint64_t ref, int64_t at_us);

#endif
