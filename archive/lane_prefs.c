// SPDX-License-Identifier: Apache-2.0
/* What the owners of a batch want archived: asked for where it is not known, and applied to
 * each row by what holds at its place in the batch. */
#include "archive/lane_int.h"

#include <string.h>

#include "archive/prefs_cache.h"

static const struct pg_statement read_prefs = {
    "lane_prefs",
    "SELECT d.n::int, p.mode, array_to_string(p.always, E'\\n'),"
    "   array_to_string(p.never, E'\\n'), r.contacts, r.read_at"
    " FROM unnest($1::uuid[]) WITH ORDINALITY AS d (owner, n)"
    " LEFT JOIN xs.prefs p ON p.owner = d.owner LEFT JOIN xs.roster r ON r.owner = d.owner"
    " WHERE p.owner IS NOT NULL OR r.owner IS NOT NULL"};

static const struct pg_statement read_any = {
    "lane_prefs_any",
    "SELECT EXISTS (SELECT FROM xs.prefs) OR EXISTS (SELECT FROM xs.roster)"};

static const struct pg_statement write_prefs = {
    "lane_prefs_set",
    "INSERT INTO xs.prefs (owner, mode, always, never) VALUES ($1::uuid, $2::int,"
    "   string_to_array(rtrim($3::text, E'\\n'), E'\\n'),"
    "   string_to_array(rtrim($4::text, E'\\n'), E'\\n'))"
    " ON CONFLICT (owner) DO UPDATE SET mode = excluded.mode, always = excluded.always,"
    "   never = excluded.never"};

static const struct pg_statement write_roster = {
    "lane_roster_set",
    "INSERT INTO xs.roster (owner, contacts, read_at) VALUES ($1::uuid, $2::bytea,"
    "   timestamptz 'epoch' + $3::bigint * interval '1 us')"
    " ON CONFLICT (owner) DO UPDATE SET contacts = excluded.contacts,"
    "   read_at = excluded.read_at"};

static const struct pg_statement forget_roster = {
    "lane_roster_forget", "DELETE FROM xs.roster WHERE owner = $1::uuid"};

/* Rooms have no preferences: archive.groupchat decides for them. */
static bool is_accounts_row(const struct op *op)
{
    return op->w.kind == WRITE_ROW && op->fate == FATE_NEW && !(op->w.flags & ROW_GROUPCHAT);
}

static bool needs_prefs(const struct op *op)
{
    return op->w.kind == WRITE_PREFS || op->w.kind == WRITE_ROSTER ||
           op->w.kind == WRITE_ROSTER_OLD || is_accounts_row(op);
}

/* --- looking ---------------------------------------------------------------------------- */

static void put_roster(struct lane_writer *w, const uint8_t *owner, const uint8_t *contacts,
                       size_t len, int64_t read_us)
{
    prefs_cache_put_roster(w->opts.prefs, w->job.lane, owner, contacts, len / 8, read_us);
}

static void on_prefs(void *ctx, const struct pg_result *r, const struct pg_error *e)
{
    struct lane_writer *w = ctx;
    for (int i = 0; r && i < pg_rows(r); i++) {
        const uint8_t *owner = w->batch.ops[w->prefs_asked[pg_i64(r, i, 0) - 1]].w.owner;
        size_t len;
        const uint8_t *contacts = pg_bytes(r, i, 4, &len);
        if (!pg_is_null(r, i, 1))
            prefs_cache_put(w->opts.prefs, w->job.lane, owner,
                            &(struct prefs){.mode = (enum prefs_mode)pg_i64(r, i, 1),
                                            .always = pg_text(r, i, 2),
                                            .never = pg_text(r, i, 3)});
        if (!pg_is_null(r, i, 4))
            put_roster(w, owner, contacts, len, pg_time_us(r, i, 5));
    }
    lane_on_plain(w, r, e);
}

static void on_any(void *ctx, const struct pg_result *r, const struct pg_error *e)
{
    struct lane_writer *w = ctx;
    if (r)
        prefs_cache_put_any(w->opts.prefs, w->job.lane, pg_bool(r, 0, 0));
    lane_on_plain(w, r, e);
}

/* Owners come sorted, so that each is asked for once; one that is asked for is known to have
 * nothing unless the answer says otherwise. */
