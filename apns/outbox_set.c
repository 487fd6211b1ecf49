// SPDX-License-Identifier: Apache-2.0
#include "apns/outbox_set.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/crypt.h"

#define FIRST_BUCKETS 256

/* Entries and accounts are chained through themselves: with a hundred thousand of them, copies
 * of their keys in maps would cost more than the entries' own times and states.  All three
 * tables have as many buckets: of none of these are there more than entries. */
struct outbox_set {
    uint8_t seed[16];
    struct entry **buckets;
    struct outbox_account **accounts;
    struct entry **turns; /* by device: those that have its turn */
    size_t mask;
    size_t count;
    size_t loaded_n;
    struct entry **heap;
    size_t heap_n;
    size_t heap_cap;
    struct outbox_app *apps;
};

static void *alloc(size_t size)
{
    void *p = calloc(1, size);
    if (!p)
        abort();
    return p;
}

static void alloc_buckets(struct outbox_set *s, size_t n)
{
    s->buckets = alloc(n * sizeof(struct entry *));
    s->accounts = alloc(n * sizeof(struct outbox_account *));
    s->turns = alloc(n * sizeof(struct entry *));
    s->mask = n - 1;
}

struct outbox_set *outbox_set_new(void)
{
    struct outbox_set *s = alloc(sizeof *s);
    crypt_random(s->seed, sizeof s->seed);
    alloc_buckets(s, FIRST_BUCKETS);
    return s;
}

void outbox_set_free(struct outbox_set **set)
{
    struct outbox_set *s = *set;
    if (!s)
        return;
    for (size_t i = 0; i <= s->mask; i++)
        while (s->buckets[i])
            outbox_set_remove(s, s->buckets[i]);
    while (s->apps) {
        struct outbox_app *app = s->apps;
        s->apps = app->next;
        free(app);
    }
    free(s->heap);
    free(s->buckets);
    free(s->accounts);
    free(s->turns);
    free(s);
    *set = NULL;
}

size_t outbox_set_count(const struct outbox_set *s)
{
    return s->count;
}

static size_t bucket_of(const struct outbox_set *s, const uint8_t owner[16],
                        const uint8_t device[16], uint64_t peer)
{
    uint8_t key[40];
    memcpy(key, owner, 16);
    memcpy(key + 16, device, 16);
    memcpy(key + 32, &peer, 8);
    return crypt_siphash(s->seed, key, sizeof key) & s->mask;
}

/* Of an owner or a device. */
static size_t bucket_of_id(const struct outbox_set *s, const uint8_t id[16])
{
    return crypt_siphash(s->seed, id, 16) & s->mask;
}

static void put_entry(struct outbox_set *s, struct entry *e)
{
    size_t at = bucket_of(s, e->account->owner, e->device, e->peer);
    e->hash_next = s->buckets[at];
    s->buckets[at] = e;
}

static void put_account(struct outbox_set *s, struct outbox_account *a)
{
    size_t at = bucket_of_id(s, a->owner);
    a->hash_next = s->accounts[at];
    s->accounts[at] = a;
}

static void put_turn(struct outbox_set *s, struct entry *e)
{
    size_t at = bucket_of_id(s, e->device);
    e->turn = true;
    e->turn_next = s->turns[at];
    s->turns[at] = e;
}

static void grow(struct outbox_set *s)
{
    struct outbox_set old = *s;
    alloc_buckets(s, 2 * (old.mask + 1));
    for (size_t i = 0; i <= old.mask; i++) {
        for (struct outbox_account *a = old.accounts[i], *next; a; a = next) {
            next = a->hash_next;
            put_account(s, a);
        }
        for (struct entry *e = old.buckets[i], *next; e; e = next) {
            next = e->hash_next;
            put_entry(s, e);
        }
        for (struct entry *e = old.turns[i], *next; e; e = next) {
            next = e->turn_next;
            put_turn(s, e);
        }
    }
    free(old.buckets);
    free(old.accounts);
    free(old.turns);
}

struct entry *outbox_set_find(const struct outbox_set *s, const uint8_t owner[16],
                              const uint8_t device[16], uint64_t peer)
{
    struct entry *e = s->buckets[bucket_of(s, owner, device, peer)];
    while (e && !(e->peer == peer && memcmp(e->device, device, 16) == 0 &&
                  memcmp(e->account->owner, owner, 16) == 0))
        e = e->hash_next;
    return e;
}

struct outbox_account *outbox_set_account(const struct outbox_set *s, const uint8_t owner[16])
{
    struct outbox_account *a = s->accounts[bucket_of_id(s, owner)];
    while (a && memcmp(a->owner, owner, 16) != 0)
        a = a->hash_next;
    return a;
}

