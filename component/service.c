// SPDX-License-Identifier: Apache-2.0
#include "component/service.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/crypt.h"
#include "base/failpoint.h"
#include "base/log.h"
#include "base/stanza.h"
#include "component/cursor.h"
#include "component/ns.h"
#include "component/presence.h"
#include "component/service_int.h"

#define UNSETTLED_US (120 * INT64_C(1000000))
#define SWEEP_MS (10 * 60 * 1000)
#define STRANGERS_PERIOD_MS 10000
#define STRANGERS_MAX 50     /* refusals in a period, */
#define STRANGERS_EACH_MAX 5 /* to one domain (or those that share its slot) */

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

/* ---- IQs ---- */

static bool is_read(const struct iq_request *r)
{
    return !r->is_set || stanza_is(r->payload, "query", NS_MAM) ||
           stanza_is(r->payload, "query", NS_MAM_1);
}

static void dispatch(struct service *s, struct iq_request *r)
{
    bool known_ns = false;
    FAILPOINT_TEXT("service-request", stanza_get(r->iq, "id") ? stanza_get(r->iq, "id") : "");
    for (size_t i = 0; i < s->handlers_n; i++) {
        const struct handler *h = &s->handlers[i];
        if ((h->direct_only && r->delegated) || strcmp(h->ns, r->payload->ns) != 0)
            continue;
        known_ns = true;
        if (!h->name || strcmp(h->name, r->payload->name) == 0) {
            if (r->guest && !h->guests)
                break;
            h->fn(h->ctx, r);
            return;
        }
    }
    if (r->guest) {
        iq_forbid(r);
        return;
    }
    iq_error(r, "cancel", known_ns ? "feature-not-implemented" : "service-unavailable", NULL);
}

/* So many refusals and no more: whoever wants us to talk to a domain that never asked cannot
 * make us, nor fill our link. */
static bool may_refuse(struct service *s, const struct jid *stranger, int64_t now_ms)
{
    if (now_ms >= s->strangers_until_ms) {
        s->strangers_until_ms = now_ms + STRANGERS_PERIOD_MS;
        s->strangers_all = 0;
        memset(s->strangers, 0, sizeof s->strangers);
    }
    const char *domain = jid_domain(stranger);
    uint64_t hash = crypt_siphash(s->strangers_key, domain, strlen(domain));
    uint8_t *each = &s->strangers[hash % STRANGER_SLOTS];
    if (s->strangers_all >= STRANGERS_MAX || *each >= STRANGERS_EACH_MAX)
        return false;
    s->strangers_all++;
    ++*each;
    return true;
}

/* NULL when it is not for a handler: it has been refused, or cannot be answered. */
static struct iq_request *open_direct(struct service *s, const struct stanza *st,
                                      const struct iq_origin *o)
{
    struct jid from;
    struct iq_request *r;
    if (!jid_parse(&from, stanza_get(st, "from")))
        return NULL;
    bool stranger = !adapter_serves(&s->adapter, &from) &&
                    !adapter_is_prober(&s->adapter, &from) &&
                    !adapter_is_guest(&s->adapter, &from);
    if (stranger && !may_refuse(s, &from, o->now_ms))
        return NULL;
    if (iq_open_direct(s->iqs, st, o, &r) != IQ_OPENED)
        return NULL;
    const char *to = stanza_get(r->iq, "to");
    if (!stranger && to && strcmp(to, s->opts->component) == 0)
        return r;
    if (stranger)
        iq_forbid(r);
    else
        iq_error(r, "cancel", "service-unavailable", NULL);
    return NULL;
}

static struct iq_request *open_request(struct service *s, const struct stanza *st,
                                       const struct stanza *delegation,
                                       const struct iq_origin *o)
{
    struct iq_request *r;
    if (!delegation)
        return open_direct(s, st, o);
    const char *ns = delegation_ns(delegation_version(delegation->ns));
    return iq_open_delegated(s->iqs, st, ns, o, &r) == IQ_OPENED ? r : NULL;
}

static struct iq_origin origin_of(uint64_t epoch, const struct place *p, int64_t received_us)
{
    int64_t age_ms = (clock_real_us() - received_us) / 1000;
    return (struct iq_origin){.place = *p,
                              .epoch = epoch,
                              .received_us = received_us,
                              .age_ms = age_ms > 0 ? age_ms : 0,
                              .now_ms = clock_mono_ms()};
}

static const struct stanza *delegation_of(const struct service *s, const struct stanza *st)
{
    return service_host(s, stanza_get(st, "from")) >= 0 ? delegation_element(st) : NULL;
}

static void take_request(struct service *s, uint64_t epoch, const struct stanza *st,
                         const struct place *p, int64_t received_us, enum service_pass pass)
{
    const struct stanza *delegation = delegation_of(s, st);
    const struct stanza *inner =
        delegation
            ? stanza_child(stanza_child(delegation, "forwarded", NS_FORWARD), "iq", NS_CLIENT)
            : st;
    service_asker_seen(s, inner, p->spool, received_us);
    bool again = pass == SERVICE_REPLAY;
    if (again && !s->events.request_is_open(s->events.ctx, p))
        return;
    struct iq_origin o = origin_of(epoch, p, received_us);
    struct iq_request *r = open_request(s, st, delegation, &o);
    if (r && again && !(is_read(r) && o.age_ms < IQ_REPEAT_WITHIN_MS))
        iq_later(r, "interrupted");
    else if (r)
        dispatch(s, r);
}

