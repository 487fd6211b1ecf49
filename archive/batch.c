// SPDX-License-Identifier: Apache-2.0
#include "archive/batch_int.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "archive/ident.h"

#define COUNTING ((unsigned)ROW_COUNTED | ROW_FOR_MEMBERS)
#define PENDING_US INT64_C(604800000000) /* a marker waits 7 days for its message */

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

static bool same_owner(const uint8_t *a, const uint8_t *b)
{
    return memcmp(a, b, OWNER_BYTES) == 0;
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
        if (op->w.ref == w->ref && same_owner(op->w.owner, w->owner)) {
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
        if (c->peer == peer && same_owner(c->owner, owner)) {
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

void batch_load(struct batch *b, struct op *ops, size_t n)
{
    b->ops = ops;
    b->n = n;
    b->rows = b->convs_n = b->accounts_n = b->flags_n = b->changes_n = 0;
    b->duplicates = b->stored = b->late = b->provisional_n = 0;
    b->confirms = b->in_rooms = 0;
    b->ahead_us = 0;
    b->sorted = batch_grow(b->sorted, &b->cap, n, sizeof *b->sorted);
    b->refs = clear_table(b->refs, &b->refs_n, n);
    b->keys = clear_table(b->keys, &b->keys_n, n);
    for (uint32_t i = 0; i < n; i++) {
        ops[i].found = false;
        ops[i].taken_back = ops[i].told = 0;
        ops[i].replaces = false;
        ops[i].conv = BATCH_NO_CONV;
        b->confirms += ops[i].w.kind == WRITE_CONFIRM;
        b->in_rooms += batch_is_of_room(&ops[i].w);
        if (ops[i].w.kind == WRITE_ROW)
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

/* --- settling -------------------------------------------------------------------------- */

static void mint(struct batch *b, int64_t last_id, int64_t max_us)
{
    int64_t prev = last_id;
    for (size_t i = 0; i < b->n; i++) {
        struct op *op = &b->ops[i];
        if (op->w.kind == WRITE_ROW && op->fate == FATE_NEW) {
            int64_t at = op->received_us;
            if (at > max_us) {
                if (at - max_us > b->ahead_us)
                    b->ahead_us = at - max_us;
                at = max_us;
            }
            int64_t id = ident_id_from_us(at);
            prev = id > prev ? id : prev + 1;
            b->stored++;
            b->late += (op->w.flags & ROW_LATE) != 0;
        } else if (op->w.kind == WRITE_PREFS || op->w.kind == WRITE_ROSTER) {
            prev++; /* others who know this owner's preferences notice */
        }
        op->id = prev;
    }
    b->last_id = prev;
}

/* The row that op means, when it is new in this batch: the last one before op, else the first
 * behind it, which only counts when none is stored.  In a room everybody's messages are called
 * by the same references, and only their sender's are meant. */
static struct op *new_target(struct batch *b, const struct op *op)
{
    size_t slot;
    struct op *before = NULL, *after = NULL, *at = batch_first_of_ref(b, &op->w, &slot);
    while (at) {
        bool meant = at->fate == FATE_NEW && batch_is_by(at, op);
        if (meant && at < op)
            before = at;
        else if (meant && !after)
            after = at;
        at = at->next ? &b->ops[at->next - 1] : NULL;
    }
    if (before)
        return before;
    if (op->found)
        return NULL;
    return after || !op->w.alias ? after : batch_new_by_alias(b, op);
}

void batch_flag(struct batch *b, const uint8_t *owner, int64_t id, int32_t set)
{
    for (size_t i = 0; i < b->flags_n; i++)
        if (b->flags[i].id == id && same_owner(b->flags[i].owner, owner)) {
            b->flags[i].set |= set;
            return;
        }
    b->flags = batch_grow(b->flags, &b->flags_cap, b->flags_n + 1, sizeof *b->flags);
    b->flags[b->flags_n++] = (struct batch_flags){owner, id, set};
}

static void flag_stored(struct batch *b, const struct op *op, int32_t set)
{
    batch_flag(b, op->w.owner, op->target_id, set);
}

/* Bounces and retractions, first half: flags.  A new row never counts then; for a stored one
 * the count is taken off once positions are settled. */
static void settle_flags(struct batch *b)
{
    for (size_t i = 0; i < b->n; i++) {
        struct op *op = &b->ops[i];
        if (op->w.kind != WRITE_BOUNCE && op->w.kind != WRITE_RETRACT)
            continue;
        int32_t set = op->w.kind == WRITE_BOUNCE ? ROW_HIDDEN : ROW_RETRACTED;
        struct op *row = new_target(b, op);
        if (row && set == ROW_RETRACTED && !row->taken_back)
            row->taken_back = (uint32_t)i + 1;
        if (row)
            row->w.flags = (row->w.flags & ~COUNTING) | (unsigned)set;
        else if (op->found)
            flag_stored(b, op, set);
        else if (op->w.kind == WRITE_BOUNCE)
            early_add(b->early, op->w.owner, op->w.ref, op->received_us);
        if (row)
            op->found = false;
    }
}

/* What has been refused before it came.  Harmless when the batch is tried again. */
static void settle_early(struct batch *b)
{
    for (size_t i = 0; i < b->n; i++) {
        struct op *op = &b->ops[i];
        if (op->w.kind == WRITE_ROW && op->fate == FATE_NEW && !op->w.own &&
            early_has(b->early, op->w.owner, op->w.ref, op->received_us))
            op->w.flags = (op->w.flags & ~COUNTING) | ROW_HIDDEN;
    }
}

static void move(struct batch_conv *c, int64_t id, int64_t counted)
{
    if (id <= c->read.read_id)
        return;
    read_state_move(&c->read, id, counted);
    c->changed = true;
}

static void settle_mark(struct batch *b, const struct op *op)
{
    struct batch_conv *c = &b->convs[op->conv];
    const struct op *row = new_target(b, op);
    if (row) {
        move(c, row->id, 0);
    } else if (op->found) {
        move(c, op->target_id, op->target_counted);
    } else {
        c->has_pending = true;
        c->pending_ref = op->w.ref;
        c->pending_us = op->received_us;
        c->changed_markers = true;
    }
}

static void settle_peer_mark(struct batch *b, const struct op *op)
{
    struct batch_conv *c = &b->convs[op->conv];
    const struct op *row = new_target(b, op);
    int64_t id = row ? row->id : op->found ? op->target_id : 0;
    if (id > c->peer_read_id) {
        c->peer_read_id = id;
        c->changed_markers = true;
    }
}

static void settle_read(struct batch *b, const struct op *op)
{
    for (size_t i = 0; i < b->convs_n; i++) {
        struct batch_conv *c = &b->convs[i];
        bool meant = op->w.peer ? i == op->conv : same_owner(c->owner, op->w.owner);
        if (meant && (c->stored || c->first_id))
            move(c, op->id, 0);
    }
}

/* Ids and the first and last of each conversation, before any position is looked at. */
static void settle_rows(struct batch *b)
{
    for (size_t i = 0; i < b->n; i++) {
        struct op *op = &b->ops[i];
        if (op->w.kind != WRITE_ROW || op->fate != FATE_NEW)
            continue;
        struct batch_conv *c = &b->convs[op->conv];
        if (!c->first_id)
            c->first_id = op->id;
        c->last_id = op->id;
        c->own = c->own || op->w.own;
        c->changed = true;
    }
}

static void settle_positions(struct batch *b)
{
    for (size_t i = 0; i < b->n; i++) {
        struct op *op = &b->ops[i];
        switch (op->w.kind) {
        case WRITE_ROW:
            if ((op->fate == FATE_NEW || op->fate == FATE_UNWANTED) && op->w.reads &&
                !(op->w.flags & ROW_GROUPCHAT))
                move(&b->convs[op->conv], op->id, 0);
            break;
        case WRITE_MARK:
            settle_mark(b, op);
            break;
        case WRITE_PEER_MARK:
            settle_peer_mark(b, op);
            break;
        case WRITE_READ:
            settle_read(b, op);
            break;
        case WRITE_READ_TO:
            if (op->found) /* who knows the id has seen the row: it is stored */
                move(&b->convs[op->conv], op->target_id, op->target_counted);
            break;
        case WRITE_BOUNCE:
        case WRITE_CONFIRM:
        case WRITE_MEMBER:
        case WRITE_NO_MEMBER:
        case WRITE_ROOM_READ:
        case WRITE_ROOMS_READ:
        case WRITE_NOTIFY:
        case WRITE_RETRACT:
        case WRITE_PREFS:
        case WRITE_ROSTER:
        case WRITE_ROSTER_OLD:
        case WRITE_GAP_BEGIN:
        case WRITE_GAP_END:
        case WRITE_ASIDE:
        case WRITE_CALL:
            break;
        }
    }
    /* Markers that came before their message, in this batch or in an earlier one. */
    for (size_t i = 0; i < b->n; i++) {
        struct op *op = &b->ops[i];
        if (op->w.kind != WRITE_ROW || op->fate != FATE_NEW || op->w.flags & ROW_OUTGOING)
            continue;
        struct batch_conv *c = &b->convs[op->conv];
        if (!c->has_pending || c->pending_ref != op->w.ref)
            continue;
        if (op->received_us - c->pending_us < PENDING_US)
            move(c, op->id, 0);
        c->has_pending = false;
        c->changed_markers = true;
    }
}

/* The row is known, and if it is still unread, its reader is to be told once more. */
static void settle_undelivered(struct batch *b)
{
    for (size_t i = 0; i < b->n; i++) {
        const struct op *op = &b->ops[i];
        if (op->w.kind != WRITE_ROW || op->fate != FATE_STORED || !op->w.undelivered)
            continue;
        struct batch_conv *c = &b->convs[op->conv];
        c->undelivered = c->read.unread > 0 && !c->counted;
        if (!c->undelivered)
            continue;
        c->newest_id = c->last_id;
        c->newest_us = op->received_us;
    }
}

static void settle_counts(struct batch *b)
{
    for (size_t i = 0; i < b->n; i++) {
        struct op *op = &b->ops[i];
        if (op->w.kind != WRITE_ROW || op->fate != FATE_NEW || !(op->w.flags & ROW_COUNTED))
            continue;
        struct batch_conv *c = &b->convs[op->conv];
        if (op->id <= c->read.read_id)
            continue;
        read_state_count(&c->read, op->id);
        if (op->replaces || op->w.flags & ROW_SILENT)
            continue; /* whoever is to be told has been */
        c->counted++;
        c->newest_id = op->id;
        c->newest_us = op->received_us;
    }
    /* Two that take back the same stored row count once. */
    for (size_t i = 0; i < b->n; i++) {
        struct op *op = &b->ops[i];
        bool takes_back = op->w.kind == WRITE_BOUNCE || op->w.kind == WRITE_RETRACT;
        if (!takes_back || !op->found || !(op->target_flags & ROW_COUNTED))
            continue;
        for (size_t other = i + 1; other < b->n; other++) {
            struct op *o = &b->ops[other];
            if ((o->w.kind == WRITE_BOUNCE || o->w.kind == WRITE_RETRACT) && o->found &&
                o->target_id == op->target_id && same_owner(o->w.owner, op->w.owner))
                o->target_flags &= ~ROW_COUNTED;
        }
        read_state_uncount(&b->convs[op->conv].read, op->target_id);
        b->convs[op->conv].changed = true;
    }
}

/* --- accounts and changes ---------------------------------------------------------------- */

static int conv_by_owner(const void *a, const void *b)
{
    const struct batch_conv *x = a, *y = b;
    return memcmp(x->owner, y->owner, OWNER_BYTES);
}

/* They were found in order of owners, but for those that came from the database.  Afterwards
 * conv of an op says nothing any more. */
static void sort_convs(struct batch *b)
{
    for (size_t i = 1; i < b->convs_n; i++)
        if (conv_by_owner(&b->convs[i - 1], &b->convs[i]) > 0) {
            qsort(b->convs, b->convs_n, sizeof *b->convs, conv_by_owner);
            return;
        }
}

static struct batch_account *account_of(struct batch *b, const struct batch_conv *c)
{
    struct batch_account *last = b->accounts_n ? &b->accounts[b->accounts_n - 1] : NULL;
    if (last && same_owner(last->owner, c->owner))
        return last;
    b->accounts =
        batch_grow(b->accounts, &b->accounts_cap, b->accounts_n + 1, sizeof *b->accounts);
    last = &b->accounts[b->accounts_n++];
    *last = (struct batch_account){.owner = c->owner, .jid = c->owner_jid};
    return last;
}

static void settle_accounts(struct batch *b)
{
    sort_convs(b);
    for (size_t i = 0; i < b->convs_n; i++) {
        const struct batch_conv *c = &b->convs[i];
        struct batch_account *a = account_of(b, c);
        int64_t before = c->read.stored_unread;
        a->unread += (int32_t)(c->read.unread - before);
        a->conversations += (c->read.unread > 0) - (before > 0);
        a->own = a->own || c->own;
        if (c->first_id && (!a->first_id || c->first_id < a->first_id))
            a->first_id = c->first_id;
    }
}

static bool is_emptied(const struct read_state *s)
{
    return s->unread <= 0 && s->stored_unread > 0;
}

static struct unread_change *add_change(struct batch *b)
{
    b->changes = batch_grow(b->changes, &b->changes_cap, b->changes_n + 1, sizeof *b->changes);
    return &b->changes[b->changes_n++];
}

static void settle_changes(struct batch *b)
{
    size_t account = 0;
    for (size_t i = 0; i < b->convs_n; i++) {
        const struct batch_conv *c = &b->convs[i];
        if (!same_owner(b->accounts[account].owner, c->owner))
            account++;
        if (!c->counted && !c->undelivered && c->read.unread == c->read.stored_unread)
            continue;
        struct unread_change *u = add_change(b);
        *u = (struct unread_change){.owner_jid = b->accounts[account].jid,
                                    .peer = c->peer,
                                    .newest_id = c->newest_id,
                                    .counted = c->counted,
                                    .undelivered = c->undelivered,
                                    .lowered = b->accounts[account].unread < 0,
                                    .emptied = is_emptied(&c->read),
                                    .received_us = c->newest_us};
        memcpy(u->owner, c->owner, OWNER_BYTES);
    }
    for (size_t i = 0; i < b->n; i++) {
        const struct op *op = &b->ops[i];
        if (op->w.kind != WRITE_CALL)
            continue;
        struct unread_change *u = add_change(b);
        *u = (struct unread_change){
            .owner_jid = op->w.owner_jid, .received_us = op->received_us, .call = &op->w.call};
        memcpy(u->owner, op->w.owner, OWNER_BYTES);
    }
}

void batch_resolve(struct batch *b, int64_t last_id, int64_t max_us)
{
    mint(b, last_id, max_us);
    settle_rows(b);
    batch_settle_confirms(b);
    settle_flags(b);
    settle_early(b);
    settle_positions(b);
    batch_settle_provisional(b);
    settle_counts(b);
    batch_uncount_provisional(b);
    settle_undelivered(b);
    settle_accounts(b);
    settle_changes(b);
}
