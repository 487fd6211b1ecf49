// SPDX-License-Identifier: Apache-2.0
/*
 * Growing text, and the two things about JSON that cJSON leaves to its caller: a
 * validity check that follows RFC 8259 to the letter (cJSON lets control characters
 * and broken UTF-8 through), and escaping of bytes that may be anything.
 * Running out of memory ends the program: this is a test tool.
 */
#ifndef GATEWAY_TEXT_H
#define GATEWAY_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Starts as {0}; s is NULL while nothing was added, NUL-terminated afterwards. */
struct gw_text {
    char *s;
    size_t len, cap;
};

void gw_text_add(struct gw_text *t, const char *bytes, size_t n);
void gw_text_puts(struct gw_text *t, const char *s);
void gw_text_printf(struct gw_text *t, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
/* A quoted JSON string; bytes that are no UTF-8 become \u00XX. */
void gw_text_json(struct gw_text *t, const char *bytes, size_t n);
/* "null" for NULL. */
void gw_text_json_str(struct gw_text *t, const char *s);
void gw_text_free(struct gw_text *t);

/* One JSON value and nothing but white space around it; no lone surrogates. */
bool gw_json_valid(const uint8_t *bytes, size_t n);

void *gw_alloc(size_t n); /* zeroed */
void *gw_realloc(void *p, size_t count, size_t size);
char *gw_strdup(const char *s);
char *gw_strndup(const char *s, size_t n);

int64_t gw_now_ms(void);
/* RFC 9110, section 5.6.7. */
void gw_http_date(int64_t seconds, char *out, size_t size);

/* Texts by number: 1, 2, ... in the order they were first seen.  Starts as {0}. */
struct gw_numbers {
    char **text;
    unsigned n;
};
unsigned gw_text_number(struct gw_numbers *n, const char *text);
void gw_numbers_free(struct gw_numbers *n);

#endif
