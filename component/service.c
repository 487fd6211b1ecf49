// SPDX-License-Identifier: Apache-2.0
#include "component/service.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/crypt.h"
#include "base/stanza.h"
#include "component/ns.h"
#include "component/presence.h"
#include "component/service_int.h"

#define SWEEP_MS (10 * 60 * 1000)

/* ---- making one ---- */

static void on_iq_send(void *ctx, unsigned link, uint64_t epoch, const uint8_t *data,
                       size_t len)
{
    struct service *s = ctx;
    s->events.send(s->events.ctx, link, epoch, data, len);
}

static const char *on_iq_privilege(void *ctx, unsigned link, const char *host)
{
    struct service *s = ctx;
    int h = service_host(s, host);
    if (h < 0 || link >= s->links_n)
        return NULL;
    if (link_speaks_directly(s))
        return IQ_DIRECTLY;
    const struct privilege *p = &s->links[link].hosts[h].privilege;
    return p->messages ? p->ns : NULL;
}

static void on_iq_opened(void *ctx, const struct place *p)
{
    struct service *s = ctx;
    s->events.request_opened(s->events.ctx, p);
}

static void on_iq_done(void *ctx, const struct place *p)
{
    struct service *s = ctx;
    s->events.request_done(s->events.ctx, p);
}

static void on_disco_info(void *ctx, struct iq_request *r)
{
    struct service *s = ctx;
    disco_info(&s->disco, r);
}

static void on_disco_items(void *ctx, struct iq_request *r)
{
    struct service *s = ctx;
    disco_items(&s->disco, r);
}

static bool on_disco_delegated(void *ctx, const char *host, int ns)
{
    const struct service *s = ctx;
    int h = service_host(s, host);
    for (size_t i = 0; h >= 0 && i < s->links_n; i++)
        if (s->links[i].hosts[h].delegated[ns])
            return true;
    return false;
}

static void on_ping(void *ctx, struct iq_request *r)
{
    (void)ctx;
    disco_ping(r);
}

static void on_version(void *ctx, struct iq_request *r)
{
    (void)ctx;
    disco_version(r);
}

static void on_command(void *ctx, struct iq_request *r)
{
    struct service *s = ctx;
    adhoc_request(s->adhoc, r, clock_mono_ms());
}

static void add_handler(struct service *s, const struct handler *h)
{
    assert(s->handlers_n < HANDLERS_MAX);
    s->handlers[s->handlers_n++] = *h;
}

static void add_own_handlers(struct service *s)
{
    const struct handler own[] = {
        {"query", NS_DISCO_INFO, on_disco_info, s, true, true},
        {"query", NS_DISCO_ITEMS, on_disco_items, s, true, true},
        {"ping", NS_PING, on_ping, s, true, true},
        {"query", NS_VERSION, on_version, s, true, true},
        {"command", NS_COMMANDS, on_command, s, true, true},
    };
    for (size_t i = 0; i < sizeof own / sizeof *own; i++)
        add_handler(s, &own[i]);
}

static void add_links(struct service *s)
{
    s->links_n = s->opts->hosts_n;
    s->links = calloc(s->links_n ? s->links_n : 1, sizeof *s->links);
    if (!s->links)
        abort();
    for (size_t i = 0; i < s->links_n; i++) {
        struct link_state *l = &s->links[i];
        l->hosts = calloc(s->opts->domains_n ? s->opts->domains_n : 1, sizeof *l->hosts);
        if (!l->hosts)
            abort();
        l->closed_us = clock_real_us();
        link_reset(s, l);
    }
}

