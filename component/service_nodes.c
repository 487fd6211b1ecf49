// SPDX-License-Identifier: Apache-2.0
/*
 * How many nodes the server has: ejabberd's mod_configure tells, under the same permission as
 * who is online.  Asked when a connection begins or ends, and from time to time, for a node
 * may join later.
 */
#include "component/service_int.h"

#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/stanza.h"
#include "component/ns.h"

#define SOON_MS 1000 /* announcements and losses come in groups */
#define AGAIN_MS (60 * 1000)
#define WITHIN_MS 30000
#define NODES_NODE "running nodes"

unsigned service_any_node(const struct service *s, unsigned link)
{
    return s->links_n > 1 ? SESSION_LINK_UNKNOWN : link;
}

static void complain(const struct service *s)
{
    if (s->nodes.running > s->links_n)
        log_warn(
            "xmpp",
            "the server runs %u nodes and xmpp.hosts names %zu: what happens on the others "
            "is not seen nodes=\"%s\"",
            s->nodes.running, s->links_n, s->nodes.names);
}

static void read_nodes(struct nodes *n, const struct stanza *query)
{
    n->running = 0;
    n->names[0] = '\0';
    const struct stanza *item = stanza_child(query, "item", NS_DISCO_ITEMS);
    for (; item; item = stanza_sibling(item, "item", NS_DISCO_ITEMS)) {
        const char *name = stanza_get(item, "name");
        size_t len = strlen(n->names), more = name ? strlen(name) : 0;
        n->running++;
        if (!name || len + more + 2 > sizeof n->names)
            continue;
        if (len > 0)
            n->names[len++] = ' ';
        memcpy(n->names + len, name, more + 1);
    }
}

struct nodes_question {
    struct service *s;
    unsigned told; /* before */
};

static void on_nodes(void *ctx, const struct stanza *iq)
{
    struct nodes_question *q = ctx;
    struct service *s = q->s;
    const char *type = stanza_get(iq, "type");
    if (type && strcmp(type, "result") == 0) {
        read_nodes(&s->nodes, stanza_child(iq, "query", NS_DISCO_ITEMS));
        if (s->nodes.running != q->told)
            complain(s);
    } else if (iq) { /* not allowed, until somebody allows it and the link comes again */
        s->nodes.ask_ms = INT64_MAX;
    }
    free(q);
}

/* Any link can tell: the nodes know of each other. */
static int who_can_tell(const struct service *s)
{
    if (s->opts->server != SERVER_EJABBERD || s->opts->domains_n == 0)
        return -1;
    for (size_t i = 0; i < s->links_n; i++) {
        const struct link_state *l = &s->links[i];
        if (l->up && l->live && l->hosts[0].privilege.ns)
            return (int)i;
    }
    return -1;
}

static void ask(struct service *s, unsigned link)
{
    struct nodes_question *q = malloc(sizeof *q);
    if (!q)
        abort();
    *q = (struct nodes_question){s, s->nodes.running};
    struct arena *arena = arena_new(4096);
    struct stanza *query = stanza_new(arena, "query", NS_DISCO_ITEMS);
    stanza_set(query, "node", NODES_NODE);
    service_ask(s, link, s->opts->domains[0], "get", query, WITHIN_MS, on_nodes, q);
    arena_free(&arena);
}

void nodes_reset(struct service *s)
{
    s->nodes.running = 0;
    s->nodes.names[0] = '\0';
    s->nodes.ask_ms = who_can_tell(s) < 0 ? INT64_MAX : clock_mono_ms() + SOON_MS;
}

void nodes_tick(struct service *s, int64_t now_ms)
{
    if (now_ms < s->nodes.ask_ms)
        return;
    int link = who_can_tell(s);
    s->nodes.ask_ms = link < 0 ? INT64_MAX : now_ms + AGAIN_MS;
    if (link >= 0)
        ask(s, (unsigned)link);
}

void service_nodes(const struct service *s, struct service_nodes *out)
{
    *out = (struct service_nodes){
        .running = s->nodes.running, .links = (unsigned)s->links_n, .names = s->nodes.names};
    for (size_t i = 0; i < s->links_n; i++)
        out->links_up += s->links[i].up;
}
