// SPDX-License-Identifier: Apache-2.0
#include "base/arena.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <stdalign.h>

static void test_memory_is_aligned_and_apart(void **state)
{
    (void)state;
    struct arena *a = arena_new(1024 * 1024);
    unsigned char *all[500];
    for (size_t i = 0; i < 500; i++) {
        all[i] = arena_alloc(a, i + 1);
        assert_non_null(all[i]);
        assert_int_equal((uintptr_t)all[i] % alignof(max_align_t), 0);
        memset(all[i], (int)(i & 0xff), i + 1);
    }
    for (size_t i = 0; i < 500; i++)
        for (size_t j = 0; j <= i; j++)
            assert_int_equal(all[i][j], i & 0xff);
    arena_free(&a);
    assert_null(a);
    arena_free(&a);
}

static void test_the_maximum_holds_over_all_allocations(void **state)
{
    (void)state;
    struct arena *a = arena_new(10000);
    size_t got = 0;
    while (arena_alloc(a, 100))
        got += 100;
    assert_true(got <= 10000 && got >= 8000);
    assert_true(arena_used(a) <= 10000);
    assert_null(arena_alloc(a, 5000));
    assert_null(arena_alloc(a, SIZE_MAX));
    assert_null(arena_alloc(a, SIZE_MAX - 8));
    arena_free(&a);
}

static void test_a_big_allocation_gets_its_own_block(void **state)
{
    (void)state;
    struct arena *a = arena_new(10 * 1024 * 1024);
    char *big = arena_alloc(a, 5 * 1024 * 1024);
    assert_non_null(big);
    memset(big, 'x', 5 * 1024 * 1024);
    assert_non_null(arena_alloc(a, 16));
    arena_free(&a);
}

static void test_strings_are_copied(void **state)
{
    (void)state;
    struct arena *a = arena_new(1000);
    char text[] = "hello";
    char *copy = arena_strdup(a, text);
    char *part = arena_strndup(a, text, 2);
    text[0] = 'j';
    assert_string_equal(copy, "hello");
    assert_string_equal(part, "he");
    assert_string_equal(arena_strndup(a, text, 0), "");
    assert_null(arena_strndup(a, text, SIZE_MAX));
    arena_free(&a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_memory_is_aligned_and_apart),
        cmocka_unit_test(test_the_maximum_holds_over_all_allocations),
        cmocka_unit_test(test_a_big_allocation_gets_its_own_block),
        cmocka_unit_test(test_strings_are_copied),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
