// SPDX-License-Identifier: Apache-2.0
/* Stanzas put aside in the real database, and tried again through the real ingest. */
#include "archive/quarantine.h"

#include "database.h"

#include "archive/ident.h"
#include "archive/ingest.h"
#include "archive/opts.h"
#include "base/xml_parse.h"
#include "store/pg.h"

#define POOL 2

static struct archive_opts settings = {.own_message_reads = true, .groupchat = true};
static const uint8_t spools[1][16] = {{7, 7, 7}};

static struct world {
    struct event_base *base;
    struct ingest *ing;
    struct pg_pool *pool;
    struct quarantine *quarantine;
    uint64_t passed; /* a stanza is 100 bytes of the spool */
    char raw[100000];
    size_t raw_n;
    bool raw_gone;
    unsigned reads; /* of stanzas that were tried again */
    void (*in_read)(void);
    const char *unreadable;
    char room[32]; /* what was put aside was said there; "": to an account */
} w;

static bool on_raw(void *ctx, const struct place *place, struct ingest_raw *out)
{
    (void)ctx;
    assert_int_equal(place->end - place->begin, 100);
    *out = (struct ingest_raw){.bytes = (const uint8_t *)w.raw,
                               .bytes_n = w.raw_n,
                               .header = (const uint8_t *)"<s>",
                               .header_n = 3};
    return !w.raw_gone;
}

static void give_message(quarantine_event_fn event, void *ctx, const char *text)
{
    struct err e;
    struct stanza *s = xml_parse_element(text, strlen(text), &e);
    assert_non_null(s);
    const struct event ev = {.kind = *w.room ? EVENT_GROUPCHAT : EVENT_MESSAGE,
                             .from = "li@here",
                             .from_resource = "r",
                             .to = *w.room ? w.room : "mei@here",
                             .to_resource = "",
                             .from_local = true,
                             .to_local = !*w.room,
                             .id = stanza_get(s, "id"),
                             .received_us = 1795175400 * INT64_C(1000000),
                             .stanza = s};
    event(ctx, &ev);
    stanza_free(&s);
}

/* What the bytes are is the message. */
static enum err_kind on_read(void *ctx, const struct quarantine_stanza *s,
                             quarantine_event_fn event, void *event_ctx, struct err *e)
{
    char text[4096];
    (void)ctx;
    w.reads++;
    if (w.in_read)
        w.in_read();
    assert_int_equal(s->header_n, s->bytes_n ? 3 : 0);
    if (w.unreadable)
        return err_set(e, ERR_REJECT, "%s", w.unreadable);
    snprintf(text, sizeof text, "%.*s", (int)s->bytes_n, (const char *)s->bytes);
    if (s->bytes_n > 0)
        give_message(event, event_ctx, text);
    return ERR_NONE;
}

static bool is_ready(void *ctx)
{
    (void)ctx;
    return ingest_ready(w.ing) && pg_pool_is_up(w.pool);
}

static void start(void)
{
    struct ingest_opts opts = {.url = db_url(),
                               .archive = &settings,
                               .spools = 1,
                               .spool_ids = spools,
                               .queue_bytes_max = 64 << 20,
                               .queue_rows_max = 100000,
                               .hooks = {.raw = on_raw}};
    struct pg_opts reader = {.url = db_url(), .name = "reader", .statement_timeout_ms = 60000};
    w.ing = ingest_new(w.base, &opts);
    w.pool = pg_pool_new(w.base, &reader, POOL);
    db_loop(w.base, is_ready, NULL);
    struct quarantine_opts q = {.pool = w.pool, .ingest = w.ing, .read = on_read};
    w.quarantine = quarantine_new(w.base, &q);
}

static void stop(void)
{
    ingest_free(&w.ing);
    pg_pool_free(&w.pool);
    quarantine_free(&w.quarantine);
}

static int setup(void **state)
{
    (void)state;
    memset(&w, 0, sizeof w);
    db_fresh();
    w.base = event_base_new();
    w.raw_n = (size_t)snprintf(w.raw, sizeof w.raw,
                               "<message xmlns='jabber:client' type='chat' id='m1'>"
                               "<body>hello</body></message>");
    start();
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    stop();
    event_base_free(w.base);
    return 0;
}

static bool all_committed(void *ctx)
{
    (void)ctx;
    return ingest_committed(w.ing, 0) == w.passed;
}

