// SPDX-License-Identifier: Apache-2.0
/* Which messages of a batch may be the text of what only a publish has told of. */
#include "archive/lane_int.h"

static const struct pg_statement read_provisional = {
    "lane_provisional",
    "SELECT d.n::int, m.id"
    " FROM unnest($1::uuid[], $2::bigint[]) WITH ORDINALITY AS d (owner, peer, n)"
    " JOIN xs.message m ON m.owner = d.owner AND m.peer = d.peer AND m.flags & 257 = 257"
    " ORDER BY d.n, m.id"};

static void on_provisional(void *ctx, const struct pg_result *r, const struct pg_error *e)
{
    struct lane_writer *w = ctx;
    for (int i = 0; r && i < pg_rows(r); i++)
        batch_add_provisional(&w->batch, w->provisional[pg_i64(r, i, 0) - 1], pg_i64(r, i, 1));
    lane_on_plain(w, r, e);
}

void lane_ask_provisional(struct lane_writer *w)
{
    struct batch *b = &w->batch;
    struct pg_array *owner = NULL, *peer = NULL;
    size_t n = 0;
    for (size_t i = 0; i < b->n; i++) {
        const struct op *op = &b->ops[b->sorted[i]];
        /* Sorted by owner, so that most of a conversation's stand together. */
        if (!batch_may_replace(op) || (n > 0 && w->provisional[n - 1] == op->conv))
            continue;
        if (n == 0) {
            w->provisional = lane_room(w->provisional, &w->provisional_cap, b->n);
            owner = lane_array(w, 0, PG_UUID);
            peer = lane_array(w, 1, PG_INT8);
        }
        w->provisional[n++] = op->conv;
        pg_array_add_uuid(owner, op->w.owner);
        pg_array_add_i64(peer, (int64_t)op->w.peer);
    }
    if (n > 0)
        lane_send_arrays(w, &read_provisional, 2, on_provisional);
}
