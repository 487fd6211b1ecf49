// SPDX-License-Identifier: Apache-2.0
#include "sidecar/hand.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/log.h"
#include "component/page.h"

#define HOUR_US (3600 * INT64_C(1000000))

static struct page *page;
static struct hand *hand;
static int64_t real_us = 1795175400 * INT64_C(1000000);
static int64_t mono_ms = 5000000;
static unsigned errors;

static void on_log(void *ctx, enum log_level level, const char *line)
{
    (void)ctx;
    (void)line;
    errors += level == LOG_ERROR;
}

static int setup(void **state)
{
    (void)state;
    page = calloc(1, sizeof *page);
    assert_non_null(page);
    page->links_n = 2;
    clock_fake(mono_ms, real_us);
    log_set_sink(on_log, NULL);
    errors = 0;
    hand = hand_new(page);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    hand_free(&hand);
    free(page);
    clock_fake_off();
    log_set_sink(NULL, NULL);
    return 0;
}

static struct place at(unsigned spool, uint64_t begin)
{
    return (struct place){.spool = spool, .begin = begin, .end = begin + 100};
}

static struct place in_hand(void)
{
    struct place p;
    return page_place_get(&page->in_hand, &p) ? p : (struct place){.end = 0};
}

/* As the supervisor does when a worker dies by a fault of its own. */
static void die(void)
{
    struct place now, before;
    bool clear = page_place_get(&page->in_hand, &now);
    bool same = clear && page_place_get(&page->fault, &before) && now.spool == before.spool &&
                now.begin == before.begin;
    page_text_set(&page->fault_why, "signal 11 (Segmentation fault)");
    page_place_set(&page->fault, clear ? &now : NULL);
    atomic_store(&page->fault_times, same ? atomic_load(&page->fault_times) + 1 : 1);
    atomic_fetch_add(&page->faults_in_row, 1);
}

static void next_worker(void)
{
    hand_free(&hand);
    page_place_set(&page->in_hand, NULL);
    hand = hand_new(page);
}

/* Two workers die over it. */
static void kill_two(const struct place *p)
{
    for (int i = 0; i < 2; i++) {
        hand_take(hand, p);
        die();
        next_worker();
    }
}

static void what_is_taken_is_in_hand_until_it_is_put(void **state)
{
    (void)state;
    struct place p = at(1, 500), held = at(0, 900);
    assert_int_equal(in_hand().end, 0);
    hand_take(hand, &p);
    assert_int_equal(in_hand().begin, 500);
    assert_int_equal(in_hand().spool, 1);
    hand_put(hand);
    assert_int_equal(in_hand().end, 0);
    /* What is held comes back after what was only looked at. */
    assert_true(hand_hold(hand, &held));
    assert_false(hand_hold(hand, &p));
    hand_take(hand, &p);
    assert_int_equal(in_hand().begin, 500);
    hand_put(hand);
    assert_int_equal(in_hand().begin, 900);
    hand_let_go(hand, &p); /* it is not that */
    assert_true(hand_is_held(hand));
    hand_let_go(hand, &held);
    assert_int_equal(in_hand().end, 0);
}

static void one_death_makes_the_next_worker_careful_and_two_make_poison(void **state)
{
    (void)state;
    struct place p = at(0, 500), other = at(0, 600);
    bool may_look = false;
    hand_take(hand, &p);
    die();
    next_worker();
    assert_true(hand_is_careful(hand));
    assert_true(hand_is_quiet(hand, mono_ms));
    assert_false(hand_is_quiet(hand, mono_ms + HAND_QUIET_MS));
    assert_null(hand_poison(hand, &p, &may_look));
    assert_int_equal(errors, 0);
    hand_take(hand, &p);
    die();
    next_worker();
    assert_false(hand_is_careful(hand));
    assert_string_equal(hand_poison(hand, &p, &may_look),
                        "the worker died with it in hand, 2 times: "
                        "signal 11 (Segmentation fault)");
    assert_true(may_look);
    assert_null(hand_poison(hand, &other, &may_look));
    assert_int_equal(errors, 1);
    assert_int_equal(atomic_load(&page->faults_in_row), 0);
}

static void two_deaths_at_different_places_accuse_nobody(void **state)
{
    (void)state;
    for (uint64_t i = 0; i < 50; i++) {
        struct place p = at((unsigned)(i % 2), 500 * (i / 2 % 3));
        hand_take(hand, &p);
        die();
        next_worker();
        assert_true(hand_is_careful(hand));
    }
    assert_int_equal(hand_poison_count(hand), 0);
}

