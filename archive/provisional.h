// SPDX-License-Identifier: Apache-2.0
/*
 * Whether a message of which only a server's publish tells is in the archive, and which of
 * those that were counted without a text have waited too long for it.
 */
#ifndef ARCHIVE_PROVISIONAL_H
#define ARCHIVE_PROVISIONAL_H

#include <stdbool.h>
#include <stdint.h>

#include "base/event.h"

struct ident;
struct ingest;
struct pg_error;
struct pg_pool;

#define PROVISIONAL_DAYS 14

struct provisional_question {
    const char *owner_jid;
    const char *peer_jid; /* bare */
    const char *body;
    bool vague; /* body is not what the message says */
    int64_t at_us;
};
/* matched means nothing unless e->failure is PG_OK. */
typedef void (*provisional_match_fn)(void *ctx, bool matched, const struct pg_error *e);
void provisional_match(struct pg_pool *pool, struct ident *ident,
                       const struct provisional_question *q, provisional_match_fn fn,
                       void *ctx);

/* Those older than PROVISIONAL_DAYS no longer count.  Some at a time: call it every hour. */
void provisional_expire(struct pg_pool *pool, struct ingest *ing);

#endif
