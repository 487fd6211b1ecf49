// SPDX-License-Identifier: Apache-2.0
/* What one connection has been granted, and who was online when it began. */
#include "component/service_int.h"

#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/stanza.h"
#include "component/ns.h"

#define ANNOUNCE_WITHIN_MS 30000
#define ANNOUNCE_WITHIN_MAX_MS (3600 * 1000)
#define LIST_WITHIN_MS 30000
#define LIST_NODE "online users" /* ejabberd's mod_configure */
/* Who came in while the server made its list is not on it. */
#define LIST_SLACK_US (5 * INT64_C(1000000))

static unsigned number(const struct service *s, const struct link_state *l)
{
    return (unsigned)(l - s->links);
}

void link_reset(struct service *s, struct link_state *l)
{
    l->announced = false;
    copy_flow_restart(&l->flow);
    l->check_ms = INT64_MAX;
    for (size_t h = 0; h < s->opts->domains_n; h++)
        l->hosts[h] = (struct host_state){.listing = LISTING_NONE};
}

static void read_delegated(struct service *s, struct host_state *host,
                           const struct stanza *delegation)
{
    const struct stanza *el = stanza_child(delegation, "delegated", delegation->ns);
    for (; el; el = stanza_sibling(el, "delegated", delegation->ns)) {
        int i = delegation_find(&s->delegation, stanza_get(el, "namespace"));
        if (i >= 0)
            host->delegated[i] = (uint8_t)delegation_version(delegation->ns);
    }
}

bool link_announcement(struct service *s, struct link_state *l, unsigned host,
                       const struct stanza *message)
{
    const char *type = stanza_get(message, "type");
    struct host_state *state = &l->hosts[host];
    if (type && strcmp(type, "error") == 0) {
        /* It quotes what we sent: a result that the host would not deliver. */
        const struct stanza *error = stanza_child(message, "error", NULL);
        const struct stanza *condition = stanza_child(error, NULL, NS_STANZA_ERRORS);
        log_debug("xmpp", "link=%u host=%s refused a message condition=%s", number(s, l),
                  s->opts->domains[host], condition ? condition->name : "none");
        return true;
    }
    const struct stanza *delegation = delegation_element(message);
    bool privilege = privilege_read(message, &state->privilege);
    if (!privilege && !delegation)
        return false;
    l->announced = true;
    l->in_vain = 0;
    if (delegation)
        read_delegated(s, state, delegation);
    /* Prosody tells who is online right behind it, unasked. */
    if (privilege && state->privilege.presence && s->opts->server == SERVER_PROSODY)
        state->listing = LISTING_DONE;
    if (privilege) {
        link_list_sessions(s, l);
        nodes_reset(s);
    }
    return true;
}

bool link_speaks_directly(const struct service *s)
{
    return s->opts->speak_directly && !s->direct_refused;
}

/* Who may not speak as others and does is thrown out.  A new worker tries again, as after a
 * reload: by then a person may have changed the server's settings. */
void link_stream_error(struct service *s, const struct link_state *l, const struct stanza *st)
{
    if (!link_speaks_directly(s) || !stanza_child(st, "invalid-from", NS_STREAM_ERRORS))
        return;
    s->direct_refused = true;
    log_error("xmpp",
              "link=%u the server does not let us speak as its users without XEP-0356, and "
              "closes the stream: set check_from: false on its listener and reload, or "
              "xmpp.speak_as_users: privilege; by privilege until then",
              number(s, l));
}

/* ---- who is online ---- */

static struct host_state *host_named(struct service *s, unsigned link, const char *name)
{
    int host = service_host(s, name);
    return host < 0 ? NULL : &s->links[link].hosts[host];
}

/* The list itself has been read before (service_stanza does, also in REPLAY); here only that
 * there was none. */
struct list_question {
    struct service *s;
    unsigned link;
    uint64_t epoch;
    const char *host;
};

static void on_list(void *ctx, const struct stanza *iq)
{
    struct list_question *q = ctx;
    struct host_state *host = host_named(q->s, q->link, q->host);
    if (q->s->links[q->link].epoch == q->epoch && host->listing == LISTING_ASKED) {
        host->listing = LISTING_REFUSED;
        log_debug("xmpp", "link=%u host=%s does not tell who is online: %s", q->link, q->host,
                  iq ? "not allowed" : "no answer");
    }
    free(q);
}

static void ask_list(struct service *s, struct link_state *l, const char *host)
{
    struct list_question *q = malloc(sizeof *q);
    if (!q)
        abort();
    *q = (struct list_question){.s = s, .link = number(s, l), .epoch = l->epoch, .host = host};
    struct arena *arena = arena_new(4096);
    struct stanza *query = stanza_new(arena, "query", NS_DISCO_ITEMS);
    stanza_set(query, "node", LIST_NODE);
    service_ask(s, number(s, l), host, "get", query, LIST_WITHIN_MS, on_list, q);
    arena_free(&arena);
}

