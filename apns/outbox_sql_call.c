// SPDX-License-Identifier: Apache-2.0
/* The outbox's statements about calls and the tokens that are for them. */
#include "apns/opts.h"
#include "apns/outbox.h"
#include "apns/outbox_sql_int.h"
#include "base/event.h"

/* Calls that are new, for the devices of apps that ask for them. */
static const struct pg_statement call_st = {
    "outbox_call",
    OUTBOX_ADD_SQL(
        "xs.call_begin($5::uuid[], $6::text[], $7::bigint[], $8::bigint[], $9::text[],"
        " $10::bigint[], $11::text[], $12::text[], $13::bigint[], $14::text[])",
        " WHERE r.app = ANY ($14::text[])")};
/* Whoever named it; their entries are looked at when they would be sent. */
static const struct pg_statement over_st = {
    "outbox_call_over",
    "UPDATE xs.call k SET over_because = d.because,"
    "   over_at = timestamptz 'epoch' + d.at_us * interval '1 us'"
    " FROM unnest($1::uuid[], $2::bigint[], $3::text[], $4::bigint[], $5::text[], "
    "$6::bigint[])"
    "   AS d (owner, peer, session, ref, because, at_us)"
    " WHERE k.owner = d.owner AND k.over_because IS NULL"
    "   AND (k.session = d.session AND d.peer IN (0, k.peer) OR k.ref = nullif(d.ref, 0))"};
static const struct pg_statement voip_st = {
    "outbox_voip_gone", "UPDATE xs.registration SET voip_token = NULL, voip_sealed = NULL,"
                        " voip_sealed_by = 0"
                        " WHERE owner = $1::uuid AND device = $2::uuid"
                        " AND voip_at < timestamptz 'epoch' + $3::bigint * interval '1 us'"};

static size_t add_apps(struct pg_array *a, const struct push_opts *push)
{
    for (size_t i = 0; i < push->apps_n; i++)
        if (push->apps[i].calls)
            pg_array_add_text(a, push->apps[i].id);
    return a->count;
}

bool outbox_sql_add_calls(struct outbox_sql *q, const struct outbox_changes *c,
                          int64_t settle_ms, const struct push_opts *push, void *ctx)
{
    struct pg_array *a = q->call;
    for (size_t i = 0; i < OUTBOX_CALL_ARRAYS; i++)
        pg_array_reset(&a[i]);
    for (size_t i = 0; i < c->n; i++) {
        const struct call_change *k = c->all[i].call;
        if (!k || !k->begins)
            continue;
        pg_array_add_uuid(&a[0], c->all[i].owner);
        pg_array_add_text(&a[1], c->all[i].owner_jid);
        pg_array_add_i64(&a[2], (int64_t)outbox_call_peer(k->hash));
        pg_array_add_i64(&a[3], (int64_t)k->peer);
        pg_array_add_text(&a[4], k->session);
        pg_array_add_i64(&a[5], (int64_t)k->message);
        pg_array_add_text(&a[6], k->jid);
        pg_array_add_text(&a[7], k->media);
        pg_array_add_i64(&a[8], c->all[i].received_us);
    }
    if (a[0].count == 0 || add_apps(&a[9], push) == 0)
        return false;
    struct pg_params p;
    outbox_sql_begin_add(q, &p, c->held, settle_ms);
    for (size_t i = 0; i < OUTBOX_CALL_ARRAYS; i++)
        pg_add_array(&p, &a[i]);
    pg_send(c->conn, &call_st, &p, c->cb, ctx);
    return true;
}

bool outbox_sql_end_calls(struct outbox_sql *q, const struct outbox_changes *c, void *ctx)
{
    struct pg_array *a = q->over;
    for (size_t i = 0; i < OUTBOX_OVER_ARRAYS; i++)
        pg_array_reset(&a[i]);
    for (size_t i = 0; i < c->n; i++) {
        const struct call_change *k = c->all[i].call;
        if (!k || k->begins)
            continue;
        pg_array_add_uuid(&a[0], c->all[i].owner);
        pg_array_add_i64(&a[1], (int64_t)k->peer);
        pg_array_add_text(&a[2], k->session);
        pg_array_add_i64(&a[3], (int64_t)k->message);
        pg_array_add_text(&a[4], k->over);
        pg_array_add_i64(&a[5], c->all[i].received_us);
    }
    if (a[0].count == 0)
        return false;
    struct pg_params p;
    pg_params_init(&p);
    for (size_t i = 0; i < OUTBOX_OVER_ARRAYS; i++)
        pg_add_array(&p, &a[i]);
    pg_send(c->conn, &over_st, &p, c->cb, ctx);
    return true;
}

/* Whether it is heard depends on who calls, which the entry does not say. */
void outbox_sql_take_call(const struct pg_result *r, int row, int at,
                          struct outbox_fetched *out)
{
    out->call = false;
    out->over = NULL;
    out->voip_token = NULL;
    out->voip_sealed = NULL;
    if (pg_is_null(r, row, at))
        return;
    if (!pg_is_null(r, row, at + 10)) {
        out->over = pg_text(r, row, at + 10);
        return;
    }
    out->call = true;
    out->conversation = (uint64_t)pg_i64(r, row, at);
    out->peer_jid = pg_text(r, row, at + 1);
    out->session = pg_text(r, row, at + 2);
    out->media = pg_text(r, row, at + 3);
    out->muted = pg_bool(r, row, at + 4);
    out->quiet = pg_bool(r, row, at + 5);
    out->voip_token = pg_is_null(r, row, at + 6) ? NULL : pg_text(r, row, at + 6);
    out->voip_sealed =
        pg_is_null(r, row, at + 7) ? NULL : pg_bytes(r, row, at + 7, &out->voip_sealed_len);
    out->voip_sealed_by = (int32_t)pg_i64(r, row, at + 8);
    out->contact = pg_is_null(r, row, at + 9) ? NULL : pg_text(r, row, at + 9);
}

void outbox_sql_voip_gone(struct outbox_sql *q, const uint8_t owner[16],
                          const uint8_t device[16], int64_t before_us, pg_result_fn cb,
                          void *ctx)
{
    struct pg_params p;
    pg_params_init(&p);
    pg_add_uuid(&p, owner);
    pg_add_uuid(&p, device);
    pg_add_i64(&p, before_us);
    pg_pool_send(q->pool, &voip_st, &p, cb, ctx);
}
