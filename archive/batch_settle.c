// SPDX-License-Identifier: Apache-2.0
/*
 * What is to be written, once the database has told what is stored: ids, flags, read
 * positions and counts, in the order of batch_resolve at the end.
 */
#include "archive/batch_int.h"

#include <stdlib.h>
#include <string.h>

#include "archive/ident.h"

#define COUNTING ((unsigned)ROW_COUNTED | ROW_FOR_MEMBERS)
#define PENDING_US INT64_C(604800000000) /* a marker waits 7 days for its message */

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

bool batch_may_be_meant(const struct op *row, int64_t at_us)
{
    int64_t sent_us = row->w.stamp_us ? row->w.stamp_us : row->received_us;
    return sent_us <= at_us + EARLY_US;
}

/* The row that op means, when it is new in this batch: the last one before op, else the first
 * behind it, which only counts when none is stored.  In a room everybody's messages are called
 * by the same references, and only their sender's are meant. */
static struct op *new_target(struct batch *b, const struct op *op)
{
    size_t slot;
    const bool takes_back = op->w.kind == WRITE_BOUNCE || op->w.kind == WRITE_RETRACT;
    struct op *before = NULL, *after = NULL, *at = batch_first_of_ref(b, &op->w, &slot);
    while (at) {
        bool meant = at->fate == FATE_NEW && batch_is_by(at, op);
        if (meant && at < op)
            before = at;
        else if (meant && !after && (!takes_back || batch_may_be_meant(at, op->received_us)))
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
        if (b->flags[i].id == id && batch_same_owner(b->flags[i].owner, owner)) {
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
        else
            op->unmet = !op->w.alias; /* rooms call nothing late */
        if (row)
            op->found = false;
    }
}

/* What has been refused or taken back before it came.  Harmless when the batch is tried again.
 */
static void settle_early(struct batch *b)
{
    for (size_t i = 0; i < b->n; i++) {
        struct op *op = &b->ops[i];
        if (op->w.kind == WRITE_ROW && op->fate == FATE_NEW && !op->w.own &&
            early_has(b->early, op->w.owner, op->w.ref, op->received_us))
            op->w.flags = (op->w.flags & ~COUNTING) | ROW_HIDDEN;
        if (op->early_us)
            op->w.flags = (op->w.flags & ~COUNTING) | ROW_RETRACTED;
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
        bool meant = op->w.peer ? i == op->conv : batch_same_owner(c->owner, op->w.owner);
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
        int64_t us = op->w.passed_us ? op->w.passed_us : op->received_us;
        c->newest_us = us > c->newest_us ? us : c->newest_us;
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
                o->target_id == op->target_id && batch_same_owner(o->w.owner, op->w.owner))
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
    if (last && batch_same_owner(last->owner, c->owner))
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
        if (!batch_same_owner(b->accounts[account].owner, c->owner))
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
