// SPDX-License-Identifier: Apache-2.0
#include "store/pg.h"

#include "database.h"

#include "store/pg_array.h"

/* What came back, one letter each: k ok, L lost, A aborted, D data, C conflict, R resource,
 * G guard, S schema, O other. */
struct told {
    struct event_base *base;
    struct pg *pg;
    char answers[256];
    size_t n;
    size_t want;
    int64_t value;
    char text[256];
    char sqlstate[6];
    int ups;
    int downs;
    bool resend;
};

static void on_up(void *ctx)
{
    ((struct told *)ctx)->ups++;
}

static void on_down(void *ctx, const struct pg_error *why)
{
    struct told *t = ctx;
    assert_int_equal(why->failure, PG_LOST);
    t->downs++;
}

static const struct pg_statement echo = {"echo", "SELECT $1::bigint"};

static void on_answer(void *ctx, const struct pg_result *r, const struct pg_error *e)
{
    struct told *t = ctx;
    static const char letters[] = "kLADCRGSO";
    assert_true((r != NULL) == (e->failure == PG_OK));
    t->answers[t->n++] = letters[e->failure];
    t->answers[t->n] = '\0';
    if (!r) {
        memcpy(t->sqlstate, e->sqlstate, sizeof t->sqlstate);
        snprintf(t->text, sizeof t->text, "%s", e->text);
    }
    if (r && pg_rows(r) > 0)
        t->value = pg_i64(r, 0, 0);
}

static bool answered(void *ctx)
{
    struct told *t = ctx;
    return t->n >= t->want;
}

static bool is_up(void *ctx)
{
    return pg_is_up(((struct told *)ctx)->pg);
}

static bool is_down(void *ctx)
{
    return !pg_is_up(((struct told *)ctx)->pg);
}

static struct pg_opts opts_for(struct told *t)
{
    return (struct pg_opts){.url = db_url(),
                            .name = "unit",
                            .statement_timeout_ms = 20000,
                            .up = on_up,
                            .down = on_down,
                            .ctx = t};
}

static void begin(struct told *t)
{
    memset(t, 0, sizeof *t);
    t->base = event_base_new();
    struct pg_opts opts = opts_for(t);
    t->pg = pg_new(t->base, &opts);
    db_loop(t->base, is_up, t);
    assert_int_equal(t->ups, 1);
}

static void end(struct told *t)
{
    pg_free(&t->pg);
    event_base_free(t->base);
}

static void send_echo(struct told *t, int64_t v)
{
    struct pg_params p;
    pg_params_init(&p);
    pg_add_i64(&p, v);
    pg_send(t->pg, &echo, &p, on_answer, t);
}

static void wait_for(struct told *t, size_t n)
{
    t->want = n;
    db_loop(t->base, answered, t);
}

static void a_statement_is_answered_once_and_in_order(void **state)
{
    (void)state;
    struct told t;
    begin(&t);
    for (int i = 0; i < 100; i++)
        send_echo(&t, i);
    assert_int_equal(t.n, 0);
    pg_sync(t.pg);
    wait_for(&t, 100);
    assert_int_equal(t.value, 99);
    assert_int_equal(db_sessions("xmpp-sidecar unit"), 1);
    end(&t);
    assert_int_equal(t.n, 100);
}

static void flush_brings_results_while_the_transaction_is_open(void **state)
{
    (void)state;
    struct told t;
    begin(&t);
    pg_send_plain(t.pg, "BEGIN", on_answer, &t);
    send_echo(&t, 7);
    pg_flush(t.pg);
    wait_for(&t, 2);
    assert_int_equal(t.value, 7);
    pg_send_plain(t.pg, "COMMIT", on_answer, &t);
    pg_sync(t.pg);
    wait_for(&t, 3);
    assert_string_equal(t.answers, "kkk");
    end(&t);
}

static void an_error_aborts_its_unit_only_and_tells_its_cause(void **state)
{
    (void)state;
    struct told t;
    begin(&t);
    send_echo(&t, 1);
    pg_send_plain(t.pg, "SELECT 1/0", on_answer, &t);
    send_echo(&t, 2);
    pg_sync(t.pg);
    send_echo(&t, 3);
    pg_sync(t.pg);
    wait_for(&t, 4);
    assert_string_equal(t.answers, "kDAk");
    assert_string_equal(t.sqlstate, "22012");
    assert_string_equal(t.text, "division by zero");
    end(&t);
}

