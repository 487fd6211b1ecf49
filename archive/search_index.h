// SPDX-License-Identifier: Apache-2.0
/*
 * Makes the blocks of the full-text index, in the background: one owner, one statement at a
 * time, after the messages were committed.  Who writes messages pays nothing; owners with
 * fewer messages than a block have no index and need none.  Which owners it should look at is
 * told by chance (search_index_look), and once after the start it looks at all of them, so
 * that nothing has to be remembered.
 */
#ifndef ARCHIVE_SEARCH_INDEX_H
#define ARCHIVE_SEARCH_INDEX_H

#include <stdbool.h>
#include <stdint.h>

struct event_base;
struct pg_pool;
struct search_index;

/* Borrows both until search_index_free.  Between two looks at a few dozen accounts, as long as
 * there are some that were not looked at since the start, pass every_ms. */
struct search_index *search_index_new(struct event_base *base, struct pg_pool *pool,
                                      int64_t every_ms);
/* After the pool has answered what was open. */
void search_index_free(struct search_index **s);

/* This owner may have a block's worth of new messages.  Forgotten when too many are waiting:
 * it will be told again. */
void search_index_look(struct search_index *s, const uint8_t owner[16]);

/* While others need the database more.  What is under way is ended. */
void search_index_pause(struct search_index *s, bool paused);

struct search_index_stats {
    uint64_t blocks; /* made since the start */
    uint64_t rows;   /* in them */
    bool idle;       /* every account was looked at and nothing waits */
};
void search_index_get_stats(const struct search_index *s, struct search_index_stats *out);

#endif
