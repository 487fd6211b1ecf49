// SPDX-License-Identifier: Apache-2.0
#include "archive/provisional.h"

#include "tests/unit/ingest_world.h"

#include <inttypes.h>

#include "archive/rows.h"

struct provisional_world {
    struct world w;
    struct pg_pool *pool;
    bool done;
    bool yes; /* what was answered */
};

static struct provisional_world p;

static bool pool_up(void *ctx)
{
    (void)ctx;
    return pg_pool_is_up(p.pool);
}

static bool is_done(void *ctx)
{
    (void)ctx;
    return p.done;
}

static int begin_all(void **state)
{
    (void)state;
    begin(&p.w);
    struct pg_opts opts = {.url = db_url(), .name = "test", .statement_timeout_ms = 60000};
    p.pool = pg_pool_new(p.w.base, &opts, 1);
    db_loop(p.w.base, pool_up, NULL);
    return 0;
}

static int end_all(void **state)
{
    (void)state;
    end(&p.w);
    pg_pool_free(&p.pool);
    return 0;
}

static void on_answer(void *ctx, bool yes)
{
    (void)ctx;
    p.done = true;
    p.yes = yes;
}

static void on_match(void *ctx, bool yes, const struct pg_error *e)
{
    assert_int_equal(e->failure, PG_OK);
    on_answer(ctx, yes);
}

static void tell(const char *to, const char *from, uint8_t id, const char *body)
{
    const uint8_t raw[16] = {id};
    const struct ingest_provisional one = {
        .owner_jid = to, .peer_jid = from, .id = raw, .body = body, .at_us = p.w.now_us};
    p.done = false;
    p.w.now_us += 1000;
    ingest_provisional(p.w.ing, &one, db_now_ms() + 9000, on_answer, NULL);
    db_loop(p.w.base, is_done, NULL);
    assert_true(p.yes);
    assert_counts_are_right();
}

static bool matches(const char *body, bool vague, int64_t later_us)
{
    const struct provisional_question q = {.owner_jid = "mei@here",
                                           .peer_jid = "far@there",
                                           .body = body,
                                           .vague = vague,
                                           .at_us = p.w.now_us + later_us};
    p.done = false;
    provisional_match(p.pool, ingest_ident(p.w.ing), &q, on_match, NULL);
    db_loop(p.w.base, is_done, NULL);
    return p.yes;
}

static int provisional_rows(void)
{
    return (int)db_int("SELECT count(*) FROM xs.message WHERE flags & 257 = 257");
}

static void a_message_without_text_is_counted_once(void **state)
{
    (void)state;
    tell("mei@here", "far@there", 1, "hello");
    tell("mei@here", "far@there", 1, "hello");
    assert_int_equal(unread_of("mei@here", "far@there"), 1);
    tell("mei@here", "far@there", 2, "hello");
    assert_int_equal(unread_of("mei@here", "far@there"), 2);
    assert_int_equal(total_of("mei@here"), 2);
    assert_int_equal(p.w.counted, 2); /* told to the outbox */
    assert_int_equal(db_int("SELECT count(*) FROM xs.message WHERE flags & 32 = 0"), 0);
    assert_string_equal(db_ask("SELECT min(body) FROM xs.message"), "hello");
}

static void the_text_takes_its_place_and_is_not_told_again(void **state)
{
    (void)state;
    struct world *w = &p.w;
    for (uint8_t i = 1; i <= 3; i++)
        tell("mei@here", "far@there", i, "hello");
    tell("mei@here", "other@there", 9, "hello");
    assert_int_equal(w->counted, 4);
    int64_t sent = w->now_us - MINUTE;
    message(w, "far@there", "mei@here", "a")->delayed_us = sent;
    message(w, "far@there", "mei@here", "b")->delayed_us = sent;
    assert_unread(w, "mei@here", "far@there", 3);
    assert_int_equal(w->counted, 4);
    assert_int_equal(provisional_rows(), 2);
    /* A copy of it takes nothing more; one that comes live is another message. */
    message(w, "far@there", "mei@here", "a")->delayed_us = sent;
    assert_unread(w, "mei@here", "far@there", 3);
    assert_int_equal(provisional_rows(), 2);
    message(w, "far@there", "mei@here", "live");
    assert_unread(w, "mei@here", "far@there", 4);
    assert_int_equal(w->counted, 5);
    message(w, "far@there", "mei@here", "c")->delayed_us = sent;
    message(w, "far@there", "mei@here", "d")->delayed_us = sent;
    assert_unread(w, "mei@here", "far@there", 5);
    assert_int_equal(w->counted, 6); /* d was not told of */
    assert_int_equal(provisional_rows(), 1);
    assert_int_equal(unread_of("mei@here", "other@there"), 1);
}

/* Offline messages come all at once, so in one batch. */
static void a_text_that_is_taken_back_at_once_leaves_nothing_to_read(void **state)
{
    (void)state;
    struct world *w = &p.w;
    for (int way = 0; way < 2; way++) {
        tell("mei@here", "far@there", (uint8_t)(way + 1), "hello");
        const char *id = way ? "b" : "a";
        message(w, "far@there", "mei@here", id)->delayed_us = w->now_us - MINUTE;
        if (way)
            settle(w);
        retraction(w, "far@there", "mei@here", way ? "rb" : "ra", id)->delayed_us =
            w->now_us - MINUTE;
        assert_unread(w, "mei@here", "far@there", 0);
        assert_int_equal(provisional_rows(), 0);
    }
}

