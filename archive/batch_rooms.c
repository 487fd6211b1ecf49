// SPDX-License-Identifier: Apache-2.0
/*
 * Rooms in a batch: which of its new rows they have told of, and which are meant by what the
 * room calls them.
 */
#include "archive/batch_int.h"

bool batch_is_of_room(const struct write *w)
{
    return w->kind == WRITE_MEMBER || w->kind == WRITE_NO_MEMBER ||
           w->kind == WRITE_ROOM_READ || w->kind == WRITE_ROOMS_READ ||
           w->kind == WRITE_CONFIRM || w->kind == WRITE_NOTIFY ||
           (w->kind == WRITE_RETRACT && w->alias) ||
           (w->kind == WRITE_ROW && w->flags & ROW_GROUPCHAT);
}

bool batch_is_by(const struct op *row, const struct op *op)
{
    return row->w.peer == op->w.peer || !op->w.peer;
}

/* By what the room calls it, as this batch tells. */
struct op *batch_new_by_alias(struct batch *b, const struct op *op)
{
    for (size_t i = 0; b->confirms && i < b->n; i++) {
        size_t slot;
        const struct op *told = &b->ops[i];
        if (told->w.kind != WRITE_CONFIRM || told->w.alias != op->w.alias ||
            !batch_same_owner(told->w.owner, op->w.owner))
            continue;
        struct op *at = batch_first_of_ref(b, &told->w, &slot);
        for (; at; at = at->next ? &b->ops[at->next - 1] : NULL)
            if (at->fate == FATE_NEW && at->w.content == told->w.content &&
                batch_is_by(at, op))
                return at;
    }
    return NULL;
}

/* Rooms that have told of what is new in this batch; what is not kept stays hidden. */
void batch_settle_confirms(struct batch *b)
{
    for (size_t i = 0; b->confirms && i < b->n; i++) {
        size_t slot;
        struct op *op = &b->ops[i];
        if (op->w.kind != WRITE_CONFIRM)
            continue;
        struct op *at = batch_first_of_ref(b, &op->w, &slot);
        for (; at; at = at->next ? &b->ops[at->next - 1] : NULL) {
            if (at->fate != FATE_NEW || at->w.content != op->w.content ||
                !(at->w.flags & ROW_UNCONFIRMED))
                continue;
            bool kept = !(at->w.flags & ROW_UNKEPT);
            at->told = (uint32_t)i + 1;
            at->w.flags &= ~((unsigned)ROW_UNCONFIRMED | (kept ? (unsigned)ROW_HIDDEN : 0u));
        }
    }
}
