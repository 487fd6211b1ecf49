// SPDX-License-Identifier: Apache-2.0
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "store/pg_array.h"

static void assert_bytes(struct pg_array *a, const void *want, size_t want_len)
{
    size_t len;
    const uint8_t *got = pg_array_finish(a, &len);
    assert_int_equal(len, want_len);
    assert_memory_equal(got, want, want_len);
}

static void an_empty_array_has_length_zero(void **state)
{
    (void)state;
    struct pg_array a;
    pg_array_init(&a, PG_INT8, 100);
    static const uint8_t want[] = {0, 0,  0, 1, 0, 0, 0, 0, 0, 0,
                                   0, 20, 0, 0, 0, 0, 0, 0, 0, 1};
    assert_bytes(&a, want, sizeof want);
    pg_array_deinit(&a);
}

static void numbers_are_big_endian_with_their_length(void **state)
{
    (void)state;
    struct pg_array a;
    pg_array_init(&a, PG_INT8, 100);
    pg_array_add_i64(&a, INT64_C(0x0102030405060708));
    pg_array_add_i64(&a, -1);
    static const uint8_t want8[] = {0,  0, 0, 1,    0,    0,    0,    0,    0,    0,    0,
                                    20, 0, 0, 0,    2,    0,    0,    0,    1,    0,    0,
                                    0,  8, 1, 2,    3,    4,    5,    6,    7,    8,    0,
                                    0,  0, 8, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff};
    assert_bytes(&a, want8, sizeof want8);
    pg_array_deinit(&a);

    pg_array_init(&a, PG_INT4, 100);
    pg_array_add_i32(&a, -2);
    static const uint8_t want4[] = {0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0,    23,   0,    0,
                                    0, 1, 0, 0, 0, 1, 0, 0, 0, 4, 0xff, 0xff, 0xff, 0xfe};
    assert_bytes(&a, want4, sizeof want4);
    pg_array_deinit(&a);

    pg_array_init(&a, PG_BOOL, 100);
    pg_array_add_bool(&a, true);
    static const uint8_t want1[] = {0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 16, 0,
                                    0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 1, 1};
    assert_bytes(&a, want1, sizeof want1);
    pg_array_deinit(&a);
}

static void null_is_length_minus_one_and_marked_in_the_header(void **state)
{
    (void)state;
    struct pg_array a;
    pg_array_init(&a, PG_TEXT, 100);
    pg_array_add_text(&a, "ab");
    pg_array_add_text(&a, NULL);
    pg_array_add_text(&a, "");
    static const uint8_t want[] = {0,   0,   0,    1,    0,    0,    0, 1, 0, 0, 0, 25,
                                   0,   0,   0,    3,    0,    0,    0, 1, 0, 0, 0, 2,
                                   'a', 'b', 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0};
    assert_bytes(&a, want, sizeof want);
    assert_true(a.has_null);
    pg_array_deinit(&a);

    pg_array_init(&a, PG_BYTEA, 100);
    pg_array_add_bytes(&a, "", 0);
    pg_array_add_bytes(&a, NULL, 0);
    assert_true(a.has_null);
    assert_int_equal(a.count, 2);
    pg_array_deinit(&a);
}

static void reset_keeps_nothing_of_the_last_use(void **state)
{
    (void)state;
    struct pg_array a, b;
    uint8_t id[16] = {1, 2, 3};
    pg_array_init(&a, PG_UUID, 100);
    pg_array_init(&b, PG_UUID, 100);
    pg_array_add_uuid(&a, id);
    pg_array_reset(&a);
    pg_array_add_uuid(&a, id);
    pg_array_add_uuid(&b, id);
    size_t len;
    const uint8_t *want = pg_array_finish(&b, &len);
    assert_bytes(&a, want, len);
    pg_array_deinit(&a);
    pg_array_deinit(&b);
}

static void what_does_not_fit_marks_the_buffer_failed(void **state)
{
    (void)state;
    struct pg_array a;
    pg_array_init(&a, PG_INT8, 20 + 12);
    pg_array_add_i64(&a, 1);
    assert_false(buf_failed(&a.buf));
    pg_array_add_i64(&a, 2);
    assert_true(buf_failed(&a.buf));
    assert_int_equal(a.count, 1);
    pg_array_reset(&a);
    assert_false(buf_failed(&a.buf));
    pg_array_deinit(&a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_empty_array_has_length_zero),
        cmocka_unit_test(numbers_are_big_endian_with_their_length),
        cmocka_unit_test(null_is_length_minus_one_and_marked_in_the_header),
        cmocka_unit_test(reset_keeps_nothing_of_the_last_use),
        cmocka_unit_test(what_does_not_fit_marks_the_buffer_failed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
