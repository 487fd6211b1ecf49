// SPDX-License-Identifier: Apache-2.0
#include "apns/brake.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static void note(struct brake *b, int n, bool rejected, int64_t now_ms)
{
    for (int i = 0; i < n; i++)
        (void)brake_note(b, rejected, now_ms);
}

static void nothing_is_believed_where_nobody_is_accepted(void **state)
{
    (void)state;
    struct brake b = {0};
    assert_false(brake_believes(&b));
    note(&b, 3, true, 0);
    assert_false(brake_believes(&b));
    assert_false(b.on);
    note(&b, 1, false, 0);
    assert_true(brake_believes(&b));
}

static void five_and_a_fifth_of_the_last_hundred_put_it_on(void **state)
{
    (void)state;
    struct brake b = {0};
    note(&b, 100, false, 0);
    note(&b, 20, true, 0);
    assert_true(brake_believes(&b));
    assert_int_equal(brake_note(&b, true, 0), BRAKE_ON);
    assert_int_equal(brake_note(&b, true, 0), BRAKE_SAME);
    assert_false(brake_believes(&b));
    /* What was long ago does not count: 22 rejected, and a hundred accepted after them. */
    note(&b, 79, false, 0);
    assert_true(b.on);
    enum brake_change change = BRAKE_SAME;
    int more = 0;
    for (; change == BRAKE_SAME && more < 100; more++)
        change = brake_note(&b, false, 0);
    assert_int_equal(change, BRAKE_OFF);
    assert_int_equal(b.rejected_n, 20);
    struct brake few = {0};
    note(&few, 1, false, 0);
    note(&few, 4, true, 0);
    assert_false(few.on);
    assert_int_equal(brake_note(&few, true, 0), BRAKE_ON);
}

static void a_fresh_one_lets_one_try(void **state)
{
    (void)state;
    struct brake b = {0};
    assert_int_equal(brake_lot(&b, 5), 1);
    brake_gave(&b, 1, 5);
    assert_int_equal(brake_lot(&b, 6), 0);
    (void)brake_note(&b, true, 7);
    assert_int_equal(brake_lot(&b, 7 + BRAKE_PROBE_MS - 1), 0);
    assert_int_equal(brake_lot(&b, 7 + BRAKE_PROBE_MS), 1);
}

static void lots_double_while_they_are_accepted(void **state)
{
    (void)state;
    struct brake b = {0};
    unsigned lot = 1;
    for (int i = 0; i < 12; i++) {
        assert_int_equal(brake_lot(&b, i), lot);
        brake_gave(&b, lot, i);
        note(&b, (int)lot - 1, false, i);
        assert_int_equal(brake_lot(&b, i), 0);
        note(&b, 1, false, i);
        lot = lot < BRAKE_LOT_MAX / 2 ? 2 * lot : BRAKE_LOT_MAX;
    }
}

static void a_rejection_begins_again_with_one(void **state)
{
    (void)state;
    struct brake b = {0};
    note(&b, 50, false, 0);
    brake_gave(&b, 64, 0);
    note(&b, 10, false, 0);
    (void)brake_note(&b, true, 100);
    assert_true(brake_believes(&b));
    assert_int_equal(brake_lot(&b, 100), 0);
    assert_int_equal(brake_lot(&b, 100 + BRAKE_CALM_MS), 1);
}

/* A stream of rejections must not put the next try off for ever. */
static void rejections_do_not_move_the_next_try(void **state)
{
    (void)state;
    struct brake b = {0};
    for (int64_t at = 0; at < BRAKE_PROBE_MS; at += 1000)
        (void)brake_note(&b, true, at);
    assert_int_equal(brake_lot(&b, BRAKE_PROBE_MS), 1);
}

static void who_is_believed_again_waits_no_longer(void **state)
{
    (void)state;
    struct brake b = {0};
    note(&b, 3, true, 0);
    assert_int_equal(brake_lot(&b, 1000), 0);
    note(&b, 1, false, 1000);
    assert_int_equal(brake_lot(&b, 1000), 1);
}

static void what_is_never_answered_holds_the_rest_for_half_a_minute(void **state)
{
    (void)state;
    struct brake b = {0};
    brake_gave(&b, 8, 0);
    note(&b, 7, false, 0);
    assert_int_equal(brake_lot(&b, BRAKE_CALM_MS - 1), 0);
    assert_int_equal(brake_lot(&b, BRAKE_CALM_MS), 1);
    brake_gave(&b, 0, BRAKE_CALM_MS); /* nothing is parked any more */
    assert_int_equal(brake_lot(&b, BRAKE_CALM_MS), 1);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_is_believed_where_nobody_is_accepted),
        cmocka_unit_test(five_and_a_fifth_of_the_last_hundred_put_it_on),
        cmocka_unit_test(a_fresh_one_lets_one_try),
        cmocka_unit_test(lots_double_while_they_are_accepted),
        cmocka_unit_test(a_rejection_begins_again_with_one),
        cmocka_unit_test(rejections_do_not_move_the_next_try),
        cmocka_unit_test(who_is_believed_again_waits_no_longer),
        cmocka_unit_test(what_is_never_answered_holds_the_rest_for_half_a_minute),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
