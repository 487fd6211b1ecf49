// SPDX-License-Identifier: Apache-2.0
/* Rules A2, A3, A5: docs/archive.md. */
#include "archive/collect.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "archive/ident.h"

#define SECOND INT64_C(1000000)
#define MINUTE (60 * SECOND)
#define START_US (IDENT_EPOCH_US + 1000 * MINUTE)

static struct collect *fresh(void)
{
    return collect_new(15 * MINUTE);
}

/* A row that came that long after START_US. */
static void row(struct collect *c, uint64_t peer, int64_t after_us, const char *thread)
{
    collect_row(c, peer, ident_id_from_us(START_US + after_us), thread);
}

static void assert_next(struct collect *c, int64_t start_after_us, int64_t rows,
                        const char *thread)
{
    const struct collection *one = collect_next(c);
    assert_non_null(one);
    assert_int_equal(one->start_us - START_US, start_after_us);
    assert_int_equal(one->rows, rows);
    if (thread)
        assert_string_equal(one->thread, thread);
    else
        assert_null(one->thread);
}

static void a_silence_of_the_gap_is_inside_and_a_longer_one_ends_it(void **state)
{
    (void)state;
    struct collect *c = fresh();
    collect_peer(c, 1, "a@x", NULL, false);
    row(c, 1, 0, NULL);
    row(c, 1, 15 * MINUTE, NULL);
    row(c, 1, 30 * MINUTE + SECOND, NULL);
    row(c, 1, 40 * MINUTE, NULL);
    assert_next(c, 0, 2, NULL);
    assert_next(c, 30 * MINUTE + SECOND, 2, NULL);
    assert_null(collect_next(c));
    collect_free(&c);
}

static void peers_have_their_own(void **state)
{
    (void)state;
    struct collect *c = fresh();
    collect_peer(c, 1, "a@x", NULL, false);
    collect_peer(c, 2, "b@x", NULL, false);
    row(c, 1, 0, NULL);
    row(c, 2, 1 * MINUTE, NULL);
    row(c, 1, 14 * MINUTE, NULL);
    row(c, 2, 17 * MINUTE, NULL); /* a's message does not keep it open */
    const struct collection *one = collect_next(c);
    assert_string_equal(one->jid, "b@x");
    assert_int_equal(one->rows, 1);
    one = collect_next(c);
    assert_string_equal(one->jid, "a@x");
    assert_int_equal(one->rows, 2);
    assert_next(c, 17 * MINUTE, 1, NULL);
    assert_null(collect_next(c));
    collect_free(&c);
}

static void another_thread_begins_another_one(void **state)
{
    (void)state;
    char long_name[1002];
    memset(long_name, 'x', sizeof long_name - 1);
    long_name[sizeof long_name - 1] = 0;
    struct collect *c = fresh();
    collect_peer(c, 1, "a@x", NULL, false);
    row(c, 1, 0, NULL);
    row(c, 1, 1 * MINUTE, "t1"); /* the first thread that is named is the collection's */
    row(c, 1, 2 * MINUTE, NULL);
    row(c, 1, 3 * MINUTE, "");
    row(c, 1, 4 * MINUTE, long_name); /* not a name that anybody could use */
    row(c, 1, 5 * MINUTE, "t2");
    row(c, 1, 6 * MINUTE, "t2");
    row(c, 1, 7 * MINUTE, "t1"); /* contiguous: one that has ended stays so */
    assert_next(c, 0, 5, "t1");
    assert_next(c, 5 * MINUTE, 2, "t2");
    assert_next(c, 7 * MINUTE, 1, "t1");
    assert_null(collect_next(c));
    collect_free(&c);
}

static void a_stored_one_goes_on(void **state)
{
    (void)state;
    struct collection last = {.peer = 1,
                              .start_us = START_US,
                              .first_id = ident_id_from_us(START_US),
                              .last_id = ident_id_from_us(START_US + MINUTE),
                              .thread = "t1"};
    struct collect *c = fresh();
    collect_peer(c, 1, "a@x", &last, false);
    collect_peer(c, 2, "b@x", &last, false);
    row(c, 1, 2 * MINUTE, NULL);
    row(c, 1, 3 * MINUTE, "t1");
    const struct collection *one = collect_next(c);
    assert_int_equal(one->start_us, START_US);
    assert_int_equal(one->first_id, last.first_id);
    assert_int_equal(one->rows, 2);
    assert_null(collect_next(c)); /* b's is as it was */
    collect_free(&c);
}

static void a_removed_one_does_not(void **state)
{
    (void)state;
    struct collection last = {.peer = 1,
                              .start_us = START_US,
                              .first_id = ident_id_from_us(START_US),
                              .last_id = ident_id_from_us(START_US + SECOND / 2)};
    struct collect *c = fresh();
    collect_peer(c, 1, "a@x", &last, true);
    row(c, 1, SECOND / 2 + 1234, NULL); /* its second is taken: it has to be finer */
    assert_next(c, SECOND / 2 + 1000, 1, NULL);
    collect_free(&c);
}

static void a_start_is_as_coarse_as_it_can_be(void **state)
{
    (void)state;
    struct collect *c = fresh();
    collect_peer(c, 1, "a@x", NULL, false);
    row(c, 1, 123456, "t1");
    row(c, 1, 123457, "t2");
    row(c, 1, 123458, "t3");
    row(c, 1, 123458, "t4");
    row(c, 1, 999999, "t5");
    row(c, 1, 1000001, "t6");
    assert_next(c, 0, 1, "t1");
    assert_next(c, 123000, 1, "t2");
    assert_next(c, 123458, 1, "t3");
    assert_next(c, 123459, 1, "t4");
    assert_next(c, 999000, 1, "t5");
    assert_next(c, 1000000, 1, "t6");
    collect_free(&c);
}

static void a_row_of_an_unknown_peer_is_left_out(void **state)
{
    (void)state;
    struct collect *c = fresh();
    row(c, 9, 0, NULL);
    assert_null(collect_next(c));
    collect_free(&c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_silence_of_the_gap_is_inside_and_a_longer_one_ends_it),
        cmocka_unit_test(peers_have_their_own),
        cmocka_unit_test(another_thread_begins_another_one),
        cmocka_unit_test(a_stored_one_goes_on),
        cmocka_unit_test(a_removed_one_does_not),
        cmocka_unit_test(a_start_is_as_coarse_as_it_can_be),
        cmocka_unit_test(a_row_of_an_unknown_peer_is_left_out),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
