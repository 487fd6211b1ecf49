// SPDX-License-Identifier: Apache-2.0
#include "archive/search_sql.h"

/* Retracted, encrypted or failed: nobody finds these. */
#define FINDABLE "m.flags & 44 = 0"
/* A longer body is searched in its beginning only (SEARCH_BODY_BYTES), and not sent whole:
 * what comes at once stays small. */
#define BODY "CASE WHEN octet_length(m.body) <= 65536 THEN m.body ELSE left(m.body, 65536) END"

const struct pg_statement search_sql_probe = {
    "search_probe", "WITH open AS (SELECT b.above, b.last_id, b.forgot FROM xs.search_block b"
                    "   WHERE b.owner = $1::uuid AND b.ids IS NULL ORDER BY b.above LIMIT 1),"
                    " done AS (SELECT coalesce((SELECT b.last_id FROM xs.search_block b"
                    "   WHERE b.owner = $1::uuid ORDER BY b.above DESC LIMIT 1), 0) AS id)"
                    " SELECT o.above, o.last_id, true, o.forgot FROM open o"
                    " UNION ALL"
                    " SELECT d.id, n.id, false, 0 FROM done d CROSS JOIN LATERAL ("
                    "   SELECT m.id FROM xs.message m WHERE m.owner = $1::uuid AND m.id > d.id"
                    "   ORDER BY m.id OFFSET $2::int LIMIT 1) n"};

const struct pg_statement search_sql_rows = {
    "search_rows",
    "SELECT m.id, m.peer, CASE WHEN " FINDABLE " THEN " BODY " END FROM xs.message m"
    " WHERE m.owner = $1::uuid AND m.id > $2::bigint AND m.id <= $3::bigint"
    " ORDER BY m.id LIMIT $4::int"};

/* Who removes an account takes its row first: then this waits, and finds none.  Two workers
 * that make the same block begin it at the same place.  Whoever takes something back or
 * removes it holds the lane: either it is gone when the block's messages are read, or he finds
 * the block and says in it that it has to be read again. */
const struct pg_statement search_sql_open = {
    "search_open",
    "INSERT INTO xs.search_block (owner, above, last_id)"
    " SELECT a.owner, $2::bigint, $3::bigint"
    " FROM (SELECT xs.lane_lock($1::uuid)::text AS held OFFSET 0) l, xs.account a"
    " WHERE l.held IS NOT NULL AND a.owner = $1::uuid FOR KEY SHARE OF a"
    " ON CONFLICT DO NOTHING"};

const struct pg_statement search_sql_write = {
    "search_write",
    "WITH account AS (SELECT a.owner FROM xs.account a WHERE a.owner = $1::uuid"
    "   FOR KEY SHARE),"
    " made AS (UPDATE xs.search_block b SET last_id = $3::bigint, ids = $4::bigint[]"
    "   FROM account a WHERE b.owner = a.owner AND b.above = $2::bigint AND b.ids IS NULL"
    "     AND b.last_id >= $3::bigint AND b.forgot = $7::int"
    "   RETURNING b.owner, b.above)"
    " INSERT INTO xs.search_bucket (owner, above, bucket, grams)"
    " SELECT n.owner, n.above, unnest($5::int[]), unnest($6::bytea[]) FROM made n"};

const struct pg_statement search_sql_accounts = {
    "search_accounts",
    "SELECT a.owner,"
    "   EXISTS (SELECT FROM xs.search_block b WHERE b.owner = a.owner AND b.ids IS NULL)"
    "   OR EXISTS (SELECT FROM xs.message m WHERE m.owner = a.owner AND m.id > coalesce("
    "       (SELECT b.last_id FROM xs.search_block b WHERE b.owner = a.owner"
    "        ORDER BY b.above DESC LIMIT 1), 0)"
    "     ORDER BY m.id OFFSET $3::int LIMIT 1)"
    " FROM (SELECT a.owner FROM xs.account a WHERE a.owner > $1::uuid"
    "   ORDER BY a.owner LIMIT $2::int) a ORDER BY a.owner"};

const struct pg_statement search_sql_bound = {
    "search_bound", "SELECT coalesce((SELECT b.last_id FROM xs.search_block b"
                    " WHERE b.owner = $1::uuid ORDER BY b.above DESC LIMIT 1), 0)"};

/* The block that holds low may begin before it. */
#define BLOCKS(order)                                                                         \
    "WITH part AS (SELECT b.above, b.last_id, b.ids IS NOT NULL AS made"                      \
    "   FROM xs.search_block b WHERE b.owner = $1::uuid AND b.above < $3::bigint"             \
    "     AND b.above >= coalesce((SELECT p.above FROM xs.search_block p"                     \
    "       WHERE p.owner = $1::uuid AND p.above <= $2::bigint"                               \
    "       ORDER BY p.above DESC LIMIT 1), 0)"                                               \
    "   ORDER BY b.above" order " LIMIT $4::int)"                                             \
    " SELECT s.above, s.last_id, s.made, k.bucket, k.grams FROM part s LEFT JOIN LATERAL ("   \
    "   SELECT w.bucket, (SELECT k.grams FROM xs.search_bucket k WHERE k.owner = $1::uuid"    \
    "     AND k.above = s.above AND k.bucket = w.bucket) AS grams"                            \
    "   FROM unnest($5::int[]) AS w (bucket)) k ON s.made"                                    \
    " ORDER BY s.above" order ", k.bucket"

const struct pg_statement search_sql_blocks_up = {"search_blocks_up", BLOCKS("")};
const struct pg_statement search_sql_blocks_down = {"search_blocks_down", BLOCKS(" DESC")};

const struct pg_statement search_sql_bodies = {
    "search_bodies",
    "SELECT m.id, m.body FROM unnest($2::bigint[], $3::int[]) AS c (above, n)"
    " CROSS JOIN LATERAL (SELECT b.ids[c.n] AS id FROM xs.search_block b"
    "   WHERE b.owner = $1::uuid AND b.above = c.above OFFSET 0) b"
    " CROSS JOIN LATERAL (SELECT m.id, " BODY " AS body FROM xs.message m"
    "   WHERE m.owner = $1::uuid AND m.id = b.id AND m.id > $4::bigint AND m.id < $5::bigint"
    "     AND m.body IS NOT NULL AND ($6::bigint = 0 OR m.peer = $6::bigint)"
    "     AND " FINDABLE " OFFSET 0) m"
    " UNION ALL (SELECT NULL, NULL FROM xs.search_block b"
    "   WHERE b.owner = $1::uuid AND b.above = ANY ($2::bigint[]) AND b.ids IS NULL LIMIT 1)"
    " ORDER BY 1 NULLS FIRST"};

#define SCAN(order)                                                                           \
    "SELECT m.id, CASE WHEN " FINDABLE " THEN " BODY " END FROM xs.message m"                 \
    " WHERE m.owner = $1::uuid AND m.id > $2::bigint AND m.id < $3::bigint"                   \
    "   AND ($5::bigint = 0 OR m.peer = $5::bigint) ORDER BY m.id" order " LIMIT $4::int"

const struct pg_statement search_sql_scan_up = {"search_scan_up", SCAN("")};
const struct pg_statement search_sql_scan_down = {"search_scan_down", SCAN(" DESC")};
