// SPDX-License-Identifier: Apache-2.0
#include "apns/settings.h"

#include "database.h"

#include "apns/opts.h"
#include "store/pg.h"

static const uint8_t owner[OWNER_BYTES] = {1};
static const uint8_t other[OWNER_BYTES] = {2};

struct told {
    bool over;
    bool zone_known;
    enum pg_failure failure;
    struct push_settings s;
    char zone[SETTINGS_ZONE_BYTES];
    char always[256];
};

struct world {
    struct event_base *base;
    struct pg_pool *pool;
    struct told told;
};

static void on_got(void *ctx, const struct push_settings *s, const struct pg_error *e)
{
    struct told *t = ctx;
    *t = (struct told){.over = true, .failure = e->failure};
    if (!s)
        return;
    t->s = *s;
    snprintf(t->zone, sizeof t->zone, "%s", s->zone);
    snprintf(t->always, sizeof t->always, "%s", s->always);
}

static void on_set(void *ctx, bool zone_known, const struct pg_error *e)
{
    *(struct told *)ctx =
        (struct told){.over = true, .zone_known = zone_known, .failure = e->failure};
}

static bool is_over(void *ctx)
{
    return ((struct world *)ctx)->told.over;
}

static bool is_up(void *ctx)
{
    return pg_pool_is_up(((struct world *)ctx)->pool);
}

static int begin(void **state)
{
    db_fresh();
    struct world *w = calloc(1, sizeof *w);
    struct pg_opts opts = {.url = db_url(), .name = "test", .statement_timeout_ms = 60000};
    w->base = event_base_new();
    w->pool = pg_pool_new(w->base, &opts, 1);
    db_loop(w->base, is_up, w);
    *state = w;
    return 0;
}

static int end(void **state)
{
    struct world *w = *state;
    pg_pool_free(&w->pool);
    event_base_free(w->base);
    free(w);
    return 0;
}

static const struct told *get(struct world *w, const uint8_t *whose)
{
    w->told.over = false;
    settings_get(w->pool, whose, on_got, &w->told);
    db_loop(w->base, is_over, w);
    assert_int_equal(w->told.failure, PG_OK);
    return &w->told;
}

static bool set(struct world *w, const struct push_settings *s, const uint64_t *peers,
                size_t n)
{
    w->told.over = false;
    settings_set(w->pool, owner, s, peers, n, on_set, &w->told);
    db_loop(w->base, is_over, w);
    assert_int_equal(w->told.failure, PG_OK);
    return w->told.zone_known;
}

static const struct push_settings night = {.content = PUSH_CONTENT_COUNT,
                                           .quiet_from = 22 * 60,
                                           .quiet_to = 7 * 60,
                                           .zone = "Asia/Shanghai",
                                           .always = "li@here\nwang@there\n",
                                           .muted_in_badge = true,
                                           .rooms = NOTIFY_ALWAYS};

static void what_was_set_is_kept_for_that_account(void **state)
{
    struct world *w = *state;
    static const uint64_t peers[] = {7, UINT64_MAX - 1};
    const struct told *t = get(w, owner);
    assert_int_equal(t->s.content, SETTINGS_AS_CONFIGURED);
    assert_int_equal(t->s.quiet_from, SETTINGS_NEVER);
    assert_string_equal(t->zone, "");
    assert_true(set(w, &night, peers, 2));
    t = get(w, owner);
    assert_int_equal(t->s.content, PUSH_CONTENT_COUNT);
    assert_int_equal(t->s.quiet_from, 22 * 60);
    assert_int_equal(t->s.quiet_to, 7 * 60);
    assert_string_equal(t->zone, "Asia/Shanghai");
    assert_string_equal(t->always, "li@here\nwang@there\n");
    assert_true(t->s.muted_in_badge);
    assert_int_equal(t->s.rooms, NOTIFY_ALWAYS);
    assert_string_equal(db_ask("SELECT always_peers FROM xs.push_settings"), "{7,-2}");
    assert_int_equal(get(w, other)->s.content, SETTINGS_AS_CONFIGURED);
    /* And taken back. */
    const struct push_settings none = {.content = SETTINGS_AS_CONFIGURED,
                                       .quiet_from = SETTINGS_NEVER,
                                       .quiet_to = SETTINGS_NEVER,
                                       .zone = "Asia/Shanghai",
                                       .always = ""};
    assert_true(set(w, &none, NULL, 0));
    t = get(w, owner);
    assert_int_equal(t->s.content, SETTINGS_AS_CONFIGURED);
    assert_int_equal(t->s.quiet_from, SETTINGS_NEVER);
    assert_string_equal(t->zone, "");
    assert_string_equal(t->always, "");
}