static bool is_request(const struct stanza *st)
{
    const char *type = stanza_get(st, "type");
    return strcmp(st->name, "iq") == 0 && type &&
           (strcmp(type, "get") == 0 || strcmp(type, "set") == 0);
}

void service_refuse(struct service *s, const struct stanza *head, const struct cursor_piece *p,
                    enum service_pass pass, bool over_limit)
{
    if (!is_request(head) ||
        (pass == SERVICE_REPLAY && !s->events.request_is_open(s->events.ctx, &p->place)))
        return;
    struct iq_origin o = origin_of(p->epoch, &p->place, p->received_us);
    struct iq_request *r = open_request(s, head, delegation_of(s, head), &o);
    if (r && over_limit)
        iq_error(r, "modify", "policy-violation", p->why);
    else if (r)
        iq_error(r, "cancel", "internal-server-error", NULL);
}

static void take_iq(struct service *s, uint64_t epoch, const struct stanza *st,
                    const struct place *p, int64_t received_us, enum service_pass pass)
{
    if (is_request(st)) {
        take_request(s, epoch, st, p, received_us, pass);
        return;
    }
    if (!stanza_get(st, "type"))
        return;
    int host = service_host(s, stanza_get(st, "from"));
    if (host >= 0)
        link_read_list(s, &s->links[p->spool], (unsigned)host, st, received_us);
    iq_answered(s->iqs, st);
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
    iq_ask(s->iqs, &q);
}

uint64_t service_looked_at(const struct service *s)
{
    return s->looked_at;
}

/* ---- time ---- */

void service_tick(struct service *s, int64_t now_ms)
{
    iq_tick(s->iqs, now_ms);
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
    int64_t next = iq_deadline(s->iqs);
    for (size_t i = 0; i < s->links_n; i++)
        if (s->links[i].check_ms < next)
            next = s->links[i].check_ms;
    if (s->nodes.ask_ms < next)
        next = s->nodes.ask_ms;
    return s->sweep_ms < next ? s->sweep_ms : next;
}

/* ---- questions of others ---- */

/* All hosts of a link have told who is online. */
static bool is_listed(const struct service *s, const struct link_state *l)
{
    for (size_t h = 0; h < s->opts->domains_n; h++)
        if (l->hosts[h].listing != LISTING_DONE)
            return false;
    return true;
}

static bool is_unsettled(const struct service *s, int64_t now_us)
{
    for (size_t i = 0; i < s->links_n; i++) {
        const struct link_state *l = &s->links[i];
        int64_t since_us = l->up ? l->opened_us : l->closed_us;
        if (now_us < since_us + UNSETTLED_US && !(l->up && is_listed(s, l)))
            return true;
    }
    return false;
}

enum session_state service_session_state(const struct service *s, const char *bare,
                                         int64_t now_us, int64_t stale_after_us,
                                         int64_t *seen_us_out)
{
    int64_t seen_us;
    enum session_state state =
        sessions_state(s->sessions, bare, now_us, stale_after_us, &seen_us);
    if (seen_us_out)
        *seen_us_out = seen_us;
    if (state == SESSION_OFFLINE && seen_us == 0 && is_unsettled(s, now_us))
        return SESSION_UNKNOWN;
    return state;
}

const struct sessions *service_sessions(const struct service *s)
{
    return s->sessions;
}

void service_session_stuck(struct service *s, const char *bare, const char *resource,
                           int64_t at_us)
{
    sessions_stuck(s->sessions, bare, resource, at_us);
}

bool service_grants_rosters(const struct service *s, const char *bare, unsigned *link_out)
{
    const char *at = strchr(bare, '@');
    int host = service_host(s, at ? at + 1 : bare);
    for (unsigned i = 0; host >= 0 && i < s->links_n; i++)
        if (s->links[i].up && s->links[i].hosts[host].privilege.rosters) {
            *link_out = i;
            return true;
        }
    return false;
}

const struct adapter *service_adapter(const struct service *s)
{
    return &s->adapter;
}

void service_link_status(const struct service *s, unsigned link,
                         struct service_link_status *out)
{
    assert(link < s->links_n);
    const struct link_state *l = &s->links[link];
    *out = (struct service_link_status){
        .up = l->up,
        .live = l->live,
        .messages_granted = true,
        .presence_granted = true,
        .namespaces_delegated = (unsigned)s->delegation.served_n,
        .sessions_listed = is_listed(s, l),
        .accounts_online = sessions_accounts(s->sessions),
        .requests_open = iq_open_count(s->iqs),
    };
    for (size_t h = 0; h < s->opts->domains_n; h++) {
        const struct host_state *host = &l->hosts[h];
        unsigned delegated = 0;
        for (size_t i = 0; i < s->delegation.served_n; i++)
            delegated += host->delegated[i] > 0;
        out->messages_granted &= host->privilege.messages || link_speaks_directly(s);
        out->presence_granted &= host->privilege.presence;
        if (delegated < out->namespaces_delegated)
            out->namespaces_delegated = delegated;
    }
    if (s->opts->server == SERVER_OPENFIRE)
        openfire_status(s, l, out);
}
