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

static void an_answered_request_is_not_left_open(void **state)
{
    (void)state;
    struct place a = {0, 100, 200}, b = {1, 100, 300};
    struct open_iqs *o = open_iqs_new(page);
    open_iqs_opened(o, &a);
    open_iqs_opened(o, &b);
    assert_int_equal(open_in_page(), 2);
    assert_true(open_iqs_oldest(o, 1) == 100);
    open_iqs_done(o, &a);
    assert_true(open_iqs_oldest(o, 0) == UINT64_MAX);
    assert_int_equal(open_in_page(), 1);
    open_iqs_done(o, &b);
    open_iqs_done(o, &b);
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
    open_iqs_done(o, &b);
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
        open_iqs_done(o, &(struct place){0, i, i + 1});
    assert_int_equal(open_in_page(), 0);
    open_iqs_free(&o);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_answered_request_is_not_left_open),
        cmocka_unit_test(the_next_worker_finds_what_was_left_open),
        cmocka_unit_test(more_than_the_page_holds_still_works),
    };
    return cmocka_run_group_tests(tests, make_page, remove_page);
}
