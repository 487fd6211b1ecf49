// SPDX-License-Identifier: Apache-2.0
#include "tests/gateway/text.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { DEPTH_MAX = 64 };

static void out_of_memory(void)
{
    fputs("strict-gateway: out of memory\n", stderr);
    abort();
}

void *gw_alloc(size_t n)
{
    void *p = calloc(1, n);

    if (p == NULL)
        out_of_memory();
    return p;
}

void *gw_realloc(void *p, size_t count, size_t size)
{
    p = reallocarray(p, count, size);
    if (p == NULL)
        out_of_memory();
    return p;
}

char *gw_strndup(const char *s, size_t n)
{
    char *copy = strndup(s, n);

    if (copy == NULL)
        out_of_memory();
    return copy;
}

char *gw_strdup(const char *s)
{
    return gw_strndup(s, strlen(s));
}

int64_t gw_now_ms(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_REALTIME, &ts);
    return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

void gw_http_date(int64_t seconds, char *out, size_t size)
{
    time_t t = (time_t)seconds;
    struct tm tm;

    gmtime_r(&t, &tm);
    strftime(out, size, "%a, %d %b %Y %H:%M:%S GMT", &tm);
}

unsigned gw_text_number(struct gw_numbers *n, const char *text)
{
    unsigned i;

    for (i = 0; i < n->n; i++)
        if (strcmp(n->text[i], text) == 0)
            return i + 1;
    n->text = gw_realloc(n->text, n->n + 1, sizeof(*n->text));
    n->text[n->n] = gw_strdup(text);
    return ++n->n;
}

void gw_numbers_free(struct gw_numbers *n)
{
    while (n->n > 0)
        free(n->text[--n->n]);
    free(n->text);
    *n = (struct gw_numbers){0};
}

static void reserve(struct gw_text *t, size_t more)
{
    size_t need = t->len + more + 1;

    if (need <= t->cap)
        return;
    if (t->cap == 0)
        t->cap = 256;
    while (t->cap < need)
        t->cap *= 2;
    t->s = gw_realloc(t->s, t->cap, 1);
}

void gw_text_add(struct gw_text *t, const char *bytes, size_t n)
{
    reserve(t, n);
    if (n > 0)
        memcpy(t->s + t->len, bytes, n);
    t->len += n;
    t->s[t->len] = '\0';
}

void gw_text_puts(struct gw_text *t, const char *s)
{
    gw_text_add(t, s, strlen(s));
}

void gw_text_printf(struct gw_text *t, const char *format, ...)
{
    va_list args;
    int n;

    reserve(t, 128);
    va_start(args, format);
    n = vsnprintf(t->s + t->len, t->cap - t->len, format, args);
    va_end(args);
    assert(n >= 0);
    if ((size_t)n >= t->cap - t->len) {
        reserve(t, (size_t)n);
        va_start(args, format);
        n = vsnprintf(t->s + t->len, t->cap - t->len, format, args);
        va_end(args);
    }
    t->len += (size_t)n;
}

void gw_text_free(struct gw_text *t)
{
    free(t->s);
    *t = (struct gw_text){0};
}

/* Length of the UTF-8 sequence at p, 0 when it is none (RFC 3629). */
static size_t utf8_length(const uint8_t *p, const uint8_t *end)
{
    uint32_t c = *p;
    size_t n, i;

    if (c < 0x80)
        return 1;
    if (c >= 0xc2 && c <= 0xdf)
        n = 2;
    else if ((c & 0xf0) == 0xe0)
        n = 3;
    else if (c >= 0xf0 && c <= 0xf4)
        n = 4;
    else
        return 0;
    if ((size_t)(end - p) < n)
        return 0;
    c &= 0xffu >> (n + 1);
    for (i = 1; i < n; i++) {
        if ((p[i] & 0xc0) != 0x80)
            return 0;
        c = c << 6 | (p[i] & 0x3fu);
    }
    if ((n == 3 && c < 0x800) || (n == 4 && (c < 0x10000 || c > 0x10ffff)) ||
        (c >= 0xd800 && c <= 0xdfff))
        return 0;
    return n;
}

void gw_text_json(struct gw_text *t, const char *bytes, size_t n)
{
    const uint8_t *p = (const uint8_t *)bytes, *end = p + n;
    size_t len;

    gw_text_add(t, "\"", 1);
    for (; p < end; p += len) {
        len = utf8_length(p, end);
        if (len == 0 || *p < 0x20 || *p == 0x7f) {
            gw_text_printf(t, "\\u%04x", *p);
            len = 1;
        } else if (*p == '"' || *p == '\\') {
            gw_text_add(t, "\\", 1);
            gw_text_add(t, (const char *)p, 1);
        } else {
            gw_text_add(t, (const char *)p, len);
        }
    }
    gw_text_add(t, "\"", 1);
}

