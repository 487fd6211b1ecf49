// SPDX-License-Identifier: Apache-2.0
#include "archive/search_text.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "archive/search_block.h"

static struct fold fold;

static int open_fold(void **state)
{
    (void)state;
    fold_init(&fold);
    return 0;
}

static int close_fold(void **state)
{
    (void)state;
    fold_deinit(&fold);
    return 0;
}

static bool matches(const char *query, const char *body)
{
    struct search_text t;
    assert_int_equal(search_text_read(&t, &fold, query), SEARCH_TEXT_GOOD);
    fold_text(&fold, body, strlen(body));
    return search_text_matches(&t, &fold);
}

static void what_matches(void **state)
{
    (void)state;
    static const struct {
        const char *query;
        const char *body;
        bool match;
    } cases[] = {
        {"出差", "明天去北京出差", true},
        {"北京", "明天去北京出差", true},
        {"京北", "明天去北京出差", false},
        {"北京 明天", "明天去北京出差", true},
        {"北京 昨天", "明天去北京出差", false},
        {"会", "会议改到三点", true},
        {"HELLO", "well, hello there", true},
        {"ｈｅｌｌｏ", "well, Hello there", true},
        {"hell", "hello", true},
        {"ello there", "hello   THERE", true},
        {"hello there", "hellothere", true},
        {"100%", "100 %", false},
        {"%", "100%", true},
        {"a_b", "axb", false},
        {"a.b", "axb", false},
        {"привет", "Привет!", true},
        {"ガ", "ｶﾞｷﾞ", true},
        {"\"quoted\"", "quoted", false},
        {"x", "", false},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        if (matches(cases[i].query, cases[i].body) != cases[i].match)
            fail_msg("\"%s\" in \"%s\"", cases[i].query, cases[i].body);
}

static void a_query_has_limits(void **state)
{
    (void)state;
    struct search_text t;
    char text[2 * SEARCH_CHARS_MAX + 3];
    assert_int_equal(search_text_read(&t, &fold, ""), SEARCH_TEXT_EMPTY);
    assert_int_equal(search_text_read(&t, &fold, " \t\xe3\x80\x80\n"), SEARCH_TEXT_EMPTY);
    memset(text, 'a', sizeof text);
    text[SEARCH_CHARS_MAX] = '\0';
    assert_int_equal(search_text_read(&t, &fold, text), SEARCH_TEXT_GOOD);
    text[SEARCH_CHARS_MAX] = 'a';
    text[SEARCH_CHARS_MAX + 1] = '\0';
    assert_int_equal(search_text_read(&t, &fold, text), SEARCH_TEXT_LONG);
    for (size_t i = 0; i <= SEARCH_WORDS_MAX; i++)
        memcpy(text + 2 * i, "a ", 3);
    assert_int_equal(search_text_read(&t, &fold, text), SEARCH_TEXT_LONG);
    text[2 * SEARCH_WORDS_MAX] = '\0';
    assert_int_equal(search_text_read(&t, &fold, text), SEARCH_TEXT_GOOD);
    assert_int_equal(t.words_n, SEARCH_WORDS_MAX);
}

static void grams_are_of_neighbours_in_one_word(void **state)
{
    (void)state;
    struct search_text t;
    assert_int_equal(search_text_read(&t, &fold, "北京"), SEARCH_TEXT_GOOD);
    assert_int_equal(t.grams_n, 1);
    assert_int_equal(t.grams[0], search_gram(0x5317, 0x4eac));
    assert_int_equal(search_text_read(&t, &fold, "a b 我 c"), SEARCH_TEXT_GOOD);
    assert_int_equal(t.grams_n, 0);
    assert_int_equal(search_text_read(&t, &fold, "aaaa aa"), SEARCH_TEXT_GOOD);
    assert_int_equal(t.grams_n, 1);
    assert_int_equal(search_text_read(&t, &fold, "abcdefghijklmnopqrst"), SEARCH_TEXT_GOOD);
    assert_int_equal(t.grams_n, SEARCH_GRAMS_MAX);
    assert_true(search_gram('a', 'b') < 1u << SEARCH_GRAM_BITS);
    assert_true(search_gram_of_peer(UINT64_MAX) < 1u << SEARCH_GRAM_BITS);
}

/* --- blocks ------------------------------------------------------------------------------ */

static void all_rows(struct search_rows *rows)
{
    memset(rows, 0xff, sizeof *rows);
}

static bool has_row(const struct search_rows *rows, unsigned row)
{
    return rows->bits[row / 64] >> row % 64 & 1;
}

/* Grams of every density, with rows that say a gram twice: what goes in comes out, and
 * nothing else. */
static void a_block_gives_back_what_was_put_in(void **state)
{
    (void)state;
    enum { GRAMS = 600 };
    static bool put[GRAMS][SEARCH_BLOCK_ROWS];
    uint32_t grams[GRAMS];
    struct search_block b;
    struct buf bucket;
    search_block_init(&b);
    buf_init(&bucket, SEARCH_BUCKET_BYTES_MAX);
    srand(7);
    for (int round = 0; round < 2; round++) {
        search_block_reset(&b);
        memset(put, 0, sizeof put);
        for (unsigned g = 0; g < GRAMS; g++)
            grams[g] = search_gram(g * 7919, 0x4e00 + g);
        for (unsigned row = 0; row < SEARCH_BLOCK_ROWS; row++)
            for (unsigned g = 0; g < GRAMS - 1; g++)
                if (rand() % (int)(g + 1) == 0) {
                    search_block_add(&b, row, grams[g]);
                    if (g % 3 == 0)
                        search_block_add(&b, row, grams[g]);
                    put[g][row] = true;
                }
        search_block_sort(&b);
        for (unsigned g = 0; g < GRAMS; g++) {
            struct search_rows rows;
            all_rows(&rows);
            buf_reset(&bucket);
            search_block_bucket(&b, search_bucket_of(grams[g]), &bucket);
            search_bucket_keep(buf_data(&bucket), buf_len(&bucket), grams[g], &rows);
            for (unsigned row = 0; row < SEARCH_BLOCK_ROWS; row++)
                assert_int_equal(has_row(&rows, row), put[g][row]);
        }
    }
    buf_deinit(&bucket);
    search_block_deinit(&b);
}

static void an_empty_block_has_no_buckets(void **state)
{
    (void)state;
    struct search_block b;
    struct buf bucket;
    search_block_init(&b);
    buf_init(&bucket, SEARCH_BUCKET_BYTES_MAX);
    search_block_sort(&b);
    for (unsigned i = 0; i < SEARCH_BUCKETS; i++)
        search_block_bucket(&b, i, &bucket);
    assert_int_equal(buf_len(&bucket), 0);
    struct search_rows rows;
    all_rows(&rows);
    search_bucket_keep(NULL, 0, 5, &rows);
    for (size_t i = 0; i < SEARCH_BLOCK_WORDS; i++)
        assert_int_equal(rows.bits[i], 0);
    buf_deinit(&bucket);
    search_block_deinit(&b);
}

/* What a disk or a person may have done to a bucket stays inside of it. */
static void damaged_buckets_harm_nobody(void **state)
{
    (void)state;
    srand(11);
    for (int i = 0; i < 20000; i++) {
        size_t len = (size_t)rand() % 200;
        uint8_t *bytes = malloc(len + 1);
        assert_non_null(bytes);
        for (size_t at = 0; at < len; at++)
            bytes[at] = (uint8_t)(rand() % 3 ? rand() : rand() % 4);
        struct search_rows rows;
        all_rows(&rows);
        uint32_t gram = len > 2 ? (uint32_t)bytes[0] << 8 | bytes[1] : 0;
        uint8_t *exact = malloc(len ? len : 1);
        assert_non_null(exact);
        memcpy(exact, bytes, len);
        search_bucket_keep(exact, len, gram, &rows);
        free(exact);
        free(bytes);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_matches),
        cmocka_unit_test(a_query_has_limits),
        cmocka_unit_test(grams_are_of_neighbours_in_one_word),
        cmocka_unit_test(a_block_gives_back_what_was_put_in),
        cmocka_unit_test(an_empty_block_has_no_buckets),
        cmocka_unit_test(damaged_buckets_harm_nobody),
    };
    return cmocka_run_group_tests(tests, open_fold, close_fold);
}
