// SPDX-License-Identifier: Apache-2.0
#include "archive/collect.h"

#include <stdlib.h>
#include <string.h>

#include "archive/ident.h"
#include "base/arena.h"
#include "base/map.h"

#define ARENA_MAX ((size_t)64 << 20)
#define THREAD_BYTES_MAX 1000 /* a longer one names nothing */
#define SECOND_US INT64_C(1000000)

struct peer {
    const char *jid;
    size_t open; /* collection + 1, 0: the next row begins one */
    int64_t last_start_us;
};

struct collect {
    int64_t gap_us;
    struct arena *arena;
    struct map *peers;
    struct collection *all;
    size_t n;
    size_t cap;
    size_t next; /* of collect_next; all is sorted from its first call on */
    bool sorted;
};

struct collect *collect_new(int64_t gap_us)
{
    struct collect *c = calloc(1, sizeof *c);
    if (!c)
        abort();
    c->gap_us = gap_us;
    c->arena = arena_new(ARENA_MAX);
    c->peers = map_new();
    return c;
}

void collect_free(struct collect **c)
{
    if (!*c)
        return;
    map_free(&(*c)->peers);
    arena_free(&(*c)->arena);
    free((*c)->all);
    free(*c);
    *c = NULL;
}

static size_t add(struct collect *c, const struct collection *one)
{
    if (c->n == c->cap) {
        c->cap = c->cap ? 2 * c->cap : 64;
        c->all = realloc(c->all, c->cap * sizeof *c->all);
        if (!c->all)
            abort();
    }
    c->all[c->n] = *one;
    return c->n++;
}

static const char *copy(struct collect *c, const char *text)
{
    if (!text)
        return NULL;
    const char *copied = arena_strdup(c->arena, text);
    if (!copied)
        abort(); /* the caller gives a bounded number of rows */
    return copied;
}

void collect_peer(struct collect *c, uint64_t peer, const char *jid,
                  const struct collection *last, bool removed)
{
    struct peer *p = arena_alloc(c->arena, sizeof *p);
    if (!p)
        abort();
    *p = (struct peer){.jid = copy(c, jid), .last_start_us = INT64_MIN};
    map_put(c->peers, &peer, sizeof peer, p);
    if (!last)
        return;
    p->last_start_us = last->start_us;
    if (removed)
        return;
    struct collection stored = *last;
    stored.jid = p->jid;
    stored.thread = copy(c, last->thread);
    p->open = add(c, &stored) + 1;
}

/* What names a collection is as coarse as it can be, for clients that keep no fractions: the
 * second of its first message, unless that is the start of another one with this peer. */
static int64_t start_of(int64_t at_us, int64_t last_start_us)
{
    static const int64_t units[] = {SECOND_US, 1000, 1};
    for (size_t i = 0; i < sizeof units / sizeof *units; i++) {
        int64_t start = at_us - at_us % units[i];
        if (start > last_start_us)
            return start;
    }
    return last_start_us + 1;
}

static bool belongs(const struct collect *c, const struct collection *to, int64_t id,
                    const char *thread)
{
    int64_t silence = ident_us_from_id(id) - ident_us_from_id(to->last_id);
    return silence <= c->gap_us && (!thread || !to->thread || strcmp(thread, to->thread) == 0);
}

void collect_row(struct collect *c, uint64_t peer, int64_t id, const char *thread)
{
    struct peer *p = map_get(c->peers, &peer, sizeof peer);
    if (!p)
        return;
    if (thread && (!*thread || strlen(thread) > THREAD_BYTES_MAX))
        thread = NULL;
    if (!p->open || !belongs(c, &c->all[p->open - 1], id, thread)) {
        struct collection fresh = {.peer = peer, .jid = p->jid, .first_id = id};
        fresh.start_us = start_of(ident_us_from_id(id), p->last_start_us);
        p->last_start_us = fresh.start_us;
        p->open = add(c, &fresh) + 1;
    }
    struct collection *to = &c->all[p->open - 1];
    to->last_id = id;
    to->rows++;
    if (!to->thread)
        to->thread = copy(c, thread);
}

static int by_last_id(const void *a, const void *b)
{
    const struct collection *x = a, *y = b;
    if (x->last_id != y->last_id)
        return x->last_id < y->last_id ? -1 : 1;
    return (x->start_us > y->start_us) - (x->start_us < y->start_us);
}

const struct collection *collect_next(struct collect *c)
{
    if (!c->sorted && c->n > 0)
        qsort(c->all, c->n, sizeof *c->all, by_last_id);
    c->sorted = true;
    while (c->next < c->n) {
        const struct collection *one = &c->all[c->next++];
        if (one->rows > 0)
            return one;
    }
    return NULL;
}
