// SPDX-License-Identifier: Apache-2.0
#include "apns/sealing.h"

#include "database.h"

#include "apns/opts.h"
#include "apns/token_keys.h"
#include "store/pg.h"

#define DEVICES 1203                          /* more than two steps */
#define SECOND_TOKENS ((DEVICES + 1) / 2 * 3) /* of three accounts on every other device */

static const uint8_t keys[3][TOKEN_KEY_BYTES] = {{1}, {2}, {3}};

static struct {
    struct event_base *base;
    struct pg_pool *pool;
    struct token_keys *keys;
    struct sealing *sealing;
    unsigned errors;
    int32_t expected; /* all are under this */
} w;

static void count_errors(void *ctx, enum log_level level, const char *line)
{
    (void)ctx, (void)line;
    w.errors += level == LOG_ERROR;
}

static bool is_up(void *ctx)
{
    (void)ctx;
    return pg_pool_is_up(w.pool);
}

static int begin(void **state)
{
    (void)state;
    db_fresh();
    memset(&w, 0, sizeof w);
    log_set_sink(count_errors, NULL);
    w.base = event_base_new();
    db_do("INSERT INTO xs.device (device, app, token) SELECT md5('d' || "
          "n)::uuid, 'chat',"
          " 'token-' || n FROM generate_series(1, 1203) n");
    return 0;
}

static void end_worker(void)
{
    if (w.pool)
        pg_pool_free(&w.pool);
    sealing_free(&w.sealing);
    token_keys_free(&w.keys);
}

static void begin_worker(const uint8_t (*some)[TOKEN_KEY_BYTES], size_t n, bool in_clear)
{
    const struct token_key_opts keyed = {.keys = some, .n = n, .in_clear = in_clear};
    struct pg_opts opts = {.url = db_url(), .name = "sealing", .statement_timeout_ms = 60000};
    end_worker();
    w.pool = pg_pool_new(w.base, &opts, 1);
    db_loop(w.base, is_up, NULL);
    w.keys = token_keys_new(&keyed);
    w.sealing = sealing_new(w.base, w.pool, w.keys);
}

static int end(void **state)
{
    (void)state;
    end_worker();
    event_base_free(w.base);
    log_set_sink(db_silent, NULL);
    return 0;
}

static bool all_are_under(void *ctx)
{
    char sql[128];
    (void)ctx;
    snprintf(sql, sizeof sql, "SELECT count(*) FROM xs.device WHERE sealed_by = %d",
             w.expected);
    return db_int(sql) == DEVICES;
}

/* The worker starts with these keys, and all tokens get under the first. */
static void seal_with(const uint8_t (*some)[TOKEN_KEY_BYTES], size_t n, bool in_clear)
{
    begin_worker(some, n, in_clear);
    w.expected = token_keys_current(w.keys);
    db_loop(w.base, all_are_under, NULL);
}

/* Each row holds the token that its device was made with. */
static void check_tokens(void)
{
    PGresult *r = PQexecParams(db,
                               "SELECT d.device, d.sealed, 'token-' || n"
                               " FROM generate_series(1, 1203) n"
                               " JOIN xs.device d ON d.device = md5('d' || n)::uuid",
                               0, NULL, NULL, NULL, NULL, 1);
    assert_int_equal(PQntuples(r), DEVICES);
    for (int i = 0; i < DEVICES; i++) {
        char token[DEVICE_TOKEN_MAX + 1];
        assert_true(token_keys_open(w.keys, w.expected, (const uint8_t *)PQgetvalue(r, i, 0),
                                    (const uint8_t *)PQgetvalue(r, i, 1),
                                    (size_t)PQgetlength(r, i, 1), token));
        assert_string_equal(token, PQgetvalue(r, i, 2));
    }
    PQclear(r);
}

