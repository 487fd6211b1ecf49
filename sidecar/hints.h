// SPDX-License-Identifier: Apache-2.0
/*
 * A server's publish about a message of another server: after 3 s it is either matched by that
 * message, or counted without it.  What waits is in the database, so a restart loses nothing
 * and counts nothing twice.
 */
#ifndef SIDECAR_HINTS_H
#define SIDECAR_HINTS_H

#include <stdbool.h>

struct event_base;
struct hints;
struct ingest;
struct pg_pool;

struct hints_opts {
    struct pg_pool *pool;  /* borrowed, as is ingest */
    struct ingest *ingest; /* ready */
    unsigned spools;
};
/* Free it after pool and ingest, whose callbacks it waits for. */
struct hints *hints_new(struct event_base *base, const struct hints_opts *opts);
void hints_free(struct hints **h);

/* One has been stored. */
void hints_stored(struct hints *h);
/* While the archive is behind nothing is matched. */
void hints_pause(struct hints *h, bool pause);

#endif
