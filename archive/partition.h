// SPDX-License-Identifier: Apache-2.0
/*
 * Sees to it that the archive's partitions are there before they are needed: at the start and
 * then every few hours it makes the quarters ahead.
 */
#ifndef ARCHIVE_PARTITION_H
#define ARCHIVE_PARTITION_H

struct event_base;
struct partition;
struct pg_pool;

/* Borrows pool until partition_free.  Never NULL. */
struct partition *partition_new(struct event_base *base, struct pg_pool *pool);
void partition_free(struct partition **p); /* after its pool */

#endif
