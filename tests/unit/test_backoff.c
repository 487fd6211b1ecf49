// SPDX-License-Identifier: Apache-2.0
#include "base/backoff.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <limits.h>

/* The range of the next wait is [min, top], no more: behind it random begins again. */
static void expect_top(const struct backoff *b, int64_t top)
{
    struct backoff last = *b, behind = *b;
    uint64_t random = (uint64_t)(top - b->min_ms);
    assert_int_equal(backoff_next_ms(&last, random), top);
    assert_int_equal(backoff_next_ms(&behind, random + 1), b->min_ms);
}

static void test_the_range_doubles_up_to_the_maximum(void **state)
{
    (void)state;
    struct backoff b;
    backoff_init(&b, 100, 1000);
    static const int64_t tops[] = {200, 400, 800, 1000, 1000, 1000};
    for (size_t i = 0; i < sizeof tops / sizeof tops[0]; i++) {
        struct backoff low = b;
        expect_top(&b, tops[i]);
        assert_int_equal(backoff_next_ms(&low, 0), 100);
        assert_int_equal(backoff_next_ms(&b, (uint64_t)(tops[i] - 100)), tops[i]);
        assert_int_equal(b.failures, i + 1);
    }
}

static void test_a_wait_is_at_most_as_long_as_what_was_waited(void **state)
{
    (void)state;
    struct backoff b;
    backoff_init(&b, 100, 10000);
    for (int i = 1; i < 20; i++) {
        int64_t top = 100 * i + 100;
        if (i <= 6 && top > 100 << i)
            top = 100 << i;
        expect_top(&b, top);
        assert_int_equal(backoff_next_ms(&b, 0), 100); /* luck, again and again */
    }
}

static void test_every_wait_is_in_range(void **state)
{
    (void)state;
    struct backoff b;
    backoff_init(&b, 1, 60000);
    for (uint64_t i = 0; i < 1000; i++) {
        int64_t ms = backoff_next_ms(&b, i * UINT64_C(0x9e3779b97f4a7c15));
        assert_true(ms >= 1 && ms <= 60000);
    }
}

static void test_a_success_begins_again(void **state)
{
    (void)state;
    struct backoff b;
    backoff_init(&b, 10, 1000);
    for (int i = 0; i < 5; i++)
        backoff_next_ms(&b, 0);
    backoff_reset(&b);
    assert_true(backoff_next_ms(&b, UINT64_MAX) <= 20);
}

static void test_extremes_do_not_overflow(void **state)
{
    (void)state;
    struct backoff b;
    backoff_init(&b, INT64_MAX / 2 + 1, INT64_MAX);
    assert_true(backoff_next_ms(&b, UINT64_MAX) > 0);
    b.failures = UINT_MAX;
    assert_true(backoff_next_ms(&b, UINT64_MAX) > 0);
    assert_int_equal(b.failures, UINT_MAX);
    backoff_init(&b, 0, 0);
    assert_int_equal(backoff_next_ms(&b, UINT64_MAX), 0);
    backoff_init(&b, 7, 7);
    assert_int_equal(backoff_next_ms(&b, UINT64_MAX), 7);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_range_doubles_up_to_the_maximum),
        cmocka_unit_test(test_a_wait_is_at_most_as_long_as_what_was_waited),
        cmocka_unit_test(test_every_wait_is_in_range),
        cmocka_unit_test(test_a_success_begins_again),
        cmocka_unit_test(test_extremes_do_not_overflow),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
