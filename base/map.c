// SPDX-License-Identifier: Apache-2.0
#include "base/map.h"

#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/crypt.h"

#define FIRST_SLOTS 16

struct entry {
    void *value;
    uint32_t len;
    unsigned char key[];
};

/*
 * Open addressing, linear probing.  A taken entry leaves a tombstone, so that nothing moves
 * while somebody walks; tombstones go when the table is rebuilt.  Part of the hash stands in
 * an array of its own: a probe touches an entry only when it is nearly sure to be the one.
 */
struct map {
    uint8_t seed[16];
    size_t mask; /* slots - 1 */
    size_t count;
    size_t used; /* entries and tombstones */
    uint32_t *hashes;
    struct entry **entries; /* NULL: never used; &tombstone: was taken */
};

static struct entry tombstone;

static void alloc_slots(struct map *m, size_t slots)
{
    m->hashes = calloc(slots, sizeof *m->hashes);
    m->entries = calloc(slots, sizeof(struct entry *));
    if (!m->hashes || !m->entries)
        abort();
    m->mask = slots - 1;
}

struct map *map_new(void)
{
    struct map *m = calloc(1, sizeof *m);
    if (!m)
        abort();
    crypt_random(m->seed, sizeof m->seed);
    alloc_slots(m, FIRST_SLOTS);
    return m;
}

void map_free(struct map **m)
{
    if (!*m)
        return;
    for (size_t i = 0; i <= (*m)->mask; i++)
        if ((*m)->entries[i] != &tombstone)
            free((*m)->entries[i]);
    free((*m)->hashes);
    free((*m)->entries);
    free(*m);
    *m = NULL;
}

/* The slot of the key, or SIZE_MAX. */
static size_t find(const struct map *m, uint64_t hash, const void *key, size_t len)
{
    uint32_t part = (uint32_t)(hash >> 32);
    for (size_t i = hash & m->mask; m->entries[i]; i = (i + 1) & m->mask) {
        const struct entry *e = m->entries[i];
        if (m->hashes[i] == part && e != &tombstone && e->len == len &&
            (len == 0 || memcmp(e->key, key, len) == 0))
            return i;
    }
    return SIZE_MAX;
}

void *map_get(const struct map *m, const void *key, size_t len)
{
    size_t i = find(m, crypt_siphash(m->seed, key, len), key, len);
    return i == SIZE_MAX ? NULL : m->entries[i]->value;
}

static void insert(struct map *m, uint64_t hash, struct entry *e)
{
    size_t i = hash & m->mask;
    while (m->entries[i] && m->entries[i] != &tombstone)
        i = (i + 1) & m->mask;
    if (!m->entries[i])
        m->used++;
    m->hashes[i] = (uint32_t)(hash >> 32);
    m->entries[i] = e;
    m->count++;
}

/* At most three quarters full, tombstones included; grows only when the entries need it. */
static void make_room(struct map *m)
{
    size_t slots = m->mask + 1;
    if (m->used + 1 <= slots - slots / 4)
        return;
    struct entry **old = m->entries;
    uint32_t *old_hashes = m->hashes;
    alloc_slots(m, m->count + 1 > slots / 2 ? slots * 2 : slots);
    m->count = m->used = 0;
    for (size_t i = 0; i < slots; i++)
        if (old[i] && old[i] != &tombstone)
            insert(m, crypt_siphash(m->seed, old[i]->key, old[i]->len), old[i]);
    free(old);
    free(old_hashes);
}

void *map_put(struct map *m, const void *key, size_t len, void *value)
{
    assert(value && len <= UINT32_MAX);
    uint64_t hash = crypt_siphash(m->seed, key, len);
    size_t i = find(m, hash, key, len);
    if (i != SIZE_MAX) {
        void *was = m->entries[i]->value;
        m->entries[i]->value = value;
        return was;
    }
    struct entry *e = malloc(sizeof *e + len);
    if (!e)
        abort();
    e->value = value;
    e->len = (uint32_t)len;
    if (len)
        memcpy(e->key, key, len);
    make_room(m);
    insert(m, hash, e);
    return NULL;
}

void *map_take(struct map *m, const void *key, size_t len)
{
    size_t i = find(m, crypt_siphash(m->seed, key, len), key, len);
    if (i == SIZE_MAX)
        return NULL;
    void *value = m->entries[i]->value;
    free(m->entries[i]);
    m->entries[i] = &tombstone;
    m->count--;
    return value;
}

size_t map_count(const struct map *m)
{
    return m->count;
}

bool map_each(const struct map *m, size_t *cursor, const void **key_out, size_t *len_out,
              void **value_out)
{
    for (size_t i = *cursor; i <= m->mask; i++) {
        struct entry *e = m->entries[i];
        if (!e || e == &tombstone)
            continue;
        *cursor = i + 1;
        if (key_out)
            *key_out = e->key;
        if (len_out)
            *len_out = e->len;
        if (value_out)
            *value_out = e->value;
        return true;
    }
    *cursor = m->mask + 1;
    return false;
}
