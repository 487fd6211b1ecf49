// SPDX-License-Identifier: Apache-2.0
#include "archive/search_text.h"

#include <string.h>

#include "base/utf8.h"

/* At most so many characters are looked at for grams: those of every word. */
#define GRAMS_MAX SEARCH_CHARS_MAX

static bool has(const uint32_t *grams, size_t n, uint32_t gram)
{
    for (size_t i = 0; i < n; i++)
        if (grams[i] == gram)
            return true;
    return false;
}

/* When there are more than can be asked for, those that lie evenly over all words. */
static void choose_grams(struct search_text *t)
{
    uint32_t all[GRAMS_MAX];
    size_t n = 0;
    for (size_t w = 0; w < t->words_n; w++)
        for (size_t i = 1; i < t->words[w].n; i++) {
            const uint32_t *at = t->chars + t->words[w].at + i;
            uint32_t gram = search_gram(at[-1], at[0]);
            if (!has(all, n, gram))
                all[n++] = gram;
        }
    t->grams_n = n < SEARCH_GRAMS_MAX ? n : SEARCH_GRAMS_MAX;
    for (size_t i = 0; i < t->grams_n; i++)
        t->grams[i] = all[i * n / t->grams_n];
}

enum search_text_kind search_text_read(struct search_text *out, struct fold *f,
                                       const char *text)
{
    size_t n = 0;
    out->words_n = out->grams_n = 0;
    fold_text(f, text, strlen(text));
    for (size_t i = 0; i < f->n; i++) {
        bool begins = f->chars[i] != ' ' && (i == 0 || f->chars[i - 1] == ' ');
        if (f->chars[i] == ' ')
            continue;
        if (n == SEARCH_CHARS_MAX || (begins && out->words_n == SEARCH_WORDS_MAX))
            return SEARCH_TEXT_LONG;
        if (begins)
            out->words[out->words_n++] = (struct search_word){n, 0};
        out->chars[n++] = f->chars[i];
        out->words[out->words_n - 1].n++;
    }
    choose_grams(out);
    return out->words_n > 0 ? SEARCH_TEXT_GOOD : SEARCH_TEXT_EMPTY;
}

void search_text_fold(struct fold *f, const char *body)
{
    fold_text(f, body, utf8_cut(body, strlen(body), SEARCH_BODY_BYTES));
}

static bool contains(const struct fold *body, const uint32_t *word, size_t n)
{
    for (size_t i = 0; i + n <= body->n; i++)
        if (body->chars[i] == word[0] && memcmp(body->chars + i, word, n * sizeof *word) == 0)
            return true;
    return false;
}

bool search_text_matches(const struct search_text *t, const struct fold *body)
{
    for (size_t i = 0; i < t->words_n; i++)
        if (!contains(body, t->chars + t->words[i].at, t->words[i].n))
            return false;
    return true;
}