static void put_aside(uint64_t begin, const char *why, uint64_t length, bool with_bytes)
{
    const struct ingest_aside a = {.place = {0, begin, begin + 100},
                                   .why = why,
                                   .length = length,
                                   .received_us = 1795175400 * INT64_C(1000000),
                                   .with_bytes = with_bytes};
    assert_int_equal(ingest_put_aside(w.ing, &a), INGEST_TAKEN);
    if (begin + 100 > w.passed)
        w.passed = begin + 100;
    ingest_passed(w.ing, 0, w.passed);
    db_loop(w.base, all_committed, NULL);
}

static int rows(void)
{
    return (int)db_int("SELECT count(*) FROM xs.message");
}

static int asides(void)
{
    return (int)db_int("SELECT count(*) FROM xs.quarantine");
}

static void assert_state_is_right(void)
{
    assert_int_equal(
        db_int("SELECT count(*) FROM xs.quarantine_state s WHERE (s.rows, s.bytes) ="
               " (SELECT count(*), coalesce(sum(octet_length(bytes)), 0) FROM xs.quarantine)"),
        1);
}

static void wish_retry(uint64_t begin)
{
    char sql[256];
    snprintf(sql, sizeof sql,
             "UPDATE xs.quarantine SET retry_at = now(), tries = 0, retry_error = NULL"
             " WHERE pos = %llu",
             (unsigned long long)begin);
    db_do(sql);
}

static bool nothing_waits(void *ctx)
{
    (void)ctx;
    return db_int("SELECT count(*) FROM xs.quarantine WHERE retry_at IS NOT NULL") == 0;
}

/* No lane holds a lock any more. */
static bool queue_is_empty(void *ctx)
{
    (void)ctx;
    struct ingest_stats st;
    ingest_get_stats(w.ing, &st);
    return st.queue_rows == 0;
}

static const char *retry_error(void)
{
    return db_ask("SELECT retry_error FROM xs.quarantine");
}

/* --- putting aside --- */

static void a_stanza_is_kept_once_with_its_bytes_reason_and_length(void **state)
{
    (void)state;
    put_aside(300, "over a limit: depth", 5, true);
    assert_string_equal(db_ask("SELECT reason FROM xs.quarantine"), "over a limit: depth");
    assert_int_equal(db_int("SELECT length FROM xs.quarantine"), (long long)w.raw_n);
    assert_int_equal(db_int("SELECT octet_length(bytes) FROM xs.quarantine"),
                     (long long)w.raw_n);
    assert_string_equal(db_ask("SELECT convert_from(header, 'UTF8') FROM xs.quarantine"),
                        "<s>");
    assert_int_equal(db_int("SELECT extract(epoch FROM received_at) FROM xs.quarantine"),
                     1795175400);
    struct ingest_stats st;
    ingest_get_stats(w.ing, &st);
    assert_int_equal(st.quarantined, 1);
    assert_true(st.queue_rows == 0 && rows() == 0);
    /* A new worker reads the same part of the spool again. */
    stop();
    start();
    put_aside(300, "again", 5, true);
    assert_int_equal(asides(), 1);
    assert_int_equal(db_int("SELECT total FROM xs.quarantine_state"), 1);
    assert_state_is_right();
}

static void of_a_large_one_the_beginning_is_kept_and_the_true_length(void **state)
{
    (void)state;
    w.raw_n = INGEST_RAW_BYTES + 10;
    memset(w.raw, 'x', w.raw_n);
    put_aside(0, "over a limit: size", 5000000, true);
    assert_int_equal(db_int("SELECT octet_length(bytes) FROM xs.quarantine"),
                     INGEST_RAW_BYTES);
    assert_int_equal(db_int("SELECT length FROM xs.quarantine"), 5000000);
    assert_state_is_right();
}

static void without_bytes_only_reason_and_length_are_kept(void **state)
{
    (void)state;
    put_aside(0, "a request", 77, false);
    put_aside(100, "gone", 78, (w.raw_gone = true));
    assert_int_equal(db_int("SELECT sum(octet_length(bytes)) FROM xs.quarantine"), 0);
    assert_int_equal(db_int("SELECT min(length) * max(length) FROM xs.quarantine"), 77 * 78);
    assert_state_is_right();
}

