// SPDX-License-Identifier: Apache-2.0
#include "base/rsm.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/arena.h"
#include "base/buf.h"
#include "base/xml_parse.h"

static struct stanza *request(const char *inside, struct rsm *out)
{
    char text[1024];
    snprintf(text, sizeof text, "<q xmlns='u'>%s</q>", inside);
    struct err e;
    struct stanza *q = xml_parse_element(text, strlen(text), &e);
    assert_non_null(q);
    memset(out, 0xAA, sizeof *out);
    rsm_read(out, q);
    return q;
}

#define SET(inside) "<set xmlns='http://jabber.org/protocol/rsm'>" inside "</set>"

static void test_max_is_a_number_or_absent(void **state)
{
    (void)state;
    static const struct {
        const char *inside;
        bool has;
        uint32_t max;
    } cases[] = {
        {SET("<max>50</max>"), true, 50},
        {SET("<max> 50\n</max>"), true, 50},
        {SET("<max>0</max>"), true, 0},
        {SET("<max>007</max>"), true, 7},
        {SET("<max>2147483647</max>"), true, INT32_MAX},
        {SET("<max>2147483648</max>"), true, INT32_MAX},
        {SET("<max>99999999999999999999999999999</max>"), true, INT32_MAX},
        {SET("<max>-1</max>"), false, 0},
        {SET("<max>+1</max>"), false, 0},
        {SET("<max>1.5</max>"), false, 0},
        {SET("<max>ten</max>"), false, 0},
        {SET("<max>1 0</max>"), false, 0},
        {SET("<max/>"), false, 0},
        {SET("<max> </max>"), false, 0},
        {SET(""), false, 0},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct rsm r;
        struct stanza *q = request(cases[i].inside, &r);
        assert_true(r.present);
        assert_int_equal(r.has_max, cases[i].has);
        assert_int_equal(r.max, cases[i].max);
        stanza_free(&q);
    }
}

static void test_anchors_are_taken_and_empty_ones_mean_what_they_should(void **state)
{
    (void)state;
    struct rsm r;
    struct stanza *q = request(SET("<after>a1</after><before>b1</before>"), &r);
    assert_string_equal(r.after, "a1");
    assert_string_equal(r.before, "b1");
    assert_false(r.last_page);
    assert_false(r.has_index);
    stanza_free(&q);
    q = request(SET("<after/><before/>"), &r);
    assert_null(r.after);
    assert_null(r.before);
    assert_true(r.last_page);
    stanza_free(&q);
    q = request(SET("<index>3</index>"), &r);
    assert_true(r.has_index);
    assert_null(r.after);
    assert_null(r.before);
    assert_false(r.last_page);
    stanza_free(&q);
}

static void test_no_set_is_no_request(void **state)
{
    (void)state;
    struct rsm r;
    struct stanza *q = request("<set xmlns='other'><max>1</max></set>", &r);
    assert_false(r.present);
    assert_false(r.has_max);
    assert_null(r.after);
    assert_null(r.before);
    assert_false(r.last_page);
    stanza_free(&q);
}

static void expect_answer(const struct rsm_answer *answer, const char *want)
{
    struct arena *a = arena_new(65536);
    struct buf b;
    buf_init(&b, 4096);
    struct stanza *fin = stanza_new(a, "fin", "u");
    rsm_write(fin, answer);
    stanza_write(&b, fin, "u");
    char whole[1024];
    snprintf(whole, sizeof whole, "<fin>%s</fin>", want);
    assert_string_equal(buf_cstr(&b), whole);
    buf_deinit(&b);
    arena_free(&a);
}

static void test_answers_have_first_and_last_both_or_neither(void **state)
{
    (void)state;
    expect_answer(&(struct rsm_answer){.first = NULL},
                  "<set xmlns=\"http://jabber.org/protocol/rsm\"/>");
    expect_answer(&(struct rsm_answer){.first = "a", .last = NULL, .has_index = true},
                  "<set xmlns=\"http://jabber.org/protocol/rsm\"/>");
    expect_answer(&(struct rsm_answer){.has_count = true, .count = 0},
                  "<set xmlns=\"http://jabber.org/protocol/rsm\"><count>0</count></set>");
    expect_answer(&(struct rsm_answer){.first = "a",
                                       .last = "b",
                                       .has_index = true,
                                       .index = 7,
                                       .has_count = true,
                                       .count = INT64_C(5000000000)},
                  "<set xmlns=\"http://jabber.org/protocol/rsm\"><first index=\"7\">a</first>"
                  "<last>b</last><count>5000000000</count></set>");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_max_is_a_number_or_absent),
        cmocka_unit_test(test_anchors_are_taken_and_empty_ones_mean_what_they_should),
        cmocka_unit_test(test_no_set_is_no_request),
        cmocka_unit_test(test_answers_have_first_and_last_both_or_neither),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
