// SPDX-License-Identifier: Apache-2.0
#include "archive/batch_int.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "archive/ident.h"

void batch_init(struct batch *b, struct early *early)
{
    *b = (struct batch){.early = early};
}

void batch_deinit(struct batch *b)
{
    free(b->sorted);
    free(b->convs);
    free(b->accounts);
    free(b->flags);
    free(b->changes);
    free(b->provisional);
    free(b->refs);
    free(b->keys);
    *b = (struct batch){0};
}

void *batch_grow(void *at, size_t *cap, size_t need, size_t size)
{
    if (need <= *cap)
        return at;
    size_t want = *cap ? *cap : 64;
    while (want < need)
        want *= 2;
    at = realloc(at, want * size);
    if (!at)
        abort();
    *cap = want;
    return at;
}

/* Owners, peers and references are keyed hashes: their bytes are as good as random. */
static size_t slot_of(const uint8_t *owner, uint64_t what, size_t slots)
{
    uint64_t half;
    memcpy(&half, owner + 8, sizeof half);
    uint64_t h = (half ^ what) * UINT64_C(0x9e3779b97f4a7c15);
    return (size_t)(h >> 32) & (slots - 1);
}

static uint32_t *clear_table(uint32_t *table, size_t *slots, size_t entries)
{
    size_t want = 64;
    while (want < 2 * entries)
        want *= 2;
    if (want > *slots) {
        free(table);
        table = malloc(want * sizeof *table);
        if (!table)
            abort();
        *slots = want;
    }
    memset(table, 0, *slots * sizeof *table);
    return table;
}

/* --- copies ---------------------------------------------------------------------------- */

/* The first row of this reference in the batch; NULL, with the slot for it, when none. */
struct op *batch_first_of_ref(const struct batch *b, const struct write *w, size_t *slot_out)
{
    size_t at = slot_of(w->owner, w->ref, b->refs_n);
    for (; b->refs[at]; at = (at + 1) & (b->refs_n - 1)) {
        struct op *op = &b->ops[b->refs[at] - 1];
        if (op->w.ref == w->ref && batch_same_owner(op->w.owner, w->owner)) {
            *slot_out = at;
            return op;
        }
    }
    *slot_out = at;
    return NULL;
}

/* The rule of the probe, for a row that will have been stored a moment before. */
static bool is_copy(const struct op *earlier, const struct op *op)
{
    if (earlier->w.content != op->w.content || earlier->w.peer != op->w.peer)
        return false;
    int64_t id = ident_id_from_us(earlier->received_us);
    if (id < op->w.low)
        return false;
    return id <= op->w.high || (op->w.stamp_us && op->w.stamp_us == earlier->w.stamp_us);
}

static void link_row(struct batch *b, uint32_t index)
{
    struct op *op = &b->ops[index];
    size_t slot;
    op->fate = FATE_NEW;
    op->next = 0;
    op->tail = index;
    struct op *first = batch_first_of_ref(b, &op->w, &slot);
    if (!first) {
        b->refs[slot] = index + 1;
        b->rows++;
        return;
    }
    for (struct op *at = first;; at = &b->ops[at->next - 1]) {
        if (at->fate == FATE_NEW && is_copy(at, op)) {
            op->fate = FATE_SAME;
            b->duplicates++;
            return;
        }
        if (!at->next)
            break;
    }
    b->ops[first->tail].next = index + 1;
    first->tail = index;
    b->rows++;
}

/* --- conversations --------------------------------------------------------------------- */

static uint32_t conv_of(struct batch *b, const uint8_t *owner, const char *owner_jid,
                        uint64_t peer, const char *jid)
{
    size_t at = slot_of(owner, peer, b->keys_n);
    for (; b->keys[at]; at = (at + 1) & (b->keys_n - 1)) {
        struct batch_conv *c = &b->convs[b->keys[at] - 1];
        if (c->peer == peer && batch_same_owner(c->owner, owner)) {
            if (!c->jid)
                c->jid = jid;
            return b->keys[at] - 1;
        }
    }
    b->convs = batch_grow(b->convs, &b->convs_cap, b->convs_n + 1, sizeof *b->convs);
    struct batch_conv *c = &b->convs[b->convs_n];
    *c = (struct batch_conv){.owner = owner, .owner_jid = owner_jid, .peer = peer, .jid = jid};
    read_state_init(&c->read, 0, 0, 0);
    b->keys[at] = (uint32_t)++b->convs_n;
    return b->keys[at] - 1;
}

