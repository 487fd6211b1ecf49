// SPDX-License-Identifier: Apache-2.0
/* Removing collections (XEP-0136): their messages lose their content, and once
 * no late copy of them can come, their places. */
#include "archive/xep0136_int.h"

#include <stdlib.h>

#include "archive/ident.h"
#include "base/clock.h"
#include "store/pg.h"

#define ROWS_AT_ONCE 1000                   /* the owner's lane waits so long */
#define KEEP_US (31 * INT64_C(86400000000)) /* no copy comes later: see rows.c */

/* And phones are told when something that was unread is gone. */
static const struct pg_statement remove_some = {
    "chats_remove",
    "SELECT r.gone, r.more, told.done"
    " FROM xs.collections_remove($1::uuid, $2::int, $3::bigint, $4::text, $5::bigint,"
    "   $6::bigint, $7::bigint, $8::bigint, $9::bigint, $10::int) r"
    " LEFT JOIN LATERAL (SELECT xs.badges_add($1::uuid, 2000)::text AS done"
    "   WHERE r.gone > 0 OR r.more) told ON true"};

struct removal {
    int64_t last_at; /* of what is to be removed: an id */
    int64_t gone;
};

static void send_remove(struct xep0136_ask *a);

static void on_removed(void *ctx, const struct pg_result *r, const struct pg_error *e)
{
    struct xep0136_ask *a = ctx;
    struct removal *removal = a->more;
    if (lookup_is_over(&a->lookup, e))
        return;
    removal->gone += pg_i64(r, 0, 0);
    if (pg_bool(r, 0, 1) && !lookup_should_end(&a->lookup))
        send_remove(a);
    else if (pg_bool(r, 0, 1))
        lookup_refuse(&a->lookup, "wait", "resource-constraint", "not all yet: ask again");
    else if (removal->gone == 0)
        xep0136_not_found(a);
    else
        lookup_done(&a->lookup, NULL);
}

static void send_remove(struct xep0136_ask *a)
{
    const struct removal *removal = a->more;
    const struct xep0136_query *q = &a->query;
    struct pg_params p;
    pg_params_init(&p);
    pg_add_uuid(&p, a->lookup.owner);
    pg_add_i32(&p, (int32_t)ident_lane(xep0136_ident(a), a->lookup.owner));
    if (q->match == MATCH_BARE)
        pg_add_i64(&p, (int64_t)a->peer);
    else
        pg_add_null(&p);
    pg_add_text(&p, q->match == MATCH_DOMAIN ? q->with.bare : NULL);
    pg_add_i64(&p, q->start_us);
    pg_add_i64(&p, q->end_us);
    pg_add_i64(&p, removal->last_at);
    pg_add_i64(&p, ident_id_from_us(clock_real_us() - KEEP_US));
    pg_add_i64(&p, ident_id_from_us(clock_real_us()));
    pg_add_i32(&p, ROWS_AT_ONCE);
    lookup_send(&a->lookup, &remove_some, &p, on_removed, a);
}

/* Being recorded: the next message may still belong to it. */
void xep0136_remove(struct xep0136_ask *a)
{
    struct removal *removal = a->more = calloc(1, sizeof *removal);
    if (!removal)
        abort();
    if (a->query.open)
        removal->last_at =
            ident_id_from_us(clock_real_us() - a->x->opts->conversation_gap_ms * 1000);
    if (a->query.match == MATCH_NOBODY)
        xep0136_not_found(a);
    else
        send_remove(a);
}
