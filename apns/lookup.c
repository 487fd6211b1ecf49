// SPDX-License-Identifier: Apache-2.0
#include "apns/lookup.h"

#include <event2/dns.h>
#include <event2/event.h>
#include <event2/util.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/crypt.h"

/* libevent looks into the resolver when an answer or a cancellation arrives, so the resolver
 * lives until then and one turn longer, whoever asked. */
struct lookup {
    struct event_base *base;
    struct evdns_base *dns;
    struct evdns_getaddrinfo_request *request;
    lookup_fn done; /* NULL once cancelled */
    void *ctx;
    bool starting;
    bool answered;
};

static void collect(const struct evutil_addrinfo *list, struct lookup_result *r)
{
    r->n = 0;
    for (const struct evutil_addrinfo *a = list; a && r->n < LOOKUP_MAX; a = a->ai_next) {
        if (a->ai_addrlen > sizeof r->list[0].addr)
            continue;
        memcpy(&r->list[r->n].addr, a->ai_addr, a->ai_addrlen);
        r->list[r->n++].len = (socklen_t)a->ai_addrlen;
    }
    for (size_t i = r->n; i > 1; i--) {
        size_t j = crypt_random_u64() % i;
        struct lookup_address swap = r->list[i - 1];
        r->list[i - 1] = r->list[j];
        r->list[j] = swap;
    }
}

static void report(lookup_fn done, void *ctx, int error, const struct evutil_addrinfo *list)
{
    struct lookup_result r = {.n = 0};
    if (error == 0)
        collect(list, &r);
    if (error != 0)
        done(ctx, NULL, evutil_gai_strerror(error));
    else if (r.n == 0)
        done(ctx, NULL, "the name has no address");
    else
        done(ctx, &r, NULL);
}

static void destroy(evutil_socket_t fd, short what, void *ctx)
{
    (void)fd;
    (void)what;
    struct lookup *l = ctx;
    evdns_base_free(l->dns, 0);
    free(l);
}

static void answered(int error, struct evutil_addrinfo *list, void *ctx)
{
    struct lookup *l = ctx;
    lookup_fn done = l->done;
    l->answered = true;
    l->done = NULL;
    if (done)
        report(done, l->ctx, error, list);
    if (list)
        evutil_freeaddrinfo(list);
    struct timeval now = {0, 0};
    if (!l->starting && event_base_once(l->base, -1, EV_TIMEOUT, destroy, l, &now) != 0)
        abort();
}

static struct evdns_base *make_resolver(struct event_base *base)
{
    struct evdns_base *dns = evdns_base_new(base, EVDNS_BASE_DISABLE_WHEN_INACTIVE);
    if (!dns)
        abort();
    /* Without the file libevent asks 127.0.0.1, as the C library does. */
    (void)evdns_base_resolv_conf_parse(dns, DNS_OPTIONS_ALL, "/etc/resolv.conf");
    (void)evdns_base_set_option(dns, "timeout:", "3");
    return dns;
}

void lookup_start(struct event_base *base, const char *host, uint16_t port, lookup_fn done,
                  void *ctx, struct lookup **out)
{
    char service[8];
    struct evutil_addrinfo *list = NULL;
    struct evutil_addrinfo hints = {.ai_family = AF_UNSPEC,
                                    .ai_socktype = SOCK_STREAM,
                                    .ai_protocol = IPPROTO_TCP,
                                    .ai_flags = EVUTIL_AI_NUMERICHOST};
    snprintf(service, sizeof service, "%u", port);
    *out = NULL;
    if (evutil_getaddrinfo(host, service, &hints, &list) == 0) {
        report(done, ctx, 0, list);
        evutil_freeaddrinfo(list);
        return;
    }
    struct lookup *l = calloc(1, sizeof *l);
    if (!l)
        abort();
    l->base = base;
    l->dns = make_resolver(base);
    l->done = done;
    l->ctx = ctx;
    hints.ai_flags = EVUTIL_AI_ADDRCONFIG;
    *out = l;
    l->starting = true;
    l->request = evdns_getaddrinfo(l->dns, host, service, &hints, answered, l);
    l->starting = false;
    if (l->answered) {
        *out = NULL;
        destroy(-1, 0, l);
    }
}

void lookup_cancel(struct lookup **lp)
{
    struct lookup *l = *lp;
    *lp = NULL;
    if (!l)
        return;
    l->done = NULL;
    evdns_getaddrinfo_cancel(l->request);
}
