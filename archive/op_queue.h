// SPDX-License-Identifier: Apache-2.0
/*
 * What waits to be written to one lane, in the order it came: copies of writes, in chunks, so
 * that what is in flight stays where it is while more arrives.  It knows no database.
 */
#ifndef ARCHIVE_OP_QUEUE_H
#define ARCHIVE_OP_QUEUE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "archive/rows.h"
#include "base/event.h"

/* What became of a WRITE_ROW. */
enum fate {
    FATE_NEW,
    FATE_SAME,     /* the same message is earlier in this batch */
    FATE_STORED,   /* it is in the archive already */
    FATE_UNWANTED, /* its owner does not archive it */
};

/* One write in the queue, with what its batch finds out about it. */
struct op {
    struct write w; /* its strings live in the chunk */
    /* What its batch may change of it, as it came: one that failed is tried again, maybe in
     * parts, and must find nothing of what came of the whole. */
    unsigned came_flags;
    const char *came_body;
    const uint8_t *came_stanza;
    size_t came_stanza_len;
    bool placed; /* it comes from a spool: place is set */
    struct place place;
    int64_t received_us;
    uint64_t seq; /* grows by one for each op of the lane */
    size_t bytes; /* that it costs */

    enum fate fate;
    int64_t id;          /* of a new row; for WRITE_READ the newest id before it */
    uint32_t taken_back; /* of a new row: index + 1 of the retraction in this batch, else 0 */
    uint32_t told;    /* of a new row of a room: index + 1 of the confirmation in this batch */
    uint32_t conv;    /* of the batch */
    uint32_t next;    /* the next row of the same reference in this batch */
    uint32_t tail;    /* valid in the first of them */
    bool replaces;    /* of a new row: its reader was told of it by a publish */
    int64_t early_us; /* of a new row: when it was taken back, before it came; else 0 */
    const char *early_by; /* by the message of that id; may be NULL */
    bool unmet;           /* a retraction whose message has not come */
    bool found;           /* the row meant is stored: */
    int64_t target_id;
    int32_t target_flags;
    int64_t target_counted; /* counted rows after the read position up to it */
};

struct op_queue;

struct op_queue *op_queue_new(unsigned spools);
void op_queue_free(struct op_queue **q);

/* Copies.  place NULL: it comes from no spool.  Ops of one place are never cut apart. */
void op_queue_add(struct op_queue *q, const struct write *w, const struct place *place,
                  int64_t received_us, uint64_t seq);
/* The first ops, at most max unless one stanza alone has more; they stay where they are until
 * dropped.  Number of ops, 0 when there are none. */
size_t op_queue_front(struct op_queue *q, size_t max, struct op **ops_out);
void op_queue_drop(struct op_queue *q,
                   size_t n); /* the first n, all given by op_queue_front */
/* Drops all ops that lie before pos[spool] of their spool.  Moves ops. */
void op_queue_drop_covered(struct op_queue *q, const uint64_t *pos);

/* Begin of the first op of that spool behind the first skip ops; UINT64_MAX when none. */
uint64_t op_queue_first_begin(const struct op_queue *q, unsigned spool, size_t skip);
size_t op_queue_count(const struct op_queue *q);
size_t op_queue_bytes(const struct op_queue *q);
const struct op *op_queue_oldest(const struct op_queue *q); /* NULL when empty */

#endif