static void a_text_that_comes_when_it_is_given_up_counts_once(void **state)
{
    (void)state;
    struct world *w = &p.w;
    tell("mei@here", "far@there", 1, "hello");
    tell("mei@here", "far@there", 2, "hello");
    uint8_t owner[OWNER_BYTES];
    uint64_t first = 0;
    ident_owner(ingest_ident(w->ing), "mei@here", owner);
    const char *hex = db_ask("SELECT right(replace(ref_id::text, '-', ''), 16)"
                             " FROM xs.message ORDER BY id LIMIT 1");
    sscanf(hex, "%16" SCNx64, &first);
    ingest_forget_provisional(w->ing, "mei@here",
                              ident_peer(ingest_ident(w->ing), owner, "far@there"), first);
    message(w, "far@there", "mei@here", "a")->delayed_us = w->now_us - MINUTE;
    assert_unread(w, "mei@here", "far@there", 1); /* in the place of the second */
    assert_int_equal(provisional_rows(), 0);
}

static void a_text_that_comes_with_its_publish_counts_once(void **state)
{
    (void)state;
    struct world *w = &p.w;
    const uint8_t raw[16] = {1};
    const struct ingest_provisional one = {.owner_jid = "mei@here",
                                           .peer_jid = "far@there",
                                           .id = raw,
                                           .body = "hello",
                                           .at_us = w->now_us};
    ingest_provisional(w->ing, &one, db_now_ms() + 9000, on_answer, NULL);
    message(w, "far@there", "mei@here", "a")->delayed_us = w->now_us - MINUTE;
    assert_unread(w, "mei@here", "far@there", 1);
    assert_int_equal(provisional_rows(), 0);
    assert_int_equal(w->counted, 1);
}

static void what_was_read_is_not_taken_off_twice(void **state)
{
    (void)state;
    struct world *w = &p.w;
    tell("mei@here", "far@there", 1, "hello");
    message(w, "mei@here", "far@there", "answer");
    assert_unread(w, "mei@here", "far@there", 0);
    message(w, "far@there", "mei@here", "a")->delayed_us = w->now_us - MINUTE;
    assert_unread(w, "mei@here", "far@there", 1);
    meaning(w, EVENT_MARKER, "mei@here", "far@there", "a");
    assert_unread(w, "mei@here", "far@there", 0);
}

static void a_message_is_matched_by_what_it_says_and_by_its_time(void **state)
{
    (void)state;
    struct world *w = &p.w;
    assert_false(matches("hello", false, 0));
    add(w, EVENT_MESSAGE, "far@there", "mei@here", " id='1'", "<body>hello</body>");
    add(w, EVENT_MESSAGE, "other@there", "mei@here", " id='2'", "<body>mine</body>");
    add(w, EVENT_MESSAGE, "mei@here", "far@there", " id='3'", "<body>my words</body>");
    settle(w);
    assert_true(matches("hello", false, 0));
    assert_true(matches("New message", true, 0));     /* beside it, whatever it says */
    assert_true(matches("hello", false, 5 * MINUTE)); /* a session that is given up */
    assert_false(matches("hello", false, 20 * MINUTE));
    assert_false(matches("else", false, 5 * MINUTE));
    assert_false(matches("mine", false, 5 * MINUTE));
    assert_false(matches("my words", false, 5 * MINUTE));
    assert_false(matches("(encrypted)", true, 5 * MINUTE)); /* she has answered since */
    add(w, EVENT_MESSAGE, "far@there", "mei@here", " id='4'", "<body>unread</body>");
    settle(w);
    assert_true(matches("(encrypted)", true, 5 * MINUTE));
    assert_false(matches("(encrypted)", true, 20 * MINUTE));
}

static void one_that_was_counted_by_a_publish_matches_no_other(void **state)
{
    (void)state;
    tell("mei@here", "far@there", 1, "hello");
    assert_false(matches("hello", false, 0));
    assert_false(matches("(encrypted)", true, 0));
}

static bool is_read(void *ctx)
{
    (void)ctx;
    return unread_of("mei@here", "far@there") == 0;
}

static void after_fourteen_days_it_no_longer_counts(void **state)
{
    (void)state;
    tell("mei@here", "far@there", 1, "hello"); /* the world begins 20 days ago */
    assert_int_equal(unread_of("mei@here", "far@there"), 1);
    p.w.now_us += 10 * DAY;
    tell("mei@here", "other@there", 2, "hello");
    provisional_expire(p.pool, p.w.ing);
    db_loop(p.w.base, is_read, NULL);
    assert_counts_are_right();
    assert_int_equal(unread_of("mei@here", "other@there"), 1);
    assert_int_equal(provisional_rows(), 1);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, begin_all, end_all)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_message_without_text_is_counted_once),
        TEST(the_text_takes_its_place_and_is_not_told_again),
        TEST(a_text_that_is_taken_back_at_once_leaves_nothing_to_read),
        TEST(a_text_that_comes_when_it_is_given_up_counts_once),
        TEST(a_text_that_comes_with_its_publish_counts_once),
        TEST(what_was_read_is_not_taken_off_twice),
        TEST(a_message_is_matched_by_what_it_says_and_by_its_time),
        TEST(one_that_was_counted_by_a_publish_matches_no_other),
        TEST(after_fourteen_days_it_no_longer_counts),
    };
    return cmocka_run_group_tests(tests, db_open, db_close);
}
