// SPDX-License-Identifier: Apache-2.0
#include "base/map.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static int values[100000];

static void key_of(unsigned i, char *out, size_t *len)
{
    *len = (size_t)snprintf(out, 32, "user%u@e.test", i);
}

static void test_what_is_put_is_got_and_taken(void **state)
{
    (void)state;
    struct map *m = map_new();
    assert_null(map_get(m, "alice", 5));
    assert_null(map_put(m, "alice", 5, &values[1]));
    assert_ptr_equal(map_get(m, "alice", 5), &values[1]);
    assert_null(map_get(m, "alic", 4));
    assert_null(map_get(m, "alicf", 5));
    assert_ptr_equal(map_put(m, "alice", 5, &values[2]), &values[1]);
    assert_int_equal(map_count(m), 1);
    assert_ptr_equal(map_take(m, "alice", 5), &values[2]);
    assert_null(map_take(m, "alice", 5));
    assert_null(map_get(m, "alice", 5));
    assert_int_equal(map_count(m), 0);
    map_free(&m);
    assert_null(m);
    map_free(&m);
}

static void test_any_bytes_are_a_key_and_keys_are_copied(void **state)
{
    (void)state;
    struct map *m = map_new();
    char key[] = "a\0b";
    map_put(m, key, 3, &values[1]);
    map_put(m, key, 1, &values[2]);
    map_put(m, "", 0, &values[3]);
    key[0] = 'x';
    assert_ptr_equal(map_get(m, "a\0b", 3), &values[1]);
    assert_ptr_equal(map_get(m, "a", 1), &values[2]);
    assert_ptr_equal(map_get(m, NULL, 0), &values[3]);
    map_free(&m);
}

static void test_a_hundred_thousand_entries_stay_themselves(void **state)
{
    (void)state;
    struct map *m = map_new();
    char key[32];
    size_t len;
    for (unsigned i = 0; i < 100000; i++) {
        key_of(i, key, &len);
        assert_null(map_put(m, key, len, &values[i]));
    }
    for (unsigned i = 0; i < 100000; i += 3) {
        key_of(i, key, &len);
        assert_ptr_equal(map_take(m, key, len), &values[i]);
    }
    for (unsigned i = 0; i < 100000; i++) {
        key_of(i, key, &len);
        assert_ptr_equal(map_get(m, key, len), i % 3 == 0 ? NULL : &values[i]);
    }
    assert_int_equal(map_count(m), 66666);
    map_free(&m);
}

static void test_coming_and_going_for_ever_does_not_fill_the_table(void **state)
{
    (void)state;
    struct map *m = map_new();
    char key[32];
    size_t len;
    for (unsigned i = 0; i < 300000; i++) {
        key_of(i, key, &len);
        map_put(m, key, len, &values[i % 100000]);
        if (i >= 8) {
            key_of(i - 8, key, &len);
            assert_ptr_equal(map_take(m, key, len), &values[(i - 8) % 100000]);
        }
    }
    assert_int_equal(map_count(m), 8);
    /* An absent key is found absent at once: free slots are left. */
    assert_null(map_get(m, "nobody", 6));
    map_free(&m);
}

static void test_a_walk_meets_each_entry_once_and_may_take_it(void **state)
{
    (void)state;
    struct map *m = map_new();
    char key[32];
    size_t len;
    static bool met[1000];
    memset(met, 0, sizeof met);
    for (unsigned i = 0; i < 1000; i++) {
        key_of(i, key, &len);
        map_put(m, key, len, &values[i]);
    }
    size_t cursor = 0, count = 0;
    const void *k;
    void *v;
    while (map_each(m, &cursor, &k, &len, &v)) {
        size_t i = (size_t)((int *)v - values);
        assert_false(met[i]);
        met[i] = true;
        count++;
        char copy[32];
        memcpy(copy, k, len);
        if (i % 2 == 0)
            assert_ptr_equal(map_take(m, copy, len), v);
    }
    assert_int_equal(count, 1000);
    assert_int_equal(map_count(m), 500);
    assert_false(map_each(m, &cursor, NULL, NULL, NULL));
    cursor = 0;
    count = 0;
    while (map_each(m, &cursor, NULL, NULL, &v)) {
        assert_int_equal(((int *)v - values) % 2, 1);
        count++;
    }
    assert_int_equal(count, 500);
    map_free(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_is_put_is_got_and_taken),
        cmocka_unit_test(test_any_bytes_are_a_key_and_keys_are_copied),
        cmocka_unit_test(test_a_hundred_thousand_entries_stay_themselves),
        cmocka_unit_test(test_coming_and_going_for_ever_does_not_fill_the_table),
        cmocka_unit_test(test_a_walk_meets_each_entry_once_and_may_take_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