static void beyond_the_maximum_the_oldest_go_and_are_counted(void **state)
{
    (void)state;
    db_do("UPDATE xs.quarantine_state SET rows_max = 3");
    for (uint64_t i = 0; i < 5; i++)
        put_aside(100 * i, "x", 5, true);
    assert_int_equal(asides(), 3);
    assert_int_equal(db_int("SELECT min(pos) FROM xs.quarantine"), 200);
    assert_int_equal(db_int("SELECT total * 100 + evicted FROM xs.quarantine_state"), 502);
    /* By bytes as well; and what waits to be tried again stays. */
    quarantine_free(&w.quarantine);
    wish_retry(200);
    db_do("UPDATE xs.quarantine_state SET bytes_max = 200");
    put_aside(500, "y", 5, true);
    assert_int_equal(db_int("SELECT min(pos) * 1000 + max(pos) FROM xs.quarantine"), 200500);
    assert_int_equal(asides(), 2);
    assert_state_is_right();
}

/* --- trying again --- */

static void a_retried_message_is_archived_and_its_row_goes(void **state)
{
    (void)state;
    put_aside(0, "x", 5, true);
    wish_retry(0);
    db_loop(w.base, nothing_waits, NULL);
    assert_int_equal(asides(), 0);
    assert_int_equal(rows(), 2);
    assert_int_equal(w.reads, 1);
    assert_int_equal(db_int("SELECT unread FROM xs.account WHERE jid = 'mei@here'"), 1);
    assert_int_equal(db_int("SELECT count(*) FROM xs.message WHERE flags & 64 = 64"), 2);
    assert_state_is_right();
}

/* As when a worker died between the commit of the rows and the end of the quarantine's row. */
static void a_message_that_is_archived_already_is_not_archived_twice(void **state)
{
    (void)state;
    for (uint64_t i = 0; i < 3; i++) {
        put_aside(100 * i, "x", 5, true);
        wish_retry(100 * i);
        db_loop(w.base, nothing_waits, NULL);
    }
    assert_int_equal(w.reads, 3);
    assert_int_equal(asides(), 0);
    assert_int_equal(rows(), 2);
    assert_int_equal(db_int("SELECT unread FROM xs.account WHERE jid = 'mei@here'"), 1);
}

static void what_cannot_be_read_again_stays_with_the_reason(void **state)
{
    (void)state;
    put_aside(0, "x", 5, true);
    w.unreadable = "it is over a limit: depth";
    wish_retry(0);
    db_loop(w.base, nothing_waits, NULL);
    assert_string_equal(retry_error(), "it is over a limit: depth");
    assert_string_equal(db_ask("SELECT reason FROM xs.quarantine"), "x");
    w.unreadable = NULL;
    wish_retry(0);
    db_loop(w.base, nothing_waits, NULL);
    assert_int_equal(asides(), 0);
}

static void what_was_cut_is_not_tried(void **state)
{
    (void)state;
    w.raw_n = INGEST_RAW_BYTES + 10;
    memset(w.raw, 'x', w.raw_n);
    put_aside(0, "over a limit: size", 5000000, true);
    wish_retry(0);
    db_loop(w.base, nothing_waits, NULL);
    assert_string_equal(retry_error(), "only its beginning was kept");
    assert_int_equal(w.reads, 0);
}

static void what_is_nothing_for_the_archive_stays_with_the_reason(void **state)
{
    (void)state;
    put_aside(0, "a request", 0, false);
    wish_retry(0);
    db_loop(w.base, nothing_waits, NULL);
    assert_string_equal(retry_error(), "nothing in it is for the archive");
}

static void what_postgres_refuses_again_stays_with_the_reason(void **state)
{
    (void)state;
    put_aside(0, "x", 5, true);
    db_do("ALTER TABLE xs.message ADD CONSTRAINT none CHECK (body <> 'hello')");
    wish_retry(0);
    db_loop(w.base, nothing_waits, NULL);
    assert_int_equal(strncmp(retry_error(), "23514: ", 7), 0);
    assert_int_equal(rows(), 0);
    db_loop(w.base, queue_is_empty, NULL);
    db_do("ALTER TABLE xs.message DROP CONSTRAINT none");
    wish_retry(0);
    db_loop(w.base, nothing_waits, NULL);
    assert_int_equal(asides(), 0);
    assert_int_equal(rows(), 2);
    assert_state_is_right();
}

static unsigned lane_of(const char *jid)
{
    uint8_t owner[OWNER_BYTES];
    ident_owner(ingest_ident(w.ing), jid, owner);
    return ident_lane(ingest_ident(w.ing), owner);
}