static void a_statement_that_cannot_be_prepared_tells_why_and_is_tried_anew(void **state)
{
    (void)state;
    static const struct pg_statement st = {"later", "SELECT count(*) FROM xs_later"};
    struct told t;
    db_do("DROP TABLE IF EXISTS public.xs_later");
    begin(&t);
    pg_send(t.pg, &st, NULL, on_answer, &t);
    pg_sync(t.pg);
    wait_for(&t, 1);
    assert_string_equal(t.answers, "S");
    assert_string_equal(t.sqlstate, "42P01");
    static const struct pg_statement again = {"later", "SELECT 5::bigint"};
    pg_send(t.pg, &again, NULL, on_answer, &t);
    pg_sync(t.pg);
    wait_for(&t, 2);
    assert_string_equal(t.answers, "Sk");
    assert_int_equal(t.value, 5);
    end(&t);
}

/* The first use of a statement inside a unit that failed before it leaves it unprepared. */
static void a_prepare_that_was_aborted_is_repeated(void **state)
{
    (void)state;
    struct told t;
    begin(&t);
    pg_send_plain(t.pg, "SELECT 1/0", on_answer, &t);
    send_echo(&t, 1);
    pg_sync(t.pg);
    wait_for(&t, 2);
    send_echo(&t, 2);
    pg_sync(t.pg);
    wait_for(&t, 3);
    assert_string_equal(t.answers, "DAk");
    end(&t);
}