void link_list_sessions(struct service *s, struct link_state *l)
{
    if (!l->up || !l->live || s->opts->server != SERVER_EJABBERD)
        return;
    for (size_t h = 0; h < s->opts->domains_n; h++) {
        struct host_state *host = &l->hosts[h];
        if (!host->privilege.ns || host->listing != LISTING_NONE)
            continue;
        host->listing = LISTING_ASKED;
        ask_list(s, l, s->opts->domains[h]);
    }
}

void link_list_again(struct service *s)
{
    for (size_t i = 0; i < s->links_n; i++) {
        struct link_state *l = &s->links[i];
        if (!l->up)
            continue;
        for (size_t h = 0; h < s->opts->domains_n; h++)
            if (l->hosts[h].listing == LISTING_DONE)
                l->hosts[h].listing = LISTING_NONE;
        link_list_sessions(s, l);
        return;
    }
}

void link_read_list(struct service *s, struct link_state *l, unsigned host,
                    const struct stanza *iq, int64_t received_us)
{
    if (s->opts->server == SERVER_OPENFIRE) {
        openfire_read_list(s, l, host, iq, received_us);
        return;
    }
    const char *type = stanza_get(iq, "type");
    const struct stanza *query = stanza_child(iq, "query", NS_DISCO_ITEMS);
    const char *node = stanza_get(query, "node");
    if (!type || strcmp(type, "result") != 0 || !node || strcmp(node, LIST_NODE) != 0)
        return;
    unsigned count = 0;
    const struct stanza *item = stanza_child(query, "item", NS_DISCO_ITEMS);
    for (; item; item = stanza_sibling(item, "item", NS_DISCO_ITEMS)) {
        struct jid who;
        if (!jid_parse(&who, stanza_get(item, "jid")) || !adapter_is_local(&s->adapter, &who))
            continue;
        sessions_listed(s->sessions, &who, service_any_node(s, number(s, l)), received_us);
        count++;
    }
    sessions_unlisted(s->sessions, s->opts->domains[host], number(s, l),
                      received_us - LIST_SLACK_US, s->events.gone, s->events.ctx);
    l->hosts[host].listing = LISTING_DONE;
    log_info("xmpp", "link=%u host=%s sessions=%u", number(s, l), s->opts->domains[host],
             count);
}

/* ---- the announcements must come ---- */

static bool announces(enum server_kind server)
{
    return server == SERVER_EJABBERD || server == SERVER_PROSODY;
}

/* Connections that bring nothing come further and further apart: each costs copies, and the
 * server may have nothing to announce because nobody has configured it. */
static int64_t announce_within_ms(const struct link_state *l)
{
    int64_t ms = ANNOUNCE_WITHIN_MS;
    for (unsigned i = 0; i < l->in_vain && ms < ANNOUNCE_WITHIN_MAX_MS; i++)
        ms *= 2;
    return ms < ANNOUNCE_WITHIN_MAX_MS ? ms : ANNOUNCE_WITHIN_MAX_MS;
}

void link_check_begin(struct service *s, struct link_state *l)
{
    if (s->opts->server == SERVER_OPENFIRE)
        openfire_begin(s, l);
    if (!announces(s->opts->server))
        return;
    int64_t age_ms = (clock_real_us() - l->opened_us) / 1000;
    int64_t left_ms = announce_within_ms(l) - (age_ms > 0 ? age_ms : 0);
    /* After a long REPLAY the check is due; one more second for what just came in. */
    l->check_ms = clock_mono_ms() + (left_ms > 1000 ? left_ms : 1000);
}

static void warn_of_missing(const struct service *s, const struct link_state *l, size_t h)
{
    const struct host_state *host = &l->hosts[h];
    const char *name = s->opts->domains[h];
    if (!host->privilege.messages && !link_speaks_directly(s) && s->delegation.served_n > 0)
        log_warn("xmpp",
                 "link=%u host=%s lets us send no messages as its users: "
                 "archive pages cannot be delivered",
                 number(s, l), name);
    if (!host->privilege.presence)
        log_warn("xmpp", "link=%u host=%s does not show its users' presence", number(s, l),
                 name);
    for (size_t i = 0; i < s->delegation.served_n; i++)
        if (!host->delegated[i])
            log_warn("xmpp", "link=%u host=%s has not delegated %s", number(s, l), name,
                     s->delegation.served[i]);
}

void link_check(struct service *s, struct link_state *l, int64_t now_ms)
{
    if (s->opts->server == SERVER_OPENFIRE) {
        openfire_tick(s, l, now_ms);
        return;
    }
    if (!l->up || !l->live || now_ms < l->check_ms)
        return;
    l->check_ms = INT64_MAX;
    if (l->announced) {
        for (size_t h = 0; h < s->opts->domains_n; h++)
            warn_of_missing(s, l, h);
        return;
    }
    l->in_vain++;
    log_warn("xmpp",
             "link=%u the server has announced no permission and no namespace: "
             "connecting again",
             number(s, l));
    s->events.reconnect(s->events.ctx, number(s, l), l->epoch,
                        "nothing announced by the server");
}
