// SPDX-License-Identifier: Apache-2.0
#include "store/migrate.h"

#include "database.h"

#include "store/pg.h"

static void an_empty_database_gets_the_schema_and_a_second_run_changes_nothing(void **state)
{
    (void)state;
    struct err e = {0};
    int from = -1, to = -1;
    db_drop();
    assert_int_equal(migrate_run(db_url(), &from, &to, &e), ERR_NONE);
    assert_int_equal(from, 0);
    assert_int_equal(to, migrate_latest());
    char key[4096];
    snprintf(key, sizeof key, "%s",
             db_ask("SELECT value FROM xs.setting WHERE name = 'key.owner'"));
    assert_int_equal(strlen(key), 64);
    assert_int_equal(db_int("SELECT count(*) FROM xs.lane"), 2);
    assert_int_equal(migrate_run(db_url(), &from, &to, &e), ERR_NONE);
    assert_int_equal(from, migrate_latest());
    assert_string_equal(db_ask("SELECT value FROM xs.setting WHERE name = 'key.owner'"), key);
}

static void partitions_cover_the_quarter_before_and_two_ahead(void **state)
{
    (void)state;
    db_fresh();
    assert_int_equal(db_int("SELECT count(*) FROM pg_inherits"
                            " WHERE inhparent = 'xs.message'::regclass"),
                     4);
    assert_int_equal(db_int("SELECT xs.ensure_partitions(2)"), 0);
    assert_int_equal(db_int("SELECT xs.ensure_partitions(4)"), 2);
    db_do("SELECT xs.ensure_partition('2026-12-31T23:59:59Z')");
    db_do("SELECT xs.ensure_partition('2020-02-01T00:00:00Z')");
    assert_int_equal(db_int("SELECT count(*) FROM pg_class WHERE relname = 'message_2020q1'"
                            " AND pg_get_expr(relpartbound, oid) LIKE '%FROM (''0'')%'"),
                     1);
    assert_int_equal(db_int("SELECT xs.id_from_time('2020-01-01T00:00:01Z')"), 1000000 * 256);
}

static void a_newer_schema_is_refused(void **state)
{
    (void)state;
    struct err e = {0};
    db_fresh();
    db_do("INSERT INTO xs.schema_version (number, name) VALUES (999, 'future')");
    assert_int_equal(migrate_run(db_url(), NULL, NULL, &e), ERR_CONFIG);
    assert_non_null(strstr(e.text, "999"));
}

/* The schema as it was before that migration. */
static void migrate_before(int number)
{
    db_drop();
    db_do("CREATE SCHEMA xs");
    db_do("CREATE TABLE xs.schema_version (number int PRIMARY KEY, name text NOT NULL,"
          " at timestamptz NOT NULL DEFAULT now())");
    for (size_t i = 0; i < migrations_n && migrations[i].number < number; i++) {
        char sql[128];
        db_do(migrations[i].sql);
        snprintf(sql, sizeof sql, "INSERT INTO xs.schema_version VALUES (%d, '%s')",
                 migrations[i].number, migrations[i].name);
        db_do(sql);
    }
}

/* Phone 1 is one account's alone, 2 is two accounts', and of 3 somebody who has left since has
 * said the token; 4 has none. */
static void a_token_for_calls_goes_to_whoever_has_certainly_said_it(void **state)
{
    struct err e;
    (void)state;
    migrate_before(44);
    db_do("INSERT INTO xs.device (device, app, token, voip_sealed, voip_sealed_by, voip_at)"
          " SELECT md5('d' || n)::uuid, 'chat', 'token', convert_to('voip' || n, 'UTF8'), 7,"
          "   now() - CASE n WHEN 3 THEN interval '1 hour' ELSE interval '1 day' END"
          " FROM generate_series(1, 3) n");
    db_do("INSERT INTO xs.device (device, app, token) VALUES (md5('d4')::uuid, 'chat', 't')");
    db_do("INSERT INTO xs.registration (owner, device, dialect, node, resource,"
          "   registered_at) SELECT md5('o' || o)::uuid, md5('d' || d)::uuid, 1, 'n', '',"
          "   now() - interval '1 day 1 second'"
          " FROM (VALUES (1, 1), (1, 2), (2, 2), (1, 3), (2, 4)) AS r (o, d)");
    assert_int_equal(migrate_run(db_url(), NULL, NULL, &e), ERR_NONE);
    assert_int_equal(db_int("SELECT count(*) FROM xs.registration"), 5);
    assert_string_equal(db_ask("SELECT string_agg(convert_from(voip_sealed, 'UTF8') || ' '"
                               " || voip_sealed_by, ',') FROM xs.registration"
                               " WHERE voip_at IS NOT NULL"),
                        "voip1 7");
    assert_int_equal(db_int("SELECT count(*) FROM xs.registration WHERE voip_sealed_by = 0"),
                     4);
}

