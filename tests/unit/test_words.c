// SPDX-License-Identifier: Apache-2.0
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/buf.h"
#include "base/fold.h"
#include "base/words.h"

static struct buf *marked(struct buf *b, struct fold *f, const char *text)
{
    buf_init(b, 1 << 20);
    words_mark(b, f, text, strlen(text));
    return b;
}

static void a_nick_is_found_as_a_whole_word_and_nothing_else(void **state)
{
    (void)state;
    static const struct {
        const char *nick;
        const char *text;
        int named;
    } cases[] = {
        {"Bob", "bob: hello", 1},
        {"Bob", "hello BOB", 1},
        {"bob", "Bob's turn, (bob)", 1},
        {"bob", "\"bob\"", 1},
        {"bob", "bobby and kebob", 0},
        {"bob", "bob2 and 2bob", 0},
        {"bob", "bob_x", 0},
        {"bob", "", 0},
        {"Bob Smith", "ask Bob Smith about it", 1},
        {"Bob Smith", "ask Bob Smithers", 0},
        {"[bot]", "ping [BOT]!", 1},
        {"[bot]", "ping bot", 0},
        {"r2-d2", "hey R2-D2?", 1},
        {"r2-d2", "hey r2-d22", 0},
        {" bob ", "bob", 1},
        {"Ünal", "ünal, kommst du?", 1},
        {"Ünal", "Günal", 0},
        {"Straße", "STRASSE", 1},
        {"Иван", "иван, привет", 1},
        {"Иван", "Иванов", 0},
        {"ｂｏｂ", "hi bob", 1}, /* full width */
        {"小明", "小明你好", 1},
        {"小明", "@小明 开会", 1},
        {"小明", "小李明", 0},
        {"小明", "ok小明ok", 1},
        {"マリ", "マリさん", 1},
        {"マリ", "マリア", 0},
        {"さくら", "さくらさん", 1},
        {"민수", "민수, 안녕", 1},
        {"민수", "김민수", 0},
        {"محمد", "مرحبا محمد", 1},
        {"🦊", "🦊", 0}, /* no word */
        {"fox 🦊", "hi fox 🦊", 1},
        {"e\xcc\x81mile", "\xc3\xa9mile!", 1}, /* composed or not */
        {"...", "...", 0},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct fold f;
        struct buf nick, text;
        fold_init(&f);
        const char *needle = buf_cstr(marked(&nick, &f, cases[i].nick));
        const char *hay = buf_cstr(marked(&text, &f, cases[i].text));
        int named = *needle && strstr(hay, needle);
        if (named != cases[i].named)
            fail_msg("%s in %s: %d", cases[i].nick, cases[i].text, named);
        buf_deinit(&nick);
        buf_deinit(&text);
        fold_deinit(&f);
    }
}

static void whatever_the_bytes_are_the_result_is_utf8_without_what_sql_refuses(void **state)
{
    (void)state;
    static const char text[] = "\xff\xfe a \xed\xa0\x80 \xf4\x90\x80\x80 \xf0\x9f\xa6\x8a "
                               "\xef\xbf\xbf \xf0\xa0\x80\x80 \xc3";
    struct fold f;
    struct buf b;
    fold_init(&f);
    marked(&b, &f, text);
    assert_true(buf_len(&b) > 0);
    assert_null(memchr(buf_data(&b), 0, buf_len(&b)));
    assert_null(memchr(buf_data(&b), 0xff, buf_len(&b)));
    assert_non_null(strstr(buf_cstr(&b), "\xf0\xa0\x80\x80")); /* beyond the first plane */
    buf_deinit(&b);
    fold_deinit(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_nick_is_found_as_a_whole_word_and_nothing_else),
        cmocka_unit_test(whatever_the_bytes_are_the_result_is_utf8_without_what_sql_refuses),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
