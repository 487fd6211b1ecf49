// SPDX-License-Identifier: Apache-2.0
#include "archive/read_state.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static void new_rows_behind_the_position_are_unread(void **state)
{
    (void)state;
    struct read_state s;
    read_state_init(&s, 100, 90, 3);
    read_state_count(&s, 101);
    read_state_count(&s, 102);
    assert_int_equal(s.unread, 5);
}

static void a_move_to_the_newest_reads_everything(void **state)
{
    (void)state;
    struct read_state s;
    read_state_init(&s, 100, 90, 3);
    read_state_move(&s, 100, 0);
    assert_int_equal(s.unread, 0);
    read_state_move(&s, 102, 0);
    read_state_count(&s, 101);
    read_state_count(&s, 103);
    assert_int_equal(s.unread, 1);
    assert_int_equal(s.read_id, 102);
}

static void a_move_into_the_middle_takes_off_what_it_read(void **state)
{
    (void)state;
    struct read_state s;
    read_state_init(&s, 100, 90, 3);
    read_state_move(&s, 95, 2);
    assert_int_equal(s.unread, 1);
    read_state_count(&s, 101);
    assert_int_equal(s.unread, 2);
}

/* Each says how many it reads from the stored position on; the furthest wins. */
static void of_two_moves_the_furthest_wins_in_any_order(void **state)
{
    (void)state;
    struct read_state s;
    read_state_init(&s, 100, 90, 3);
    read_state_move(&s, 93, 1);
    read_state_move(&s, 95, 2);
    assert_int_equal(s.unread, 1);
    read_state_init(&s, 100, 90, 3);
    read_state_move(&s, 95, 2);
    read_state_move(&s, 93, 1);
    assert_int_equal(s.unread, 1);
    assert_int_equal(s.read_id, 95);
}

static void back_is_no_way(void **state)
{
    (void)state;
    struct read_state s;
    read_state_init(&s, 100, 90, 3);
    read_state_move(&s, 90, 7);
    read_state_move(&s, 10, 7);
    assert_int_equal(s.unread, 3);
    assert_int_equal(s.read_id, 90);
}

static void a_row_that_was_read_is_not_taken_off_twice(void **state)
{
    (void)state;
    struct read_state s;
    read_state_init(&s, 100, 90, 3);
    read_state_move(&s, 95, 2);
    read_state_uncount(&s, 94);
    assert_int_equal(s.unread, 1);
    read_state_uncount(&s, 96);
    assert_int_equal(s.unread, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(new_rows_behind_the_position_are_unread),
        cmocka_unit_test(a_move_to_the_newest_reads_everything),
        cmocka_unit_test(a_move_into_the_middle_takes_off_what_it_read),
        cmocka_unit_test(of_two_moves_the_furthest_wins_in_any_order),
        cmocka_unit_test(back_is_no_way),
        cmocka_unit_test(a_row_that_was_read_is_not_taken_off_twice),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
