// SPDX-License-Identifier: Apache-2.0
/*
 * Finds an owner's messages by what is written in them (XEP-0431), in the order of the archive
 * and from any place in it, so that pages are made of what it finds as of any other messages.
 * It looks into the blocks of the index where there are some and reads the messages where
 * there are none, which is never many.  Retracted, failed and encrypted messages are not
 * found. It knows no protocol and does not wait for the archive to catch up: its caller does.
 */
#ifndef ARCHIVE_SEARCH_H
#define ARCHIVE_SEARCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "archive/search_text.h"
#include "base/event.h"

struct pg_pool;
struct search;

#define SEARCH_LOOKED_MAX                                                                     \
    100000 /* messages read for one answer, whether they match or not                         \
            */

struct search_request {
    uint8_t owner[OWNER_BYTES];
    uint64_t peer; /* 0: any */
    int64_t low;   /* ids wanted lie strictly between */
    int64_t high;
    bool backward; /* from the newest down */
    size_t want;   /* ids at most, not 0 */
};

enum search_end {
    SEARCH_ENOUGH, /* as many as were wanted: there may be more behind the last one */
    SEARCH_ALL,    /* there are no more */
    SEARCH_WEARY,  /* so many messages were looked at that it ended at .reached */
    SEARCH_AWAY,   /* PostgreSQL failed */
};

struct search_found {
    enum search_end end;
    const int64_t *ids; /* in the order of the search; borrowed for the call */
    size_t n;
    int64_t reached; /* SEARCH_WEARY: no further match lies before this id, in that order */
};

/* Called once, never before search_find returned. */
typedef void (*search_found_fn)(void *ctx, const struct search_found *found);

/* Borrows the pool until search_free.  A search that had to read looked_max messages ends. */
struct search *search_new(struct pg_pool *pool, size_t looked_max);
/* After the pool has answered what was open. */
void search_free(struct search **s);

/* Reads what is searched for; the same rules for everybody. */
enum search_text_kind search_read(struct search *s, const char *text, struct search_text *out);

/* Copies both. */
void search_find(struct search *s, const struct search_request *r,
                 const struct search_text *text, search_found_fn found, void *ctx);

#endif
