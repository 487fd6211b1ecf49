// SPDX-License-Identifier: Apache-2.0
/*
 * What is kept of the publishes of servers (XEP-0357), each call one transaction under the
 * account's lane: pushes that they make, and those that wait to be matched by a message.  It
 * never logs a text.
 */
#ifndef APNS_PUBLISHES_H
#define APNS_PUBLISHES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/event.h"

struct pg_error;
struct pg_pool;

/* e->failure is PG_OK when it is stored. */
typedef void (*publishes_done_fn)(void *ctx, const struct pg_error *e);

/* A push to that device; strings are copied. */
struct publishes_push {
    const uint8_t *owner;
    const uint8_t *device;
    uint64_t peer;    /* what collapses; not 0 */
    const char *jid;  /* the sender's, "" */
    const char *body; /* NULL */
    bool encrypted;
    int weight; /* enum notification_weight */
    int count;  /* as the server counts, -1 */
    bool ours;  /* we count the account's messages */
};
void publishes_push(struct pg_pool *pool, const struct publishes_push *p, publishes_done_fn fn,
                    void *ctx);

/* To be matched a moment later. */
struct publishes_hint {
    const uint8_t *owner;
    const uint8_t *device;
    const char *account;
    const char *sender; /* bare */
    const char *body;
    int64_t at_us;
    unsigned link; /* where it stands in the stream */
    uint64_t pos;
};
void publishes_keep(struct pg_pool *pool, const struct publishes_hint *h, publishes_done_fn fn,
                    void *ctx);

#define PUBLISHES_DUE_MAX 50
struct publishes_due {
    uint8_t owner[OWNER_BYTES];
    uint8_t id[16];
    const char *account; /* borrowed for the call */
    const char *sender;
    const char *body;
    int64_t at_us;
    unsigned link;
    uint64_t pos;
};
/* The oldest of before that time, at most PUBLISHES_DUE_MAX; more: younger ones wait.  due is
 * NULL when it is not known. */
typedef void (*publishes_due_fn)(void *ctx, const struct publishes_due *due, size_t n,
                                 bool more, const struct pg_error *e);
void publishes_due(struct pg_pool *pool, int64_t before_us, publishes_due_fn fn, void *ctx);
/* It is settled. */
void publishes_forget(struct pg_pool *pool, const uint8_t owner[OWNER_BYTES],
                      const uint8_t id[16], publishes_done_fn fn, void *ctx);

/* Forgets what was published for pushes longer ago than a gateway keeps one. */
void publishes_purge(struct pg_pool *pool);

#endif
