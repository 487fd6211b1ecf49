// SPDX-License-Identifier: Apache-2.0
#include "archive/turns.h"

#include <assert.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "base/map.h"

/* Of one account and one weight. */
struct queue {
    struct turn *first;
    struct turn *last;
    unsigned waiting;
    unsigned running;
    /* In the ring of those that may begin one; NULL when it is not in it. */
    struct turn_account *next;
    struct turn_account *prev;
};

struct turn_account {
    uint8_t owner[OWNER_BYTES];
    struct queue queues[TURN_WEIGHTS];
};

struct kind {
    struct turn_limits limits;
    unsigned running;
    struct turn_account *ring; /* whose turn is next */
};

struct turns {
    struct map *accounts; /* those with a turn */
    struct kind kinds[TURN_WEIGHTS];
    bool held;
    bool starting; /* go may give back and take: the loop that calls it goes on by itself */
};

struct turns *turns_new(const struct turn_limits limits[TURN_WEIGHTS])
{
    struct turns *all = calloc(1, sizeof *all);
    if (!all)
        abort();
    all->accounts = map_new();
    for (int w = 0; w < TURN_WEIGHTS; w++) {
        assert(limits[w].running_max > 0 && limits[w].running_each > 0);
        all->kinds[w].limits = limits[w];
    }
    return all;
}

struct turns *turns_new_one_each(void)
{
    static const struct turn_limits limits[TURN_WEIGHTS] = {
        [TURN_PAGE] = {.running_max = UINT_MAX, .running_each = 1, .waiting_each = 100},
        [TURN_SCAN] = {.running_max = 1, .running_each = 1},
    };
    return turns_new(limits);
}

void turns_free(struct turns **all)
{
    if (!*all)
        return;
    assert(map_count((*all)->accounts) == 0);
    map_free(&(*all)->accounts);
    free(*all);
    *all = NULL;
}

/* --- accounts ---------------------------------------------------------------------------- */

static struct turn_account *account_of(struct turns *all, const uint8_t owner[OWNER_BYTES])
{
    struct turn_account *a = map_get(all->accounts, owner, OWNER_BYTES);
    if (a)
        return a;
    a = calloc(1, sizeof *a);
    if (!a)
        abort();
    memcpy(a->owner, owner, OWNER_BYTES);
    map_put(all->accounts, owner, OWNER_BYTES, a);
    return a;
}

static void forget_idle(struct turns *all, struct turn_account *a)
{
    for (int w = 0; w < TURN_WEIGHTS; w++)
        if (a->queues[w].running > 0 || a->queues[w].waiting > 0)
            return;
    (void)map_take(all->accounts, a->owner, OWNER_BYTES);
    free(a);
}

/* In the ring are exactly the accounts with one waiting and room to run it. */
static void update_ring(struct turns *all, struct turn_account *a, enum turn_weight w)
{
    struct kind *k = &all->kinds[w];
    struct queue *q = &a->queues[w];
    bool wanted = q->waiting > 0 && q->running < k->limits.running_each;
    if (wanted == (q->next != NULL))
        return;
    if (!wanted) {
        if (k->ring == a)
            k->ring = q->next == a ? NULL : q->next;
        q->prev->queues[w].next = q->next;
        q->next->queues[w].prev = q->prev;
        q->next = q->prev = NULL;
    } else if (!k->ring) {
        k->ring = q->next = q->prev = a;
    } else { /* behind all others */
        q->next = k->ring;
        q->prev = k->ring->queues[w].prev;
        q->prev->queues[w].next = a;
        k->ring->queues[w].prev = a;
    }
}

/* --- turns ------------------------------------------------------------------------------- */

static void enqueue(struct queue *q, struct turn *t)
{
    t->next = NULL;
    *(q->last ? &q->last->next : &q->first) = t;
    q->last = t;
    q->waiting++;
}

static void dequeue(struct queue *q, struct turn *t)
{
    struct turn *before = NULL;
    for (struct turn *at = q->first; at != t; at = at->next)
        before = at;
    *(before ? &before->next : &q->first) = t->next;
    if (q->last == t)
        q->last = before;
    q->waiting--;
}

static void begin_next(struct turns *all, enum turn_weight w)
{
    struct kind *k = &all->kinds[w];
    struct turn_account *a = k->ring;
    struct queue *q = &a->queues[w];
    struct turn *t = q->first;
    dequeue(q, t);
    t->state = TURN_RUNNING;
    q->running++;
    k->running++;
    k->ring = q->next; /* the others first */
    update_ring(all, a, w);
    t->go(t);
}

static void begin_all(struct turns *all)
{
    if (all->starting)
        return;
    all->starting = true;
    bool began;
    do {
        began = false;
        for (int w = 0; w < TURN_WEIGHTS; w++) {
            struct kind *k = &all->kinds[w];
            while (!all->held && k->ring && k->running < k->limits.running_max) {
                begin_next(all, (enum turn_weight)w);
                began = true;
            }
        }
    } while (began); /* one that ended at once may have made room for another weight's */
    all->starting = false;
}

bool turns_take(struct turns *all, struct turn *t, const uint8_t owner[OWNER_BYTES],
                enum turn_weight weight, void (*go)(struct turn *t))
{
    assert(t->state == TURN_NONE);
    struct turn_account *a = account_of(all, owner);
    struct queue *q = &a->queues[weight];
    if (q->waiting >= all->kinds[weight].limits.waiting_each)
        return false;
    *t = (struct turn){.state = TURN_WAITING, .weight = weight, .account = a, .go = go};
    enqueue(q, t);
    update_ring(all, a, weight);
    begin_all(all);
    return true;
}

void turns_give_back(struct turns *all, struct turn *t)
{
    if (t->state == TURN_NONE)
        return;
    struct turn_account *a = t->account;
    struct queue *q = &a->queues[t->weight];
    if (t->state == TURN_WAITING) {
        dequeue(q, t);
    } else {
        q->running--;
        all->kinds[t->weight].running--;
    }
    t->state = TURN_NONE;
    t->account = NULL;
    update_ring(all, a, t->weight);
    forget_idle(all, a);
    begin_all(all);
}

void turns_hold(struct turns *all, bool held)
{
    all->held = held;
    if (!held)
        begin_all(all);
}

bool turns_are_held(const struct turns *all)
{
    return all->held;
}
