// SPDX-License-Identifier: Apache-2.0
/* What the service knows of sessions and links, for whoever wants to know. */
#include <assert.h>
#include <string.h>

#include "base/stanza.h"
#include "component/service_int.h"

#define UNSETTLED_US (120 * INT64_C(1000000))

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
