// SPDX-License-Identifier: Apache-2.0
#include "base/fold.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include <stringprep.h>

#include "base/utf8.h"

/* Normalising sorts runs of combining marks by exchanging neighbours; a longer run than this
 * is no text but somebody's attempt at our time (Unicode's Stream-Safe Text allows 30). */
#define RUN_MAX 64

void fold_init(struct fold *f)
{
    *f = (struct fold){0};
    while (stringprep_rfc3454_B_2[f->cases_n].start)
        f->cases_n++;
}

void fold_deinit(struct fold *f)
{
    free(f->chars);
    free(f->mapped);
    *f = (struct fold){0};
}

static void make_room(uint32_t **at, size_t *cap, size_t need)
{
    if (need <= *cap)
        return;
    size_t want = *cap ? *cap : 256;
    while (want < need)
        want *= 2;
    *at = realloc(*at, want * sizeof **at);
    if (!*at)
        abort();
    *cap = want;
}

static void add(struct fold *f, uint32_t c)
{
    make_room(&f->chars, &f->cap, f->n + 1);
    f->chars[f->n++] = c;
}

/* --- characters ------------------------------------------------------------------------- */

struct range {
    uint32_t first;
    uint32_t last;
};

static bool is_in(const struct range *ranges, size_t n, uint32_t c)
{
    size_t low = 0, high = n;
    while (low < high) {
        size_t mid = (low + high) / 2;
        if (c > ranges[mid].last)
            low = mid + 1;
        else
            high = mid;
    }
    return low < n && c >= ranges[low].first;
}

/* Starters that normalising leaves alone and that never join what stands before them, in the
 * scripts that are written most; all else takes the longer way. */
static bool is_plain(uint32_t c)
{
    static const struct range plain[] = {
        {0xc0, 0x131},      {0x134, 0x13e},   {0x141, 0x148},   {0x14a, 0x17e},
        {0x391, 0x3ce},     {0x400, 0x481},   {0x48a, 0x52f},   {0x5d0, 0x5ea},
        {0x621, 0x63a},     {0x641, 0x64a},   {0x2012, 0x2016}, {0x2018, 0x2022},
        {0x3001, 0x3029},   {0x3041, 0x3096}, {0x30a1, 0x30fa}, {0x30fc, 0x30fe},
        {0x3400, 0x4dbf},   {0x4e00, 0x9fff}, {0xac00, 0xd7a3}, {0x1f300, 0x1faff},
        {0x20000, 0x2f7ff},
    };
    if (c < 0x80 || (c >= 0x4e00 && c <= 0x9fff)) /* most of all */
        return true;
    return is_in(plain, sizeof plain / sizeof *plain, c);
}

/* White space of any width, which B.2 and NFKC know only in part. */
static bool is_space(uint32_t c)
{
    return c <= 0x20 || c == 0x7f || (c >= 0x80 && c <= 0xa0) || c == 0x1680 ||
           (c >= 0x2000 && c <= 0x200a) || c == 0x2028 || c == 0x2029 || c == 0x202f ||
           c == 0x205f || c == 0x3000;
}

/* Joiners, soft hyphens, directions, variation selectors. */
static bool is_unseen(uint32_t c)
{
    return c == 0xad || c == 0x34f || (c >= 0x200b && c <= 0x200f) ||
           (c >= 0x202a && c <= 0x202e) || (c >= 0x2060 && c <= 0x2064) || c == 0xfeff ||
           (c >= 0xfe00 && c <= 0xfe0f) || (c >= 0xe0100 && c <= 0xe01ef);
}

/* Before ideographs only some scripts have case; behind them full width and a few. */
static bool may_have_case(uint32_t c)
{
    return c < 0x2e80 || c >= 0xfb00 || (c >= 0x3300 && c < 0x3400);
}

/* RFC 3454, table B.2: case folding made for text that is brought to NFKC afterwards. */
static const uint32_t *lower_of(const struct fold *f, uint32_t c)
{
    size_t low = 0, high = f->cases_n;
    while (low < high) {
        size_t mid = (low + high) / 2;
        if (stringprep_rfc3454_B_2[mid].start < c)
            low = mid + 1;
        else
            high = mid;
    }
    bool found = low < f->cases_n && stringprep_rfc3454_B_2[low].start == c;
    return found ? stringprep_rfc3454_B_2[low].map : NULL;
}

/* --- text ------------------------------------------------------------------------------- */

/* There is room for as many as one character may become. */
static size_t map_case(struct fold *f, uint32_t c, size_t n)
{
    const uint32_t *lower = may_have_case(c) ? lower_of(f, c) : NULL;
    if (!lower) {
        f->mapped[n] = c;
        return n + 1;
    }
    for (size_t i = 0; i < STRINGPREP_MAX_MAP_CHARS && lower[i]; i++)
        f->mapped[n++] = lower[i];
    return n;
}

static uint32_t lower_ascii(uint8_t c)
{
    if (c >= 'A' && c <= 'Z')
        return c + (uint32_t)('a' - 'A');
    return c <= 0x20 || c == 0x7f ? ' ' : c;
}

/* Without case, and what is white or unseen. */
static size_t map_text(struct fold *f, const char *text, size_t len)
{
    size_t n = 0;
    make_room(&f->mapped, &f->mapped_cap, len * STRINGPREP_MAX_MAP_CHARS);
    for (size_t at = 0; at < len;) {
        uint8_t byte = (uint8_t)text[at];
        if (byte < 0x80) {
            f->mapped[n++] = lower_ascii(byte);
            at++;
            continue;
        }
        size_t size = utf8_char(text + at, len - at);
        uint32_t c = size ? utf8_code(text + at, size) : 0xfffd;
        at += size ? size : 1;
        if (is_space(c))
            f->mapped[n++] = ' ';
        else if (!is_unseen(c))
            n = map_case(f, c, n);
    }
    return n;
}

static void add_normal(struct fold *f, const uint32_t *run, size_t n)
{
    uint32_t *normal = stringprep_ucs4_nfkc_normalize(run, (ssize_t)n);
    if (!normal) { /* not a character; it compares as it is */
        for (size_t i = 0; i < n; i++)
            add(f, run[i]);
        return;
    }
    for (size_t i = 0; normal[i]; i++)
        add(f, is_space(normal[i]) ? ' ' : normal[i]);
    free(normal);
}

/* ASCII needs nothing but its case: false when that is not all there is. */
static bool fold_ascii(struct fold *f, const char *text, size_t len)
{
    make_room(&f->chars, &f->cap, len);
    for (f->n = 0; f->n < len && (uint8_t)text[f->n] < 0x80; f->n++)
        f->chars[f->n] = lower_ascii((uint8_t)text[f->n]);
    return f->n == len;
}

void fold_text(struct fold *f, const char *text, size_t len)
{
    if (fold_ascii(f, text, len))
        return;
    f->n = 0;
    size_t n = map_text(f, text, len);
    for (size_t at = 0; at < n;) {
        size_t plain = at;
        while (plain < n && is_plain(f->mapped[plain]))
            plain++;
        /* The last of them may be what a mark belongs to. */
        bool joins = plain < n && plain > at;
        size_t run = plain - joins - at;
        make_room(&f->chars, &f->cap, f->n + run);
        if (run > 0)
            memcpy(f->chars + f->n, f->mapped + at, run * sizeof *f->chars);
        f->n += run;
        size_t end = plain;
        while (end < n && end - (plain - joins) < RUN_MAX && !is_plain(f->mapped[end]))
            end++;
        if (end > plain)
            add_normal(f, f->mapped + plain - joins, end - (plain - joins));
        at = end;
    }
}
