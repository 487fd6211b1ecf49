// SPDX-License-Identifier: Apache-2.0
/*
 * Looks for messages of which no copy has come, in the archive of Openfire's monitoring
 * plugin: of times when nothing was read, or when copies seem to have been dropped, account by
 * account. What it is told is archived like any late delivery, by the same way as copies.  It
 * is never in a hurry: results fill the server's queue of copies as other messages do.
 */
#ifndef SIDECAR_FILL_H
#define SIDECAR_FILL_H

#include <stdbool.h>
#include <stdint.h>

struct event_base;
struct fill;
struct ingest;
struct pg_pool;
struct service;

struct fill_opts {
    struct service *service;
    struct ingest *ingest;
    struct pg_pool *pool;
    const char *host;      /* Openfire's domain */
    const char *component; /* ours */
    int64_t every_ms;      /* archive.check_every */
};

/* Borrows all but the numbers until fill_free.  Never NULL. */
struct fill *fill_new(struct event_base *base, const struct fill_opts *opts);
/* Before what it borrows goes: from then on it only waits for its answers. */
void fill_stop(struct fill *f);
void fill_free(struct fill **f); /* after service and pool */

/* These take NULL.  While the archive is behind nothing is asked. */
void fill_pause(struct fill *f, bool pause);
/* Copies of that time, by the server's clock, seem to have been dropped. */
void fill_lost(struct fill *f, int64_t from_us, int64_t to_us);

struct fill_status {
    bool on;
    const char *trouble; /* why nothing can be asked, with the remedy; NULL: nothing known */
    int64_t tasks;       /* times that are to be filled */
    uint64_t accounts;   /* asked, since the start */
    uint64_t failed;     /* of these, without an answer of use */
    uint64_t messages;   /* told of */
    int64_t done_us;     /* when the last task was done, 0: none since the start */
};
void fill_get_status(const struct fill *f, struct fill_status *out);

#endif