/* The room owns it, and is in another lane than who said it. */
static void what_was_said_in_a_room_stays_until_the_room_has_it(void **state)
{
    (void)state;
    for (int i = 0; !*w.room || lane_of(w.room) == lane_of("li@here"); i++)
        snprintf(w.room, sizeof w.room, "den%d@rooms.here", i);
    put_aside(0, "x", 5, true);
    db_do("ALTER TABLE xs.message ADD CONSTRAINT none CHECK (body <> 'hello')");
    wish_retry(0);
    db_loop(w.base, nothing_waits, NULL);
    db_loop(w.base, queue_is_empty, NULL);
    assert_int_equal(asides(), 1);
    assert_int_equal(strncmp(retry_error(), "23514: ", 7), 0);
    db_do("ALTER TABLE xs.message DROP CONSTRAINT none");
    wish_retry(0);
    db_loop(w.base, nothing_waits, NULL);
    assert_int_equal(asides(), 0);
    assert_int_equal(rows(), 1);
}

static void drop_it(void)
{
    db_do("SELECT xs.quarantine_drop(spool, pos) FROM xs.quarantine");
}

static void wish_again(void)
{
    db_do("UPDATE xs.quarantine SET tries = 0, retry_at = now()");
    w.in_read = NULL;
}

static bool read_twice(void *ctx)
{
    (void)ctx;
    return w.reads == 2 && asides() == 0;
}

static void a_wish_that_comes_while_it_is_tried_is_not_lost(void **state)
{
    (void)state;
    put_aside(0, "x", 5, true);
    w.in_read = wish_again;
    wish_retry(0);
    db_loop(w.base, read_twice, NULL);
    assert_int_equal(rows(), 2);
    /* Dropped meanwhile: it is archived all the same, and nobody stumbles. */
    put_aside(100, "x", 5, true);
    w.in_read = drop_it;
    wish_retry(100);
    db_loop(w.base, nothing_waits, NULL);
    assert_int_equal(asides(), 0);
    assert_state_is_right();
}

/* Each worker commits that it tries before it looks. */
static void what_workers_died_over_is_not_tried_for_ever(void **state)
{
    (void)state;
    put_aside(0, "x", 5, true);
    stop();
    wish_retry(0);
    db_do("UPDATE xs.quarantine SET tries = 3");
    start();
    db_loop(w.base, nothing_waits, NULL);
    assert_string_equal(retry_error(), "workers died while they tried it");
    assert_int_equal(w.reads, 0);
    assert_int_equal(rows(), 0);
}

static bool status_tells(void *ctx)
{
    struct quarantine_status s;
    quarantine_get_status(w.quarantine, &s);
    return s.rows == 1 && s.bytes == w.raw_n && s.total == *(uint64_t *)ctx &&
           s.evicted == *(uint64_t *)ctx - 1 && s.waiting == 0;
}

static void the_status_counts_what_is_there_and_what_ever_was(void **state)
{
    (void)state;
    uint64_t total = 2;
    db_do("UPDATE xs.quarantine_state SET rows_max = 1");
    put_aside(0, "x", 5, true);
    put_aside(100, "x", 5, true);
    db_loop(w.base, status_tells, &total);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_stanza_is_kept_once_with_its_bytes_reason_and_length),
        TEST(of_a_large_one_the_beginning_is_kept_and_the_true_length),
        TEST(without_bytes_only_reason_and_length_are_kept),
        TEST(beyond_the_maximum_the_oldest_go_and_are_counted),
        TEST(a_retried_message_is_archived_and_its_row_goes),
        TEST(a_message_that_is_archived_already_is_not_archived_twice),
        TEST(what_cannot_be_read_again_stays_with_the_reason),
        TEST(what_was_cut_is_not_tried),
        TEST(what_is_nothing_for_the_archive_stays_with_the_reason),
        TEST(what_postgres_refuses_again_stays_with_the_reason),
        TEST(what_was_said_in_a_room_stays_until_the_room_has_it),
        TEST(a_wish_that_comes_while_it_is_tried_is_not_lost),
        TEST(what_workers_died_over_is_not_tried_for_ever),
        TEST(the_status_counts_what_is_there_and_what_ever_was),
    };
    return cmocka_run_group_tests(tests, db_open, db_close);
}
