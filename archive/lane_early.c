// SPDX-License-Identifier: Apache-2.0
/*
 * Retractions that came before their message.  They are kept for as long as a message may come
 * late.  Where one link shows everything in order, only messages that do come late are asked
 * for; of several links one may be read long before the other.
 */
#include "archive/lane_int.h"

#include "base/arena.h"

#define TEXTS_BYTES_MAX ((size_t)64 << 20)

static const struct pg_statement read_early = {
    "lane_early", "SELECT d.n::int, r.at, r.by_id"
                  " FROM unnest($1::uuid[]) WITH ORDINALITY AS d (ref_id, n)"
                  " JOIN xs.retraction_early r ON r.ref_id = d.ref_id"};

/* Some of the old ones go with each; whoever else is at them has them. */
static const struct pg_statement add_early = {
    "lane_early_add",
    "WITH old AS (DELETE FROM xs.retraction_early r WHERE r.ref_id = ANY (ARRAY("
    "   SELECT x.ref_id FROM xs.retraction_early x WHERE x.at < now() - interval '30 days'"
    "   ORDER BY x.at LIMIT 100 FOR UPDATE SKIP LOCKED)))"
    " INSERT INTO xs.retraction_early (ref_id, at, by_id)"
    " SELECT unnest($1::uuid[]), timestamptz 'epoch' + unnest($2::bigint[]) * interval '1 us',"
    "   unnest($3::text[]) ON CONFLICT (ref_id) DO NOTHING"};

static void on_early(void *ctx, const struct pg_result *r, const struct pg_error *e)
{
    struct lane_writer *w = ctx;
    for (int i = 0; r && i < pg_rows(r); i++) {
        struct op *op = &w->batch.ops[w->early_asked[pg_i64(r, i, 0) - 1]];
        if (!batch_may_be_meant(op, pg_time_us(r, i, 1)))
            continue;
        if (!w->texts)
            w->texts = arena_new(TEXTS_BYTES_MAX);
        op->early_us = pg_time_us(r, i, 1);
        op->early_by = pg_is_null(r, i, 2) ? NULL : arena_strdup(w->texts, pg_text(r, i, 2));
    }
    lane_on_plain(w, r, e);
}

void lane_ask_early(struct lane_writer *w)
{
    struct pg_array *ref = lane_array(w, 0, PG_UUID);
    arena_free(&w->texts);
    for (uint32_t i = 0; i < w->batch.n; i++) {
        const struct op *op = &w->batch.ops[i];
        bool in_order = w->opts.spools == 1 && !(op->w.flags & ROW_LATE);
        if (op->w.kind != WRITE_ROW || op->fate != FATE_NEW || in_order)
            continue;
        if (ref->count == 0)
            w->early_asked = lane_room(w->early_asked, &w->early_asked_cap, w->batch.n);
        w->early_asked[ref->count] = i;
        lane_add_ref(ref, &op->w);
    }
    if (ref->count > 0)
        lane_send_arrays(w, &read_early, 1, on_early);
}

void lane_send_early(struct lane_writer *w)
{
    struct pg_array *ref = lane_array(w, 0, PG_UUID), *at = lane_array(w, 1, PG_INT8),
                    *by = lane_array(w, 2, PG_TEXT);
    for (size_t i = 0; i < w->batch.n; i++) {
        const struct op *op = &w->batch.ops[i];
        if (!op->unmet)
            continue;
        lane_add_ref(ref, &op->w);
        pg_array_add_i64(at, op->received_us);
        pg_array_add_text(by, op->w.body);
    }
    if (ref->count > 0)
        lane_send_arrays(w, &add_early, 3, lane_on_plain);
}