static void sqlstates_are_sorted_by_what_to_do(void **state)
{
    (void)state;
    static const struct {
        const char *sqlstate;
        enum pg_failure failure;
    } cases[] = {
        {"22021", PG_DATA},     {"23514", PG_DATA},     {"54000", PG_DATA},
        {"40001", PG_CONFLICT}, {"40P01", PG_CONFLICT}, {"55P03", PG_CONFLICT},
        {"57014", PG_CONFLICT}, {"53300", PG_RESOURCE}, {"57P01", PG_RESOURCE},
        {"57P03", PG_RESOURCE}, {"58030", PG_RESOURCE}, {"25006", PG_LOST},
        {"42P01", PG_SCHEMA},   {"3F000", PG_SCHEMA},   {"28P01", PG_SCHEMA},
        {"25P02", PG_ABORTED},  {"XX000", PG_OTHER},    {"P0001", PG_OTHER},
        {"", PG_LOST},          {NULL, PG_LOST},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        assert_int_equal(pg_failure_of(cases[i].sqlstate), cases[i].failure);
}

static void a_dead_backend_answers_lost_and_the_connection_comes_back(void **state)
{
    (void)state;
    struct told t;
    begin(&t);
    /* Idle. */
    db_end_sessions();
    db_loop(t.base, is_down, &t);
    assert_int_equal(t.downs, 1);
    db_loop(t.base, is_up, &t);
    /* In a statement, with others behind it. */
    pg_send_plain(t.pg, "SELECT pg_sleep(30)", on_answer, &t);
    send_echo(&t, 1);
    pg_sync(t.pg);
    send_echo(&t, 2);
    pg_sync(t.pg);
    struct timeval soon = {0, 100000};
    event_base_loopexit(t.base, &soon);
    event_base_dispatch(t.base);
    db_end_sessions();
    wait_for(&t, 3);
    assert_string_equal(t.answers, "LLL");
    /* While down everything is lost at once, but not before pg_send returned. */
    send_echo(&t, 3);
    pg_sync(t.pg);
    assert_int_equal(t.n, 3);
    wait_for(&t, 4);
    assert_string_equal(t.answers, "LLLL");
    /* In an open transaction. */
    db_loop(t.base, is_up, &t);
    pg_send_plain(t.pg, "BEGIN", on_answer, &t);
    pg_flush(t.pg);
    wait_for(&t, 5);
    db_end_sessions();
    pg_send_plain(t.pg, "COMMIT", on_answer, &t);
    pg_sync(t.pg);
    wait_for(&t, 6);
    assert_string_equal(t.answers, "LLLLkL");
    db_loop(t.base, is_up, &t);
    assert_int_equal(t.ups, 4);
    send_echo(&t, 4);
    pg_sync(t.pg);
    wait_for(&t, 7);
    assert_int_equal(t.value, 4);
    end(&t);
}

/* For new sessions. */
static void read_only_by_default(bool on)
{
    char sql[256];
    snprintf(sql, sizeof sql, "ALTER DATABASE \"%s\" SET default_transaction_read_only = %s",
             PQdb(db), on ? "on" : "off");
    db_do(sql);
}

/* A standby that was made the primary, or the reverse: an old session would stay what it was.
 */
static void a_session_that_may_only_read_is_given_up_for_a_new_one(void **state)
{
    static const struct pg_statement write = {"write", "CREATE TABLE public.written ()"};
    (void)state;
    struct told t;
    read_only_by_default(true);
    begin(&t);
    read_only_by_default(false);
    pg_send(t.pg, &write, NULL, on_answer, &t);
    pg_sync(t.pg);
    wait_for(&t, 1);
    assert_string_equal(t.answers, "L");
    assert_non_null(strstr(t.text, "read-only"));
    db_loop(t.base, is_up, &t);
    assert_int_equal(t.downs, 1);
    pg_send(t.pg, &write, NULL, on_answer, &t);
    pg_sync(t.pg);
    wait_for(&t, 2);
    assert_string_equal(t.answers, "Lk");
    db_do("DROP TABLE public.written");
    end(&t);
}

static void freeing_answers_what_is_open(void **state)
{
    (void)state;
    struct told t;
    begin(&t);
    pg_send_plain(t.pg, "SELECT pg_sleep(30)", on_answer, &t);
    send_echo(&t, 1);
    pg_sync(t.pg);
    end(&t);
    assert_string_equal(t.answers, "LL");
    db_end_sessions();
}

static void nobody_there_is_told_as_lost(void **state)
{
    (void)state;
    struct told t = {.base = event_base_new()};
    struct pg_opts opts = opts_for(&t);
    opts.url = "postgresql:///none?host=/nonexistent&connect_timeout=1";
    t.pg = pg_new(t.base, &opts);
    send_echo(&t, 1);
    wait_for(&t, 1);
    assert_string_equal(t.answers, "L");
    assert_int_equal(t.ups, 0);
    end(&t);
}

static void a_slow_statement_is_a_conflict(void **state)
{
    (void)state;
    struct told t = {.base = event_base_new()};
    struct pg_opts opts = opts_for(&t);
    opts.statement_timeout_ms = 50;
    t.pg = pg_new(t.base, &opts);
    db_loop(t.base, is_up, &t);
    pg_send_plain(t.pg, "SELECT pg_sleep(10)", on_answer, &t);
    pg_sync(t.pg);
    wait_for(&t, 1);
    assert_string_equal(t.answers, "C");
    end(&t);
}

static const struct pg_statement types = {
    "types",
    "SELECT $1::bigint, $2::int, $3::boolean, $4::text, $5::bytea, $6::uuid, $7::text,"
    " $8::bigint[], cardinality($9::text[]), $9::text[] IS NOT NULL,"
    " '2026-03-04T01:02:03.456789Z'::timestamptz, $2::int::smallint"};

static void on_types(void *ctx, const struct pg_result *r, const struct pg_error *e)
{
    struct told *t = ctx;
    assert_string_equal(e->text, "");
    assert_non_null(r);
    assert_int_equal(pg_rows(r), 1);
    assert_int_equal(pg_i64(r, 0, 0), -5000000000);
    assert_int_equal(pg_i64(r, 0, 1), -7);
    assert_true(pg_bool(r, 0, 2));
    assert_string_equal(pg_text(r, 0, 3), "会议");
    size_t len;
    const uint8_t *bytes = pg_bytes(r, 0, 4, &len);
    assert_int_equal(len, 3);
    assert_memory_equal(bytes, "a\0b", 3);
    uint8_t id[16];
    pg_uuid(r, 0, 5, id);
    assert_int_equal(id[15], 15);
    assert_true(pg_is_null(r, 0, 6));
    assert_string_equal(pg_text(r, 0, 6), "");
    assert_int_equal(pg_i64(r, 0, 6), 0);
    assert_int_equal(pg_i64(r, 0, 8), 0);
    assert_true(pg_bool(r, 0, 9));
    assert_int_equal(pg_time_us(r, 0, 10), 1772586123456789);
    assert_int_equal(pg_i64(r, 0, 11), -7);
    t->n++;
}

static void every_type_survives_the_way_there_and_back(void **state)
{
    (void)state;
    struct told t;
    begin(&t);
    uint8_t id[16];
    for (uint8_t i = 0; i < 16; i++)
        id[i] = i;
    struct pg_array numbers, empty;
    pg_array_init(&numbers, PG_INT8, 100);
    pg_array_init(&empty, PG_TEXT, 100);
    pg_array_add_i64(&numbers, 3);
    struct pg_params p;
    pg_params_init(&p);
    pg_add_i64(&p, -5000000000);
    pg_add_i32(&p, -7);
    pg_add_bool(&p, true);
    pg_add_text(&p, "会议");
    pg_add_bytes(&p, "a\0b", 3);
    pg_add_uuid(&p, id);
    pg_add_text(&p, NULL);
    pg_add_array(&p, &numbers);
    pg_add_array(&p, &empty);
    pg_send(t.pg, &types, &p, on_types, &t);
    pg_sync(t.pg);
    wait_for(&t, 1);
    pg_array_deinit(&numbers);
    pg_array_deinit(&empty);
    end(&t);
}

static const struct pg_statement count_bytes = {
    "count_bytes", "SELECT sum(length(b))::bigint FROM unnest($1::bytea[]) b"};

static void megabytes_go_through_in_one_unit(void **state)
{
    (void)state;
    struct told t;
    begin(&t);
    struct pg_array big;
    pg_array_init(&big, PG_BYTEA, 64 << 20);
    char *chunk = calloc(1, 100000);
    for (int i = 0; i < 100; i++)
        pg_array_add_bytes(&big, chunk, 100000);
    struct pg_params p;
    for (int i = 0; i < 3; i++) {
        pg_params_init(&p);
        pg_add_array(&p, &big);
        pg_send(t.pg, &count_bytes, &p, on_answer, &t);
    }
    pg_array_reset(&big);
    pg_sync(t.pg);
    wait_for(&t, 3);
    assert_int_equal(t.value, 10000000);
    free(chunk);
    pg_array_deinit(&big);
    end(&t);
}

static bool pool_up(void *ctx)
{
    return pg_pool_is_up(ctx);
}

static bool pool_down(void *ctx)
{
    return !pg_pool_is_up(ctx);
}

static void a_pool_spreads_statements_and_survives_a_restart(void **state)
{
    (void)state;
    struct told t = {.base = event_base_new()};
    struct pg_opts opts = opts_for(&t);
    struct pg_pool *pool = pg_pool_new(t.base, &opts, 2);
    pg_pool_send(pool, &echo, &(struct pg_params){0}, on_answer, &t);
    wait_for(&t, 1);
    assert_string_equal(t.answers, "L");
    db_loop(t.base, pool_up, pool);
    struct timeval soon = {0, 200000};
    event_base_loopexit(t.base, &soon);
    event_base_dispatch(t.base);
    static const struct pg_statement slow = {"slow",
                                             "SELECT 1::bigint FROM pg_advisory_lock(1)"};
    db_do("SELECT pg_advisory_lock(1)"); /* it waits for this session */
    pg_pool_send(pool, &slow, NULL, on_answer, &t);
    struct pg_params p;
    pg_params_init(&p);
    pg_add_i64(&p, 11);
    pg_pool_send(pool, &echo, &p, on_answer, &t);
    wait_for(&t, 2);
    assert_int_equal(t.value, 11);
    db_do("SELECT pg_advisory_unlock(1)");
    wait_for(&t, 3);
    db_end_sessions();
    db_loop(t.base, pool_down, pool);
    db_loop(t.base, pool_up, pool);
    assert_int_equal(t.ups, 2);
    pg_pool_free(&pool);
    event_base_free(t.base);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_statement_is_answered_once_and_in_order),
        cmocka_unit_test(flush_brings_results_while_the_transaction_is_open),
        cmocka_unit_test(an_error_aborts_its_unit_only_and_tells_its_cause),
        cmocka_unit_test(a_statement_that_cannot_be_prepared_tells_why_and_is_tried_anew),
        cmocka_unit_test(a_prepare_that_was_aborted_is_repeated),
        cmocka_unit_test(sqlstates_are_sorted_by_what_to_do),
        cmocka_unit_test(a_dead_backend_answers_lost_and_the_connection_comes_back),
        cmocka_unit_test(a_session_that_may_only_read_is_given_up_for_a_new_one),
        cmocka_unit_test(freeing_answers_what_is_open),
        cmocka_unit_test(nobody_there_is_told_as_lost),
        cmocka_unit_test(a_slow_statement_is_a_conflict),
        cmocka_unit_test(every_type_survives_the_way_there_and_back),
        cmocka_unit_test(megabytes_go_through_in_one_unit),
        cmocka_unit_test(a_pool_spreads_statements_and_survives_a_restart),
    };
    return cmocka_run_group_tests(tests, db_open, db_close);
}