static void tokens_in_clear_are_sealed_and_go_to_a_new_key_and_back(void **state)
{
    (void)state;
    seal_with(keys, 1, false);
    check_tokens();
    assert_int_equal(db_int("SELECT count(*) FROM xs.device WHERE token IS NOT NULL"), 0);
    const uint8_t next[2][TOKEN_KEY_BYTES] = {{2}, {1}};
    seal_with(next, 2, false);
    check_tokens();
    seal_with(next, 2, true);
    assert_int_equal(db_int("SELECT count(*) FROM xs.device d, generate_series(1, 1203) n"
                            " WHERE d.device = md5('d' || n)::uuid AND sealed IS NULL"
                            " AND token = 'token-' || n"),
                     DEVICES);
    assert_int_equal(w.errors, 0);
}

/* How many of the second tokens are what they were, after all went to the key
 * in force. */
static int second_tokens(void)
{
    int good = 0;
    PGresult *r = PQexecParams(db,
                               "SELECT r.device, r.voip_sealed, 'voip-' || n || '-' || o"
                               " FROM generate_series(1, 1203, 2) n"
                               " CROSS JOIN generate_series(1, 3) o"
                               " JOIN xs.registration r ON r.device = md5('d' || n)::uuid"
                               "   AND r.owner = md5('o' || o)::uuid",
                               0, NULL, NULL, NULL, NULL, 1);
    for (int i = 0; i < PQntuples(r); i++) {
        char token[DEVICE_TOKEN_MAX + 1];
        uint8_t id[16];
        devices_voip_id((const uint8_t *)PQgetvalue(r, i, 0), id);
        good += token_keys_open(w.keys, w.expected, id, (const uint8_t *)PQgetvalue(r, i, 1),
                                (size_t)PQgetlength(r, i, 1), token) &&
                strcmp(token, PQgetvalue(r, i, 2)) == 0;
    }
    PQclear(r);
    return good;
}

static bool second_are_under(void *ctx)
{
    char sql[160];
    (void)ctx;
    snprintf(sql, sizeof sql,
             "SELECT count(*) FROM xs.registration WHERE voip_sealed_by = %d"
             " AND (voip_token IS NOT NULL OR voip_sealed IS NOT NULL)",
             w.expected);
    return db_int(sql) == SECOND_TOKENS;
}

static void second_tokens_go_the_same_way(void **state)
{
    (void)state;
    db_do("INSERT INTO xs.registration (owner, device, app, dialect, node, "
          "resource,"
          "   registered_at, voip_token, voip_at)"
          " SELECT md5('o' || o)::uuid, md5('d' || n)::uuid, 'chat', 1, 'node', "
          "'', now(),"
          "   CASE n % 2 WHEN 1 THEN 'voip-' || n || '-' || o END, now()"
          " FROM generate_series(1, 1203) n, generate_series(1, 3) o");
    seal_with(keys, 1, false);
    db_loop(w.base, second_are_under, NULL);
    assert_int_equal(second_tokens(), SECOND_TOKENS);
    assert_int_equal(
        db_int("SELECT count(*) FROM xs.registration WHERE voip_token IS NOT NULL"), 0);
    const uint8_t next[2][TOKEN_KEY_BYTES] = {{2}, {1}};
    seal_with(next, 2, false);
    db_loop(w.base, second_are_under, NULL);
    assert_int_equal(second_tokens(), SECOND_TOKENS);
    seal_with(next, 2, true);
    db_loop(w.base, second_are_under, NULL);
    assert_int_equal(db_int("SELECT count(*) FROM xs.registration r,"
                            " generate_series(1, 1203, 2) n, generate_series(1, 3) o"
                            " WHERE r.device = md5('d' || n)::uuid AND voip_sealed IS NULL"
                            " AND r.owner = md5('o' || o)::uuid"
                            " AND voip_token = 'voip-' || n || '-' || o"),
                     SECOND_TOKENS);
    assert_int_equal(w.errors, 0);
}

static bool has_complained(void *ctx)
{
    (void)ctx;
    return w.errors > 0;
}

static void what_is_under_a_key_that_is_not_there_stays_and_is_told(void **state)
{
    (void)state;
    seal_with(keys, 1, false);
    int32_t lost = w.expected;
    db_do("INSERT INTO xs.device (device, app, token) VALUES"
          " ('00000000-0000-0000-0000-000000000001', 'chat', 'clear'),"
          " ('ffffffff-ffff-ffff-ffff-fffffffffffe', 'chat', 'clear')");
    begin_worker(keys + 1, 1, false);
    db_loop(w.base, has_complained, NULL);
    w.expected = lost;
    assert_true(all_are_under(NULL));
    char sql[128];
    snprintf(sql, sizeof sql, "SELECT count(*) FROM xs.device WHERE sealed_by = %d",
             token_keys_current(w.keys));
    assert_int_equal(db_int(sql), 2);
    assert_int_equal(w.errors, 1);
}

