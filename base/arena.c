// SPDX-License-Identifier: Apache-2.0
#include "base/arena.h"

#include <stdalign.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define FIRST_BLOCK 2048
#define ALIGN alignof(max_align_t)

struct block {
    struct block *next;
    size_t used;
    size_t size;
    alignas(max_align_t) unsigned char bytes[];
};

struct arena {
    struct block *blocks; /* newest first */
    size_t used;
    size_t max;
};

static struct block *block_new(size_t size)
{
    struct block *b = malloc(sizeof *b + size);
    if (!b)
        abort();
    b->next = NULL;
    b->used = 0;
    b->size = size;
    return b;
}

struct arena *arena_new(size_t max)
{
    struct arena *a = malloc(sizeof *a);
    if (!a)
        abort();
    *a = (struct arena){.blocks = block_new(FIRST_BLOCK), .max = max};
    return a;
}

void arena_free(struct arena **a)
{
    if (!*a)
        return;
    for (struct block *b = (*a)->blocks, *next; b; b = next) {
        next = b->next;
        free(b);
    }
    free(*a);
    *a = NULL;
}

void *arena_alloc(struct arena *a, size_t size)
{
    if (size > a->max)
        return NULL;
    size_t rounded = (size + ALIGN - 1) & ~(ALIGN - 1);
    if (rounded > a->max || a->used > a->max - rounded)
        return NULL;
    struct block *b = a->blocks;
    if (b->size - b->used < rounded) {
        size_t want = b->size < 64 * 1024 ? b->size * 2 : b->size;
        struct block *fresh = block_new(want < rounded ? rounded : want);
        fresh->next = b;
        a->blocks = b = fresh;
    }
    void *at = b->bytes + b->used;
    b->used += rounded;
    a->used += rounded;
    return at;
}

char *arena_strndup(struct arena *a, const char *text, size_t len)
{
    if (len == SIZE_MAX)
        return NULL;
    char *copy = arena_alloc(a, len + 1);
    if (!copy)
        return NULL;
    memcpy(copy, text, len);
    copy[len] = '\0';
    return copy;
}

char *arena_strdup(struct arena *a, const char *text)
{
    return arena_strndup(a, text, strlen(text));
}

size_t arena_used(const struct arena *a)
{
    return a->used;
}
