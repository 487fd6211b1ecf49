// SPDX-License-Identifier: Apache-2.0
#include "archive/xep0136_int.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "archive/gather.h"
#include "archive/ident.h"
#include "base/datetime.h"
#include "base/stanza.h"
#include "store/pg.h"

struct xep0136 *xep0136_new(const struct archive_opts *opts, struct lookups *lookups)
{
    struct xep0136 *x = calloc(1, sizeof *x);
    if (!x)
        abort();
    *x = (struct xep0136){.opts = opts, .lookups = lookups};
    return x;
}

void xep0136_free(struct xep0136 **x)
{
    free(*x);
    *x = NULL;
}

/* --- what all kinds share ---------------------------------------------------------------- */

static struct xep0136_ask *of(struct lookup *l)
{
    return (struct xep0136_ask *)(void *)l;
}

static void on_gathered(struct lookup *l)
{
    struct xep0136_ask *a = of(l);
    a->gathered(a);
}

static void on_read(struct lookup *l)
{
    gather_start(l, of(l)->x->opts->conversation_gap_ms * 1000, on_gathered);
}

static void on_free(struct lookup *l)
{
    struct xep0136_ask *a = of(l);
    free(a->more);
    free(a);
}

static const struct lookup_kind kind = {.read = on_read, .free = on_free};

struct ident *xep0136_ident(const struct xep0136_ask *a)
{
    return lookups_ident(a->x->lookups);
}

void xep0136_not_found(struct xep0136_ask *a)
{
    lookup_refuse(&a->lookup, "cancel", "item-not-found", NULL);
}

void xep0136_set_name(struct stanza *el, const char *jid, int64_t start_us)
{
    char start[DATETIME_BYTES];
    datetime_format_short(start_us, start);
    stanza_set(el, "with", jid);
    stanza_set(el, "start", start);
}

void xep0136_set_version(struct stanza *el, int64_t version)
{
    char text[24];
    (void)snprintf(text, sizeof text, "%" PRId64, version);
    stanza_set(el, "version", text);
}

void xep0136_set_chat(struct stanza *chat, const struct pg_result *r, int row, int col)
{
    xep0136_set_name(chat, pg_text(r, row, col), pg_i64(r, row, col + 1));
    if (!pg_is_null(r, row, col + 2))
        stanza_set(chat, "thread", pg_text(r, row, col + 2));
    if (!pg_is_null(r, row, col + 3))
        stanza_set(chat, "subject", pg_text(r, row, col + 3));
    xep0136_set_version(chat, pg_i64(r, row, col + 4));
}

/* --- the door ---------------------------------------------------------------------------- */

struct verb {
    const char *name;
    bool (*read)(struct xep0136_query *out, const struct stanza *el,
                 struct xep0136_refusal *why);
    void (*gathered)(struct xep0136_ask *a);
    enum turn_weight weight;
    bool is_set;
};

static const struct verb verbs[] = {
    {"list", xep0136_read_list, xep0136_list, TURN_PAGE, false},
    {"retrieve", xep0136_read_retrieve, xep0136_retrieve, TURN_PAGE, false},
    {"modified", xep0136_read_modified, xep0136_modified, TURN_PAGE, false},
    {"save", xep0136_read_save, xep0136_save, TURN_PAGE, true},
    {"remove", xep0136_read_remove, xep0136_remove, TURN_SCAN, true},
};

static const struct verb *verb_of(const struct archive_request *r)
{
    for (size_t i = 0; i < sizeof verbs / sizeof *verbs; i++)
        if (verbs[i].is_set == r->is_set && stanza_is(r->payload, verbs[i].name, NS_ARCHIVE))
            return &verbs[i];
    return NULL;
}

static void begin(struct xep0136_ask *a, const struct verb *verb,
                  const struct archive_request *r, const struct archive_answer *answer)
{
    const struct archive_opts *o = a->x->opts;
    a->gathered = verb->gathered;
    a->want = a->query.rsm.has_max ? a->query.rsm.max : o->page_default;
    if (a->want > o->page_max)
        a->want = o->page_max;
    if (!lookup_begin(a->x->lookups, &a->lookup, &kind, r, answer))
        return;
    if (a->query.match == MATCH_BARE)
        a->peer = ident_peer(xep0136_ident(a), a->lookup.owner, a->query.with.bare);
    lookup_wait(&a->lookup, verb->weight);
}

void xep0136_ask(struct xep0136 *x, const struct archive_request *r,
                 const struct archive_answer *answer)
{
    const struct verb *verb = verb_of(r);
    if (!verb) {
        answer->error(answer->ctx, "cancel", "feature-not-implemented", NULL);
        return;
    }
    struct xep0136_ask *a = calloc(1, sizeof *a);
    if (!a)
        abort();
    a->x = x;
    struct xep0136_refusal why;
    if (!verb->read(&a->query, r->payload, &why)) {
        free(a);
        answer->error(answer->ctx, why.type, why.condition, why.text);
        return;
    }
    begin(a, verb, r, answer);
}