static void nobody_there_is_worth_another_try(void **state)
{
    (void)state;
    struct err e = {0};
    assert_int_equal(migrate_run("postgresql:///x?host=/nonexistent", NULL, NULL, &e),
                     ERR_RETRY);
    assert_null(strchr(e.text, '\n'));
}

static void a_failed_migration_leaves_the_one_before(void **state)
{
    (void)state;
    struct err e = {0};
    db_drop();
    db_do("CREATE SCHEMA xs");
    db_do("CREATE TABLE xs.lane (mine int)");
    assert_int_equal(migrate_run(db_url(), NULL, NULL, &e), ERR_CONFIG);
    assert_non_null(strstr(e.text, "migration 1"));
    assert_int_equal(db_int("SELECT count(*) FROM xs.schema_version"), 0);
    assert_null(db_ask("SELECT to_regclass('xs.setting')"));
}

struct asked {
    bool done;
    enum migrate_state found;
    int stored;
};

static void on_check(void *ctx, const struct pg_result *r, const struct pg_error *e)
{
    struct asked *a = ctx;
    a->found = migrate_check(r, e, &a->stored);
    a->done = true;
}

static bool asked(void *ctx)
{
    return ((struct asked *)ctx)->done;
}

static bool pool_up(void *ctx)
{
    return pg_pool_is_up(ctx);
}

static enum migrate_state check(struct event_base *base, struct pg_pool *pool, int *stored_out)
{
    struct asked a = {0};
    pg_pool_send(pool, &migrate_check_statement, NULL, on_check, &a);
    db_loop(base, asked, &a);
    *stored_out = a.stored;
    return a.found;
}

static void the_worker_sees_which_schema_is_there(void **state)
{
    (void)state;
    struct event_base *base = event_base_new();
    struct pg_opts opts = {.url = db_url(), .name = "check", .statement_timeout_ms = 60000};
    struct pg_pool *pool = pg_pool_new(base, &opts, 1);
    int stored;
    assert_int_equal(check(base, pool, &stored), MIGRATE_UNKNOWN);
    db_loop(base, pool_up, pool);
    db_drop();
    assert_int_equal(check(base, pool, &stored), MIGRATE_NONE);
    struct err e = {0};
    assert_int_equal(migrate_run(db_url(), NULL, NULL, &e), ERR_NONE);
    assert_int_equal(check(base, pool, &stored), MIGRATE_OK);
    assert_int_equal(stored, migrate_latest());
    db_do("INSERT INTO xs.schema_version (number, name) VALUES (999, 'future')");
    assert_int_equal(check(base, pool, &stored), MIGRATE_NEWER);
    db_do("DELETE FROM xs.schema_version");
    assert_int_equal(check(base, pool, &stored), MIGRATE_NONE);
    db_do("INSERT INTO xs.schema_version (number, name) VALUES (-1, 'past')");
    assert_int_equal(check(base, pool, &stored), MIGRATE_OLDER);
    pg_pool_free(&pool);
    event_base_free(base);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_empty_database_gets_the_schema_and_a_second_run_changes_nothing),
        cmocka_unit_test(partitions_cover_the_quarter_before_and_two_ahead),
        cmocka_unit_test(a_newer_schema_is_refused),
        cmocka_unit_test(a_token_for_calls_goes_to_whoever_has_certainly_said_it),
        cmocka_unit_test(nobody_there_is_worth_another_try),
        cmocka_unit_test(a_failed_migration_leaves_the_one_before),
        cmocka_unit_test(the_worker_sees_which_schema_is_there),
    };
    return cmocka_run_group_tests(tests, db_open, db_close);
}
