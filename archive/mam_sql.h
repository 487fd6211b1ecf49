// SPDX-License-Identifier: Apache-2.0
/*
 * The statements that read pages and count: each filter adds its condition, each combination
 * is one statement, and each of them one index scan however large the archive.
 */
#ifndef ARCHIVE_MAM_SQL_H
#define ARCHIVE_MAM_SQL_H

#include <stdbool.h>
#include <stdint.h>

#include "store/pg.h"

struct pg_array;

/* Stanzas of so many bytes end a page. */
#define MAM_PAGE_BYTES (2 << 20)
#define MAM_LARGE_BYTES (16 << 10)

enum mam_read {
    MAM_UP,   /* rows (id, stanza), oldest first; a large stanza is NULL */
    MAM_DOWN, /* newest first */
    /* The same with large stanzas, but what follows MAM_PAGE_BYTES of any is NULL.  Adding up
     * takes as long as reading, so it is for where a large one was met. */
    MAM_LARGE_UP,
    MAM_LARGE_DOWN,
    MAM_COUNT, /* one row: how many there are, up to limit */
    MAM_READS,
};

/* Bits. */
enum mam_filter {
    MAM_BY_PEER = 1,
    MAM_BY_IDS = 2, /* only these: a look-up for each */
    MAM_FILTERS = 4,
};

struct mam_selection {
    const uint8_t *owner;
    int64_t low; /* ids lie strictly between */
    int64_t high;
    int32_t limit;
    unsigned filters;
    int64_t peer;               /* MAM_BY_PEER */
    const struct pg_array *ids; /* MAM_BY_IDS */
};

struct mam_sql;

struct mam_sql *mam_sql_new(void);
void mam_sql_free(struct mam_sql **s);

/* The statement, and its parameters; borrows s until the statement was answered, and what the
 * selection points to until it was sent. */
const struct pg_statement *mam_sql(const struct mam_sql *s, enum mam_read read,
                                   const struct mam_selection *what,
                                   struct pg_params *params_out);

#endif
