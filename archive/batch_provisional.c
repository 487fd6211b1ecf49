// SPDX-License-Identifier: Apache-2.0
/*
 * A server publishes that there is a message of another server for an account that is not
 * online; the text passes us only when the account comes back.  Until then a row without text
 * counts for it.
 */
#include "archive/batch_int.h"

/* The text comes out of the server's offline messages, so with its delay.  What has become of
 * it in this batch, taken back at once perhaps, does not matter: what was told of it is over.
 */
bool batch_may_replace(const struct op *op)
{
    const unsigned wanted = ROW_COUNTED | ROW_LATE;
    return op->w.kind == WRITE_ROW && op->fate == FATE_NEW &&
           (op->came_flags & (wanted | ROW_OUTGOING | ROW_PROVISIONAL)) == wanted;
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

/* Those that are given up in this batch are taken off by that. */
static void forget_given_up(struct batch *b)
{
    for (size_t i = 0; b->provisional_n > 0 && i < b->n; i++) {
        const struct op *op = &b->ops[i];
        if (op->w.kind != WRITE_BOUNCE || !op->found)
            continue;
        for (size_t k = b->provisional_n; k-- > 0;) {
            struct batch_provisional *p = &b->provisional[k];
            if (p->id == op->target_id && p->conv == op->conv)
                *p = b->provisional[--b->provisional_n];
        }
    }
}

/* Messages are delivered in the order in which they were published. */
static struct batch_provisional *oldest_of(struct batch *b, uint32_t conv)
{
    struct batch_provisional *oldest = NULL;
    for (size_t i = 0; i < b->provisional_n; i++) {
        struct batch_provisional *p = &b->provisional[i];
        if (p->conv == conv && !p->replaced && (!oldest || p->id < oldest->id))
            oldest = p;
    }
    return oldest;
}

/* One of this batch, before its text: nobody has been told of it. */
static void forget_new(struct batch *b, const struct op *text)
{
    for (struct op *op = b->ops; op < text; op++) {
        if (op->w.kind != WRITE_ROW || op->fate != FATE_NEW || op->conv != text->conv ||
            (op->w.flags & (ROW_PROVISIONAL | ROW_COUNTED)) != (ROW_PROVISIONAL | ROW_COUNTED))
            continue;
        op->w.flags = (op->w.flags & ~(unsigned)ROW_COUNTED) | ROW_RETRACTED | ROW_HIDDEN;
        return;
    }
}

void batch_settle_provisional(struct batch *b)
{
    forget_given_up(b);
    for (size_t i = 0; i < b->n && (b->provisional_n > 0 || b->provisional_new > 0); i++) {
        struct op *op = &b->ops[i];
        if (!batch_may_replace(op))
            continue;
        struct batch_provisional *p = oldest_of(b, op->conv);
        if (!p) {
            forget_new(b, op);
            continue;
        }
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
