// SPDX-License-Identifier: Apache-2.0
#include "archive/fill_store.h"

#include "tests/unit/database.h"

#include "store/pg.h"

#define SECOND INT64_C(1000000)
#define HOUR (3600 * SECOND)

static struct event_base *base;
static struct pg_pool *pool;
static struct fill_task task;
static bool done;
static bool saved;
static int accounts_n;
static uint8_t last_owner[OWNER_BYTES];

static bool is_up(void *ctx)
{
    (void)ctx;
    return pg_pool_is_up(pool);
}

static bool is_done(void *ctx)
{
    (void)ctx;
    return done;
}

static int begin(void **state)
{
    (void)state;
    db_fresh();
    base = event_base_new();
    struct pg_opts opts = {.url = db_url(), .name = "test", .statement_timeout_ms = 60000};
    pool = pg_pool_new(base, &opts, 1);
    db_loop(base, is_up, NULL);
    return 0;
}

static int end(void **state)
{
    (void)state;
    pg_pool_free(&pool);
    event_base_free(base);
    return 0;
}

static int64_t now_us(void)
{
    return db_int("SELECT (extract(epoch FROM now()) * 1000000)::bigint");
}

static void on_task(void *ctx, const struct pg_result *r, const struct pg_error *e)
{
    (void)ctx;
    assert_int_equal(e->failure, PG_OK);
    fill_store_read_task(r, &task);
    done = true;
}

static const char *next(int64_t since_us, int64_t every_us)
{
    done = false;
    fill_store_next(pool, since_us, every_us, on_task, NULL);
    db_loop(base, is_done, NULL);
    return task.why;
}

static void on_saved(void *ctx, const struct pg_result *r, const struct pg_error *e)
{
    (void)ctx;
    assert_int_equal(e->failure, PG_OK);
    saved = fill_store_saved(r);
    done = true;
}

static bool save(const struct fill_progress *p)
{
    done = false;
    fill_store_save(pool, &task, p, on_saved, NULL);
    db_loop(base, is_done, NULL);
    return saved;
}

static void on_accounts(void *ctx, const struct pg_result *r, const struct pg_error *e)
{
    (void)ctx;
    assert_int_equal(e->failure, PG_OK);
    accounts_n = fill_store_accounts_n(r);
    for (int i = 0; i < accounts_n; i++)
        assert_non_null(strstr(fill_store_account(r, i, last_owner), "@e.test"));
    done = true;
}

static int read_accounts(void)
{
    done = false;
    fill_store_accounts(pool, &task, on_accounts, NULL);
    db_loop(base, is_done, NULL);
    return accounts_n;
}

/* From so many seconds ago to so many. */
static void add_gap(int epoch, long from_s, long to_s)
{
    char sql[512];
    snprintf(
        sql, sizeof sql,
        "INSERT INTO xs.gap (spool, epoch, server, from_at, to_at, next_epoch, why) VALUES"
        " ('00000000-0000-0000-0000-000000000001', %d, 's', now() - interval '%ld s',"
        " now() - interval '%ld s', %d, 'w')",
        epoch, from_s, to_s, epoch + 1);
    db_do(sql);
}

static int64_t seconds_of_task(void)
{
    return (task.to_us - task.from_us) / SECOND;
}

static void nothing_is_nothing(void **state)
{
    (void)state;
    assert_string_equal(next(now_us(), 0), "");
    add_gap(1, 30 * 24 * 3600, 29 * 24 * 3600 + 60); /* nobody could tell what is known */
    assert_string_equal(next(now_us(), 0), "");
}

static void a_gap_is_one_task_with_what_was_on_its_way(void **state)
{
    (void)state;
    add_gap(1, 7200, 3600);
    assert_string_equal(next(now_us() - 2 * HOUR, 0), "gap");
    assert_int_equal(seconds_of_task(), 3600 + 20);
    assert_false(task.begun);
    assert_int_equal(task.tasks, 1);
    struct fill_progress p = {.done = true};
    assert_true(save(&p));
    assert_string_equal(next(now_us() - 2 * HOUR, 0), "");
}

static void a_gap_lasts_until_copies_come(void **state)
{
    (void)state;
    add_gap(1, 20000, 19000);
    add_gap(2, 7200, 7190);
    assert_string_equal(next(now_us() - HOUR, 0), "gap");
    assert_int_equal(seconds_of_task(), 1000 + 20);
    assert_int_equal(task.tasks, 2);
    struct fill_progress p = {.done = true};
    assert_true(save(&p));
    assert_string_equal(next(now_us() - HOUR, 0), "gap");
    assert_true(llabs(seconds_of_task() - 3620) <= 1);
}

