// SPDX-License-Identifier: Apache-2.0
#include "config/keys.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CONFIG_KEY_ROW(name, path_, type_, words_, def_, min_, max_, reload_)                 \
    [KEY_##name] = {path_, TYPE_##type_, words_, def_, min_, max_, reload_},
const struct key_info key_table[KEYS_N] = {CONFIG_KEYS(CONFIG_KEY_ROW)};

enum key key_find(const char *path)
{
    for (enum key k = 0; k < KEYS_N; k++) {
        if (strcmp(key_table[k].path, path) == 0)
            return k;
    }
    return KEYS_N;
}

static bool is_above(const char *path, const char *separators)
{
    size_t len = strlen(path);
    for (enum key k = 0; k < KEYS_N; k++) {
        const char *row = key_table[k].path;
        if (strncmp(row, path, len) == 0 && row[len] && strchr(separators, row[len]))
            return true;
    }
    return false;
}

bool key_is_section(const char *path)
{
    return is_above(path, ".[");
}

bool key_is_list_section(const char *path)
{
    return is_above(path, "[");
}

/* Levenshtein distance; texts longer than 63 bytes are as far as can be. */
static size_t distance(const char *a, const char *b)
{
    size_t al = strlen(a), bl = strlen(b);
    if (al > 63 || bl > 63)
        return 64;
    size_t row[64];
    for (size_t j = 0; j <= bl; j++)
        row[j] = j;
    for (size_t i = 1; i <= al; i++) {
        size_t diagonal = row[0];
        row[0] = i;
        for (size_t j = 1; j <= bl; j++) {
            size_t up = row[j];
            size_t best = diagonal + (a[i - 1] != b[j - 1]);
            if (up + 1 < best)
                best = up + 1;
            if (row[j - 1] + 1 < best)
                best = row[j - 1] + 1;
            diagonal = up;
            row[j] = best;
        }
    }
    return row[bl];
}

const char *key_did_you_mean(const char *path)
{
    const char *best = NULL;
    size_t best_distance = 4;
    for (enum key k = 0; k < KEYS_N; k++) {
        size_t d = distance(path, key_table[k].path);
        if (d < best_distance) {
            best_distance = d;
            best = key_table[k].path;
        }
    }
    return best;
}

/* The n-th word of "one two three" into out; false at the end. */
static bool nth_word(const char *words, int n, char out[32])
{
    for (; *words; n--) {
        size_t len = strcspn(words, " ");
        if (n == 0) {
            snprintf(out, 32, "%.*s", (int)len, words);
            return true;
        }
        words += len;
        words += strspn(words, " ");
    }
    return false;
}

const char *key_nearest_word(const char *words, const char *text, char out[32])
{
    char word[32];
    size_t best = 3;
    bool found = false;
    for (int n = 0; nth_word(words, n, word); n++) {
        size_t d = distance(text, word);
        if (d < best) {
            best = d;
            found = true;
            memcpy(out, word, sizeof word);
        }
    }
    return found ? out : NULL;
}

static enum err_kind read_word(const struct key_info *info, const char *text, int64_t *out,
                               struct err *e)
{
    char word[32];
    for (int n = 0; nth_word(info->words, n, word); n++) {
        if (strcmp(word, text) == 0) {
            *out = n;
            return ERR_NONE;
        }
    }
    char choices[128];
    snprintf(choices, sizeof choices, "%s", info->words);
    for (char *p = choices; *p; p++) {
        if (*p == ' ')
            *p = '|';
    }
    const char *near = key_nearest_word(info->words, text, word);
    return err_set(e, ERR_CONFIG, "expected one of %s%s%s%s", choices,
                   near ? "; did you mean \"" : "", near ? near : "", near ? "\"?" : "");
}

static enum err_kind read_bool(const char *text, bool quoted, int64_t *out, struct err *e)
{
    if (!quoted && strcmp(text, "true") == 0)
        *out = 1;
    else if (!quoted && strcmp(text, "false") == 0)
        *out = 0;
    else
        return err_set(e, ERR_CONFIG, "expected true or false");
    return ERR_NONE;
}

struct unit {
    const char *name;
    int64_t factor;
};

static const struct unit sizes[] = {{"", 1},          {"B", 1},         {"KiB", 1 << 10},
                                    {"MiB", 1 << 20}, {"GiB", 1 << 30}, {NULL, 0}};
static const struct unit times[] = {{"ms", 1},      {"s", 1000},     {"m", 60000},
                                    {"h", 3600000}, {"d", 86400000}, {NULL, 0}};
static const struct unit plain[] = {{"", 1}, {NULL, 0}};

static enum err_kind read_number(const struct key_info *info, const struct unit *units,
                                 const char *what, const char *text, int64_t *out,
                                 struct err *e)
{
    errno = 0;
    char *end;
    long long n = strtoll(text, &end, 10);
    bool digits = end != text && text[0] >= '0' && text[0] <= '9' && errno == 0;
    if (digits && n == 0 && *end == '\0')
        units = plain; /* a bare 0 needs no unit */
    for (; digits && units->name; units++) {
        if (strcmp(units->name, end) != 0)
            continue;
        if (n > INT64_MAX / units->factor)
            return err_set(e, ERR_CONFIG, "the number is too large");
        *out = n * units->factor;
        if (*out < info->min || *out > info->max)
            return err_set(e, ERR_CONFIG, "out of range: %lld to %lld%s are allowed",
                           (long long)info->min, (long long)info->max,
                           info->type == TYPE_TIME   ? " ms"
                           : info->type == TYPE_SIZE ? " bytes"
                                                     : "");
        return ERR_NONE;
    }
    return err_set(e, ERR_CONFIG, "expected %s", what);
}

static enum err_kind read_time(const struct key_info *info, const char *text, int64_t *out,
                               struct err *e)
{
    if (info->words && strcmp(info->words, text) == 0) {
        *out = -1;
        return ERR_NONE;
    }
    if (strcmp(info->path, "spool.fsync") == 0 && strcmp(text, "always") == 0) {
        *out = 0;
        return ERR_NONE;
    }
    return read_number(info, times, "a time such as 500ms, 20s, 15m, 12h or 14d", text, out,
                       e);
}

enum err_kind key_read(const struct key_info *info, const char *text, bool quoted,
                       int64_t *number_out, struct err *e)
{
    int64_t len = (int64_t)strlen(text);
    *number_out = 0;
    switch (info->type) {
    case TYPE_BOOL:
        return read_bool(text, quoted, number_out, e);
    case TYPE_WORD:
        return read_word(info, text, number_out, e);
    case TYPE_NUMBER:
        return read_number(info, plain, "a whole number", text, number_out, e);
    case TYPE_SIZE:
        return read_number(info, sizes, "a size such as 512KiB, 16MiB or 4GiB", text,
                           number_out, e);
    case TYPE_TIME:
        return read_time(info, text, number_out, e);
    case TYPE_TEXT:
        if (len < info->min)
            return err_set(e, ERR_CONFIG, "must not be empty");
        if (len > info->max)
            return err_set(e, ERR_CONFIG, "longer than %lld bytes", (long long)info->max);
        return ERR_NONE;
    case TYPE_FILE:
    case TYPE_LIST:
        return ERR_NONE;
    }
    return ERR_NONE;
}
