// SPDX-License-Identifier: Apache-2.0
/*
 * What rooms have told of lately.  A server that shows a message when it has been routed shows
 * us what the room told its occupants of it first, and the message itself only then: what the
 * room has said is said again behind it.  A worker that dies in between forgets it, and the
 * message stays hidden.
 */
#ifndef ARCHIVE_EARLY_TOLD_H
#define ARCHIVE_EARLY_TOLD_H

#include <stdint.h>

struct early_told;
struct write;

#define EARLY_TOLD_MAX 256
#define EARLY_TOLD_US INT64_C(10000000)

struct early_told *early_told_new(void);
void early_told_free(struct early_told **t);

/* w is a WRITE_CONFIRM, which is copied. */
void early_told_add(struct early_told *t, const struct write *w, int64_t at_us);
/* What was told of this row of a room, NULL when nothing was.  Good until the next add. */
const struct write *early_told_of(const struct early_told *t, const struct write *row,
                                  int64_t at_us);

#endif
