// SPDX-License-Identifier: Apache-2.0
#include "archive/recent.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "archive/rows.h"
#include "base/clock.h"

#define MINUTE_MS 60000
#define BYTES ((size_t)2 << 20)

static uint64_t mixed(uint64_t v)
{
    v = (v ^ (v >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    v = (v ^ (v >> 27)) * UINT64_C(0x94d049bb133111eb);
    return v ^ (v >> 31);
}

static struct write row(uint64_t n)
{
    return (struct write){
        .kind = WRITE_ROW, .ref = mixed(2 * n + 1), .content = mixed(2 * n + 2)};
}

static bool is_new(const struct recent *r, unsigned lane, uint64_t n, int64_t from)
{
    struct write w = row(n);
    return recent_is_new(r, lane, &w, from);
}

static void put(struct recent *r, unsigned lane, uint64_t n, int64_t id)
{
    struct write w = row(n);
    recent_put(r, lane, &w, id);
}

static void nothing_is_new_before_the_lane_was_met(void **state)
{
    (void)state;
    struct recent *r = recent_new(2, BYTES);
    assert_false(is_new(r, 0, 1, INT64_MAX));
    assert_false(recent_meet(r, 0, 100));
    assert_true(recent_meet(r, 0, 100));
    assert_true(is_new(r, 0, 1, 101));
    assert_false(is_new(r, 1, 1, 101));
    recent_free(&r);
    assert_null(r);
}

static void a_copy_that_may_be_older_than_we_know_is_not_new(void **state)
{
    (void)state;
    struct recent *r = recent_new(1, BYTES);
    recent_meet(r, 0, 100);
    assert_false(is_new(r, 0, 1, 99));
    assert_false(is_new(r, 0, 1, 100));
    assert_true(is_new(r, 0, 1, 101));
    recent_free(&r);
}

static void what_was_put_is_never_new_and_the_rest_nearly_always(void **state)
{
    (void)state;
    struct recent *r = recent_new(1, BYTES);
    int64_t id = 100;
    recent_meet(r, 0, id);
    const uint64_t n = 300000; /* more than the first slices hold */
    for (uint64_t i = 0; i < n; i++)
        put(r, 0, i, ++id);
    unsigned wrong = 0;
    for (uint64_t i = 0; i < n; i++)
        assert_false(is_new(r, 0, i, 101));
    for (uint64_t i = n; i < 2 * n; i++)
        wrong += !is_new(r, 0, i, 101);
    assert_true(wrong < n / 20);
    recent_free(&r);
}

static void rows_of_others_are_noticed_by_the_last_id(void **state)
{
    (void)state;
    struct recent *r = recent_new(1, BYTES);
    recent_meet(r, 0, 100);
    put(r, 0, 1, 101);
    recent_committed(r, 0, 101);
    assert_true(recent_meet(r, 0, 101));
    assert_true(is_new(r, 0, 2, 101));
    assert_false(recent_meet(r, 0, 110));
    assert_false(is_new(r, 0, 2, 110));
    assert_true(is_new(r, 0, 2, 111));
    recent_free(&r);
}

static void what_is_forgotten_is_not_new(void **state)
{
    (void)state;
    clock_fake(0, 0);
    struct recent *r = recent_new(1, BYTES);
    int64_t now_ms = 0;
    recent_meet(r, 0, 100);
    /* One row a minute with the minute as id: whatever is called new was put never. */
    for (int minute = 1; minute < 500; minute++) {
        now_ms += MINUTE_MS;
        clock_fake(now_ms, 0);
        put(r, 0, (uint64_t)minute, 100 + minute);
        for (int low = 1; low <= minute; low++)
            assert_false(is_new(r, 0, (uint64_t)low, 100 + low));
        if (minute > 60) /* a live copy comes within the hour */
            assert_true(is_new(r, 0, 1000000 + (uint64_t)minute, 100 + minute - 60));
        if (minute > 100)
            assert_false(is_new(r, 0, 1000000 + (uint64_t)minute, 101));
    }
    recent_free(&r);
    clock_fake_off();
}

static void a_flood_shortens_the_reach_and_never_grows_the_memory(void **state)
{
    (void)state;
    clock_fake(0, 0);
    struct recent *r = recent_new(1, BYTES);
    recent_meet(r, 0, 0);
    /* Each slice is full before a second is over: eight of them are all there is. */
    const int64_t n = 3000000;
    int64_t id = 0;
    for (int64_t i = 1; i <= n; i++)
        put(r, 0, (uint64_t)i, id = i);
    assert_false(is_new(r, 0, (uint64_t)n * 2, 1));
    assert_false(is_new(r, 0, 1, 1));
    assert_false(is_new(r, 0, (uint64_t)n, id));
    assert_true(is_new(r, 0, (uint64_t)n * 2, id - 1000));
    recent_free(&r);
    clock_fake_off();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_is_new_before_the_lane_was_met),
        cmocka_unit_test(a_copy_that_may_be_older_than_we_know_is_not_new),
        cmocka_unit_test(what_was_put_is_never_new_and_the_rest_nearly_always),
        cmocka_unit_test(rows_of_others_are_noticed_by_the_last_id),
        cmocka_unit_test(what_is_forgotten_is_not_new),
        cmocka_unit_test(a_flood_shortens_the_reach_and_never_grows_the_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