void gw_text_json_str(struct gw_text *t, const char *s)
{
    if (s == NULL)
        gw_text_puts(t, "null");
    else
        gw_text_json(t, s, strlen(s));
}

/* The validator: each function eats one production at r->p or answers false. */
struct reader {
    const uint8_t *p, *end;
    int depth;
};

static bool eat_value(struct reader *r);

static void skip_space(struct reader *r)
{
    while (r->p < r->end && (*r->p == ' ' || *r->p == '\t' || *r->p == '\n' || *r->p == '\r'))
        r->p++;
}

static bool eat(struct reader *r, char c)
{
    if (r->p == r->end || *r->p != (uint8_t)c)
        return false;
    r->p++;
    return true;
}

static bool eat_word(struct reader *r, const char *word)
{
    size_t n = strlen(word);

    if ((size_t)(r->end - r->p) < n || memcmp(r->p, word, n) != 0)
        return false;
    r->p += n;
    return true;
}

static size_t eat_digits(struct reader *r)
{
    const uint8_t *start = r->p;

    while (r->p < r->end && *r->p >= '0' && *r->p <= '9')
        r->p++;
    return (size_t)(r->p - start);
}

static bool eat_number(struct reader *r)
{
    eat(r, '-');
    if (!eat(r, '0') && eat_digits(r) == 0)
        return false;
    if (eat(r, '.') && eat_digits(r) == 0)
        return false;
    if (eat(r, 'e') || eat(r, 'E')) {
        if (!eat(r, '+'))
            eat(r, '-');
        return eat_digits(r) > 0;
    }
    return true;
}

static bool eat_hex4(struct reader *r, unsigned *unit_out)
{
    unsigned unit = 0, digit;
    int i;

    for (i = 0; i < 4; i++, r->p++) {
        if (r->p == r->end)
            return false;
        if (*r->p >= '0' && *r->p <= '9')
            digit = *r->p - (unsigned)'0';
        else if ((*r->p | 0x20) >= 'a' && (*r->p | 0x20) <= 'f')
            digit = (*r->p | 0x20u) - 'a' + 10;
        else
            return false;
        unit = unit << 4 | digit;
    }
    *unit_out = unit;
    return true;
}

static bool eat_escape(struct reader *r)
{
    unsigned unit;

    if (r->p == r->end)
        return false;
    if (*r->p != 'u')
        return strchr("\"\\/bfnrt", *r->p++) != NULL;
    r->p++;
    if (!eat_hex4(r, &unit) || (unit >= 0xdc00 && unit <= 0xdfff))
        return false;
    if (unit < 0xd800 || unit > 0xdbff)
        return true;
    return eat_word(r, "\\u") && eat_hex4(r, &unit) && unit >= 0xdc00 && unit <= 0xdfff;
}

static bool eat_string(struct reader *r)
{
    size_t len;

    if (!eat(r, '"'))
        return false;
    while (r->p < r->end) {
        if (eat(r, '"'))
            return true;
        if (eat(r, '\\')) {
            if (!eat_escape(r))
                return false;
            continue;
        }
        len = utf8_length(r->p, r->end);
        if (len == 0 || *r->p < 0x20)
            return false;
        r->p += len;
    }
    return false;
}

static bool eat_members(struct reader *r, bool object)
{
    char close = object ? '}' : ']';

    r->p++;
    skip_space(r);
    if (eat(r, close))
        return true;
    do {
        skip_space(r);
        if (object) {
            if (!eat_string(r))
                return false;
            skip_space(r);
            if (!eat(r, ':'))
                return false;
        }
        if (!eat_value(r))
            return false;
    } while (eat(r, ','));
    return eat(r, close);
}

static bool eat_value(struct reader *r)
{
    bool ok;

    skip_space(r);
    if (r->p == r->end || r->depth >= DEPTH_MAX)
        return false;
    r->depth++;
    switch (*r->p) {
    case '{':
        ok = eat_members(r, true);
        break;
    case '[':
        ok = eat_members(r, false);
        break;
    case '"':
        ok = eat_string(r);
        break;
    case 't':
        ok = eat_word(r, "true");
        break;
    case 'f':
        ok = eat_word(r, "false");
        break;
    case 'n':
        ok = eat_word(r, "null");
        break;
    default:
        ok = eat_number(r);
    }
    r->depth--;
    skip_space(r);
    return ok;
}

bool gw_json_valid(const uint8_t *bytes, size_t n)
{
    struct reader r = {.p = bytes, .end = bytes + n};

    return n > 0 && eat_value(&r) && r.p == r.end;
}
