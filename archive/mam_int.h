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
#include "base/buf.h"
#include "store/pg_array.h"

struct mam_sql;

struct mam {
    const struct archive_opts *opts;
    struct lookups *lookups;
    struct mam_sql *sql;
};

struct mam_row {
    int64_t id;
    size_t at; /* in the page's bytes */
    size_t len;
};

#define MAM_PAGE_MAGIC 0x6d616d31u

/* One query under way. */
struct mam_page {
    struct lookup lookup; /* first */
    unsigned magic;
    struct mam *mam;
    struct mam_query query;
    uint64_t peer;       /* 0: any */
    struct pg_array ids; /* sorted, each once; empty: any */
    int64_t low;         /* the filter: ids wanted lie strictly between */
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
/* Sends what was read, and ends the page. */
void mam_page_answer(struct mam_page *p);

void mam_metadata_ask(struct mam *m, const struct archive_request *r,
                      const struct archive_answer *answer);

#endif