struct service *service_new(const struct component_opts *opts,
                            const uint8_t echo_key[ADAPTER_KEY_BYTES],
                            const struct service_events *events)
{
    struct service *s = calloc(1, sizeof *s);
    if (!s)
        abort();
    s->opts = opts;
    s->adapter.opts = opts;
    memcpy(s->adapter.echo_key, echo_key, ADAPTER_KEY_BYTES);
    s->events = *events;
    const struct iq_ops ops = {.send = on_iq_send,
                               .privilege = on_iq_privilege,
                               .opened = on_iq_opened,
                               .done = on_iq_done,
                               .ctx = s};
    s->iqs = iq_table_new(&s->adapter, &ops);
    s->questions = questions_new(&s->adapter, on_iq_send, s);
    s->sessions = sessions_new();
    s->adhoc = adhoc_new(&s->adapter, opts->commands_per_minute);
    s->disco = (struct disco){.adapter = &s->adapter,
                              .adhoc = s->adhoc,
                              .delegation = &s->delegation,
                              .delegated = on_disco_delegated,
                              .ctx = s};
    crypt_random(s->strangers_key, sizeof s->strangers_key);
    s->sweep_ms = clock_mono_ms() + SWEEP_MS;
    s->nodes.ask_ms = INT64_MAX;
    add_own_handlers(s);
    add_links(s);
    return s;
}

void service_free(struct service **sp)
{
    struct service *s = *sp;
    if (!s)
        return;
    for (size_t i = 0; i < s->links_n; i++)
        s->links[i].up = false; /* nobody asks anything more */
    iq_table_free(&s->iqs);
    questions_free(&s->questions);
    sessions_free(&s->sessions);
    adhoc_free(&s->adhoc);
    for (size_t i = 0; i < s->links_n; i++)
        free(s->links[i].hosts);
    free(s->links);
    free(s);
    *sp = NULL;
}

void service_handle(struct service *s, const char *name, const char *ns, service_request_fn fn,
                    void *ctx)
{
    add_handler(s, &(struct handler){.name = name, .ns = ns, .fn = fn, .ctx = ctx});
}

void service_welcome(struct service *s, const char *ns)
{
    for (size_t i = 0; i < s->handlers_n; i++)
        if (strcmp(s->handlers[i].ns, ns) == 0)
            s->handlers[i].guests = true;
}

void service_feature(struct service *s, const char *ns, const char *feature)
{
    disco_add_feature(&s->disco, ns, feature);
}

void service_delegate(struct service *s, const char *ns)
{
    delegation_serve(&s->delegation, ns);
}

void adhoc_add(struct service *s, const char *node, const char *title, adhoc_fn fn, void *ctx)
{
    adhoc_register(s->adhoc, node, title, fn, ctx);
}

void adhoc_welcome(struct service *s, const char *node)
{
    adhoc_open(s->adhoc, node);
}

int service_host(const struct service *s, const char *name)
{
    for (size_t i = 0; name && i < s->opts->domains_n; i++)
        if (strcmp(s->opts->domains[i], name) == 0)
            return (int)i;
    return -1;
}

/* ---- connections ---- */

static void lose_link(struct service *s, unsigned link)
{
    struct link_state *l = &s->links[link];
    l->up = false;
    l->closed_us = clock_real_us();
    iq_link_lost(s->iqs, link);
    questions_link_lost(s->questions, link);
    link_reset(s, l);
    sessions_link_lost(s->sessions, link);
    bool any = false;
    for (size_t i = 0; i < s->links_n; i++)
        any = any || s->links[i].up;
    if (!any)
        sessions_link_lost(s->sessions, SESSION_LINK_UNKNOWN);
    link_list_again(s);
    nodes_reset(s);
}

void service_opened(struct service *s, unsigned link, uint64_t epoch, int64_t opened_us)
{
    assert(link < s->links_n);
    struct link_state *l = &s->links[link];
    if (l->up && l->epoch == epoch)
        return; /* repeated at the head of a segment */
    if (l->up)
        lose_link(s, link);
    l->up = true;
    l->epoch = epoch;
    l->opened_us = opened_us;
    if (l->live)
        link_check_begin(s, l);
}

void service_closed(struct service *s, unsigned link, uint64_t epoch)
{
    assert(link < s->links_n);
    if (s->links[link].up && s->links[link].epoch == epoch)
        lose_link(s, link);
}

