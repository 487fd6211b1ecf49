// SPDX-License-Identifier: Apache-2.0
/*
 * Messages of one owner to collections (XEP-0136): a silence of more than the gap, or another
 * thread, begins a new one.  Pure: told what is stored and the rows that follow, it says what
 * is to be stored.  The rule numbers are those of docs/archive.md.
 */
#ifndef ARCHIVE_COLLECT_H
#define ARCHIVE_COLLECT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct collect;

struct collection {
    uint64_t peer;
    const char *jid;    /* of the peer */
    const char *thread; /* NULL: no message has named one */
    int64_t start_us;
    int64_t first_id;
    int64_t last_id;
    int64_t rows; /* that were added now; 0: it is as it was stored */
};

/* gap_us: the longest silence inside one. */
struct collect *collect_new(int64_t gap_us);
void collect_free(struct collect **c);

/* Of each peer, before its first row: its name (copied), and what is stored last of messages
 * with it, with rows 0, or NULL.  removed: that one only says which starts are taken. */
void collect_peer(struct collect *c, uint64_t peer, const char *jid,
                  const struct collection *last, bool removed);
/* Rows come by id; one of a peer that was not told is left out.  thread is copied; NULL: the
 * message names none. */
void collect_row(struct collect *c, uint64_t peer, int64_t id, const char *thread);

/* Those that got rows, by their last row, until there is none (NULL).  Good until free. */
const struct collection *collect_next(struct collect *c);

#endif
