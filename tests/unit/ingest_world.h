// SPDX-License-Identifier: Apache-2.0
/*
 * An ingest over a real database, fed from a spool of which each line is one event, and what
 * the database must agree with at any time.
 */
#ifndef TESTS_UNIT_INGEST_WORLD_H
#define TESTS_UNIT_INGEST_WORLD_H

#include "database.h"

#include "archive/ident.h"
#include "archive/ingest.h"
#include "archive/opts.h"
#include "base/xml_parse.h"
#include "store/pg.h"

#define UNUSED __attribute__((unused))
#define SECOND INT64_C(1000000)
#define MINUTE (60 * SECOND)
#define HOUR (60 * MINUTE)
#define DAY (24 * HOUR)

/* --- a spool, a reader of it, and an ingest -----------------------------------------------
 */

struct line {
    struct event ev;
    struct stanza *stanza;
};

struct world {
    struct event_base *base;
    struct ingest *ing;
    const char *url;
    struct line *lines;
    size_t n;
    size_t cap;
    size_t cursor;  /* lines offered */
    int64_t now_us; /* receive time of the next line */
    size_t rows_max;
    bool other_spool; /* as another sidecar has */
    int batches;      /* calls of the hook */
    int ended;
    int committed;
    unsigned samples;
    unsigned progress; /* times that it was told */
    int counted;       /* sum over committed batches */
    int open_counted;
    bool lowered;
    int up;
    int down;
    char why[256];
    void (*in_batch)(struct world *w, struct pg *conn);
    void (*after_batch)(struct world *w, struct pg *conn, bool ok);
    const struct unread_change *changes; /* of the batch, for in_batch */
    size_t changes_n;
    void (*roster)(void *ctx, const char *owner_jid);
    void *roster_ctx;
    int waits_true;
    int waits_false;
    bool undelivered; /* what the next lines say of themselves */
    int told_undelivered;
    int lost;
};

static struct archive_opts settings = {.own_message_reads = true};
static const uint8_t spools[1][16] = {{7, 7, 7}};
static const uint8_t other_spools[1][16] = {{8, 8, 8}};

UNUSED static void on_batch(void *ctx, struct pg *conn, const struct unread_change *changes,
                            size_t n)
{
    struct world *w = ctx;
    assert_true(n > 0);
    w->batches++;
    w->open_counted = 0;
    w->lowered = false;
    for (size_t i = 0; i < n; i++) {
        w->open_counted += (int)changes[i].counted;
        w->lowered = w->lowered || changes[i].lowered;
        w->told_undelivered += changes[i].undelivered;
        assert_true(changes[i].counted == 0 || changes[i].newest_id > 0);
        assert_true(i == 0 || memcmp(changes[i - 1].owner, changes[i].owner,
                                     sizeof changes[i].owner) <= 0);
    }
    w->changes = changes;
    w->changes_n = n;
    if (w->in_batch)
        w->in_batch(w, conn);
}

UNUSED static void on_committed(void *ctx, struct pg *conn, bool ok)
{
    struct world *w = ctx;
    w->ended++;
    if (w->after_batch)
        w->after_batch(w, conn, ok);
    if (ok) {
        w->committed++;
        w->counted += w->open_counted;
    }
}

UNUSED static void on_sample(void *ctx, const uint8_t owner[OWNER_BYTES])
{
    (void)owner;
    ((struct world *)ctx)->samples++;
}

UNUSED static void on_progress(void *ctx)
{
    ((struct world *)ctx)->progress++;
}

UNUSED static void on_state(void *ctx, bool up, const char *why)
{
    struct world *w = ctx;
    snprintf(w->why, sizeof w->why, "%s", why);
    if (up)
        w->up++;
    else
        w->down++;
}

UNUSED static void on_wanted(void *ctx, const char *owner_jid)
{
    struct world *w = ctx;
    w->roster(w->roster_ctx, owner_jid);
}

UNUSED static void on_lost(void *ctx)
{
    ((struct world *)ctx)->lost++;
}

