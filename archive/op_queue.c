// SPDX-License-Identifier: Apache-2.0
#include "archive/op_queue.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"

/* A chunk is what one transaction takes at most. */
#define CHUNK_OPS 2000
#define CHUNK_BYTES ((size_t)4 << 20)
#define CHUNK_BYTES_MAX ((size_t)1 << 30)

struct chunk {
    struct chunk *next;
    struct arena *arena;
    struct op *ops;
    size_t first; /* ops before it are done */
    size_t n;
    size_t cap;
    bool sealed; /* given out: nothing more is put here */
};

struct op_queue {
    struct chunk *head;
    struct chunk *tail;
    unsigned spools;
    size_t count;
    size_t bytes;
};

struct op_queue *op_queue_new(unsigned spools)
{
    struct op_queue *q = calloc(1, sizeof *q);
    if (!q)
        abort();
    q->spools = spools;
    return q;
}

static void chunk_free(struct chunk *c)
{
    arena_free(&c->arena);
    free(c->ops);
    free(c);
}

void op_queue_free(struct op_queue **q)
{
    if (!*q)
        return;
    for (struct chunk *c = (*q)->head, *next; c; c = next) {
        next = c->next;
        chunk_free(c);
    }
    free(*q);
    *q = NULL;
}

static bool same_stanza(const struct op *op, const struct place *place)
{
    return op->placed && place && op->place.spool == place->spool &&
           op->place.begin == place->begin;
}

static struct chunk *chunk_for(struct op_queue *q, const struct place *place)
{
    struct chunk *c = q->tail;
    if (c && !c->sealed) {
        bool full = c->n >= CHUNK_OPS || arena_used(c->arena) >= CHUNK_BYTES;
        if (!full || same_stanza(&c->ops[c->n - 1], place))
            return c;
    }
    c = calloc(1, sizeof *c);
    if (!c)
        abort();
    c->arena = arena_new(CHUNK_BYTES_MAX);
    if (q->tail)
        q->tail->next = c;
    else
        q->head = c;
    q->tail = c;
    return c;
}

static const void *copy(struct chunk *c, const void *data, size_t len)
{
    void *at = arena_alloc(c->arena, len);
    assert(at); /* the parser's limits are far below the arena's */
    memcpy(at, data, len);
    return at;
}

static const char *copy_text(struct chunk *c, const char *text)
{
    return text ? copy(c, text, strlen(text) + 1) : NULL;
}

void op_queue_add(struct op_queue *q, const struct write *w, const struct place *place,
                  int64_t received_us, uint64_t seq)
{
    struct chunk *c = chunk_for(q, place);
    if (c->n == c->cap) {
        c->cap = c->cap ? 2 * c->cap : 16;
        c->ops = realloc(c->ops, c->cap * sizeof *c->ops);
        if (!c->ops)
            abort();
    }
    size_t before = arena_used(c->arena);
    struct op *op = &c->ops[c->n++];
    *op = (struct op){.w = *w, .received_us = received_us, .seq = seq};
    if (place) {
        op->placed = true;
        op->place = *place;
    }
    op->w.owner_jid = copy_text(c, w->owner_jid);
    op->w.peer_jid = copy_text(c, w->peer_jid);
    op->w.peer_resource = copy_text(c, w->peer_resource);
    op->w.body = copy_text(c, w->body);
    op->w.call.jid = copy_text(c, w->call.jid);
    op->w.call.session = copy_text(c, w->call.session);
    if (w->stanza)
        op->w.stanza = copy(c, w->stanza, w->stanza_len);
    op->came_flags = op->w.flags;
    op->came_body = op->w.body;
    op->came_stanza = op->w.stanza;
    op->came_stanza_len = op->w.stanza_len;
    op->bytes = arena_used(c->arena) - before + sizeof *op;
    q->count++;
    q->bytes += op->bytes;
}

size_t op_queue_front(struct op_queue *q, size_t max, struct op **ops_out)
{
    struct chunk *c = q->head;
    if (!c)
        return 0;
    assert(c->first < c->n && max > 0);
    c->sealed = true;
    *ops_out = c->ops + c->first;
    size_t left = c->n - c->first;
    if (left <= max)
        return left;
    const struct op *ops = *ops_out;
    size_t cut = max;
    while (cut > 0 && same_stanza(&ops[cut], &ops[cut - 1].place) && ops[cut - 1].placed)
        cut--;
    if (cut == 0)
        for (cut = 1; cut < left && ops[0].placed && same_stanza(&ops[cut], &ops[0].place);)
            cut++;
    return cut;
}

static void forget(struct op_queue *q, const struct op *op)
{
    q->count--;
    q->bytes -= op->bytes;
}

static void drop_empty_head(struct op_queue *q)
{
    while (q->head && q->head->first == q->head->n) {
        struct chunk *c = q->head;
        q->head = c->next;
        if (!q->head)
            q->tail = NULL;
        chunk_free(c);
    }
}

void op_queue_drop(struct op_queue *q, size_t n)
{
    struct chunk *c = q->head;
    assert(n == 0 || (c && c->first + n <= c->n));
    for (size_t i = 0; i < n; i++)
        forget(q, &c->ops[c->first++]);
    drop_empty_head(q);
}

void op_queue_drop_covered(struct op_queue *q, const uint64_t *pos)
{
    struct chunk **link = &q->head;
    struct chunk *last = NULL;
    while (*link) {
        struct chunk *c = *link;
        size_t kept = c->first;
        for (size_t i = c->first; i < c->n; i++) {
            const struct op *op = &c->ops[i];
            if (op->placed && op->place.end <= pos[op->place.spool])
                forget(q, op);
            else
                c->ops[kept++] = *op;
        }
        c->n = kept;
        if (c->first == c->n) {
            *link = c->next;
            chunk_free(c);
        } else {
            last = c;
            link = &c->next;
        }
    }
    q->tail = last;
}

uint64_t op_queue_first_begin(const struct op_queue *q, unsigned spool, size_t skip)
{
    for (const struct chunk *c = q->head; c; c = c->next)
        for (size_t i = c->first; i < c->n; i++) {
            const struct op *op = &c->ops[i];
            if (skip > 0)
                skip--;
            else if (op->placed && op->place.spool == spool)
                return op->place.begin;
        }
    return UINT64_MAX;
}

size_t op_queue_count(const struct op_queue *q)
{
    return q->count;
}

size_t op_queue_bytes(const struct op_queue *q)
{
    return q->bytes;
}

const struct op *op_queue_oldest(const struct op_queue *q)
{
    return q->head ? &q->head->ops[q->head->first] : NULL;
}
