// SPDX-License-Identifier: Apache-2.0
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "component/page.h"
#include "tests/unit/spool_dir.h"

static struct temp_dir dir;
static char path[96];
static struct page *page;

static int setup(void **state)
{
    (void)state;
    temp_dir_make(&dir);
    snprintf(path, sizeof path, "%s/page", dir.path);
    assert_int_equal(page_create(path, 2, &page, NULL), ERR_NONE);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    page_close(&page);
    temp_dir_drop(&dir);
    return 0;
}

static void test_what_one_writes_another_reads(void **state)
{
    (void)state;
    struct page *other;
    char text[PAGE_TEXT_BYTES];
    assert_int_equal(page_open(path, false, &other, NULL), ERR_NONE);
    assert_int_equal(other->links_n, 2);
    atomic_store(&page->links[1].spool_end, 77);
    page_text_set(&page->links[1].error, "no answer");
    assert_int_equal(atomic_load(&other->links[1].spool_end), 77);
    page_text_get(&other->links[1].error, text);
    assert_string_equal(text, "no answer");
    page_close(&other);
    assert_null(other);
}

static void test_too_long_a_text_is_cut(void **state)
{
    (void)state;
    char longer[2 * PAGE_TEXT_BYTES], text[PAGE_TEXT_BYTES];
    memset(longer, 'x', sizeof longer);
    longer[sizeof longer - 1] = '\0';
    page_text_set(&page->worker_death, longer);
    page_text_get(&page->worker_death, text);
    assert_int_equal(strlen(text), PAGE_TEXT_BYTES - 1);
    page_text_set(&page->worker_death, "");
    page_text_get(&page->worker_death, text);
    assert_string_equal(text, "");
}

static void test_a_writer_that_died_in_a_text_harms_neither_reader_nor_successor(void **state)
{
    (void)state;
    char text[PAGE_TEXT_BYTES];
    page_text_set(&page->worker_death, "before");
    atomic_fetch_add(&page->worker_death.version, 1); /* as if inside */
    page_text_get(&page->worker_death, text);
    page_text_set(&page->worker_death, "after");
    page_text_get(&page->worker_death, text);
    assert_string_equal(text, "after");
    assert_int_equal(atomic_load(&page->worker_death.version) % 2, 0);
}

static void test_a_new_page_leaves_the_old_one_to_those_who_have_it(void **state)
{
    (void)state;
    struct page *fresh;
    atomic_store(&page->worker_starts, 5);
    assert_int_equal(page_create(path, 1, &fresh, NULL), ERR_NONE);
    assert_int_equal(atomic_load(&fresh->worker_starts), 0);
    assert_int_equal(atomic_load(&page->worker_starts), 5);
    page_close(&fresh);
}

static void test_a_page_that_goes_on_keeps_links_and_questions(void **state)
{
    (void)state;
    struct page *fresh;
    struct place place = {.spool = 1, .begin = 5, .end = 9}, out;
    int64_t us;
    int at = 0, slot = page_iq_open(page, &place, 77);
    page_iq_answered(page, slot, 12);
    place.spool = 0;
    (void)page_iq_open(page, &place, 78);
    atomic_store(&page->links[1].out_queued, 1000);
    atomic_store(&page->links[1].live_pos, 4096);
    atomic_store(&page->links[0].connects, 3);
    page_place_set(&page->poison[3].place, &(struct place){.spool = 1, .begin = 7, .end = 8});
    page_text_set(&page->poison[3].why, "deadly");
    page_place_set(&page->poison[4].place, &(struct place){.spool = 0, .begin = 7, .end = 8});
    atomic_store(&page->worker_starts, 5);
    assert_int_equal(page_create_from(path, 3, page, &fresh, NULL), ERR_NONE);
    assert_false(page_iq_each(fresh, &at, &out, &us)); /* of other links */
    page_close(&fresh);
    assert_int_equal(page_create_from(path, 2, page, &fresh, NULL), ERR_NONE);
    assert_int_equal(atomic_load(&fresh->links[1].out_queued), 1000);
    assert_int_equal(atomic_load(&fresh->links[1].live_pos), 4096);
    assert_int_equal(atomic_load(&fresh->worker_starts), 0);
    page_forget_link(fresh, 0);
    char why[PAGE_TEXT_BYTES];
    assert_true(page_place_get(&fresh->poison[3].place, &out));
    assert_int_equal(out.begin, 7);
    page_text_get(&fresh->poison[3].why, why);
    assert_string_equal(why, "deadly");
    assert_false(page_place_get(&fresh->poison[4].place, &out));
    assert_int_equal(atomic_load(&fresh->links[0].connects), 0);
    at = 0;
    assert_true(page_iq_each(fresh, &at, &out, &us));
    assert_int_equal(out.spool, 1);
    assert_int_equal(out.begin, 5);
    assert_int_equal(us, 77);
    assert_int_equal(page_iq_answer(fresh, at - 1), 12);
    assert_false(page_iq_each(fresh, &at, &out, &us));
    page_close(&fresh);
}

