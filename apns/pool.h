// SPDX-License-Identifier: Apache-2.0
/*
 * The connections of one app to its push service: one kept warm, more when all are full,
 * fewer after minutes of calm, a replacement before an old one has ended, back-off when the
 * service cannot be reached.  It never opens two at a time and knows no verdict.
 */
#ifndef APNS_POOL_H
#define APNS_POOL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "apns/conn.h"

struct pool;
struct pool_member; /* one connection; valid from its event until the next pool_reap */

struct pool_opts {
    struct conn_opts conn;
    const char *log_prefix; /* borrowed */
    unsigned members_max;
    int64_t backoff_min_ms;
    int64_t backoff_max_ms;
    int64_t grow_after_ms; /* all full for so long while something waits: one more */
    int64_t calm_ms;       /* an extra connection without work for so long is closed */
    int64_t drain_ms;      /* a retired one may take so long for its last answers */
    int64_t proven_ms;     /* one that lived so long and answered does not count as failure */
};

enum pool_state {
    POOL_IDLE,       /* nothing to do */
    POOL_CONNECTING, /* first attempt */
    POOL_UP,
    POOL_BACKOFF, /* the last attempt failed; the next one waits or runs */
};

struct pool *pool_new(const struct pool_opts *opts);
/* All pushes must have been given back (pool_kill, then the events). */
void pool_free(struct pool **p);

enum pool_state pool_get_state(const struct pool *p);
const char *pool_error(const struct pool *p); /* of BACKOFF */
unsigned pool_up_count(const struct pool *p);
unsigned pool_limit(const struct pool *p); /* streams over all connections */

/* A push that has its outcome, and where it was; false when there is none now. */
bool pool_next_push(struct pool *p, struct h2_push **push_out, struct pool_member **from_out);
/* Submits to the first connection with room; false when there is none. */
bool pool_submit(struct pool *p, struct h2_push *push, int64_t now_ms);

/* No new pushes to this connection; a new one is opened when there is something to send. */
void pool_retire(struct pool *p, struct pool_member *m, int64_t now_ms, const char *why);
void pool_retire_all(struct pool *p, int64_t now_ms, const char *why);
int64_t pool_member_age_ms(const struct pool_member *m, int64_t now_ms);
/* Ends the connections that have open pushes; these come as H2_LOST. */
void pool_kill(struct pool *p, const char *why);

/* Opens, retires, times out.  waiting = pushes that wait for room; without keep_warm nothing
 * is opened but for them. */
void pool_tick(struct pool *p, int64_t now_ms, size_t waiting, bool keep_warm);
/* Writes what was submitted. */
void pool_flush(struct pool *p);
/* Frees connections that are dead or drained.  True: look again, pushes came back or a
 * connection went. */
bool pool_reap(struct pool *p, int64_t now_ms);
int64_t pool_deadline(const struct pool *p);

#endif
