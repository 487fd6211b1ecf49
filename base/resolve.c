// SPDX-License-Identifier: Apache-2.0
#include "base/resolve.h"

#include <event2/dns.h>
#include <event2/event.h>
#include <event2/util.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>

/* What the resolver knows of us.  It outlives a question that was given up, for the resolver
 * tells us its end later. */
struct asking {
    struct resolve *resolve; /* NULL: nobody wants to know any more */
};

struct resolve {
    resolve_fn fn;
    void *ctx;
    struct evdns_base *dns; /* NULL: it was an address */
    struct asking *asking;
    struct event *told;
    int answer;
    struct evutil_addrinfo *found;
};

/* A resolver cannot be freed in its own callback, so the answer is told from the loop. */
static void on_told(evutil_socket_t fd, short what, void *ctx)
{
    (void)fd;
    (void)what;
    struct resolve *r = ctx;
    const char *why = r->answer ? evutil_gai_strerror(r->answer) : "the name has no address";
    r->fn(r->ctx, r->answer ? NULL : r->found, why);
}

static void note(struct resolve *r, int answer, struct evutil_addrinfo *found)
{
    r->answer = answer;
    r->found = found;
    event_active(r->told, EV_TIMEOUT, 0);
}

static void on_answer(int answer, struct evutil_addrinfo *found, void *ctx)
{
    struct asking *asking = ctx;
    struct resolve *r = asking->resolve;
    free(asking);
    if (r) {
        r->asking = NULL;
        note(r, answer, found);
    } else if (found) {
        evutil_freeaddrinfo(found);
    }
}

static struct evdns_base *new_resolver(struct event_base *base)
{
    struct evdns_base *dns = evdns_base_new(base, EVDNS_BASE_INITIALIZE_NAMESERVERS |
                                                      EVDNS_BASE_DISABLE_WHEN_INACTIVE);
    if (dns)
        return dns;
    /* No resolv.conf: what is in the hosts file can still be found. */
    dns = evdns_base_new(base, EVDNS_BASE_DISABLE_WHEN_INACTIVE);
    if (!dns)
        abort();
    evdns_base_load_hosts(dns, "/etc/hosts");
    return dns;
}

struct resolve *resolve_start(struct event_base *base, const char *host, uint16_t port,
                              resolve_fn fn, void *ctx)
{
    struct resolve *r = calloc(1, sizeof *r);
    struct evutil_addrinfo *found, hints = {.ai_family = AF_UNSPEC,
                                            .ai_socktype = SOCK_STREAM,
                                            .ai_protocol = IPPROTO_TCP,
                                            .ai_flags = EVUTIL_AI_NUMERICHOST};
    char service[8];
    if (!r)
        abort();
    r->fn = fn;
    r->ctx = ctx;
    r->told = evtimer_new(base, on_told, r);
    if (!r->told)
        abort();
    snprintf(service, sizeof service, "%u", port);
    if (evutil_getaddrinfo(host, service, &hints, &found) == 0) {
        note(r, 0, found);
        return r;
    }
    hints.ai_flags = EVUTIL_AI_ADDRCONFIG;
    r->dns = new_resolver(base);
    r->asking = calloc(1, sizeof *r->asking);
    if (!r->asking)
        abort();
    r->asking->resolve = r;
    evdns_getaddrinfo(r->dns, host, service, &hints, on_answer, r->asking);
    return r;
}

void resolve_free(struct resolve **rp)
{
    struct resolve *r = *rp;
    *rp = NULL;
    if (!r)
        return;
    if (r->asking)
        r->asking->resolve = NULL;
    if (r->dns)
        evdns_base_free(r->dns, 1);
    if (r->found)
        evutil_freeaddrinfo(r->found);
    event_free(r->told);
    free(r);
}