/* The table holds twice as many as there are ops; those that are only found in the database
 * may need more. */
static void make_room_for_convs(struct batch *b)
{
    if (2 * (b->convs_n + 1) <= b->keys_n)
        return;
    b->keys = clear_table(b->keys, &b->keys_n, 2 * (b->convs_n + 1));
    for (uint32_t i = 0; i < b->convs_n; i++) {
        size_t at = slot_of(b->convs[i].owner, b->convs[i].peer, b->keys_n);
        while (b->keys[at])
            at = (at + 1) & (b->keys_n - 1);
        b->keys[at] = i + 1;
    }
}

static void forget_batch(struct op *op)
{
    op->w.flags = op->came_flags;
    op->w.body = op->came_body;
    op->w.stanza = op->came_stanza;
    op->w.stanza_len = op->came_stanza_len;
    op->found = op->replaces = op->unmet = false;
    op->early_us = 0;
    op->taken_back = op->told = 0;
    op->conv = BATCH_NO_CONV;
}

void batch_load(struct batch *b, struct op *ops, size_t n)
{
    b->ops = ops;
    b->n = n;
    b->rows = b->convs_n = b->accounts_n = b->flags_n = b->changes_n = 0;
    b->duplicates = b->stored = b->late = b->provisional_n = 0;
    b->confirms = b->in_rooms = b->provisional_new = 0;
    b->ahead_us = 0;
    b->sorted = batch_grow(b->sorted, &b->cap, n, sizeof *b->sorted);
    b->refs = clear_table(b->refs, &b->refs_n, n);
    b->keys = clear_table(b->keys, &b->keys_n, n);
    for (uint32_t i = 0; i < n; i++) {
        forget_batch(&ops[i]);
        b->confirms += ops[i].w.kind == WRITE_CONFIRM;
        b->in_rooms += batch_is_of_room(&ops[i].w);
        if (ops[i].w.kind != WRITE_ROW)
            continue;
        b->provisional_new += (ops[i].w.flags & ROW_PROVISIONAL) != 0;
        link_row(b, i);
    }
    batch_sort_ops(b);
    for (size_t i = 0; i < n; i++) {
        struct op *op = &ops[b->sorted[i]];
        bool copy = op->w.kind == WRITE_ROW && op->fate == FATE_SAME;
        if (!copy && op->w.peer)
            op->conv = conv_of(b, op->w.owner, op->w.owner_jid, op->w.peer, op->w.peer_jid);
    }
}

void batch_set_duplicate(struct batch *b, size_t op)
{
    assert(op < b->n);
    if (b->ops[op].fate != FATE_NEW)
        return;
    b->ops[op].fate = FATE_STORED;
    b->duplicates++;
}

void batch_set_conv(struct batch *b, size_t conv, int64_t last_id, int64_t read_id,
                    int64_t unread, int64_t peer_read_id)
{
    assert(conv < b->convs_n);
    struct batch_conv *c = &b->convs[conv];
    c->stored = true;
    c->stored_last = c->last_id = last_id;
    c->peer_read_id = peer_read_id;
    read_state_init(&c->read, last_id, read_id, unread);
}

void batch_set_pending(struct batch *b, size_t conv, uint64_t ref, int64_t at_us)
{
    b->convs[conv].has_pending = true;
    b->convs[conv].pending_ref = ref;
    b->convs[conv].pending_us = at_us;
}

void batch_set_target(struct batch *b, size_t op, int64_t id, int32_t flags, int64_t counted)
{
    assert(op < b->n);
    b->ops[op].found = true;
    b->ops[op].target_id = id;
    b->ops[op].target_flags = flags;
    b->ops[op].target_counted = counted;
}

size_t batch_add_conv(struct batch *b, size_t op, uint64_t peer)
{
    assert(op < b->n);
    make_room_for_convs(b);
    return conv_of(b, b->ops[op].w.owner, b->ops[op].w.owner_jid, peer, NULL);
}
