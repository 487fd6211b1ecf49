// SPDX-License-Identifier: Apache-2.0
#include "base/buf.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void test_bytes_come_out_as_they_went_in(void **state)
{
    (void)state;
    struct buf b;
    buf_init(&b, 1000);
    buf_add_str(&b, "ab");
    buf_add_char(&b, 'c');
    buf_add(&b, "d\0e", 3);
    buf_addf(&b, "%d", 42);
    assert_int_equal(buf_len(&b), 8);
    assert_memory_equal(buf_data(&b), "abcd\0e42", 8);
    assert_false(buf_failed(&b));
    buf_deinit(&b);
}

static void test_integers_are_big_endian(void **state)
{
    (void)state;
    struct buf b;
    buf_init(&b, 100);
    buf_add_u16(&b, 0x0102);
    buf_add_u32(&b, 0x03040506);
    buf_add_u64(&b, UINT64_C(0x0708090a0b0c0d0e));
    static const uint8_t want[] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14};
    assert_int_equal(buf_len(&b), sizeof want);
    assert_memory_equal(buf_data(&b), want, sizeof want);
    buf_deinit(&b);
}

static void test_passing_the_maximum_fails_and_keeps_what_was_there(void **state)
{
    (void)state;
    struct buf b;
    buf_init(&b, 5);
    buf_add_str(&b, "abc");
    buf_add_str(&b, "def");
    assert_true(buf_failed(&b));
    assert_int_equal(buf_len(&b), 3);
    assert_memory_equal(buf_data(&b), "abc", 3);
    /* Failed stays failed, so that a later small append does not leave a hole. */
    buf_add_char(&b, 'x');
    assert_int_equal(buf_len(&b), 3);
    assert_string_equal(buf_cstr(&b), "");
    assert_null(buf_reserve(&b, 1));
    buf_reset(&b);
    assert_false(buf_failed(&b));
    buf_add_str(&b, "12345");
    assert_false(buf_failed(&b));
    assert_int_equal(buf_len(&b), 5);
    buf_deinit(&b);
}

static void test_huge_lengths_fail_instead_of_wrapping(void **state)
{
    (void)state;
    struct buf b;
    buf_init(&b, 100);
    buf_add_str(&b, "abc");
    assert_null(buf_reserve(&b, SIZE_MAX));
    assert_true(buf_failed(&b));
    buf_deinit(&b);
}

static void test_consuming_makes_room_again(void **state)
{
    (void)state;
    struct buf b;
    buf_init(&b, 300);
    uint8_t next_in = 0, next_out = 0;
    for (int round = 0; round < 2000; round++) {
        for (int i = 0; i < round % 37 && buf_len(&b) < 300; i++) {
            buf_add(&b, &next_in, 1);
            next_in++;
        }
        size_t take = buf_len(&b) < 17 ? buf_len(&b) : 17;
        for (size_t i = 0; i < take; i++, next_out++)
            assert_int_equal(buf_data(&b)[i], next_out);
        buf_consume(&b, take);
    }
    assert_false(buf_failed(&b));
    buf_deinit(&b);
}

static void test_reserved_bytes_count_once_committed(void **state)
{
    (void)state;
    struct buf b;
    buf_init(&b, 1000);
    uint8_t *at = buf_reserve(&b, 500);
    assert_non_null(at);
    memcpy(at, "xyz", 3);
    assert_int_equal(buf_len(&b), 0);
    buf_commit(&b, 3);
    assert_string_equal(buf_cstr(&b), "xyz");
    buf_deinit(&b);
}

static void test_an_empty_buffer_is_an_empty_string(void **state)
{
    (void)state;
    struct buf b;
    buf_init(&b, 10);
    assert_string_equal(buf_cstr(&b), "");
    assert_int_equal(buf_len(&b), 0);
    buf_deinit(&b);
    buf_deinit(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bytes_come_out_as_they_went_in),
        cmocka_unit_test(test_integers_are_big_endian),
        cmocka_unit_test(test_passing_the_maximum_fails_and_keeps_what_was_there),
        cmocka_unit_test(test_huge_lengths_fail_instead_of_wrapping),
        cmocka_unit_test(test_consuming_makes_room_again),
        cmocka_unit_test(test_reserved_bytes_count_once_committed),
        cmocka_unit_test(test_an_empty_buffer_is_an_empty_string),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