static struct outbox_account *account_of(struct outbox_set *s, const uint8_t owner[16],
                                         const char *jid)
{
    struct outbox_account *a = outbox_set_account(s, owner);
    if (a)
        return a;
    size_t len = strlen(jid);
    a = alloc(sizeof *a + len + 1);
    memcpy(a->owner, owner, 16);
    memcpy(a->jid, jid, len);
    LIST_INIT(&a->entries);
    put_account(s, a);
    return a;
}

static void drop_account(struct outbox_set *s, struct outbox_account *a)
{
    struct outbox_account **at = &s->accounts[bucket_of_id(s, a->owner)];
    while (*at != a)
        at = &(*at)->hash_next;
    *at = a->hash_next;
    free(a);
}

struct entry *outbox_set_add(struct outbox_set *s, const uint8_t owner[16],
                             const uint8_t device[16], uint64_t peer, const char *jid,
                             const char *resource, const char *app)
{
    assert(!outbox_set_find(s, owner, device, peer));
    if (s->count > s->mask)
        grow(s);
    size_t len = strlen(resource);
    struct entry *e = alloc(sizeof *e + len + 1);
    memcpy(e->device, device, 16);
    memcpy(e->resource, resource, len);
    e->peer = peer;
    e->app = outbox_set_app(s, app);
    e->account = account_of(s, owner, jid);
    LIST_INSERT_HEAD(&e->account->entries, e, of_account);
    put_entry(s, e);
    s->count++;
    e->state = ENTRY_TIMED;
    e->app->by_state[ENTRY_TIMED]++;
    return e;
}

void outbox_set_remove(struct outbox_set *s, struct entry *e)
{
    outbox_set_untime(s, e);
    outbox_set_unqueue(e);
    outbox_set_pass_turn(s, e);
    struct entry **at = &s->buckets[bucket_of(s, e->account->owner, e->device, e->peer)];
    while (*at != e)
        at = &(*at)->hash_next;
    *at = e->hash_next;
    s->count--;
    s->loaded_n -= e->loaded;
    e->app->by_state[e->state]--;
    LIST_REMOVE(e, of_account);
    if (LIST_EMPTY(&e->account->entries))
        drop_account(s, e->account);
    free(e->flight);
    free(e);
}

void outbox_set_loaded(struct outbox_set *s, struct entry *e, bool loaded)
{
    s->loaded_n -= e->loaded;
    s->loaded_n += loaded;
    e->loaded = loaded;
}

size_t outbox_set_find_loaded(const struct outbox_set *s, size_t *place, struct entry **out,
                              size_t max)
{
    size_t n = 0;
    if (s->loaded_n == 0)
        return 0;
    for (; *place <= s->mask; ++*place)
        for (struct entry *e = s->buckets[*place]; e; e = e->hash_next) {
            if (!e->loaded || e->state == ENTRY_SETTLING)
                continue;
            if (n == max)
                return n;
            out[n++] = e;
        }
    return n;
}

void outbox_set_state(struct entry *e, enum entry_state state)
{
    static const bool may[ENTRY_STATES][ENTRY_STATES] = {
        [ENTRY_TIMED] = {[ENTRY_READY] = true, [ENTRY_SETTLING] = true},
        [ENTRY_READY] =
            {[ENTRY_FETCHING] = true, [ENTRY_SETTLING] = true, [ENTRY_TIMED] = true},
        [ENTRY_FETCHING] =
            {[ENTRY_READY] = true, [ENTRY_FLYING] = true, [ENTRY_SETTLING] = true},
        [ENTRY_FLYING] = {[ENTRY_READY] = true, [ENTRY_SETTLING] = true},
        [ENTRY_SETTLING] = {[ENTRY_TIMED] = true},
    };
    assert(may[e->state][state]);
    e->app->by_state[e->state]--;
    e->app->by_state[state]++;
    e->state = state;
}

/* The heap. */

static void heap_put(struct outbox_set *s, size_t at, struct entry *e)
{
    s->heap[at] = e;
    e->heap_at = (uint32_t)at + 1;
}

static void heap_up(struct outbox_set *s, size_t at, struct entry *e)
{
    while (at > 0 && s->heap[(at - 1) / 2]->due_ms > e->due_ms) {
        heap_put(s, at, s->heap[(at - 1) / 2]);
        at = (at - 1) / 2;
    }
    heap_put(s, at, e);
}

static void heap_down(struct outbox_set *s, size_t at, struct entry *e)
{
    for (;;) {
        size_t child = 2 * at + 1;
        if (child >= s->heap_n)
            break;
        if (child + 1 < s->heap_n && s->heap[child + 1]->due_ms < s->heap[child]->due_ms)
            child++;
        if (s->heap[child]->due_ms >= e->due_ms)
            break;
        heap_put(s, at, s->heap[child]);
        at = child;
    }
    heap_put(s, at, e);
}

