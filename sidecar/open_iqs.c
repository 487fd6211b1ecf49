// SPDX-License-Identifier: Apache-2.0
#include "sidecar/open_iqs.h"

#include <stdlib.h>

#include "base/clock.h"
#include "base/map.h"
#include "component/page.h"

struct key {
    uint64_t spool;
    uint64_t begin;
};

struct open_iq {
    struct key key;
    int slot;  /* in the page; -1: it was full */
    bool left; /* by the worker before us, and not met again yet */
};

struct open_iqs {
    struct page *page;
    struct map *map;
};

static struct key key_of(const struct place *p)
{
    return (struct key){p->spool, p->begin};
}

static void add(struct open_iqs *o, struct key key, int slot, bool left)
{
    struct open_iq *iq = malloc(sizeof *iq);
    if (!iq)
        abort();
    *iq = (struct open_iq){key, slot, left};
    free(map_put(o->map, &key, sizeof key, iq));
}

struct open_iqs *open_iqs_new(struct page *page)
{
    struct open_iqs *o = malloc(sizeof *o);
    if (!o)
        abort();
    *o = (struct open_iqs){page, map_new()};
    struct place p;
    int64_t opened_us;
    for (int slot = 0; page_iq_each(page, &slot, &p, &opened_us);)
        add(o, key_of(&p), slot - 1, true);
    return o;
}

void open_iqs_free(struct open_iqs **op)
{
    struct open_iqs *o = *op;
    *op = NULL;
    if (!o)
        return;
    size_t cursor = 0, len;
    const void *key;
    void *iq;
    while (map_each(o->map, &cursor, &key, &len, &iq))
        free(iq);
    map_free(&o->map);
    free(o);
}

void open_iqs_opened(struct open_iqs *o, const struct place *p)
{
    struct key key = key_of(p);
    struct open_iq *iq = map_get(o->map, &key, sizeof key);
    if (iq)
        iq->left = false;
    else
        add(o, key, page_iq_open(o->page, p, clock_real_us()), false);
}

void open_iqs_done(struct open_iqs *o, const struct place *p)
{
    struct key key = key_of(p);
    struct open_iq *iq = map_take(o->map, &key, sizeof key);
    if (iq && iq->slot >= 0)
        page_iq_done(o->page, iq->slot);
    free(iq);
}

bool open_iqs_has(const struct open_iqs *o, const struct place *p)
{
    struct key key = key_of(p);
    return map_get(o->map, &key, sizeof key) != NULL;
}

uint64_t open_iqs_oldest(const struct open_iqs *o, unsigned spool)
{
    uint64_t oldest = UINT64_MAX;
    size_t cursor = 0, len;
    const void *key;
    void *value;
    while (map_each(o->map, &cursor, &key, &len, &value)) {
        const struct open_iq *iq = value;
        if (iq->key.spool == spool && iq->key.begin < oldest)
            oldest = iq->key.begin;
    }
    return oldest;
}

void open_iqs_replayed(struct open_iqs *o, unsigned spool)
{
    size_t cursor = 0, len;
    const void *key;
    void *value;
    while (map_each(o->map, &cursor, &key, &len, &value)) {
        struct open_iq *iq = value;
        if (iq->key.spool != spool || !iq->left)
            continue;
        struct key gone = iq->key;
        if (iq->slot >= 0)
            page_iq_done(o->page, iq->slot);
        free(map_take(o->map, &gone, sizeof gone));
    }
}
