// SPDX-License-Identifier: Apache-2.0
/*
 * Archive queries (XEP-0313, urn:xmpp:mam:2) of an account's own archive: pages by anchor, at
 * the speed of one index scan, never missing or repeating a message.  A request it cannot
 * serve now is answered "wait": at once when the database is away, within a second when it is
 * there and silent.  It does not know how a request came
 * or how the answer travels, and trusts its caller that the asker owns the account.
 */
#ifndef ARCHIVE_MAM_H
#define ARCHIVE_MAM_H

#include <stdbool.h>
#include <stddef.h>

#define NS_MAM "urn:xmpp:mam:2"

struct archive_opts;
struct event_base;
struct ingest;
struct mam;
struct pg_pool;
struct stanza;

/* How the answer travels.  Any number of results, then exactly one of done and error. */
struct mam_answer {
    /* One <result/> as XML in the namespace jabber:client; false: do not send more. */
    bool (*result)(void *ctx, const void *xml, size_t len);
    void (*done)(void *ctx, struct stanza *payload);
    void (*error)(void *ctx, const char *type, const char *condition, const char *text);
    void *ctx;
};

struct mam_request {
    const struct stanza *payload; /* lives until done or error was called */
    bool is_set;
    const char *account; /* prepared bare JID of the owner; lives as long */
};

/* Borrows everything until mam_free. */
struct mam *mam_new(struct event_base *base, const struct archive_opts *opts,
                    struct pg_pool *pool, struct ingest *ingest);
/* After the pool and ingest have answered what was open. */
void mam_free(struct mam **m);

/* answer may be called before this returns. */
void mam_ask(struct mam *m, const struct mam_request *r, const struct mam_answer *answer);

#endif