static void test_a_page_of_another_version_or_size_is_refused(void **state)
{
    (void)state;
    struct page *other;
    struct err e;
    page->version++;
    assert_int_equal(page_open(path, false, &other, &e), ERR_CONFIG);
    assert_non_null(strstr(e.text, "another version"));
    page->version--;
    char small[120];
    snprintf(small, sizeof small, "%s/small", dir.path);
    int fd = open(small, O_CREAT | O_WRONLY, 0600);
    close(fd);
    assert_int_equal(page_open(small, false, &other, &e), ERR_CONFIG);
    snprintf(small, sizeof small, "%s/none", dir.path);
    assert_int_equal(page_open(small, false, &other, &e), ERR_CONFIG);
    assert_null(other);
    assert_int_equal(page_create(path, PAGE_LINKS_MAX + 1, &other, &e), ERR_CONFIG);
}

static void test_places_come_back_as_they_were(void **state)
{
    (void)state;
    struct place in = {.spool = 0, .begin = 10, .end = 20}, out;
    assert_false(page_place_get(&page->in_hand, &out));
    page_place_set(&page->in_hand, &in);
    assert_true(page_place_get(&page->in_hand, &out));
    assert_int_equal(out.spool, 0);
    assert_int_equal(out.begin, 10);
    assert_int_equal(out.end, 20);
    page_place_set(&page->in_hand, NULL);
    assert_false(page_place_get(&page->in_hand, &out));
}

static void test_open_iqs_outlive_who_opened_them(void **state)
{
    (void)state;
    struct page *next;
    struct place out;
    int64_t us;
    int slots[3], at = 0;
    for (unsigned i = 0; i < 3; i++)
        slots[i] =
            page_iq_open(page, &(struct place){.spool = i, .begin = i, .end = i + 9}, 100 + i);
    page_iq_done(page, slots[1]);
    assert_int_equal(page_open(path, true, &next, NULL), ERR_NONE);
    assert_true(page_iq_each(next, &at, &out, &us));
    assert_int_equal(out.begin, 0);
    assert_int_equal(us, 100);
    assert_true(page_iq_each(next, &at, &out, &us));
    assert_int_equal(out.spool, 2);
    assert_int_equal(out.begin, 2);
    assert_int_equal(out.end, 11);
    page_iq_done(next, at - 1);
    assert_false(page_iq_each(next, &at, &out, &us));
    page_close(&next);
}

static void test_a_full_table_of_iqs_says_so(void **state)
{
    (void)state;
    struct place place = {.begin = 1, .end = 2};
    int last = -1;
    for (int i = 0; i < PAGE_IQS_MAX; i++)
        assert_true((last = page_iq_open(page, &place, 1)) >= 0);
    assert_int_equal(page_iq_open(page, &place, 1), -1);
    page_iq_done(page, -1);
    page_iq_done(page, last);
    assert_int_equal(page_iq_open(page, &place, 1), last);
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(test_what_one_writes_another_reads),
        T(test_too_long_a_text_is_cut),
        T(test_a_writer_that_died_in_a_text_harms_neither_reader_nor_successor),
        T(test_a_new_page_leaves_the_old_one_to_those_who_have_it),
        T(test_a_page_that_goes_on_keeps_links_and_questions),
        T(test_a_page_of_another_version_or_size_is_refused),
        T(test_places_come_back_as_they_were),
        T(test_open_iqs_outlive_who_opened_them),
        T(test_a_full_table_of_iqs_says_so),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
