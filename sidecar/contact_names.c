// SPDX-License-Identifier: Apache-2.0
#include "sidecar/contact_names.h"

#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#include <event2/event.h>

#include "apns/names.h"
#include "archive/ident.h"
#include "archive/ingest.h"
#include "base/jid.h"
#include "base/map.h"
#include "base/stanza.h"
#include "component/ns.h"
#include "component/service.h"
#include "sidecar/rosters.h"

#define OPEN_MAX 4
#define WANTED_MAX 1000 /* waiting or open */
#define DELAY_S 1       /* what changes a roster may pass us before the server has done it */

/* An account whose roster is wanted, from the wish until the answer. */
struct wish {
    TAILQ_ENTRY(wish) next;
    struct contact_names *of; /* NULL: nobody wants it any more */
    char account[];
};

TAILQ_HEAD(wishes, wish);

struct contact_names {
    struct service *service;
    struct ingest *ingest;
    struct pg_pool *pool;
    struct event *timer;
    struct map *wanted; /* account to its wish */
    struct wishes waiting, open;
    struct wishes changed; /* the database is asked whether it has names of them */
    unsigned open_n;
};

static struct wish *new_wish(struct contact_names *n, const char *account)
{
    size_t len = strlen(account) + 1;
    struct wish *w = malloc(sizeof *w + len);
    if (!w)
        abort();
    w->of = n;
    memcpy(w->account, account, len);
    return w;
}

static void take(struct contact_names *n, const uint8_t owner[OWNER_BYTES],
                 const struct stanza *query)
{
    struct names *names = names_new();
    const struct stanza *item = stanza_child(query, "item", NS_ROSTER);
    for (; item; item = stanza_sibling(item, "item", NS_ROSTER)) {
        struct jid j;
        const char *name = stanza_get(item, "name");
        if (name && jid_parse(&j, stanza_get(item, "jid")))
            (void)names_add(names, ident_peer(ingest_ident(n->ingest), owner, j.bare), name);
    }
    names_store(n->pool, owner, names);
    names_free(&names);
}

static void pump(struct contact_names *n);

static void end_wish(struct contact_names *n, struct wish *w)
{
    (void)map_take(n->wanted, w->account, strlen(w->account));
    free(w);
}

/* One that is not told stays as it is for a day. */
static void on_roster(void *ctx, const char *account, const struct stanza *query)
{
    struct wish *w = ctx;
    struct contact_names *n = w->of;
    uint8_t owner[OWNER_BYTES];
    if (!n) {
        free(w);
        return;
    }
    ident_owner(ingest_ident(n->ingest), account, owner);
    if (query)
        take(n, owner, query);
    else
        names_store(n->pool, owner, NULL);
    TAILQ_REMOVE(&n->open, w, next);
    n->open_n--;
    end_wish(n, w);
    pump(n);
}

static void pump(struct contact_names *n)
{
    struct wish *w;
    while (n->open_n < OPEN_MAX && (w = TAILQ_FIRST(&n->waiting))) {
        TAILQ_REMOVE(&n->waiting, w, next);
        TAILQ_INSERT_TAIL(&n->open, w, next);
        n->open_n++;
        if (rosters_read(n->service, w->account, on_roster, w))
            continue;
        TAILQ_REMOVE(&n->open, w, next);
        n->open_n--;
        end_wish(n, w);
    }
}

static void on_timer(evutil_socket_t fd, short what, void *ctx)
{
    (void)fd, (void)what;
    pump(ctx);
}

void contact_names_want(struct contact_names *n, const char *account)
{
    static const struct timeval delay = {DELAY_S, 0};
    unsigned link;
    if (!service_grants_rosters(n->service, account, &link) ||
        map_count(n->wanted) >= WANTED_MAX || map_get(n->wanted, account, strlen(account)))
        return;
    struct wish *w = new_wish(n, account);
    (void)map_put(n->wanted, account, strlen(account), w);
    TAILQ_INSERT_TAIL(&n->waiting, w, next);
    if (!evtimer_pending(n->timer, NULL) && evtimer_add(n->timer, &delay) != 0)
        abort();
}

static void on_changed(void *ctx, bool known)
{
    struct wish *w = ctx;
    if (w->of) {
        TAILQ_REMOVE(&w->of->changed, w, next);
        if (known)
            contact_names_want(w->of, w->account);
    }
    free(w);
}

void contact_names_changed(struct contact_names *n, const char *account)
{
    uint8_t owner[OWNER_BYTES];
    struct wish *w = new_wish(n, account);
    ident_owner(ingest_ident(n->ingest), account, owner);
    TAILQ_INSERT_TAIL(&n->changed, w, next);
    names_changed(n->pool, owner, on_changed, w);
}

struct contact_names *contact_names_new(struct event_base *base, struct service *service,
                                        struct ingest *ingest, struct pg_pool *pool)
{
    struct contact_names *n = calloc(1, sizeof *n);
    if (!n)
        abort();
    n->service = service;
    n->ingest = ingest;
    n->pool = pool;
    n->wanted = map_new();
    n->timer = evtimer_new(base, on_timer, n);
    if (!n->timer)
        abort();
    TAILQ_INIT(&n->waiting);
    TAILQ_INIT(&n->open);
    TAILQ_INIT(&n->changed);
    return n;
}

/* What somebody still has to answer frees itself then. */
static void let_go(struct wishes *all)
{
    for (struct wish *w = TAILQ_FIRST(all); w; w = TAILQ_NEXT(w, next))
        w->of = NULL;
}

void contact_names_free(struct contact_names **np)
{
    struct contact_names *n = *np;
    struct wish *w;
    *np = NULL;
    if (!n)
        return;
    let_go(&n->open);
    let_go(&n->changed);
    while ((w = TAILQ_FIRST(&n->waiting))) {
        TAILQ_REMOVE(&n->waiting, w, next);
        free(w);
    }
    event_free(n->timer);
    map_free(&n->wanted);
    free(n);
}
