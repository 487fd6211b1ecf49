// SPDX-License-Identifier: Apache-2.0
/* Between the files that answer MAM: the door (mam.c), pages, what they look like, metadata.
 */
#ifndef ARCHIVE_MAM_INT_H
#define ARCHIVE_MAM_INT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "archive/lookup.h"
#include "archive/mam.h"
#include "archive/mam_query.h"
#include "archive/mam_sql.h"
#include "archive/search.h"
#include "base/buf.h"
#include "store/pg_array.h"

struct mam {
    const struct archive_opts *opts;
    struct lookups *lookups;
    struct search *search; /* NULL: not offered */
    struct mam_sql *sql;
};

struct mam_row {
    int64_t id;
    size_t at; /* in the page's bytes */
    size_t len;
};

#define MAM_COUNT_MAX 1000 /* counting stops here: a larger number is not told */
#define MAM_PAGE_MAGIC 0x6d616d31u

/* One query under way. */
struct mam_page {
    struct lookup lookup; /* first */
    unsigned magic;
    struct mam *mam;
    struct mam_query query;
    uint64_t peer;            /* 0: any */
    struct pg_array ids;      /* sorted, each once; empty: any */
    struct search_text *text; /* NULL: any */
    enum search_end end;      /* of the last search for it */
    int64_t found_to;         /* the last id that it found */
    int64_t *wanted;          /* ids, for the search; NULL: any */
    int64_t low;              /* the filter: ids wanted lie strictly between */
    int64_t high;
    int64_t from; /* what is still to be read of it: between these */
    int64_t to;
    bool backward;
    bool anchored; /* by the client's result set: it has seen other pages */
    size_t want;
    unsigned chunks;
    bool large;     /* a large stanza was met */
    bool has_count; /* the filter's whole set has this size */
    int64_t count;
    struct mam_row *rows; /* in the order they were read; one more than wanted when there is */
    size_t rows_n;
    bool more; /* the page was cut: there are further messages in this direction */
    struct buf bytes;
};

void mam_page_ask(struct mam *m, const struct archive_request *r,
                  const struct archive_answer *answer);
/* The filters that SQL knows; the rest of the selection is the caller's. */
void mam_page_select(const struct mam_page *p, struct mam_selection *out);
/* How many rows to read at once: one more than wanted tells whether there are more. */
size_t mam_page_chunk(const struct mam_page *p);
/* Which statement reads the next rows. */
enum mam_read mam_page_order(const struct mam_page *p);
/* False when the page is full: this row is beyond it. */
bool mam_page_take(struct mam_page *p, int64_t id, const uint8_t *xml, size_t len);
/* Goes on reading, or ends with what it has when that took too long. */
void mam_page_read(struct mam_page *p);
/* What was found so far is a page that was cut; none at all would leave the client without an
 * anchor, so that is refused with this advice. */
void mam_page_give_up(struct mam_page *p, const char *advice);
/* Sends what was read, and ends the page. */
void mam_page_answer(struct mam_page *p);

/* mam_search.c: the same of what is written in messages.  False: it has been refused. */
bool mam_search_begin(struct mam_page *p);
void mam_search_count(struct mam_page *p);
void mam_search_read(struct mam_page *p);

void mam_metadata_ask(struct mam *m, const struct archive_request *r,
                      const struct archive_answer *answer);

#endif
