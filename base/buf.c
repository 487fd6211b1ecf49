// SPDX-License-Identifier: Apache-2.0
#include "base/buf.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FIRST_CAP 256

void buf_init(struct buf *b, size_t max)
{
    *b = (struct buf){.max = max};
}

void buf_deinit(struct buf *b)
{
    free(b->data);
    *b = (struct buf){.max = b->max};
}

void buf_reset(struct buf *b)
{
    b->head = b->len = 0;
    b->failed = false;
}

static bool make_room(struct buf *b, size_t len)
{
    if (b->failed || len > b->max || b->len > b->max - len) {
        b->failed = true;
        return false;
    }
    if (b->cap - b->head - b->len >= len && b->data)
        return true;
    if (b->data && b->head >= b->len && b->cap - b->len >= len) {
        memmove(b->data, b->data + b->head, b->len);
        b->head = 0;
        return true;
    }
    size_t want = b->cap ? b->cap : FIRST_CAP;
    while (want < b->len + len)
        want *= 2;
    uint8_t *grown = malloc(want);
    if (!grown)
        abort();
    if (b->data)
        memcpy(grown, b->data + b->head, b->len);
    free(b->data);
    b->data = grown;
    b->cap = want;
    b->head = 0;
    return true;
}

uint8_t *buf_reserve(struct buf *b, size_t len)
{
    if (!make_room(b, len))
        return NULL;
    return b->data + b->head + b->len;
}

void buf_commit(struct buf *b, size_t len)
{
    assert(b->head + b->len + len <= b->cap);
    b->len += len;
}

void buf_add(struct buf *b, const void *data, size_t len)
{
    if (len == 0)
        return;
    uint8_t *at = buf_reserve(b, len);
    if (!at)
        return;
    memcpy(at, data, len);
    b->len += len;
}

void buf_add_str(struct buf *b, const char *text)
{
    buf_add(b, text, strlen(text));
}

void buf_add_char(struct buf *b, char c)
{
    buf_add(b, &c, 1);
}

void buf_addf(struct buf *b, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    int want = vsnprintf(NULL, 0, fmt, ap);
    va_end(ap);
    assert(want >= 0);
    uint8_t *at = buf_reserve(b, (size_t)want + 1);
    if (!at)
        return;
    va_start(ap, fmt);
    vsnprintf((char *)at, (size_t)want + 1, fmt, ap);
    va_end(ap);
    b->len += (size_t)want;
}

void buf_add_u16(struct buf *b, uint16_t v)
{
    uint8_t raw[2] = {(uint8_t)(v >> 8), (uint8_t)v};
    buf_add(b, raw, sizeof raw);
}

void buf_add_u32(struct buf *b, uint32_t v)
{
    uint8_t raw[4];
    for (int i = 0; i < 4; i++)
        raw[i] = (uint8_t)(v >> (24 - 8 * i));
    buf_add(b, raw, sizeof raw);
}

void buf_add_u64(struct buf *b, uint64_t v)
{
    uint8_t raw[8];
    for (int i = 0; i < 8; i++)
        raw[i] = (uint8_t)(v >> (56 - 8 * i));
    buf_add(b, raw, sizeof raw);
}

void buf_consume(struct buf *b, size_t len)
{
    assert(len <= b->len);
    b->head += len;
    b->len -= len;
    if (b->len == 0)
        b->head = 0;
}

const char *buf_cstr(struct buf *b)
{
    if (b->failed)
        return "";
    if (!make_room(b, 1)) {
        b->failed = true;
        return "";
    }
    b->data[b->head + b->len] = '\0';
    return (const char *)b->data + b->head;
}