void service_live(struct service *s, unsigned link)
{
    assert(link < s->links_n);
    struct link_state *l = &s->links[link];
    if (l->live)
        return;
    l->live = true;
    if (!l->up)
        return;
    link_check_begin(s, l);
    link_list_sessions(s, l);
    nodes_reset(s);
}

/* ---- presence, as XEP-0356 shows it: from the session to us ---- */

static void take_presence(struct service *s, const struct stanza *st, unsigned link,
                          int64_t received_us)
{
    struct jid who;
    const char *type = stanza_get(st, "type");
    const char *to = stanza_get(st, "to");
    if (!to || strcmp(to, s->opts->component) != 0 ||
        !jid_parse(&who, stanza_get(st, "from")) || jid_is_bare(&who) ||
        !adapter_is_local(&s->adapter, &who))
        return;
    if (!type)
        sessions_available(s->sessions, &who, link, presence_priority(st), presence_show(st),
                           received_us);
    else if (strcmp(type, "unavailable") == 0)
        service_session_gone(s, &who, received_us);
}

static void take_iq(struct service *s, uint64_t epoch, const struct stanza *st,
                    const struct place *p, int64_t received_us, enum service_pass pass)
{
    if (service_is_request(st)) {
        service_take_request(s, epoch, st, p, received_us, pass);
        return;
    }
    if (!stanza_get(st, "type"))
        return;
    int host = service_host(s, stanza_get(st, "from"));
    if (host >= 0)
        link_read_list(s, &s->links[p->spool], (unsigned)host, st, received_us);
    questions_answered(s->questions, st);
}

enum err_kind service_stanza(struct service *s, uint64_t epoch, struct stanza *st,
                             const struct place *p, int64_t received_us,
                             enum service_pass pass, struct err *e)
{
    assert(p->spool < s->links_n && s->links[p->spool].up &&
           s->links[p->spool].epoch == epoch);
    s->looked_at = p->end;
    if (strcmp(st->name, "message") == 0)
        return service_take_message(s, st, p, received_us, e);
    if (strcmp(st->name, "presence") == 0)
        take_presence(s, st, p->spool, received_us);
    else if (strcmp(st->name, "iq") == 0)
        take_iq(s, epoch, st, p, received_us, pass);
    else if (stanza_is(st, "error", NS_STREAMS))
        link_stream_error(s, &s->links[p->spool], st);
    return ERR_NONE;
}

void service_ask(struct service *s, unsigned link, const char *to, const char *type,
                 const struct stanza *payload, int64_t within_ms, iq_answer_fn fn, void *ctx)
{
    if (link >= s->links_n || !s->links[link].up) {
        fn(ctx, NULL);
        return;
    }
    const struct iq_question q = {.link = link,
                                  .epoch = s->links[link].epoch,
                                  .to = to,
                                  .type = type,
                                  .payload = payload,
                                  .deadline_ms = clock_mono_ms() + within_ms,
                                  .fn = fn,
                                  .ctx = ctx};
    questions_ask(s->questions, &q);
}

uint64_t service_looked_at(const struct service *s)
{
    return s->looked_at;
}

/* ---- time ---- */

void service_tick(struct service *s, int64_t now_ms)
{
    iq_tick(s->iqs, now_ms);
    questions_tick(s->questions, now_ms);
    for (size_t i = 0; i < s->links_n; i++)
        link_check(s, &s->links[i], now_ms);
    nodes_tick(s, now_ms);
    if (now_ms >= s->sweep_ms) {
        sessions_sweep(s->sessions, clock_real_us());
        s->sweep_ms = now_ms + SWEEP_MS;
    }
}

int64_t service_deadline(const struct service *s)
{
    int64_t next = iq_deadline(s->iqs), asked = questions_deadline(s->questions);
    if (asked < next)
        next = asked;
    for (size_t i = 0; i < s->links_n; i++)
        if (s->links[i].check_ms < next)
            next = s->links[i].check_ms;
    if (s->nodes.ask_ms < next)
        next = s->nodes.ask_ms;
    return s->sweep_ms < next ? s->sweep_ms : next;
}
