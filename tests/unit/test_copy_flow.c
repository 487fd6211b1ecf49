// SPDX-License-Identifier: Apache-2.0
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "component/copy_flow.h"

#define MS INT64_C(1000)
#define START INT64_C(1795175400000000)

/* Copies at that distance from one time to another; how many losses were told. */
static unsigned flow(struct copy_flow *f, int64_t from_ms, int64_t to_ms, int64_t every_ms)
{
    unsigned told = 0;
    for (int64_t at = from_ms; at < to_ms; at += every_ms)
        told += copy_flow_add(f, START + at * MS);
    return told;
}

static void a_full_queue_is_known_by_its_holes(void **state)
{
    (void)state;
    struct copy_flow f = {0};
    /* Emptied at 0, 5 and 10 s; full after 3 s each time. */
    assert_int_equal(flow(&f, 0, 3000, 2), 0);
    assert_int_equal(flow(&f, 5000, 8000, 2), 1);
    assert_int_equal(flow(&f, 10000, 10080, 2), 0); /* not yet sure that it goes on */
    assert_int_equal(flow(&f, 10080, 13000, 2), 1);
    assert_int_equal(f.losses, 2);
    assert_int_equal(f.lost_from_us, START + 7998 * MS);
    assert_int_equal(f.lost_to_us, START + 10000 * MS);
    assert_int_equal(f.busiest, 1500);
}

static void other_traffic_is_no_loss(void **state)
{
    (void)state;
    static const struct {
        const char *what;
        int64_t run_ms, hole_ms, every_ms, then_ms; /* then_ms: the distance afterwards */
    } table[] = {
        {"steady", 5000, 0, 2, 2},
        {"a few copies", 5000, 0, 400, 400},
        {"too few for a full queue", 3000, 2000, 20, 20},
        {"a burst that ends", 3000, 2000, 2, 100},
        {"bursts of another rhythm", 3000, 1000, 2, 2},
        {"a long pause", 3000, 20000, 2, 2},
        {"a short hole", 4850, 150, 2, 2},
    };
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        struct copy_flow f = {0};
        int64_t end = table[i].run_ms + table[i].hole_ms;
        print_message("%s\n", table[i].what);
        assert_int_equal(flow(&f, 0, table[i].run_ms, table[i].every_ms), 0);
        assert_int_equal(flow(&f, end, end + table[i].run_ms, table[i].then_ms), 0);
        assert_int_equal(f.losses, 0);
    }
}

static void a_new_connection_is_no_loss(void **state)
{
    (void)state;
    struct copy_flow f = {0};
    flow(&f, 0, 3000, 2);
    copy_flow_restart(&f);
    assert_int_equal(flow(&f, 5000, 8000, 2), 0);
    assert_int_equal(f.busiest, 1500);
    assert_int_equal(flow(&f, 10000, 13000, 2), 1);
}

static void copies_out_of_order_do_no_harm(void **state)
{
    (void)state;
    struct copy_flow f = {0};
    for (int i = 0; i < 1000; i++) {
        assert_false(copy_flow_add(&f, START + i * 4 * MS));
        assert_false(copy_flow_add(&f, START + (i - 40) * 4 * MS));
    }
    assert_int_equal(f.losses, 0);
    assert_true(f.run.last_us == START + 3996 * MS);
}

static void a_clock_that_was_set_back_blinds_nobody(void **state)
{
    (void)state;
    struct copy_flow f = {0};
    flow(&f, 600000, 603000, 2);
    assert_int_equal(flow(&f, 0, 3000, 2), 0);
    assert_int_equal(flow(&f, 5000, 8000, 2), 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_full_queue_is_known_by_its_holes),
        cmocka_unit_test(other_traffic_is_no_loss),
        cmocka_unit_test(a_new_connection_is_no_loss),
        cmocka_unit_test(copies_out_of_order_do_no_harm),
        cmocka_unit_test(a_clock_that_was_set_back_blinds_nobody),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