UNUSED static bool is_ready(void *ctx)
{
    return ingest_ready(((struct world *)ctx)->ing);
}

UNUSED static void start(struct world *w)
{
    struct ingest_opts opts = {.url = w->url,
                               .archive = &settings,
                               .spools = 1,
                               .spool_ids = w->other_spool ? other_spools : spools,
                               .queue_bytes_max = 64 << 20,
                               .queue_rows_max = w->rows_max ? w->rows_max : 100000,
                               .hooks = {.batch = on_batch,
                                         .committed = on_committed,
                                         .sample = on_sample,
                                         .progress = on_progress,
                                         .roster = w->roster ? on_wanted : NULL,
                                         .lost = on_lost,
                                         .state = on_state,
                                         .ctx = w}};
    w->ing = ingest_new(w->base, &opts);
}

/* A place of the spool becomes a line: 100 bytes each. */
UNUSED static void begin(struct world *w)
{
    memset(w, 0, sizeof *w);
    db_fresh();
    w->base = event_base_new();
    w->url = db_url();
    struct timespec ts;
    clock_gettime(CLOCK_REALTIME, &ts);
    w->now_us = ts.tv_sec * SECOND - 20 * DAY;
    start(w);
    db_loop(w->base, is_ready, w);
    assert_int_equal(ingest_start_position(w->ing, 0), 0);
}

UNUSED static void end(struct world *w)
{
    ingest_free(&w->ing);
    assert_int_equal(w->batches, w->ended);
    event_base_free(w->base);
    for (size_t i = 0; i < w->n; i++)
        stanza_free(&w->lines[i].stanza);
    free(w->lines);
}

UNUSED static struct event *add(struct world *w, enum event_kind kind, const char *from,
                                const char *to, const char *attrs, const char *inside)
{
    char text[4096];
    struct err e = {0};
    if (w->n == w->cap) {
        w->cap = w->cap ? 2 * w->cap : 64;
        w->lines = realloc(w->lines, w->cap * sizeof *w->lines);
        assert_non_null(w->lines);
    }
    struct line *line = &w->lines[w->n];
    snprintf(text, sizeof text, "<message xmlns='jabber:client' type='%s'%s>%s</message>",
             kind == EVENT_GROUPCHAT || kind == EVENT_REFLECTED ? "groupchat" : "chat", attrs,
             inside);
    line->stanza = xml_parse_element(text, strlen(text), &e);
    if (!line->stanza)
        fail_msg("%s: %s", text, e.text);
    line->ev = (struct event){.kind = kind,
                              .from = from,
                              .from_resource = "r",
                              .to = to,
                              .to_resource = "",
                              .from_local = strstr(from, "@here") != NULL,
                              .to_local = strstr(to, "@here") != NULL,
                              .id = stanza_get(line->stanza, "id"),
                              .received_us = w->now_us,
                              .undelivered = w->undelivered,
                              .place = {0, 100 * w->n, 100 * w->n + 100},
                              .stanza = line->stanza};
    w->now_us += 1000;
    w->n++;
    return &line->ev;
}

UNUSED static struct event *message(struct world *w, const char *from, const char *to,
                                    const char *id)
{
    char attrs[128], inside[128];
    snprintf(attrs, sizeof attrs, " id='%s'", id);
    snprintf(inside, sizeof inside, "<body>text %s</body>", id);
    return add(w, EVENT_MESSAGE, from, to, attrs, inside);
}

UNUSED static struct event *meaning(struct world *w, enum event_kind kind, const char *from,
                                    const char *to, const char *ref)
{
    struct event *ev = add(w, kind, from, to, "", "");
    ev->ref = ref;
    return ev;
}

UNUSED static struct event *retraction(struct world *w, const char *from, const char *to,
                                       const char *id, const char *ref)
{
    char attrs[128], inside[128];
    snprintf(attrs, sizeof attrs, " id='%s'", id);
    snprintf(inside, sizeof inside, "<retract xmlns='urn:xmpp:message-retract:1' id='%s'/>",
             ref);
    return add(w, EVENT_MESSAGE, from, to, attrs, inside);
}

