// SPDX-License-Identifier: Apache-2.0
/*
 * A server publishes that there is a message of another server for an account that is not
 * online; the text passes us only when the account comes back.  Until then a row without text
 * counts for it.
 */
#include "archive/batch_int.h"

/* The text comes out of the server's offline messages, so with its delay. */
bool batch_may_replace(const struct op *op)
{
    const unsigned wanted = ROW_COUNTED | ROW_LATE;
    return op->w.kind == WRITE_ROW && op->fate == FATE_NEW &&
           (op->w.flags & (wanted | ROW_OUTGOING | ROW_PROVISIONAL)) == wanted;
}

void batch_add_provisional(struct batch *b, size_t conv, int64_t id)
{
    for (size_t i = 0; i < b->provisional_n; i++)
        if (b->provisional[i].conv == conv && b->provisional[i].id == id)
            return;
    b->provisional = batch_grow(b->provisional, &b->provisional_cap, b->provisional_n + 1,
                                sizeof *b->provisional);
    b->provisional[b->provisional_n++] =
        (struct batch_provisional){.conv = (uint32_t)conv, .id = id};
}

/* Messages are delivered in the order in which they were published. */
static struct batch_provisional *oldest_of(struct batch *b, uint32_t conv)
{
    for (size_t i = 0; i < b->provisional_n; i++)
        if (b->provisional[i].conv == conv && !b->provisional[i].replaced)
            return &b->provisional[i];
    return NULL;
}

void batch_settle_provisional(struct batch *b)
{
    for (size_t i = 0; b->provisional_n > 0 && i < b->n; i++) {
        struct op *op = &b->ops[i];
        if (!batch_may_replace(op))
            continue;
        struct batch_provisional *p = oldest_of(b, op->conv);
        if (!p)
            continue;
        p->replaced = op->replaces = true;
        batch_flag(b, op->w.owner, p->id, ROW_RETRACTED | ROW_HIDDEN);
    }
}

void batch_uncount_provisional(struct batch *b)
{
    for (size_t i = 0; i < b->provisional_n; i++) {
        struct batch_provisional *p = &b->provisional[i];
        if (!p->replaced)
            continue;
        read_state_uncount(&b->convs[p->conv].read, p->id);
        b->convs[p->conv].changed = true;
    }
}
