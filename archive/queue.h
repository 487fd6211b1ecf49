// SPDX-License-Identifier: Apache-2.0
/*
 * What waits to be written to one lane, in the order it came: copies of writes, in chunks, so
 * that what is in flight stays where it is while more arrives.  It knows no database.
 */
#ifndef ARCHIVE_QUEUE_H
#define ARCHIVE_QUEUE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "archive/rows.h"
#include "base/event.h"

/* What became of a WRITE_ROW. */
enum fate {
    FATE_NEW,
    FATE_SAME,   /* the same message is earlier in this batch */
    FATE_STORED, /* it is in the archive already */
};

/* One write in the queue, with what its batch finds out about it. */
struct op {
    struct write w; /* its strings live in the chunk */
    bool placed;    /* it comes from a spool: place is set */
    struct place place;
    int64_t received_us;
    uint64_t seq; /* grows by one for each op of the lane */
    size_t bytes; /* that it costs */

    enum fate fate;
    int64_t id;    /* of a new row; for WRITE_READ the newest id before it */
    uint32_t conv; /* of the batch */
    uint32_t next; /* the next row of the same reference in this batch */
    uint32_t tail; /* valid in the first of them */
    bool found;    /* the row meant is stored: */
    int64_t target_id;
    int32_t target_flags;
    int64_t target_counted; /* counted rows after the read position up to it */
};

struct queue;

struct queue *queue_new(unsigned spools);
void queue_free(struct queue **q);

/* Copies.  place NULL: it comes from no spool.  Ops of one place are never cut apart. */
void queue_add(struct queue *q, const struct write *w, const struct place *place,
               int64_t received_us, uint64_t seq);
/* The first ops, at most max unless one stanza alone has more; they stay where they are until
 * dropped.  Number of ops, 0 when there are none. */
size_t queue_front(struct queue *q, size_t max, struct op **ops_out);
void queue_drop(struct queue *q, size_t n); /* the first n, all given by queue_front */
/* Drops all ops that lie before pos[spool] of their spool.  Moves ops. */
void queue_drop_covered(struct queue *q, const uint64_t *pos);

/* Begin of the first op of that spool behind the first skip ops; UINT64_MAX when none. */
uint64_t queue_first_begin(const struct queue *q, unsigned spool, size_t skip);
size_t queue_count(const struct queue *q);
size_t queue_bytes(const struct queue *q);
const struct op *queue_oldest(const struct queue *q); /* NULL when empty */

#endif
