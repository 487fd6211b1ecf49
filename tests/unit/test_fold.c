// SPDX-License-Identifier: Apache-2.0
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "base/fold.h"

static void fold(struct fold *f, const char *text)
{
    fold_text(f, text, strlen(text));
}

/* Both texts compare as equal, or they do not. */
static void expect(const char *a, const char *b, int same)
{
    struct fold x, y;
    fold_init(&x);
    fold_init(&y);
    fold(&x, a);
    fold(&y, b);
    int are = x.n == y.n && (x.n == 0 || memcmp(x.chars, y.chars, x.n * sizeof *x.chars) == 0);
    if (are != same)
        fail_msg("\"%s\" and \"%s\" are %s", a, b, are ? "the same" : "different");
    fold_deinit(&x);
    fold_deinit(&y);
}

static void texts_that_are_the_same(void **state)
{
    (void)state;
    static const struct {
        const char *a;
        const char *b;
    } cases[] = {
        {"Hello", "hELLO"},
        {"ＡＢＣ　１２３", "abc 123"}, /* full width */
        {"ｶﾞｷﾞ", "ガギ"},              /* half width, voiced by a mark */
        {"か\xe3\x82\x99", "が"},      /* a combining voiced mark */
        {"ÀÉÎ", "àéî"},
        {"cafe\xcc\x81", "CAFÉ"}, /* e and an acute accent */
        {"Straße", "STRASSE"},
        {"ΜΕΣΟΣ", "μεσος"}, /* with a final sigma */
        {"ПРИВЕТ Ё", "привет ё"},
        {"ﬁn", "fin"}, /* a ligature */
        {"…", "..."},
        {"㎏", "kg"},
        {"한글", "\xe1\x84\x92\xe1\x85\xa1\xe1\x86\xab\xe1\x84\x80\xe1\x85\xb3\xe1\x86\xaf"},
        {"a\tb\nc\xc2\xa0"
         "d",
         "a b c d"},
        {"soft\xc2\xadhyphen", "softhyphen"},
        {"北\xe2\x80\x8b京", "北京"}, /* zero width space */
        {"❤\xef\xb8\x8f", "❤"},       /* variation selector */
        {"會議", "會議"},             /* U+F9xx would be a compatibility form */
        {"\xef\xa4\x80", "豈"},       /* U+F900 is one */
        {"", ""},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        expect(cases[i].a, cases[i].b, 1);
}

static void texts_that_are_not(void **state)
{
    (void)state;
    expect("cafe", "café", 0);
    expect("会议", "會議", 0);
    expect("が", "か", 0);
    expect("a b", "ab", 0);
    expect("0", "o", 0);
}

static void chinese_is_one_code_point_for_one_character(void **state)
{
    (void)state;
    struct fold f;
    fold_init(&f);
    fold(&f, "会议改到三点");
    assert_int_equal(f.n, 6);
    assert_int_equal(f.chars[0], 0x4f1a);
    assert_int_equal(f.chars[5], 0x70b9);
    fold(&f, "𠮷野家"); /* beyond the first plane */
    assert_int_equal(f.n, 3);
    assert_int_equal(f.chars[0], 0x20bb7);
    fold_deinit(&f);
}

static void bytes_that_are_no_text_harm_nobody(void **state)
{
    (void)state;
    struct fold f;
    fold_init(&f);
    fold_text(&f, "a\xff\xe4\xb8", 4);
    assert_int_equal(f.n, 4);
    assert_int_equal(f.chars[0], 'a');
    assert_int_equal(f.chars[1], 0xfffd);
    fold_text(&f, "\xed\xa0\x80", 3); /* a surrogate */
    assert_int_equal(f.chars[0], 0xfffd);
    fold_deinit(&f);
}

/* 300,000 marks in the worst order: sorted as one run they would take hours. */
static void a_flood_of_marks_takes_no_longer_than_other_text(void **state)
{
    (void)state;
    size_t n = 300000;
    char *text = malloc(2 * n);
    assert_non_null(text);
    for (size_t i = 0; i < n; i++)
        memcpy(text + 2 * i, i % 2 ? "\xcc\x96" : "\xcc\x80", 2);
    struct fold f;
    fold_init(&f);
    clock_t begin = clock();
    fold_text(&f, text, 2 * n);
    assert_true(clock() - begin < 20 * CLOCKS_PER_SEC);
    assert_int_equal(f.n, n);
    fold_deinit(&f);
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(texts_that_are_the_same),
        cmocka_unit_test(texts_that_are_not),
        cmocka_unit_test(chinese_is_one_code_point_for_one_character),
        cmocka_unit_test(bytes_that_are_no_text_harm_nobody),
        cmocka_unit_test(a_flood_of_marks_takes_no_longer_than_other_text),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
