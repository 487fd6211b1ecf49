// SPDX-License-Identifier: Apache-2.0
#include "base/utf8.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void test_only_well_formed_characters_have_a_length(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        size_t want;
    } cases[] = {
        {"a", 1},
        {"\x7f", 1},
        {"\xC2\x80", 2},
        {"\xDF\xBF", 2},
        {"\xE0\xA0\x80", 3},
        {"\xED\x9F\xBF", 3},
        {"\xEE\x80\x80", 3},
        {"\xF0\x90\x80\x80", 4},
        {"\xF4\x8F\xBF\xBF", 4},
        {"", 0},
        {"\x80", 0},
        {"\xC0\x80", 0},
        {"\xC1\xBF", 0},
        {"\xC2", 0},
        {"\xC2"
         "a",
         0},
        {"\xE0\x9F\xBF", 0},
        {"\xE2\x82", 0},
        {"\xE2\x82"
         "a",
         0},
        {"\xED\xA0\x80", 0},
        {"\xF0\x8F\xBF\xBF", 0},
        {"\xF0\x9F\x90", 0},
        {"\xF0\x9F\x90"
         "a",
         0},
        {"\xF4\x90\x80\x80", 0},
        {"\xF5\x80\x80\x80", 0},
        {"\xFF", 0},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        if (utf8_char(cases[i].text, strlen(cases[i].text)) != cases[i].want)
            fail_msg("case %zu", i);
}

static void test_each_length_has_its_code_points(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        uint32_t want;
    } cases[] = {{"a", 'a'},
                 {"\xC2\x80", 0x80},
                 {"\xDF\xBF", 0x7ff},
                 {"\xE0\xA0\x80", 0x800},
                 {"\xE4\xBD\xA0", 0x4f60},
                 {"\xF0\x90\x80\x80", 0x10000},
                 {"\xF4\x8F\xBF\xBF", 0x10ffff}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        assert_int_equal(utf8_code(cases[i].text, strlen(cases[i].text)), cases[i].want);
}

static void test_a_cut_never_halves_a_character(void **state)
{
    (void)state;
    const char *text = "a\xC3\xA9\xF0\x9F\x90\x99z";
    static const size_t want[] = {0, 1, 1, 3, 3, 3, 3, 7, 8, 8};
    for (size_t max = 0; max < sizeof want / sizeof want[0]; max++)
        assert_int_equal(utf8_cut(text, strlen(text), max), want[max]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_only_well_formed_characters_have_a_length),
        cmocka_unit_test(test_each_length_has_its_code_points),
        cmocka_unit_test(test_a_cut_never_halves_a_character),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