static void what_just_passed_is_not_due(void **state)
{
    (void)state;
    add_gap(1, 60, 2);
    assert_string_equal(next(now_us() - SECOND, 0), "");
    assert_int_equal(db_int("SELECT count(*) FROM xs.fill"), 1);
}

static void a_link_that_flaps_makes_one_task(void **state)
{
    (void)state;
    for (int i = 0; i < 100; i++)
        add_gap(i + 1, 9000 - i * 60, 9000 - i * 60 - 5);
    assert_string_equal(next(now_us() - 3 * HOUR, 0), "gap");
    assert_int_equal(db_int("SELECT count(*) FROM xs.fill"), 1);
    /* One that is begun is not made longer, or its first accounts would miss the rest. */
    memset(task.owner, 7, sizeof task.owner);
    task.begun = true;
    struct fill_progress p = {.accounts = 8, .failed = 1, .messages = 5};
    assert_true(save(&p));
    add_gap(1000, 2900, 2800);
    assert_string_equal(next(now_us() - 3 * HOUR, 0), "gap");
    assert_true(task.begun);
    assert_int_equal(task.owner[15], 7);
    assert_int_equal(task.tasks, 2);
    assert_true(save(&p));
    assert_string_equal(
        db_ask("SELECT (accounts, failed, messages)::text FROM xs.fill ORDER BY from_at"),
        "(16,2,10)");
}

static void a_task_that_was_changed_is_looked_at_anew(void **state)
{
    (void)state;
    add_gap(1, 7200, 7100);
    (void)next(now_us() - 3 * HOUR, 0);
    add_gap(2, 7000, 6900);
    done = false;
    struct fill_task first = task;
    (void)next(now_us() - 3 * HOUR, 0);
    assert_true(task.to_us > first.to_us);
    task = first;
    struct fill_progress p = {.done = true};
    assert_false(save(&p));
}

static void all_is_looked_at_from_time_to_time(void **state)
{
    (void)state;
    assert_string_equal(next(now_us(), HOUR), "check");
    assert_int_equal(seconds_of_task(), 3585);
    assert_string_equal(next(now_us(), HOUR), "check"); /* not twice */
    assert_int_equal(task.tasks, 1);
    struct fill_progress p = {.done = true};
    assert_true(save(&p));
    assert_string_equal(next(now_us(), HOUR), "");
    /* From where the last one ended, a day at most. */
    db_do("UPDATE xs.fill SET from_at = from_at - interval '3 hours',"
          " to_at = to_at - interval '3 hours'");
    assert_string_equal(next(now_us(), HOUR), "check");
    assert_true(llabs(seconds_of_task() - 3 * 3600) <= 2);
    assert_true(save(&p));
    db_do("UPDATE xs.fill SET from_at = from_at - interval '3 days',"
          " to_at = to_at - interval '3 days'");
    assert_string_equal(next(now_us(), HOUR), "check");
    assert_int_equal(seconds_of_task(), 24 * 3600 - 15);
}

static void accounts_come_by_owner_some_at_a_time(void **state)
{
    (void)state;
    db_do("INSERT INTO xs.account (owner, jid, proven) SELECT md5(n::text)::uuid,"
          " 'u' || n || '@e.test', n <> 5 FROM generate_series(1, 11) n");
    task = (struct fill_task){.why = "gap"};
    assert_int_equal(read_accounts(), FILL_ACCOUNTS);
    memcpy(task.owner, last_owner, OWNER_BYTES);
    task.begun = true;
    assert_int_equal(read_accounts(), 2);
    memcpy(task.owner, last_owner, OWNER_BYTES);
    assert_int_equal(read_accounts(), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define TEST(f) cmocka_unit_test_setup_teardown(f, begin, end)
        TEST(nothing_is_nothing),
        TEST(a_gap_is_one_task_with_what_was_on_its_way),
        TEST(a_gap_lasts_until_copies_come),
        TEST(what_just_passed_is_not_due),
        TEST(a_link_that_flaps_makes_one_task),
        TEST(a_task_that_was_changed_is_looked_at_anew),
        TEST(all_is_looked_at_from_time_to_time),
        TEST(accounts_come_by_owner_some_at_a_time),
    };
    return cmocka_run_group_tests(tests, db_open, db_close);
}
