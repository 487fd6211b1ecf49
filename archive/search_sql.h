// SPDX-License-Identifier: Apache-2.0
/* The statements of full-text search.  All are of one owner; each look-up is one by index. */
#ifndef ARCHIVE_SEARCH_SQL_H
#define ARCHIVE_SEARCH_SQL_H

#include "store/pg.h"

/* Making blocks. */

/* owner, rows of a block - 1 -> above, last_id, whether it was there; no row: nothing to do.
 */
extern const struct pg_statement search_sql_probe;
/* owner, above, last, rows -> id, peer, body (NULL: nothing to find); fewer than asked for
 * when they are large. */
extern const struct pg_statement search_sql_rows;
/* owner, above, last; affects nothing when somebody has begun it, or the account has gone. */
extern const struct pg_statement search_sql_open;
/* owner, above, last, ids, buckets, grams, forgot; affects nothing when it was made meanwhile,
 * or something of it was forgotten. */
extern const struct pg_statement search_sql_write;
/* owner, accounts, rows of a block - 1 -> the next owners, whether there is something to do.
 */
extern const struct pg_statement search_sql_accounts;

/* Finding. */

/* owner -> the last id of the newest block, 0 when there is none. */
extern const struct pg_statement search_sql_bound;
/* owner, low, high, blocks, buckets -> above, last_id, whether it is indexed, bucket, grams
 * (NULL when it has none of these; both NULL when it is not indexed); by block. */
extern const struct pg_statement search_sql_blocks_up;
extern const struct pg_statement search_sql_blocks_down;
/* owner, blocks' above, row in each from 1, low, high, peer (0: any) -> id, body; by id.  The
 * first id is NULL when one of the blocks is not indexed any more. */
extern const struct pg_statement search_sql_bodies;
/* owner, low, high, rows, peer -> id, body (NULL: nothing to find). */
extern const struct pg_statement search_sql_scan_up;
extern const struct pg_statement search_sql_scan_down;

#endif
