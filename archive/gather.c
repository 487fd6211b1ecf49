// SPDX-License-Identifier: Apache-2.0
#include "archive/gather.h"

#include <stdlib.h>

#include "archive/collect.h"
#include "archive/lookup.h"
#include "archive/rows.h"
#include "base/stanza.h"
#include "base/xml_parse.h"
#include "store/pg_array.h"

#define ROWS_AT_ONCE 2000
#define ARRAY_BYTES_MAX ((size_t)64 << 20)
#define STANZAS_BYTES_MAX "8388608" /* looked through at once, but for the last one's */

/* Where this owner stands, and what follows; one row without a message when nothing does.  A
 * stanza is only read where it may name a thread, and of large ones a few at once. */
static const struct pg_statement read_rows = {
    "gather_rows",
    "SELECT c.upto, c.changed, m.id, m.peer,"
    "   CASE WHEN position('<thread'::bytea IN m.stanza) > 0 THEN m.stanza END"
    " FROM (SELECT coalesce(max(upto), 0) AS upto, coalesce(max(changed), 0) AS changed"
    "   FROM xs.collected WHERE owner = $1::uuid) c"
    " LEFT JOIN LATERAL (SELECT n.*, sum(octet_length(stanza)) OVER (ORDER BY id"
    "     ROWS UNBOUNDED PRECEDING) - octet_length(stanza) AS before"
    "   FROM (SELECT id, peer, stanza FROM xs.message"
    "     WHERE owner = $1::uuid AND id > c.upto AND " ROW_SHOWN
    "     ORDER BY id LIMIT $2::int) n ORDER BY id) m ON m.before < " STANZAS_BYTES_MAX};

static const struct pg_statement read_peers = {
    "gather_peers",
    "SELECT v.peer, v.jid, l.start_us, l.first_id, l.last_id, l.thread, l.removed"
    " FROM unnest($2::bigint[]) AS d (peer)"
    " JOIN xs.conversation v ON v.owner = $1::uuid AND v.peer = d.peer"
    " LEFT JOIN LATERAL (SELECT * FROM xs.collection c WHERE c.owner = $1::uuid"
    "   AND c.peer = d.peer AND c.first_id > 0 ORDER BY c.start_us DESC LIMIT 1) l ON true"};

/* One that a client has saved under the same name gets the messages, too.  Version 0 is the
 * first message, every further one a change. */
static const struct pg_statement write_all = {
    "gather_write",
    "WITH mine AS (INSERT INTO xs.collected AS c (owner, upto, changed)"
    "   VALUES ($1::uuid, $4::bigint, $5::bigint)"
    "   ON CONFLICT (owner) DO UPDATE SET upto = excluded.upto, changed = excluded.changed"
    "   WHERE c.upto = $2::bigint AND c.changed = $3::bigint RETURNING 1),"
    " written AS (INSERT INTO xs.collection AS c"
    "   (owner, peer, start_us, jid, thread, first_id, last_id, version, changed)"
    "   SELECT $1::uuid, d.* FROM unnest($6::bigint[], $7::bigint[], $8::text[], $9::text[],"
    "     $10::bigint[], $11::bigint[], $12::int[], $13::bigint[]) d, mine"
    "   ON CONFLICT (owner, peer, start_us) DO UPDATE SET"
    "     first_id = CASE WHEN c.first_id = 0 THEN excluded.first_id ELSE c.first_id END,"
    "     last_id = excluded.last_id, thread = coalesce(c.thread, excluded.thread),"
    "     version = c.version + excluded.version + 1, changed = excluded.changed,"
    "     removed = false)"
    " SELECT count(*) FROM mine"};

enum { PEER, START, JID, THREAD, FIRST, LAST, VERSION, CHANGED, ARRAYS };

static const enum pg_array_type types[ARRAYS] = {
    [PEER] = PG_INT8,  [START] = PG_INT8, [JID] = PG_TEXT,     [THREAD] = PG_TEXT,
    [FIRST] = PG_INT8, [LAST] = PG_INT8,  [VERSION] = PG_INT4, [CHANGED] = PG_INT8};

struct row {
    int64_t id;
    uint64_t peer;
    struct stanza *stanza; /* NULL: it names no thread */
};

struct gather {
    struct lookup *lookup;
    void (*done)(struct lookup *l);
    int64_t gap_us;
    bool begun;
    int64_t upto; /* as stored */
    int64_t changed;
    struct row *rows;
    size_t n;
};

static void forget_rows(struct gather *g)
{
    for (size_t i = 0; i < g->n; i++)
        stanza_free(&g->rows[i].stanza);
    g->n = 0;
}

static void gather_free(struct gather *g)
{
    forget_rows(g);
    free(g->rows);
    free(g);
}

/* True when g is gone, because whoever waited for it has been answered. */
static bool is_over(struct gather *g, const struct pg_error *e)
{
    if (!lookup_is_over(g->lookup, e))
        return false;
    gather_free(g);
    return true;
}

static void read_more(struct gather *g);

static void on_written(void *ctx, const struct pg_result *r, const struct pg_error *e)
{
    struct gather *g = ctx;
    (void)r; /* when somebody else was first, the next reading shows what he left */
    if (!is_over(g, e))
        read_more(g);
}

