// SPDX-License-Identifier: Apache-2.0
/* For tests that ask an archive in a real database: an ingest that gives the keys, a pool to
 * read with, rows at whatever time, and one question at a time. */
#ifndef TESTS_UNIT_ARCHIVE_WORLD_H
#define TESTS_UNIT_ARCHIVE_WORLD_H

#include "database.h"

#include "archive/ident.h"
#include "archive/ingest.h"
#include "archive/lookup.h"
#include "archive/opts.h"
#include "base/buf.h"
#include "base/stanza.h"
#include "base/xml_parse.h"
#include "store/pg.h"

#define TOLD_BYTES 65536

static struct archive_opts settings;
static struct ingest *ing;
static struct pg_pool *pool, *scans;
static struct lookups *lookups;
static struct event_base *loop;

/* What the last question was answered with. */
static struct told {
    bool open;
    unsigned results;
    char result[TOLD_BYTES]; /* all of them, one behind the other */
    char answer[TOLD_BYTES]; /* the payload, "type/condition" of an error */
} told;

static inline bool archive_is_ready(void *ctx)
{
    (void)ctx;
    return ingest_ready(ing) && pg_pool_is_up(pool) && pg_pool_is_up(scans);
}

/* With an empty schema; at_s lies in a partition. */
static inline void archive_begin(int64_t at_s)
{
    static const uint8_t spools[1][16] = {{7, 7, 7}};
    char sql[128];
    db_fresh();
    snprintf(sql, sizeof sql, "SELECT xs.ensure_partition(to_timestamp(%lld))",
             (long long)at_s);
    db_do(sql);
    struct ingest_opts opts = {.url = db_url(),
                               .archive = &settings,
                               .spools = 1,
                               .spool_ids = spools,
                               .queue_bytes_max = 1 << 20,
                               .queue_rows_max = 1000};
    struct pg_opts reader = {.url = db_url(), .name = "reader", .statement_timeout_ms = 60000};
    loop = event_base_new();
    ing = ingest_new(loop, &opts);
    reader.plans = PG_PLANS_IN_INDEX_ORDER;
    pool = pg_pool_new(loop, &reader, 2);
    reader.name = "scanner";
    scans = pg_pool_new(loop, &reader, 1);
    db_loop(loop, archive_is_ready, NULL);
    const struct lookups_opts all = {.pages = pool,
                                     .scans = scans,
                                     .probe = pool,
                                     .ingest = ing,
                                     .within_ms = LOOKUP_WITHIN_MS};
    lookups = lookups_new(loop, &all);
}

static inline void archive_end(void)
{
    lookups_stop(lookups);
    ingest_free(&ing);
    pg_pool_free(&pool);
    pg_pool_free(&scans);
    lookups_free(&lookups);
    event_base_free(loop);
}

/* A row, its conversation and its counts.  stanza must not contain $$. */
static inline void archive_put(const char *owner, const char *peer, int64_t id, int flags,
                               const char *stanza)
{
    struct ident *ident = ingest_ident(ing);
    uint8_t raw[OWNER_BYTES];
    char uuid[37], *sql = NULL;
    ident_owner(ident, owner, raw);
    for (int i = 0; i < 16; i++)
        snprintf(uuid + 2 * i, 3, "%02x", raw[i]);
    long long peer_hash = (long long)ident_peer(ident, raw, peer);
    if (asprintf(
            &sql,
            "INSERT INTO xs.message (owner, id, peer, ref_id, ref_body, flags, stanza)"
            " VALUES ('%s', %lld, %lld, '%s', 0, %d, convert_to($$%s$$, 'UTF8'));"
            "INSERT INTO xs.conversation AS c (owner, peer, jid, first_id, last_id, unread)"
            " VALUES ('%s', %lld, '%s', %lld, %lld, %d) ON CONFLICT (owner, peer) DO"
            " UPDATE SET last_id = greatest(c.last_id, excluded.last_id),"
            " unread = c.unread + excluded.unread;"
            "INSERT INTO xs.account (owner, jid, unread, unread_conversations)"
            " SELECT '%s', '%s', sum(unread), count(*) FILTER (WHERE unread > 0)"
            " FROM xs.conversation WHERE owner = '%s' ON CONFLICT (owner) DO UPDATE SET"
            " unread = excluded.unread,"
            " unread_conversations = excluded.unread_conversations",
            uuid, (long long)id, peer_hash, uuid, flags, stanza, uuid, peer_hash, peer,
            (long long)id, (long long)id, flags & 1, uuid, owner, uuid) < 0)
        abort();
    db_do(sql);
    free(sql);
}

static inline void told_done(void *ctx, struct stanza *payload)
{
    (void)ctx;
    struct buf b;
    buf_init(&b, TOLD_BYTES - 1);
    if (payload)
        stanza_write(&b, payload, NULL);
    snprintf(told.answer, sizeof told.answer, "%s", buf_cstr(&b));
    buf_deinit(&b);
    told.open = false;
}

static inline bool told_result(void *ctx, const void *xml, size_t len)
{
    (void)ctx;
    size_t at = strlen(told.result);
    snprintf(told.result + at, sizeof told.result - at, "%.*s", (int)len, (const char *)xml);
    told.results++;
    return true;
}

static inline void told_error(void *ctx, const char *type, const char *condition,
                              const char *text)
{
    (void)ctx, (void)text;
    snprintf(told.answer, sizeof told.answer, "%s/%s", type, condition);
    told.open = false;
}

static inline bool told_is_over(void *ctx)
{
    (void)ctx;
    return !told.open;
}

typedef void (*archive_ask_fn)(const struct archive_request *r,
                               const struct archive_answer *answer);

/* ask begins the question, result is given each of its results; what it was answered with. */
static inline const char *
archive_ask_each(archive_ask_fn ask, const char *account, bool is_set, const char *xml,
                 bool (*result)(void *ctx, const void *xml, size_t len))
{
    struct err e = {0};
    struct stanza *payload = xml_parse_element(xml, strlen(xml), &e);
    if (!payload)
        fail_msg("%s: %s", xml, e.text);
    const struct archive_request request = {
        .payload = payload, .is_set = is_set, .account = account, .id = "q1"};
    const struct archive_answer answer = {
        .result = result, .done = told_done, .error = told_error};
    told = (struct told){.open = true};
    ask(&request, &answer);
    db_loop(loop, told_is_over, NULL);
    stanza_free(&payload);
    return told.answer;
}

/* The results are in told.result. */
static inline const char *archive_ask(archive_ask_fn ask, const char *account, bool is_set,
                                      const char *xml)
{
    return archive_ask_each(ask, account, is_set, xml, told_result);
}

#endif
