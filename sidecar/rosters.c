// SPDX-License-Identifier: Apache-2.0
#include "sidecar/rosters.h"

#include <stdlib.h>
#include <string.h>

#include "archive/ingest.h"
#include "archive/prefs.h"
#include "base/arena.h"
#include "base/buf.h"
#include "base/log.h"
#include "base/stanza.h"
#include "component/ns.h"
#include "component/service.h"

#define ANSWER_WITHIN_MS 30000
#define ROSTER_BYTES ((size_t)8 << 20)

struct question {
    rosters_read_fn fn;
    void *ctx;
    char account[];
};

static void on_answer(void *ctx, const struct stanza *iq)
{
    struct question *q = ctx;
    const char *type = iq ? stanza_get(iq, "type") : NULL;
    bool told = type && strcmp(type, "result") == 0;
    q->fn(q->ctx, q->account, told ? stanza_child(iq, "query", NS_ROSTER) : NULL);
    free(q);
}

bool rosters_read(struct service *service, const char *account, rosters_read_fn fn, void *ctx)
{
    unsigned link;
    size_t len = strlen(account) + 1;
    if (!service_grants_rosters(service, account, &link))
        return false;
    struct question *q = malloc(sizeof *q + len);
    if (!q)
        abort();
    q->fn = fn;
    q->ctx = ctx;
    memcpy(q->account, account, len);
    struct arena *arena = arena_new(4096);
    service_ask(service, link, account, "get", stanza_new(arena, "query", NS_ROSTER),
                ANSWER_WITHIN_MS, on_answer, q);
    arena_free(&arena);
    return true;
}

static void on_roster(void *ctx, const char *account, const struct stanza *query)
{
    struct rosters *r = ctx;
    struct buf contacts;
    if (!query)
        return;
    buf_init(&contacts, ROSTER_BYTES);
    const struct stanza *item = stanza_child(query, "item", NS_ROSTER);
    for (; item; item = stanza_sibling(item, "item", NS_ROSTER))
        (void)prefs_list_add(&contacts, stanza_get(item, "jid"));
    if (!buf_failed(&contacts))
        ingest_set_roster(r->ingest, account, buf_cstr(&contacts));
    buf_deinit(&contacts);
}

/* Everything is archived then, which the account, or the operator, did not ask for. */
static void complain(struct rosters *r, const char *account)
{
    if (!r->complained)
        log_warn("archive",
                 "the server does not show us the roster that decides what is "
                 "archived, so everything is account=%s",
                 account);
    r->complained = true;
}

void rosters_want(struct rosters *r, const char *account)
{
    if (!rosters_read(r->service, account, on_roster, r))
        complain(r, account);
}
