// SPDX-License-Identifier: Apache-2.0
/*
 * Preferences and rosters of owners that were met lately, so that a batch asks the database
 * only for those it does not know.  One who has nothing of his own, as most have not, costs
 * 8 bytes in a table that forgets; not to know costs one more look.  Each lane's part is used
 * by its one writer, and is void when somebody else has written to the lane.
 */
#ifndef ARCHIVE_PREFS_CACHE_H
#define ARCHIVE_PREFS_CACHE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "archive/prefs.h"
#include "base/event.h"

struct prefs_cache;

#define PREFS_CACHE_LANE_BYTES ((size_t)1 << 20) /* of owners with something of their own */

/* standard: what holds for who has set nothing. */
struct prefs_cache *prefs_cache_new(enum prefs_mode standard, unsigned lanes);
void prefs_cache_free(struct prefs_cache **c);

/* Before a batch: a lane that holds too much starts again. */
void prefs_cache_begin(struct prefs_cache *c, unsigned lane);
bool prefs_cache_knows(const struct prefs_cache *c, unsigned lane,
                       const uint8_t owner[OWNER_BYTES]);
/* Whether any account at all has something of its own; where none has, all are known. */
void prefs_cache_put_any(struct prefs_cache *c, unsigned lane, bool any);
bool prefs_cache_knows_any(const struct prefs_cache *c, unsigned lane);
/* What the database has of this owner, or what a batch is about to give it. */
void prefs_cache_put_nothing(struct prefs_cache *c, unsigned lane,
                             const uint8_t owner[OWNER_BYTES]);
void prefs_cache_put(struct prefs_cache *c, unsigned lane, const uint8_t owner[OWNER_BYTES],
                     const struct prefs *p);
/* contacts: n hashes of 8 bytes, big-endian, in any order. */
void prefs_cache_put_roster(struct prefs_cache *c, unsigned lane,
                            const uint8_t owner[OWNER_BYTES], const uint8_t *contacts,
                            size_t n, int64_t read_us);
/* What is known of the roster holds no longer; true when it decides for this owner, so that it
 * should be asked for. */
bool prefs_cache_drop_roster(struct prefs_cache *c, unsigned lane,
                             const uint8_t owner[OWNER_BYTES], int64_t now_us);
/* The lane was written by somebody else, or a batch was rolled back. */
void prefs_cache_forget(struct prefs_cache *c, unsigned lane);

struct prefs_case {
    const uint8_t *owner;
    const char *owner_jid;
    uint64_t peer;
    const char *bare;
    const char *resource;
    int64_t now_us;
};
/* Whether the owner wants a message archived.  One whose roster decides and is not known wants
 * all: nothing is lost for want of an answer.  *roster_due_out: it should be asked for, which
 * is said once a minute at most. */
bool prefs_cache_wants(struct prefs_cache *c, unsigned lane, const struct prefs_case *of,
                       bool *roster_due_out);

#endif
