// SPDX-License-Identifier: Apache-2.0
#include "sidecar/open_iqs.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/map.h"
#include "component/page.h"

struct key {
    uint64_t spool;
    uint64_t begin;
};

struct open_iq {
    struct key key;
    int slot;       /* in the page; -1: it was full */
    uint64_t frame; /* that has its answer, 0: none yet */
    bool left;      /* by the worker before us, and not met again yet */
};

struct answer {
    struct key key;
    uint64_t frame;
};

/* Of one link, in the order of their frames. */
struct answered {
    struct answer *items;
    size_t head, n, cap;
};

struct open_iqs {
    struct page *page;
    struct map *map;
    struct answered answered[PAGE_LINKS_MAX];
};

static struct key key_of(const struct place *p)
{
    return (struct key){p->spool, p->begin};
}

static struct open_iq *add(struct open_iqs *o, struct key key, int slot, bool left)
{
    struct open_iq *iq = malloc(sizeof *iq);
    if (!iq)
        abort();
    *iq = (struct open_iq){.key = key, .slot = slot, .left = left};
    free(map_put(o->map, &key, sizeof key, iq));
    return iq;
}

static void forget(struct open_iqs *o, const struct open_iq *iq)
{
    struct key key = iq->key;
    page_iq_done(o->page, iq->slot);
    free(map_take(o->map, &key, sizeof key));
}

static void enqueue(struct answered *a, const struct open_iq *iq)
{
    if (a->head > 0 && a->n == a->cap) {
        memmove(a->items, a->items + a->head, (a->n - a->head) * sizeof *a->items);
        a->n -= a->head;
        a->head = 0;
    }
    if (a->n == a->cap) {
        a->cap = a->cap ? 2 * a->cap : 64;
        a->items = realloc(a->items, a->cap * sizeof *a->items);
        if (!a->items)
            abort();
    }
    a->items[a->n++] = (struct answer){.key = iq->key, .frame = iq->frame};
}

static int by_frame(const void *a, const void *b)
{
    const struct answer *x = a, *y = b;
    return x->frame < y->frame ? -1 : x->frame > y->frame;
}

/* One that was left in the page.  An answer in a frame that the link has not read died with
 * its worker, or with the link that had taken it: it is to be given again. */
static void take_over(struct open_iqs *o, int slot, const struct place *p)
{
    uint64_t frame = page_iq_answer(o->page, slot);
    if (p->spool >= PAGE_LINKS_MAX) {
        page_iq_done(o->page, slot);
        return;
    }
    bool given = frame > 0 && frame <= atomic_load(&o->page->links[p->spool].frames_taken);
    struct open_iq *iq = add(o, key_of(p), slot, !given);
    if (given) {
        iq->frame = frame;
        enqueue(&o->answered[p->spool], iq);
    } else {
        page_iq_answered(o->page, slot, 0);
    }
}

struct open_iqs *open_iqs_new(struct page *page)
{
    struct open_iqs *o = malloc(sizeof *o);
    if (!o)
        abort();
    *o = (struct open_iqs){.page = page, .map = map_new()};
    struct place p;
    int64_t opened_us;
    for (int slot = 0; page_iq_each(page, &slot, &p, &opened_us);)
        take_over(o, slot - 1, &p);
    for (unsigned i = 0; i < PAGE_LINKS_MAX; i++)
        if (o->answered[i].n > 0)
            qsort(o->answered[i].items, o->answered[i].n, sizeof *o->answered[i].items,
                  by_frame);
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
    for (unsigned i = 0; i < PAGE_LINKS_MAX; i++)
        free(o->answered[i].items);
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

void open_iqs_answered(struct open_iqs *o, const struct place *p, uint64_t frame)
{
    struct key key = key_of(p);
    struct open_iq *iq = map_get(o->map, &key, sizeof key);
    if (!iq || iq->frame)
        return;
    iq->frame = frame;
    iq->left = false;
    page_iq_answered(o->page, iq->slot, frame);
    enqueue(&o->answered[p->spool], iq);
}

/* At the promise that a question is answered: as long as a frame is not written, its answer is
 * lost with the link, and whoever comes next finds the question in the page.  A worker that
 * dies after the link has read the frame leaves the answer to the link. */
void open_iqs_written(struct open_iqs *o, unsigned spool, uint64_t frame)
{
    struct answered *a = &o->answered[spool];
    while (a->head < a->n && a->items[a->head].frame <= frame) {
        const struct key *key = &a->items[a->head++].key;
        const struct open_iq *iq = map_get(o->map, key, sizeof *key);
        if (iq)
            forget(o, iq);
    }
    if (a->head == a->n)
        a->head = a->n = 0;
}

bool open_iqs_has(const struct open_iqs *o, const struct place *p)
{
    struct key key = key_of(p);
    const struct open_iq *iq = map_get(o->map, &key, sizeof key);
    return iq && !iq->frame;
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
        const struct open_iq *iq = value;
        if (iq->key.spool == spool && iq->left)
            forget(o, iq);
    }
}
