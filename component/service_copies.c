// SPDX-License-Identifier: Apache-2.0
/* What the copies that a server sends say to everybody behind the adapter. */
#include "component/service_int.h"

#include "base/stanza.h"
#include "component/monitoring.h"
#include "component/presence.h"

struct copy_ctx {
    struct service *s;
    unsigned link;
};

/* Which session it was is told by the address, or else by the silence since then. */
static void mark_stuck(struct service *s, const struct event *e)
{
    if (*e->to_resource) {
        sessions_stuck(s->sessions, e->to, e->to_resource, e->received_us);
        return;
    }
    const struct session *is = NULL;
    while ((is = sessions_next(s->sessions, e->to, is)))
        if (is->seen_us <= e->delayed_us)
            sessions_stuck(s->sessions, e->to, is->resource, e->received_us);
}

static void on_copy_event(void *ctx, const struct event *e)
{
    struct copy_ctx *c = ctx;
    if (e->undelivered)
        mark_stuck(c->s, e);
    c->s->events.event(c->s->events.ctx, e);
}

/* Who is not on a list that was made later has gone, however late we hear of what he sent. */
static bool is_unlisted(const struct service *s, unsigned link, const struct jid *who,
                        int64_t at_us)
{
    int host = service_host(s, jid_domain(who));
    return host >= 0 && at_us < s->links[link].hosts[host].openfire.listed_us &&
           !sessions_has(s->sessions, who);
}

static void on_copy_seen(void *ctx, const struct jid *who, int64_t at_us)
{
    struct copy_ctx *c = ctx;
    if (!is_unlisted(c->s, c->link, who, at_us))
        sessions_seen(c->s->sessions, who, service_any_node(c->s, c->link), at_us);
}

void service_session_gone(struct service *s, const struct jid *who, int64_t at_us)
{
    if (sessions_gone(s->sessions, who, at_us))
        iq_session_gone(s->iqs, who);
}

static void on_copy_gone(void *ctx, const struct jid *who, int64_t at_us)
{
    struct copy_ctx *c = ctx;
    service_session_gone(c->s, who, at_us);
}

static void on_copy_available(void *ctx, const struct jid *who, const struct stanza *presence,
                              int64_t at_us)
{
    struct copy_ctx *c = ctx;
    sessions_available(c->s->sessions, who, service_any_node(c->s, c->link),
                       presence_priority(presence), presence_show(presence), at_us);
}

static void on_copy_copied(void *ctx, int64_t server_us)
{
    struct copy_ctx *c = ctx;
    openfire_copied(c->s, &c->s->links[c->link], server_us);
}

static void on_copy_told(void *ctx, const char *ask_id, int64_t server_us)
{
    struct copy_ctx *c = ctx;
    monitoring_told(c->s, ask_id, server_us);
}

static void on_copy_roster(void *ctx, const struct jid *who)
{
    const struct copy_ctx *c = ctx;
    const struct service_events *events = &c->s->events;
    if (events->roster_changed)
        events->roster_changed(events->ctx, who->bare);
}

enum err_kind service_take_message(struct service *s, struct stanza *st, const struct place *p,
                                   int64_t received_us, struct err *e)
{
    const char *from = stanza_get(st, "from");
    if (!adapter_hears(&s->adapter, from) && !adapter_is_told(&s->adapter, st))
        return ERR_NONE; /* users and strangers have nothing to tell us by message */
    int host = service_host(s, from);
    if (host >= 0 && link_announcement(s, &s->links[p->spool], (unsigned)host, st))
        return ERR_NONE;
    struct copy_ctx c = {.s = s, .link = p->spool};
    const struct adapter_sink sink = {.event = on_copy_event,
                                      .copied = on_copy_copied,
                                      .told = on_copy_told,
                                      .seen = on_copy_seen,
                                      .gone = on_copy_gone,
                                      .available = on_copy_available,
                                      .roster = on_copy_roster,
                                      .ctx = &c};
    return adapter_classify(&s->adapter, st, p, received_us, &sink, e);
}

void service_asker_seen(struct service *s, const struct stanza *iq, unsigned link,
                        int64_t received_us)
{
    struct copy_ctx c = {.s = s, .link = link};
    const struct adapter_sink sink = {.seen = on_copy_seen, .ctx = &c};
    if (iq)
        adapter_liveness(&s->adapter, iq, received_us, &sink);
}