static int waiting(void)
{
    return (int)db_int("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
                       " AND datname = current_database()");
}

static bool one_waits(void *ctx)
{
    (void)ctx;
    return waiting() == 1;
}

static bool two_wait(void *ctx)
{
    (void)ctx;
    return waiting() == 2;
}

/* The worker before may just be storing answers, of accounts in their order. */
static void devices_are_locked_in_one_order(void **state)
{
    (void)state;
    PGconn *slow = PQconnectdb(db_url()), *storing = PQconnectdb(db_url());
    PQclear(PQexec(slow, "BEGIN"));
    PQclear(PQexec(slow, "SELECT FROM xs.device WHERE device = (SELECT device FROM xs.device"
                         " ORDER BY device OFFSET 250 LIMIT 1) FOR UPDATE"));
    begin_worker(keys, 1, false);
    db_loop(w.base, one_waits, NULL);
    assert_int_equal(
        PQsendQuery(storing,
                    "SELECT s.* FROM (SELECT array_agg(device ORDER BY device DESC) AS of"
                    " FROM (SELECT device, row_number() OVER (ORDER BY device) AS n"
                    "   FROM xs.device) x WHERE n IN (1, 500)) d, xs.outbox_settle("
                    " md5('w')::uuid, ARRAY['00000000-0000-0000-0000-000000000001',"
                    " '00000000-0000-0000-0000-000000000002']::uuid[], d.of, '{1,1}',"
                    " '{1,1}', '{1,1}', '{0,0}', '{0,0}', '{0,0}', '{200,200}', '{1,1}',"
                    " d.of, '{x,x}', '{x,x}') s"),
        1);
    db_loop(w.base, two_wait, NULL);
    PQclear(PQexec(slow, "COMMIT"));
    PQfinish(slow);
    w.expected = token_keys_current(w.keys);
    db_loop(w.base, all_are_under, NULL);
    PGresult *r = PQgetResult(storing);
    if (PQresultStatus(r) != PGRES_TUPLES_OK)
        fail_msg("%s", PQresultErrorMessage(r));
    PQclear(r);
    PQfinish(storing);
    check_tokens();
}

static void a_damaged_token_holds_up_no_other(void **state)
{
    (void)state;
    seal_with(keys, 1, false);
    int32_t old = w.expected;
    db_do("UPDATE xs.device SET sealed = set_byte(sealed, 20, get_byte(sealed, "
          "20) # 1)"
          " WHERE device = md5('d7')::uuid");
    db_do("UPDATE xs.device SET sealed = '\\x00' WHERE device = md5('d8')::uuid");
    const uint8_t next[2][TOKEN_KEY_BYTES] = {{2}, {1}};
    begin_worker(next, 2, false);
    char sql[128];
    snprintf(sql, sizeof sql, "SELECT count(*) FROM xs.device WHERE sealed_by = %d", old);
    for (int i = 0; i < 200 && db_int(sql) != 2; i++) {
        struct timeval tick = {0, 50000};
        event_base_loopexit(w.base, &tick);
        event_base_dispatch(w.base);
    }
    assert_int_equal(db_int(sql), 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(
            tokens_in_clear_are_sealed_and_go_to_a_new_key_and_back, begin, end),
        cmocka_unit_test_setup_teardown(
            what_is_under_a_key_that_is_not_there_stays_and_is_told, begin, end),
        cmocka_unit_test_setup_teardown(second_tokens_go_the_same_way, begin, end),
        cmocka_unit_test_setup_teardown(devices_are_locked_in_one_order, begin, end),
        cmocka_unit_test_setup_teardown(a_damaged_token_holds_up_no_other, begin, end),
    };
    return cmocka_run_group_tests(tests, db_open, db_close);
}