UNUSED static void offer_up_to(struct world *w, size_t end)
{
    while (w->cursor < end) {
        const struct event *ev = &w->lines[w->cursor].ev;
        if (ingest_event(w->ing, ev) == INGEST_FULL)
            return;
        ingest_passed(w->ing, 0, ev->place.end);
        w->cursor++;
    }
}

UNUSED static bool all_committed(void *ctx)
{
    struct world *w = ctx;
    offer_up_to(w, w->n);
    return ingest_ready(w->ing) && ingest_committed(w->ing, 0) == 100 * w->n;
}

UNUSED static void settle(struct world *w)
{
    db_loop(w->base, all_committed, w);
}

/* Each line as a batch of its own. */
UNUSED static void settle_one_by_one(struct world *w)
{
    size_t n = w->n;
    while (w->cursor < n) {
        w->n = w->cursor + 1;
        settle(w);
    }
}

UNUSED static void restart(struct world *w)
{
    ingest_free(&w->ing);
    start(w);
    db_loop(w->base, is_ready, w);
    w->cursor = ingest_start_position(w->ing, 0) / 100;
}

/* --- what the database must agree with ----------------------------------------------------
 */

UNUSED static void assert_counts_are_right(void)
{
    assert_int_equal(
        db_int("SELECT count(*) FROM xs.conversation c WHERE unread <> (SELECT count(*)"
               " FROM xs.message m WHERE m.owner = c.owner AND m.peer = c.peer"
               " AND m.id > c.read_id AND m.flags & 1 = 1)"),
        0);
    assert_int_equal(
        db_int("SELECT count(*) FROM xs.account a WHERE (unread, unread_conversations) <>"
               " (SELECT coalesce(sum(unread), 0), count(*) FILTER (WHERE unread > 0)"
               "  FROM xs.conversation c WHERE c.owner = a.owner)"),
        0);
    assert_int_equal(
        db_int(
            "SELECT count(*) FROM xs.message m WHERE NOT EXISTS (SELECT FROM xs.conversation c"
            " WHERE c.owner = m.owner AND c.peer = m.peer AND m.id BETWEEN c.first_id"
            " AND c.last_id) OR NOT EXISTS (SELECT FROM xs.account a WHERE a.owner = m.owner"
            " AND a.first_id <= m.id)"),
        0);
    assert_int_equal(db_int("SELECT count(*) FROM xs.conversation c WHERE last_id <>"
                            " (SELECT coalesce(max(id), 0) FROM xs.message m"
                            "  WHERE m.owner = c.owner AND m.peer = c.peer)"),
                     0);
    assert_int_equal(db_int("SELECT count(*) FROM xs.lane WHERE last_id <"
                            " (SELECT coalesce(max(id), 0) FROM xs.message"
                            "  WHERE get_byte(uuid_send(owner), 0) & 7 = lane)"),
                     0);
}

UNUSED static int unread_of(const char *owner, const char *peer)
{
    char sql[512];
    snprintf(sql, sizeof sql,
             "SELECT c.unread FROM xs.conversation c JOIN xs.account a USING (owner)"
             " WHERE a.jid = '%s' AND c.jid = '%s'",
             owner, peer);
    return (int)db_int(sql);
}

UNUSED static int total_of(const char *owner)
{
    char sql[256];
    snprintf(sql, sizeof sql, "SELECT unread FROM xs.account WHERE jid = '%s'", owner);
    return (int)db_int(sql);
}

UNUSED static int rows(void)
{
    return (int)db_int("SELECT count(*) FROM xs.message");
}

UNUSED static void assert_unread(struct world *w, const char *owner, const char *peer,
                                 int unread)
{
    settle(w);
    assert_counts_are_right();
    assert_int_equal(unread_of(owner, peer), unread);
}

#endif