static void deaths_with_nothing_in_hand_accuse_nobody(void **state)
{
    (void)state;
    struct place p = at(0, 500);
    for (unsigned i = 0; i < 50; i++) {
        die();
        next_worker();
        hand_take(hand, &p);
        hand_put(hand);
        assert_true(hand_is_careful(hand));
    }
    assert_int_equal(hand_poison_count(hand), 0);
}

/* A worker that somebody killed told the supervisor nothing. */
static void a_kill_between_two_faults_changes_nothing(void **state)
{
    (void)state;
    struct place p = at(0, 500);
    hand_take(hand, &p);
    die();
    for (int i = 0; i < 10; i++) {
        next_worker();
        assert_true(hand_is_careful(hand));
        hand_take(hand, &p);
    }
    assert_int_equal(hand_poison_count(hand), 0);
    die();
    next_worker();
    assert_int_equal(hand_poison_count(hand), 1);
}

static void being_careful_ends_behind_what_the_dead_worker_had(void **state)
{
    (void)state;
    hand_offered(hand, 0, 700);
    hand_offered(hand, 0, 600); /* never back */
    atomic_store(&page->links[1].live_pos, 900);
    die();
    next_worker();
    hand_passed(hand, 1, 900, 0);
    hand_passed(hand, 0, 700, 699);
    assert_true(hand_is_careful(hand));
    hand_passed(hand, 1, 899, 0);
    hand_passed(hand, 0, 700, 700);
    assert_true(hand_is_careful(hand));
    hand_passed(hand, 1, 900, 0);
    assert_false(hand_is_careful(hand));
    assert_int_equal(atomic_load(&page->fault_times), 0);
    next_worker();
    assert_false(hand_is_careful(hand));
}

static void poison_that_kills_even_unopened_is_not_looked_at_any_more(void **state)
{
    (void)state;
    struct place p = at(0, 500);
    bool may_look = false;
    kill_two(&p);
    hand_take(hand, &p);
    die();
    next_worker();
    assert_false(hand_is_careful(hand));
    assert_non_null(hand_poison(hand, &p, &may_look));
    assert_false(may_look);
    assert_int_equal(hand_poison_count(hand), 1);
}

static void more_than_so_many_in_an_hour_wait_for_a_person(void **state)
{
    (void)state;
    bool may_look;
    for (uint64_t i = 0; i < HAND_POISON_PER_HOUR; i++) {
        struct place p = at(0, 1000 * i);
        kill_two(&p);
    }
    assert_int_equal(hand_poison_count(hand), HAND_POISON_PER_HOUR);
    assert_int_equal(errors, HAND_POISON_PER_HOUR);
    struct place p = at(0, 77777);
    kill_two(&p);
    assert_int_equal(hand_poison_count(hand), HAND_POISON_PER_HOUR);
    assert_null(hand_poison(hand, &p, &may_look));
    assert_true(hand_is_careful(hand));
    assert_int_equal(errors, HAND_POISON_PER_HOUR + 1); /* a person must look */
    clock_fake(mono_ms, real_us + HOUR_US);
    next_worker();
    assert_non_null(hand_poison(hand, &p, &may_look));
}

static void a_full_list_puts_nothing_aside_and_says_so(void **state)
{
    (void)state;
    for (uint64_t i = 0; i < PAGE_POISON_MAX + 1; i++) {
        struct place p = at(1, 1000 * i);
        clock_fake(mono_ms, real_us + (int64_t)i * HOUR_US);
        kill_two(&p);
    }
    assert_int_equal(hand_poison_count(hand), PAGE_POISON_MAX);
    assert_true(hand_is_careful(hand));
    hand_released(hand, 1, 1100); /* the first two were passed for good */
    assert_int_equal(hand_poison_count(hand), PAGE_POISON_MAX - 2);
    next_worker();
    assert_int_equal(hand_poison_count(hand), PAGE_POISON_MAX - 1);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(what_is_taken_is_in_hand_until_it_is_put),
        TEST(one_death_makes_the_next_worker_careful_and_two_make_poison),
        TEST(two_deaths_at_different_places_accuse_nobody),
        TEST(deaths_with_nothing_in_hand_accuse_nobody),
        TEST(a_kill_between_two_faults_changes_nothing),
        TEST(being_careful_ends_behind_what_the_dead_worker_had),
        TEST(poison_that_kills_even_unopened_is_not_looked_at_any_more),
        TEST(more_than_so_many_in_an_hour_wait_for_a_person),
        TEST(a_full_list_puts_nothing_aside_and_says_so),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