void lane_ask_prefs(struct lane_writer *w)
{
    struct batch *b = &w->batch;
    struct pg_array *owners = lane_array(w, 0, PG_UUID);
    w->prefs_asked = lane_room(w->prefs_asked, &w->prefs_asked_cap, b->n);
    for (size_t i = 0; i < b->n; i++) {
        const struct op *op = &b->ops[b->sorted[i]];
        if (!needs_prefs(op) || prefs_cache_knows(w->opts.prefs, w->job.lane, op->w.owner))
            continue;
        prefs_cache_put_nothing(w->opts.prefs, w->job.lane, op->w.owner);
        w->prefs_asked[owners->count] = b->sorted[i];
        pg_array_add_uuid(owners, op->w.owner);
    }
    if (owners->count == 0)
        return;
    lane_send_arrays(w, &read_prefs, 1, on_prefs);
    if (!prefs_cache_knows_any(w->opts.prefs, w->job.lane)) {
        struct pg_params none;
        pg_params_init(&none);
        lane_send(w, &read_any, &none, on_any);
    }
}

/* --- deciding --------------------------------------------------------------------------- */

static void decide(struct lane_writer *w, struct op *op)
{
    const struct ingest_hooks *hooks = w->opts.hooks;
    const struct prefs_case of = {.owner = op->w.owner,
                                  .owner_jid = op->w.owner_jid,
                                  .peer = op->w.peer,
                                  .bare = op->w.peer_jid,
                                  .resource = op->w.peer_resource,
                                  .now_us = op->received_us};
    bool roster_due;
    if (!prefs_cache_wants(w->opts.prefs, w->job.lane, &of, &roster_due)) {
        if (op->w.flags & ROW_COUNTED)
            rows_unkeep(&op->w);
        else
            op->fate = FATE_UNWANTED;
    }
    if (roster_due && hooks->roster)
        hooks->roster(hooks->ctx, op->w.owner_jid);
}

/* Until it is known again everything is kept. */
static void drop_roster(struct lane_writer *w, const struct op *op)
{
    const struct ingest_hooks *hooks = w->opts.hooks;
    if (prefs_cache_drop_roster(w->opts.prefs, w->job.lane, op->w.owner, op->received_us) &&
        hooks->roster)
        hooks->roster(hooks->ctx, op->w.owner_jid);
}

static void apply(struct lane_writer *w, struct op *op)
{
    const struct prefs p = {
        .mode = (enum prefs_mode)op->w.flags, .always = op->w.body, .never = op->w.peer_jid};
    if (op->w.kind == WRITE_PREFS)
        prefs_cache_put(w->opts.prefs, w->job.lane, op->w.owner, &p);
    else if (op->w.kind == WRITE_ROSTER)
        put_roster(w, op->w.owner, op->w.stanza, op->w.stanza_len, op->received_us);
    else if (op->w.kind == WRITE_ROSTER_OLD)
        drop_roster(w, op);
    else if (is_accounts_row(op))
        decide(w, op);
}

void lane_apply_prefs(struct lane_writer *w)
{
    for (size_t i = 0; i < w->batch.n; i++)
        apply(w, &w->batch.ops[i]);
}

/* --- writing ---------------------------------------------------------------------------- */

static void send_prefs(struct lane_writer *w, const struct op *op)
{
    struct pg_params p;
    pg_params_init(&p);
    pg_add_uuid(&p, op->w.owner);
    pg_add_i32(&p, (int32_t)op->w.flags);
    pg_add_text(&p, op->w.body);
    pg_add_text(&p, op->w.peer_jid);
    lane_send(w, &write_prefs, &p, lane_on_plain);
}

static void send_roster(struct lane_writer *w, const struct op *op)
{
    struct pg_params p;
    pg_params_init(&p);
    pg_add_uuid(&p, op->w.owner);
    if (op->w.kind == WRITE_ROSTER_OLD) {
        lane_send(w, &forget_roster, &p, lane_on_plain);
        return;
    }
    pg_add_bytes(&p, op->w.stanza, op->w.stanza_len);
    pg_add_i64(&p, op->received_us);
    lane_send(w, &write_roster, &p, lane_on_plain);
}

void lane_send_prefs(struct lane_writer *w)
{
    for (size_t i = 0; i < w->batch.n; i++) {
        const struct op *op = &w->batch.ops[i];
        if (op->w.kind == WRITE_PREFS)
            send_prefs(w, op);
        else if (op->w.kind == WRITE_ROSTER || op->w.kind == WRITE_ROSTER_OLD)
            send_roster(w, op);
    }
}
