// SPDX-License-Identifier: Apache-2.0
#include "base/words.h"

#include <stdbool.h>
#include <stdint.h>

#include <stringprep.h>

#include "base/buf.h"
#include "base/fold.h"

#define BORDER '\x01'

enum kind {
    KIND_NONE, /* punctuation, spaces, signs, pictures */
    KIND_WORD, /* part of a word as long as it goes on */
    KIND_KATAKANA,
    KIND_SINGLE, /* a word by itself */
    KIND_MARK,   /* belongs to what stands before it */
};

struct range {
    uint32_t first;
    uint32_t last;
    enum kind kind;
};

/* What Unicode's directions do not tell. */
static const struct range known[] = {
    {0x30, 0x39, KIND_WORD},         {0x5f, 0x5f, KIND_WORD},
    {0x300, 0x36f, KIND_MARK},       {0x483, 0x489, KIND_MARK},
    {0x591, 0x5c7, KIND_MARK},       {0x610, 0x61a, KIND_MARK},
    {0x64b, 0x65f, KIND_MARK},       {0x660, 0x669, KIND_WORD},
    {0x670, 0x670, KIND_MARK},       {0x6d6, 0x6ed, KIND_MARK},
    {0x6f0, 0x6f9, KIND_WORD},       {0x900, 0x903, KIND_MARK},
    {0x93a, 0x93c, KIND_MARK},       {0x93e, 0x94f, KIND_MARK},
    {0x981, 0x983, KIND_MARK},       {0x9bc, 0x9bc, KIND_MARK},
    {0x9be, 0x9cd, KIND_MARK},       {0xb82, 0xb82, KIND_MARK},
    {0xbbe, 0xbcd, KIND_MARK},       {0xe01, 0xeff, KIND_SINGLE},
    {0x1000, 0x109f, KIND_SINGLE},   {0x1780, 0x17ff, KIND_SINGLE},
    {0x2e80, 0x2fdf, KIND_SINGLE},   {0x3005, 0x3007, KIND_SINGLE},
    {0x3021, 0x3029, KIND_SINGLE},   {0x3041, 0x3096, KIND_SINGLE},
    {0x309d, 0x309f, KIND_SINGLE},   {0x30a1, 0x30fa, KIND_KATAKANA},
    {0x30fc, 0x30ff, KIND_KATAKANA}, {0x3400, 0x4dbf, KIND_SINGLE},
    {0x4e00, 0x9fff, KIND_SINGLE},   {0xf900, 0xfaff, KIND_SINGLE},
    {0x20000, 0x3ffff, KIND_SINGLE},
};

/* RFC 3454, tables D.1 and D.2: what is written from right to left, or from left to right, are
 * letters; what has no direction of its own is none. */
struct letters {
    size_t to_left_n;
    size_t to_right_n;
};

static size_t length_of(const Stringprep_table_element *table)
{
    size_t n = 0;
    while (table[n].start)
        n++;
    return n;
}

static bool is_listed(const Stringprep_table_element *table, size_t n, uint32_t c)
{
    size_t low = 0, high = n;
    while (low < high) {
        size_t mid = (low + high) / 2;
        uint32_t last = (uint32_t)(table[mid].end ? table[mid].end : table[mid].start);
        if (c > last)
            low = mid + 1;
        else
            high = mid;
    }
    return low < n && c >= (uint32_t)table[low].start;
}

static enum kind kind_of(const struct letters *l, uint32_t c)
{
    if (c < 0x80 && !(c >= '0' && c <= '9') && c != '_')
        return c >= 'a' && c <= 'z' ? KIND_WORD : KIND_NONE;
    size_t low = 0, high = sizeof known / sizeof *known;
    while (low < high) {
        size_t mid = (low + high) / 2;
        if (c > known[mid].last)
            low = mid + 1;
        else
            high = mid;
    }
    if (low < sizeof known / sizeof *known && c >= known[low].first)
        return known[low].kind;
    bool letter = is_listed(stringprep_rfc3454_D_1, l->to_left_n, c) ||
                  is_listed(stringprep_rfc3454_D_2, l->to_right_n, c);
    return letter ? KIND_WORD : KIND_NONE;
}

static void add_char(struct buf *out, uint32_t c)
{
    char text[6];
    buf_add(out, text, (size_t)stringprep_unichar_to_utf8(c, text));
}

static bool has_word(const struct letters *l, const uint32_t *chars, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        enum kind kind = kind_of(l, chars[i]);
        if (kind != KIND_NONE && kind != KIND_MARK)
            return true;
    }
    return false;
}

void words_mark(struct buf *out, struct fold *f, const char *text, size_t len)
{
    const struct letters l = {.to_left_n = length_of(stringprep_rfc3454_D_1),
                              .to_right_n = length_of(stringprep_rfc3454_D_2)};
    fold_text(f, text, len);
    const uint32_t *chars = f->chars;
    size_t n = f->n;
    for (; n > 0 && chars[n - 1] == ' '; n--)
        ;
    for (; n > 0 && *chars == ' '; n--)
        chars++;
    if (!has_word(&l, chars, n))
        return;
    enum kind before = KIND_NONE;
    for (size_t i = 0; i < n; i++) {
        enum kind kind = kind_of(&l, chars[i]);
        if (kind == KIND_MARK)
            kind = before;
        else if (kind != before || kind == KIND_SINGLE)
            buf_add_char(out, BORDER);
        add_char(out, chars[i]);
        before = kind;
    }
    if (before != KIND_NONE)
        buf_add_char(out, BORDER);
}
