// SPDX-License-Identifier: Apache-2.0
#include "archive/known.h"

#include <stdlib.h>
#include <string.h>

#define SLOTS ((size_t)1 << 18) /* 2 MiB */

/* The last 8 bytes of an owner, which are random but for two bits; the lowest bit says
 * whether it is proven. */
struct known {
    uint64_t slots[SLOTS];
};

struct known *known_new(void)
{
    struct known *k = calloc(1, sizeof *k);
    if (!k)
        abort();
    return k;
}

void known_free(struct known **k)
{
    free(*k);
    *k = NULL;
}

static uint64_t tail_of(const uint8_t *owner)
{
    uint64_t tail;
    memcpy(&tail, owner + 8, sizeof tail);
    return tail;
}

static size_t slot_of(uint64_t tail)
{
    return (size_t)((tail * UINT64_C(0x9e3779b97f4a7c15)) >> 40) & (SLOTS - 1);
}

bool known_has(const struct known *k, const uint8_t owner[OWNER_BYTES], bool proven)
{
    uint64_t tail = tail_of(owner), found = k->slots[slot_of(tail)];
    return (found | 1) == (tail | 1) && (!proven || (found & 1));
}

void known_put(struct known *k, const uint8_t owner[OWNER_BYTES], bool proven)
{
    uint64_t tail = tail_of(owner), *slot = &k->slots[slot_of(tail)];
    bool was = (*slot | 1) == (tail | 1) && (*slot & 1);
    *slot = (tail & ~(uint64_t)1) | (proven || was);
}
