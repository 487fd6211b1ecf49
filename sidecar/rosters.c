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
    struct rosters *rosters;
    char account[];
};

static void take_roster(struct question *q, const struct stanza *query)
{
    struct buf contacts;
    buf_init(&contacts, ROSTER_BYTES);
    const struct stanza *item = stanza_child(query, "item", NS_ROSTER);
    for (; item; item = stanza_sibling(item, "item", NS_ROSTER))
        (void)prefs_list_add(&contacts, stanza_get(item, "jid"));
    if (!buf_failed(&contacts))
        ingest_set_roster(q->rosters->ingest, q->account, buf_cstr(&contacts));
    buf_deinit(&contacts);
}

static void on_roster(void *ctx, const struct stanza *iq)
{
    struct question *q = ctx;
    const char *type = stanza_get(iq, "type");
    if (type && strcmp(type, "result") == 0)
        take_roster(q, stanza_child(iq, "query", NS_ROSTER));
    free(q);
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
    unsigned link;
    size_t len = strlen(account) + 1;
    if (!service_grants_rosters(r->service, account, &link)) {
        complain(r, account);
        return;
    }
    struct question *q = malloc(sizeof *q + len);
    if (!q)
        abort();
    q->rosters = r;
    memcpy(q->account, account, len);
    struct arena *arena = arena_new(4096);
    service_ask(r->service, link, account, "get", stanza_new(arena, "query", NS_ROSTER),
                ANSWER_WITHIN_MS, on_roster, q);
    arena_free(&arena);
}
