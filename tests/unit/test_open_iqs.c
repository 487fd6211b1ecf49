// SPDX-License-Identifier: Apache-2.0
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "component/page.h"
#include "sidecar/open_iqs.h"

static char path[64];
static struct page *page;

static int make_page(void **state)
{
    (void)state;
    struct err e;
    snprintf(path, sizeof path, "/tmp/test-open-iqs-%d", (int)getpid());
    return page_create(path, 2, &page, &e) ? -1 : 0;
}

static int remove_page(void **state)
{
    (void)state;
    page_close(&page);
    return unlink(path);
}

static int open_in_page(void)
{
    int n = 0;
    struct place p;
    int64_t at;
    for (int slot = 0; page_iq_each(page, &slot, &p, &at);)
        n++;
    return n;
}

static void answer(struct open_iqs *o, const struct place *p)
{
    open_iqs_answered(o, p, 1);
    open_iqs_written(o, p->spool, 1);
}

static void an_answered_request_is_not_left_open(void **state)
{
    (void)state;
    struct place a = {0, 100, 200}, b = {1, 100, 300};
    struct open_iqs *o = open_iqs_new(page);
    open_iqs_opened(o, &a);
    open_iqs_opened(o, &b);
    assert_int_equal(open_in_page(), 2);
    assert_true(open_iqs_oldest(o, 1) == 100);
    answer(o, &a);
    assert_true(open_iqs_oldest(o, 0) == UINT64_MAX);
    assert_int_equal(open_in_page(), 1);
    answer(o, &b);
    answer(o, &b);
    assert_int_equal(open_in_page(), 0);
    open_iqs_free(&o);
}

static void the_next_worker_finds_what_was_left_open(void **state)
{
    (void)state;
    struct place a = {0, 100, 200}, b = {0, 300, 400};
    struct open_iqs *dead = open_iqs_new(page);
    open_iqs_opened(dead, &a);
    open_iqs_opened(dead, &b);
    open_iqs_free(&dead); /* as a kill would: the page keeps them */
    struct open_iqs *o = open_iqs_new(page);
    assert_true(open_iqs_has(o, &a));
    assert_true(open_iqs_oldest(o, 0) == 100);
    open_iqs_opened(o, &b); /* met again in the replay */
    assert_int_equal(open_in_page(), 2);
    open_iqs_replayed(o, 0); /* a was not met: its stream is over */
    assert_false(open_iqs_has(o, &a));
    assert_true(open_iqs_has(o, &b));
    assert_int_equal(open_in_page(), 1);
    answer(o, &b);
    assert_int_equal(open_in_page(), 0);
    open_iqs_free(&o);
}

static void an_answer_counts_when_the_link_has_written_it(void **state)
{
    (void)state;
    struct place a = {0, 100, 200}, b = {0, 300, 400}, other = {1, 100, 200};
    struct open_iqs *o = open_iqs_new(page);
    open_iqs_opened(o, &a);
    open_iqs_opened(o, &b);
    open_iqs_opened(o, &other);
    open_iqs_answered(o, &a, 5);
    open_iqs_answered(o, &b, 7);
    open_iqs_answered(o, &other, 1);
    assert_false(open_iqs_has(o, &a));
    assert_int_equal(open_in_page(), 3);
    open_iqs_written(o, 0, 6);
    assert_int_equal(open_in_page(), 2);
    assert_true(open_iqs_oldest(o, 0) == 300);
    open_iqs_written(o, 0, 7);
    open_iqs_written(o, 1, 1);
    assert_int_equal(open_in_page(), 0);
    open_iqs_free(&o);
}

/* Who died tells which answers there are: the link read up to frame 5 of what the worker gave
 * it; of that, a link that was killed had written up to 4, and the next one says so. */
static void an_answer_that_died_on_its_way_is_given_again(void **state)
{
    (void)state;
    struct place p[] = {{0, 100, 200}, {0, 300, 400}, {0, 500, 600}, {0, 700, 800}};
    struct open_iqs *o = open_iqs_new(page);
    for (unsigned i = 0; i < 4; i++)
        open_iqs_opened(o, &p[i]);
    open_iqs_answered(o, &p[2], 4);
    open_iqs_answered(o, &p[1], 5);
    open_iqs_answered(o, &p[0], 6);
    open_iqs_free(&o); /* killed */
    atomic_store(&page->links[0].frames_taken, 5);
    o = open_iqs_new(page);
    assert_true(open_iqs_has(o, &p[0]) && open_iqs_has(o, &p[3]));
    assert_false(open_iqs_has(o, &p[1]) || open_iqs_has(o, &p[2]));
    open_iqs_written(o, 0, 4); /* the first in the page is not the first that was answered */
    assert_int_equal(open_in_page(), 3);
    open_iqs_free(&o);
    atomic_store(&page->links[0].frames_taken, 4);
    o = open_iqs_new(page);
    assert_true(open_iqs_has(o, &p[1]));
    open_iqs_replayed(o, 0);
    assert_int_equal(open_in_page(), 0);
    open_iqs_free(&o);
    atomic_store(&page->links[0].frames_taken, 0);
}

static void many_answers_wait_for_a_link_that_is_slow(void **state)
{
    (void)state;
    struct open_iqs *o = open_iqs_new(page);
    for (unsigned i = 0; i < 1000; i++) {
        struct place p = {0, i, i + 1};
        open_iqs_opened(o, &p);
        open_iqs_answered(o, &p, i + 1);
        open_iqs_written(o, 0, i / 2);
    }
    assert_int_equal(open_in_page(), 1000 - 999 / 2);
    open_iqs_written(o, 0, 1000);
    assert_int_equal(open_in_page(), 0);
    open_iqs_free(&o);
}

static void more_than_the_page_holds_still_works(void **state)
{
    (void)state;
    struct open_iqs *o = open_iqs_new(page);
    for (unsigned i = 0; i <= PAGE_IQS_MAX; i++)
        open_iqs_opened(o, &(struct place){0, i, i + 1});
    assert_int_equal(open_in_page(), PAGE_IQS_MAX);
    for (unsigned i = 0; i <= PAGE_IQS_MAX; i++)
        answer(o, &(struct place){0, i, i + 1});
    assert_int_equal(open_in_page(), 0);
    open_iqs_free(&o);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_answered_request_is_not_left_open),
        cmocka_unit_test(the_next_worker_finds_what_was_left_open),
        cmocka_unit_test(an_answer_counts_when_the_link_has_written_it),
        cmocka_unit_test(an_answer_that_died_on_its_way_is_given_again),
        cmocka_unit_test(many_answers_wait_for_a_link_that_is_slow),
        cmocka_unit_test(more_than_the_page_holds_still_works),
    };
    return cmocka_run_group_tests(tests, make_page, remove_page);
}