static void write_collections(struct gather *g, struct collect *c)
{
    struct pg_array arrays[ARRAYS];
    for (int i = 0; i < ARRAYS; i++)
        pg_array_init(&arrays[i], types[i], ARRAY_BYTES_MAX);
    int64_t changed = g->changed;
    for (const struct collection *one; (one = collect_next(c));) {
        changed = one->last_id > changed ? one->last_id : changed + 1;
        pg_array_add_i64(&arrays[PEER], (int64_t)one->peer);
        pg_array_add_i64(&arrays[START], one->start_us);
        pg_array_add_text(&arrays[JID], one->jid);
        pg_array_add_text(&arrays[THREAD], one->thread);
        pg_array_add_i64(&arrays[FIRST], one->first_id);
        pg_array_add_i64(&arrays[LAST], one->last_id);
        pg_array_add_i32(&arrays[VERSION], (int32_t)one->rows - 1);
        pg_array_add_i64(&arrays[CHANGED], changed);
    }
    struct pg_params p;
    pg_params_init(&p);
    pg_add_uuid(&p, g->lookup->owner);
    pg_add_i64(&p, g->upto);
    pg_add_i64(&p, g->changed);
    pg_add_i64(&p, g->rows[g->n - 1].id);
    pg_add_i64(&p, changed);
    for (int i = 0; i < ARRAYS; i++)
        pg_add_array(&p, &arrays[i]);
    lookup_send(g->lookup, &write_all, &p, on_written, g);
    for (int i = 0; i < ARRAYS; i++)
        pg_array_deinit(&arrays[i]);
}

static void take_peer(struct collect *c, const struct pg_result *r, int i)
{
    uint64_t peer = (uint64_t)pg_i64(r, i, 0);
    if (pg_is_null(r, i, 2)) {
        collect_peer(c, peer, pg_text(r, i, 1), NULL, false);
        return;
    }
    const struct collection last = {.peer = peer,
                                    .start_us = pg_i64(r, i, 2),
                                    .first_id = pg_i64(r, i, 3),
                                    .last_id = pg_i64(r, i, 4),
                                    .thread = pg_is_null(r, i, 5) ? NULL : pg_text(r, i, 5)};
    collect_peer(c, peer, pg_text(r, i, 1), &last, pg_bool(r, i, 6));
}

static const char *thread_of(const struct row *row)
{
    return row->stanza ? stanza_child_text(row->stanza, "thread", row->stanza->ns) : NULL;
}

static void on_peers(void *ctx, const struct pg_result *r, const struct pg_error *e)
{
    struct gather *g = ctx;
    if (is_over(g, e))
        return;
    struct collect *c = collect_new(g->gap_us);
    for (int i = 0; i < pg_rows(r); i++)
        take_peer(c, r, i);
    for (size_t i = 0; i < g->n; i++)
        collect_row(c, g->rows[i].peer, g->rows[i].id, thread_of(&g->rows[i]));
    write_collections(g, c);
    collect_free(&c);
}

static int by_peer(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

static void ask_peers(struct gather *g)
{
    uint64_t *peers = malloc(g->n * sizeof *peers);
    if (!peers)
        abort();
    for (size_t i = 0; i < g->n; i++)
        peers[i] = g->rows[i].peer;
    qsort(peers, g->n, sizeof *peers, by_peer);
    struct pg_array array;
    pg_array_init(&array, PG_INT8, ARRAY_BYTES_MAX);
    for (size_t i = 0; i < g->n; i++)
        if (i == 0 || peers[i] != peers[i - 1])
            pg_array_add_i64(&array, (int64_t)peers[i]);
    free(peers);
    struct pg_params p;
    pg_params_init(&p);
    pg_add_uuid(&p, g->lookup->owner);
    pg_add_array(&p, &array);
    lookup_send(g->lookup, &read_peers, &p, on_peers, g);
    pg_array_deinit(&array);
}

static void take_row(struct gather *g, const struct pg_result *r, int i)
{
    struct row *row = &g->rows[g->n++];
    *row = (struct row){.id = pg_i64(r, i, 2), .peer = (uint64_t)pg_i64(r, i, 3)};
    if (pg_is_null(r, i, 4))
        return;
    size_t len;
    struct err e;
    const uint8_t *xml = pg_bytes(r, i, 4, &len);
    row->stanza = xml_parse_element((const char *)xml, len, &e);
}

static void on_rows(void *ctx, const struct pg_result *r, const struct pg_error *e)
{
    struct gather *g = ctx;
    if (is_over(g, e))
        return;
    g->upto = pg_i64(r, 0, 0);
    g->changed = pg_i64(r, 0, 1);
    for (int i = 0; i < pg_rows(r) && !pg_is_null(r, i, 2); i++)
        take_row(g, r, i);
    if (g->n > 0) {
        ask_peers(g);
        return;
    }
    struct lookup *l = g->lookup;
    void (*done)(struct lookup * l) = g->done;
    gather_free(g);
    done(l);
}

/* Ends with a reading that finds nothing, so that what came meanwhile is there as well. */
static void read_more(struct gather *g)
{
    forget_rows(g);
    if (g->begun && lookup_should_end(g->lookup)) {
        struct lookup *l = g->lookup;
        gather_free(g);
        lookup_refuse(l, "wait", "resource-constraint",
                      "the archive is being arranged: ask again");
        return;
    }
    g->begun = true;
    struct pg_params p;
    pg_params_init(&p);
    pg_add_uuid(&p, g->lookup->owner);
    pg_add_i32(&p, ROWS_AT_ONCE);
    lookup_send(g->lookup, &read_rows, &p, on_rows, g);
}

void gather_start(struct lookup *l, int64_t gap_us, void (*done)(struct lookup *l))
{
    struct gather *g = calloc(1, sizeof *g);
    if (!g)
        abort();
    g->lookup = l;
    g->done = done;
    g->gap_us = gap_us;
    g->rows = calloc(ROWS_AT_ONCE, sizeof *g->rows);
    if (!g->rows)
        abort();
    read_more(g);
}
