// SPDX-License-Identifier: Apache-2.0
/*
 * What a room has told of becomes pushes for its members, after the COMMIT that confirmed it:
 * xs.room_due names the message, and each statement here goes through one page of members and
 * moves the place on in the same transaction.  A crash between two pages leaves out nobody and
 * tells nobody twice.  A message that PostgreSQL will not take waits, for an hour or for the
 * next worker, and the others go on.  Members without devices cost a look at an index, and no
 * write.  It leaves entries in the outbox, and does not know who sends them.
 */
#ifndef ARCHIVE_ROOM_PUSH_H
#define ARCHIVE_ROOM_PUSH_H

#include <stdint.h>

#include "base/event.h"

struct event_base;
struct ident;
struct pg_pool;
struct room_push;

struct room_push_opts {
    struct pg_pool *pool;       /* borrowed */
    struct ident *ident;        /* borrowed */
    enum event_notify notify;   /* for who has not said: ALWAYS, MENTION or NEVER */
    int64_t settle_ms;          /* from the message to when its push may be due */
    unsigned page;              /* members of a statement; 0: ROOM_PUSH_PAGE */
    void (*entries)(void *ctx); /* there may be new entries in the outbox */
    void *ctx;
};

#define ROOM_PUSH_PAGE 1000
#define ROOM_PUSH_WORDS_BYTES 8192 /* so much of a text is looked through for nicks */

/* Writes down notify, then looks.  Never NULL. */
struct room_push *room_push_new(struct event_base *base, const struct room_push_opts *opts);
/* After the pool has answered what was open. */
void room_push_free(struct room_push **r);

/* Something may be due, or somebody has read in a room.  Without it, that is found within half
 * a minute. */
void room_push_look(struct room_push *r);

#endif
