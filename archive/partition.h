// SPDX-License-Identifier: Apache-2.0
/*
 * Makes the time partitions of the archive ahead of need: now, and once a day.  When it cannot
 * it tries again soon and, as two quarters are always ahead, has half a year to succeed.
 */
#ifndef ARCHIVE_PARTITION_H
#define ARCHIVE_PARTITION_H

struct event_base;
struct partitions;
struct pg_pool;

/* Borrows the pool until partitions_free, which comes first.  Never NULL. */
struct partitions *partitions_new(struct event_base *base, struct pg_pool *pool);
void partitions_free(struct partitions **p);

#endif