void outbox_set_time(struct outbox_set *s, struct entry *e, int64_t due_ms)
{
    outbox_set_untime(s, e);
    if (s->heap_n == s->heap_cap) {
        s->heap_cap = s->heap_cap ? 2 * s->heap_cap : 256;
        s->heap = realloc(s->heap, s->heap_cap * sizeof(struct entry *));
        if (!s->heap)
            abort();
    }
    e->due_ms = due_ms;
    heap_up(s, s->heap_n++, e);
}

void outbox_set_untime(struct outbox_set *s, struct entry *e)
{
    if (!e->heap_at)
        return;
    size_t at = e->heap_at - 1;
    e->heap_at = 0;
    struct entry *last = s->heap[--s->heap_n];
    if (last == e)
        return;
    if (at > 0 && s->heap[(at - 1) / 2]->due_ms > last->due_ms)
        heap_up(s, at, last);
    else
        heap_down(s, at, last);
}

struct entry *outbox_set_next(const struct outbox_set *s)
{
    return s->heap_n ? s->heap[0] : NULL;
}

/* Queues and turns.  An entry is in its app's queue exactly when it is READY and has the turn,
 * in its slot's when it is READY and has not. */

static struct entry *turn_of(const struct outbox_set *s, const uint8_t device[16])
{
    struct entry *e = s->turns[bucket_of_id(s, device)];
    while (e && memcmp(e->device, device, 16) != 0)
        e = e->turn_next;
    return e;
}

bool outbox_set_is_behind(const struct outbox_set *s, const struct entry *e)
{
    const struct entry *holder = turn_of(s, e->device);
    return holder && holder != e && holder->state != ENTRY_TIMED &&
           holder->state != ENTRY_READY;
}

static void take_turn(struct outbox_set *s, struct entry *e)
{
    struct entry **at = &s->turns[bucket_of_id(s, e->device)];
    while (*at != e)
        at = &(*at)->turn_next;
    *at = e->turn_next;
    e->turn = false;
}

static void wait_behind(struct entry *holder, struct entry *e)
{
    if (!holder->slot) {
        holder->slot = alloc(sizeof *holder->slot);
        holder->slot->turn = holder;
        TAILQ_INIT(&holder->slot->waiting);
    }
    e->slot = holder->slot;
    TAILQ_INSERT_TAIL(&e->slot->waiting, e, queued);
}

static void leave_slot(struct entry *e)
{
    struct outbox_slot *slot = e->slot;
    TAILQ_REMOVE(&slot->waiting, e, queued);
    e->slot = NULL;
    if (TAILQ_EMPTY(&slot->waiting)) {
        slot->turn->slot = NULL;
        free(slot);
    }
}

void outbox_set_queue(struct outbox_set *s, struct entry *e)
{
    assert(e->state == ENTRY_READY);
    struct entry *holder = e->turn ? e : turn_of(s, e->device);
    if (!holder)
        put_turn(s, e);
    if (e->turn)
        TAILQ_INSERT_TAIL(&e->app->ready, e, queued);
    else
        wait_behind(holder, e);
}

void outbox_set_requeue(struct entry *e)
{
    assert(e->state == ENTRY_READY && e->turn);
    TAILQ_INSERT_HEAD(&e->app->ready, e, queued);
}

void outbox_set_unqueue(struct entry *e)
{
    if (e->state != ENTRY_READY)
        return;
    if (e->turn)
        TAILQ_REMOVE(&e->app->ready, e, queued);
    else if (e->slot)
        leave_slot(e);
}

void outbox_set_pass_turn(struct outbox_set *s, struct entry *e)
{
    if (!e->turn)
        return;
    struct outbox_slot *slot = e->slot;
    take_turn(s, e);
    if (!slot)
        return;
    struct entry *next = TAILQ_FIRST(&slot->waiting);
    e->slot = NULL;
    slot->turn = next;
    TAILQ_REMOVE(&slot->waiting, next, queued);
    if (TAILQ_EMPTY(&slot->waiting)) {
        next->slot = NULL;
        free(slot);
    }
    put_turn(s, next);
    TAILQ_INSERT_TAIL(&next->app->ready, next, queued);
}

struct outbox_app *outbox_set_app(struct outbox_set *s, const char *id)
{
    for (struct outbox_app *app = s->apps; app; app = app->next)
        if (strcmp(app->id, id) == 0)
            return app;
    size_t len = strlen(id);
    struct outbox_app *app = alloc(sizeof *app + len + 1);
    memcpy(app->id, id, len);
    TAILQ_INIT(&app->ready);
    app->braked = true; /* by the worker before us */
    app->next = s->apps;
    s->apps = app;
    return app;
}

struct outbox_app *outbox_set_apps(const struct outbox_set *s)
{
    return s->apps;
}