static void a_zone_is_a_name_of_the_list(void **state)
{
    struct world *w = *state;
    static const char *const bad[] = {"Atlantis/Poseidonis", "asia/shanghai'", "FOO-3", "",
                                      "+08:00"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct push_settings s = night;
        s.zone = bad[i];
        if (set(w, &s, NULL, 0))
            fail_msg("%s is taken", bad[i]);
    }
    assert_int_equal(db_int("SELECT count(*) FROM xs.push_settings"), 0);
}

static void quiet_hours_are_those_of_the_clock_of_that_place(void **state)
{
    (void)state;
    static const struct {
        const char *at;
        const char *zone;
        int from, to;
        bool quiet;
    } rows[] = {
        /* Within a day: the first minute belongs to it, the last one does not. */
        {"2026-06-01 12:59:59+00", "UTC", 13 * 60, 14 * 60, false},
        {"2026-06-01 13:00:00+00", "UTC", 13 * 60, 14 * 60, true},
        {"2026-06-01 13:59:59.999+00", "UTC", 13 * 60, 14 * 60, true},
        {"2026-06-01 14:00:00+00", "UTC", 13 * 60, 14 * 60, false},
        /* Over midnight. */
        {"2026-06-01 21:59:00+00", "UTC", 22 * 60, 7 * 60, false},
        {"2026-06-01 22:00:00+00", "UTC", 22 * 60, 7 * 60, true},
        {"2026-06-02 00:00:00+00", "UTC", 22 * 60, 7 * 60, true},
        {"2026-06-02 06:59:00+00", "UTC", 22 * 60, 7 * 60, true},
        {"2026-06-02 07:00:00+00", "UTC", 22 * 60, 7 * 60, false},
        {"2026-06-01 23:59:00+00", "UTC", 22 * 60, 0, true},
        {"2026-06-02 00:00:00+00", "UTC", 22 * 60, 0, false},
        /* Elsewhere, also by quarters of an hour. */
        {"2026-06-01 14:00:00+00", "Asia/Shanghai", 22 * 60, 7 * 60, true},
        {"2026-06-01 13:59:00+00", "Asia/Shanghai", 22 * 60, 7 * 60, false},
        {"2026-06-01 16:15:00+00", "Asia/Kathmandu", 22 * 60, 7 * 60, true},
        {"2026-06-01 16:14:00+00", "Asia/Kathmandu", 22 * 60, 7 * 60, false},
        /* Summer and winter in Berlin: 07:00 is another moment. */
        {"2026-07-01 04:59:00+00", "Europe/Berlin", 22 * 60, 7 * 60, true},
        {"2026-07-01 05:00:00+00", "Europe/Berlin", 22 * 60, 7 * 60, false},
        {"2026-12-01 05:59:00+00", "Europe/Berlin", 22 * 60, 7 * 60, true},
        {"2026-12-01 06:00:00+00", "Europe/Berlin", 22 * 60, 7 * 60, false},
        /* In autumn the clock shows 02:30 twice: quiet both times; in spring it goes from
         * 01:59 to 03:00: what would begin at 02:30 has begun. */
        {"2026-10-25 00:30:00+00", "Europe/Berlin", 150, 160, true},
        {"2026-10-25 01:30:00+00", "Europe/Berlin", 150, 160, true},
        {"2026-03-29 00:59:00+00", "Europe/Berlin", 150, 240, false},
        {"2026-03-29 01:00:00+00", "Europe/Berlin", 150, 240, true},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char sql[256];
        snprintf(sql, sizeof sql, "SELECT xs.in_quiet_hours('%s', '%s', %d, %d)::int",
                 rows[i].at, rows[i].zone, rows[i].from, rows[i].to);
        if (db_int(sql) != rows[i].quiet)
            fail_msg("%s", sql);
    }
}

static void without_a_database_there_is_an_answer_too(void **state)
{
    struct world *w = *state;
    db_end_sessions();
    w->told.over = false;
    settings_get(w->pool, owner, on_got, &w->told);
    db_loop(w->base, is_over, w);
    assert_int_not_equal(w->told.failure, PG_OK);
}

#define CASE(f) cmocka_unit_test_setup_teardown(f, begin, end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(what_was_set_is_kept_for_that_account),
        CASE(a_zone_is_a_name_of_the_list),
        CASE(quiet_hours_are_those_of_the_clock_of_that_place),
        CASE(without_a_database_there_is_an_answer_too),
    };
    return cmocka_run_group_tests(tests, db_open, db_close);
}
