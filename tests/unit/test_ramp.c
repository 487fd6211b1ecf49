// SPDX-License-Identifier: Apache-2.0
#include "apns/ramp.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static const struct ramp_opts opts = {.start = 100, .full = 6100, .rise_s = 60};

/* How many of so many get through at this moment. */
static unsigned take(struct ramp *r, unsigned n, int64_t now_ms)
{
    unsigned got = 0;
    while (n-- > 0)
        got += ramp_take(r, now_ms);
    return got;
}

static void without_a_full_rate_there_is_no_limit(void **state)
{
    (void)state;
    struct ramp r;
    ramp_init(&r, &(struct ramp_opts){0});
    assert_int_equal(take(&r, 100000, 5), 100000);
    assert_true(ramp_next_ms(&r) == INT64_MIN);
}

static void the_first_second_has_the_starting_rate(void **state)
{
    (void)state;
    struct ramp r;
    ramp_init(&r, &opts);
    assert_true(ramp_next_ms(&r) == INT64_MIN);
    assert_int_equal(take(&r, 1000, 5000), 100);
    assert_int_equal(take(&r, 1000, 5999), 0);
    assert_int_equal(ramp_next_ms(&r), 6000);
    assert_int_equal(take(&r, 1000, 6000), 200);
}

static void the_full_rate_takes_as_long_as_it_should(void **state)
{
    (void)state;
    struct ramp r;
    uint64_t sent = 0;
    ramp_init(&r, &opts);
    for (int64_t s = 0; s < 60; s++) {
        unsigned got = take(&r, 10000, s * 1000);
        assert_int_equal(got, 100 + s * 100);
        sent += got;
    }
    assert_int_equal(sent, 60 * 100 + 100 * 59 * 60 / 2);
    for (int64_t s = 60; s < 70; s++)
        assert_int_equal(take(&r, 10000, s * 1000), 6100);
}

static void what_is_not_used_is_lost_again(void **state)
{
    (void)state;
    struct ramp r;
    ramp_init(&r, &opts);
    for (int64_t s = 0; s < 20; s++)
        take(&r, 10000, s * 1000);
    assert_int_equal(r.allowed, 2000);
    /* The last busy second raises it once more, the nine empty ones lower it. */
    assert_int_equal(take(&r, 1, 29000), 1);
    assert_int_equal(r.allowed, 2100 - 9 * 100);
    assert_int_equal(take(&r, 1, 3600000), 1);
    assert_int_equal(r.allowed, 100);
}

static void a_little_traffic_does_not_raise_it(void **state)
{
    (void)state;
    struct ramp r;
    ramp_init(&r, &opts);
    for (int64_t s = 0; s < 100; s++)
        assert_int_equal(take(&r, 50, s * 1000), 50);
    assert_int_equal(r.allowed, 100);
}

static void a_restart_begins_at_the_bottom(void **state)
{
    (void)state;
    struct ramp r;
    ramp_init(&r, &opts);
    for (int64_t s = 0; s < 20; s++)
        take(&r, 10000, s * 1000);
    ramp_restart(&r);
    assert_int_equal(take(&r, 10000, 19500), 0);
    assert_int_equal(take(&r, 10000, 20000), 200);
}

static void a_clock_that_goes_back_lets_nothing_more_through(void **state)
{
    (void)state;
    struct ramp r;
    ramp_init(&r, &opts);
    assert_int_equal(take(&r, 200, 10000), 100);
    assert_int_equal(take(&r, 200, 1000), 0);
    assert_int_equal(take(&r, 200, 11000), 200);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(without_a_full_rate_there_is_no_limit),
        cmocka_unit_test(the_first_second_has_the_starting_rate),
        cmocka_unit_test(the_full_rate_takes_as_long_as_it_should),
        cmocka_unit_test(what_is_not_used_is_lost_again),
        cmocka_unit_test(a_little_traffic_does_not_raise_it),
        cmocka_unit_test(a_restart_begins_at_the_bottom),
        cmocka_unit_test(a_clock_that_goes_back_lets_nothing_more_through),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
