// SPDX-License-Identifier: Apache-2.0
#include "archive/provisional.h"

#include <stdlib.h>

#include "archive/ident.h"
#include "archive/ingest.h"
#include "base/clock.h"
#include "base/log.h"
#include "store/pg.h"

#define EXPIRED_MAX 500

/* A server publishes a message when it cannot deliver it, so next to its copy, and again when
 * it gives up the session that did not answer, ten minutes later at most.  Where the publish
 * does not say what is in it, only a message that nobody has read can be meant then. */
static const struct pg_statement match_st = {
    "provisional_match",
    "SELECT EXISTS (SELECT FROM xs.message m WHERE m.owner = $1::uuid AND m.peer = $2::bigint"
    "   AND m.id > $5::bigint AND m.flags & 258 = 0 AND (m.body = $3::text"
    "     OR m.id > $6::bigint OR ($4::boolean AND m.id > coalesce((SELECT c.read_id"
    "       FROM xs.conversation c WHERE c.owner = $1::uuid AND c.peer = $2::bigint), 0))))"};
static const struct pg_statement expired_st = {
    "provisional_expired",
    "SELECT a.jid, m.peer, m.ref_id FROM xs.message m JOIN xs.account a USING (owner)"
    " WHERE m.flags & 257 = 257 AND m.id < $1::bigint LIMIT $2::int"};

#define WINDOW_US INT64_C(600000000)
#define BESIDE_US INT64_C(5000000)

struct match {
    provisional_match_fn fn;
    void *ctx;
};

static void on_match(void *ctx, const struct pg_result *r, const struct pg_error *e)
{
    struct match m = *(struct match *)ctx;
    free(ctx);
    m.fn(m.ctx, r && pg_bool(r, 0, 0), e);
}

void provisional_match(struct pg_pool *pool, struct ident *ident,
                       const struct provisional_question *q, provisional_match_fn fn,
                       void *ctx)
{
    uint8_t owner[OWNER_BYTES];
    struct pg_params p;
    struct match *m = malloc(sizeof *m);
    if (!m)
        abort();
    *m = (struct match){fn, ctx};
    ident_owner(ident, q->owner_jid, owner);
    pg_params_init(&p);
    pg_add_uuid(&p, owner);
    pg_add_i64(&p, (int64_t)ident_peer(ident, owner, q->peer_jid));
    pg_add_text(&p, q->body);
    pg_add_bool(&p, q->vague);
    pg_add_i64(&p, ident_id_from_us(q->at_us - WINDOW_US));
    pg_add_i64(&p, ident_id_from_us(q->at_us - BESIDE_US));
    pg_pool_send(pool, &match_st, &p, on_match, m);
}

static void on_expired(void *ctx, const struct pg_result *r, const struct pg_error *e)
{
    struct ingest *ing = ctx;
    if (!r) {
        if (e->failure != PG_LOST)
            log_warn("archive", "looking for expired publishes: %s", e->text);
        return;
    }
    for (int i = 0; i < pg_rows(r); i++) {
        uint8_t id[16];
        uint64_t ref = 0;
        pg_uuid(r, i, 2, id);
        for (int k = 8; k < 16; k++)
            ref = ref << 8 | id[k];
        ingest_forget_provisional(ing, pg_text(r, i, 0), (uint64_t)pg_i64(r, i, 1), ref);
    }
}

void provisional_expire(struct pg_pool *pool, struct ingest *ing)
{
    int64_t before_us = clock_real_us() - PROVISIONAL_DAYS * INT64_C(86400000000);
    struct pg_params p;
    pg_params_init(&p);
    pg_add_i64(&p, ident_id_from_us(before_us));
    pg_add_i32(&p, EXPIRED_MAX);
    pg_pool_send(pool, &expired_st, &p, on_expired, ing);
}
