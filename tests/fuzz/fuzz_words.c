// SPDX-License-Identifier: Apache-2.0
/*
 * Text as it is searched and as a room's messages name somebody: a character is read as it is
 * written, what cannot be seen or heard of it makes no difference, and a word is found in the
 * text that it was taken out of.
 */
#include <assert.h>
#include <ctype.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <stringprep.h>

#include "archive/search_text.h"
#include "base/buf.h"
#include "base/fold.h"
#include "base/hex.h"
#include "base/utf8.h"
#include "base/words.h"
#include "tests/fuzz/text.h"

static void check_utf8(const char *text, size_t len)
{
    for (size_t i = 0; i < len;) {
        char again[6];
        size_t n = utf8_char(text + i, len - i);
        assert(n <= 4 && n <= len - i);
        if (n > 0) {
            uint32_t code = utf8_code(text + i, n);
            assert(code <= 0x10ffff && (code < 0xd800 || code > 0xdfff));
            size_t again_n = (size_t)stringprep_unichar_to_utf8(code, again);
            assert(again_n == n && memcmp(again, text + i, n) == 0);
        }
        i += n ? n : 1;
        assert(utf8_cut(text, len, i) <= i);
    }
}

static void check_hex(const uint8_t *data, size_t len)
{
    char text[65];
    size_t n = len < 32 ? len : 32;
    hex_text(data, n, text);
    for (size_t i = 0; i < n; i++)
        assert((hex_digit(text[2 * i]) << 4 | hex_digit(text[2 * i + 1])) == data[i]);
    for (size_t i = 0; i < len; i++)
        assert((hex_digit((char)data[i]) >= 0) == (isxdigit(data[i]) != 0));
}

static void mark(struct buf *out, const char *text, size_t len)
{
    struct fold f;
    fold_init(&f);
    buf_init(out, 1 << 26);
    words_mark(out, &f, text, len);
    fold_deinit(&f);
    assert(!buf_failed(out));
}

static bool same(const struct buf *a, const struct buf *b)
{
    return buf_len(a) == buf_len(b) &&
           (buf_len(a) == 0 || memcmp(buf_data(a), buf_data(b), buf_len(a)) == 0);
}

static void check_words(const char *text, size_t len)
{
    struct buf plain, loud, within;
    char *other = malloc(2 * len + 4);
    if (!other)
        abort();
    mark(&plain, text, len);
    for (size_t i = 0; i < len; i++)
        other[i] = (char)(text[i] >= 'a' && text[i] <= 'z' ? text[i] - 'a' + 'A' : text[i]);
    mark(&loud, other, len);
    assert(same(&plain, &loud));
    memcpy(other, "x, ", 3);
    memcpy(other + 3, text, len);
    mark(&within, other, len + 3);
    if (buf_len(&plain) > 0)
        assert(memmem(buf_data(&within), buf_len(&within), buf_data(&plain), buf_len(&plain)));
    buf_deinit(&plain);
    buf_deinit(&loud);
    buf_deinit(&within);
    free(other);
}

/* What can be searched for at all is found in itself. */
static void check_search(const char *text)
{
    struct search_text *t = malloc(sizeof *t);
    struct fold f;
    if (!t)
        abort();
    fold_init(&f);
    if (search_text_read(t, &f, text) == SEARCH_TEXT_GOOD) {
        assert(t->words_n > 0 && t->words_n <= SEARCH_WORDS_MAX &&
               t->grams_n <= SEARCH_GRAMS_MAX);
        search_text_fold(&f, text);
        assert(search_text_matches(t, &f));
    }
    fold_deinit(&f);
    free(t);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *text = fuzz_text(data, size);
    check_utf8(text, size);
    check_hex(data, size);
    check_words(text, size);
    check_search(text);
    free(text);
    return 0;
}
