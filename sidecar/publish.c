// SPDX-License-Identifier: Apache-2.0
#include "sidecar/publish.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "apns/devices.h"
#include "apns/notification.h"
#include "apns/opts.h"
#include "apns/outbox.h"
#include "apns/publishes.h"
#include "apns/stateless.h"
#include "archive/ident.h"
#include "archive/ingest.h"
#include "base/arena.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/map.h"
#include "base/stanza.h"
#include "component/ns.h"
#include "component/service.h"
#include "sidecar/hints.h"
#include "store/pg.h"

#define MINUTE_MS 60000

struct publish {
    struct service *service;
    const struct push_opts *push;
    struct publish_opts opts;
    struct hints *hints;
    bool ready;
    unsigned open;
    /* Of this minute, by domain. */
    struct map *misses;
    struct map *fresh;
    int64_t minute_ends_ms;
};

/* One that is under way; it lives in the request's arena. */
struct taken {
    struct publish *publish;
    struct iq_request *request;
    struct notification n;
    const char *domain; /* the publishing server's */
    const char *app;    /* of a device that nobody registered, with its token */
    const char *token;
    struct device_stateless id;
};

/* ---- limits ---- */

static void turn_minute(struct publish *p)
{
    int64_t now_ms = clock_mono_ms();
    if (now_ms < p->minute_ends_ms)
        return;
    map_free(&p->misses);
    map_free(&p->fresh);
    p->misses = map_new();
    p->fresh = map_new();
    p->minute_ends_ms = now_ms + MINUTE_MS;
}

static unsigned counted(const struct map *m, const char *domain)
{
    return (unsigned)(uintptr_t)map_get(m, domain, strlen(domain));
}

static void count(struct map *m, const char *domain)
{
    map_put(m, domain, strlen(domain), (void *)(uintptr_t)(counted(m, domain) + 1));
}

/* ---- who ---- */

/* Some servers publish in the name of the account.  The account's own clients cannot: what
 * they send carries their resource. */
static bool is_server(const struct publish *p, const struct iq_request *r)
{
    const struct adapter *a = service_adapter(p->service);
    return adapter_is_host(a, r->asker_text) ||
           (jid_is_bare(&r->asker) && (r->guest || adapter_is_local(a, &r->asker)));
}

/* A host speaks for its own users, and an account for itself. */
static bool speaks_for(const struct taken *t, const char *account)
{
    const char *at = strchr(account, '@');
    const struct jid *from = &t->request->asker;
    if (from->local_len > 0)
        return strcmp(account, from->bare) == 0;
    return at && strcmp(at + 1, t->domain) == 0;
}

/* Of another server: not of a part of ours, as its rooms are, whose messages are not counted.
 */
static bool is_remote(const struct publish *p, const struct jid *sender)
{
    const struct component_opts *o = service_adapter(p->service)->opts;
    const char *domain = jid_domain(sender);
    size_t len = strlen(domain);
    for (size_t i = 0; i < o->domains_n; i++) {
        size_t host_len = strlen(o->domains[i]);
        if (len >= host_len && strcmp(domain + len - host_len, o->domains[i]) == 0 &&
            (len == host_len || domain[len - host_len - 1] == '.'))
            return false;
    }
    return sender->local_len > 0;
}

/* What a service says to who is away is not copied either, nor is an event, of which a publish
 * does not say whose it is. */
static bool is_news(const struct publish *p, const struct jid *sender)
{
    const struct notice_opts *o = notice_find_plain(&p->push->notices, sender->bare);
    return o && o->count && o->push;
}

/* ---- ends ---- */

static void accept(struct taken *t)
{
    t->publish->open--;
    iq_reply(t->request, NULL);
}

static void later(struct taken *t, const char *why)
{
    t->publish->open--;
    iq_later(t->request, why);
}

static void miss(struct taken *t)
{
    t->publish->open--;
    if (t->request->guest)
        count(t->publish->misses, t->domain);
    iq_error(t->request, "cancel", "item-not-found", NULL);
}

/* ---- a push of its own ---- */

static void on_pushed(void *ctx, const struct pg_error *e)
{
    struct taken *t = ctx;
    if (e->failure) {
        later(t, "the database is not reachable now");
        return;
    }
    outbox_look(t->publish->opts.outbox);
    accept(t);
}

static void push(struct taken *t, const uint8_t owner[OWNER_BYTES], const uint8_t device[16],
                 bool ours)
{
    struct publish *p = t->publish;
    struct jid sender;
    const char *from = "";
    if (t->n.sender && jid_parse(&sender, t->n.sender))
        from = sender.bare;
    const struct publishes_push push = {
        .owner = owner,
        .device = device,
        .peer = ident_peer(ingest_ident(p->opts.ingest), owner, from),
        .jid = from,
        .body = t->n.placeholder ? NULL : t->n.body,
        .encrypted = t->n.encrypted,
        .weight = (int)t->n.weight,
        .count = t->n.count,
        .ours = ours,
    };
    publishes_push(p->opts.pool, &push, on_pushed, t);
}

/* ---- devices that nobody registered ---- */

static void on_adopted(void *ctx, const struct device_registered *r, const struct pg_error *e)
{
    struct taken *t = ctx;
    if (r)
        push(t, t->id.owner, t->id.device, false);
    else
        later(t, "the database is not reachable now");
    (void)e;
}

static void adopt(struct taken *t)
{
    struct publish *p = t->publish;
    if (counted(p->fresh, t->domain) >= PUBLISH_NEW_MAX) {
        later(t, "too many new devices, try again in a minute");
        return;
    }
    count(p->fresh, t->domain);
    const struct device_registration r = {
        .key = {.owner = t->id.owner, .app = t->app, .token = t->token},
        .account = t->request->asker.bare,
        .resource = "",
        .dialect = DEVICE_STATELESS,
    };
    devices_register(p->opts.devices, &r, on_adopted, t);
}

static void on_known(void *ctx, enum device_known known, const struct pg_error *e)
{
    struct taken *t = ctx;
    if (e->failure) {
        later(t, "the database is not reachable now");
        return;
    }
    switch (known) {
    case DEVICE_KNOWN:
        push(t, t->id.owner, t->id.device, false);
        break;
    case DEVICE_UNKNOWN:
        adopt(t);
        break;
    case DEVICE_GONE:
        miss(t);
        break;
    }
}

/* True when it is of such a dialect, and taken care of. */
static bool take_stateless(struct taken *t)
{
    struct publish *p = t->publish;
    struct stateless_device found;
    switch (stateless_read(p->push, t->domain, &t->n, &found)) {
    case STATELESS_NONE:
        return false;
    case STATELESS_NO_APP: /* which may be ours to mend */
        log_warn("publish", "domain=%s names an app that is not in push.apps", t->domain);
        later(t, "the app is not configured");
        return true;
    case STATELESS_NO_TOKEN:
        miss(t);
        return true;
    case STATELESS_DEVICE:
        break;
    }
    t->app = p->push->apps[found.app].id;
    t->token = arena_strdup(t->request->arena, found.token);
    devices_stateless_id(p->opts.devices, t->request->asker.bare, t->app, t->token, &t->id);
    devices_know(p->opts.devices, &t->id, on_known, t);
    return true;
}

/* ---- a sign that something was not delivered ---- */

static void on_kept(void *ctx, const struct pg_error *e)
{
    struct taken *t = ctx;
    if (e->failure) {
        later(t, "the database is not reachable now");
        return;
    }
    hints_stored(t->publish->hints);
    accept(t);
}

static void take_sign(struct taken *t, const struct device_owner *o)
{
    struct publish *p = t->publish;
    const struct iq_request *r = t->request;
    struct jid sender;
    if (!adapter_publish_means_undelivered(service_adapter(p->service))) {
        accept(t);
        return;
    }
    service_session_stuck(p->service, o->account, o->resource, r->received_us);
    outbox_reconsider(p->opts.outbox, o->owner);
    if (!t->n.body || !t->n.sender || !jid_parse(&sender, t->n.sender) ||
        !(is_remote(p, &sender) || is_news(p, &sender))) {
        accept(t);
        return;
    }
    const struct publishes_hint hint = {
        .owner = o->owner,
        .device = o->device,
        .account = o->account,
        .sender = sender.bare,
        .body = t->n.body,
        .at_us = r->received_us,
        .link = r->link,
        .pos = r->place.end,
    };
    publishes_keep(p->opts.pool, &hint, on_kept, t);
}

/* ---- taking ---- */

static void on_found(void *ctx, const struct device_owner *o, const struct pg_error *e)
{
    struct taken *t = ctx;
    bool guest = t->request->guest;
    bool own = !guest && !adapter_sees_messages(service_adapter(t->publish->service));
    if (e->failure)
        later(t, "the database is not reachable now");
    else if (!o || !(speaks_for(t, o->account) || (guest && o->has_secret)))
        miss(t);
    else if (guest || own)
        push(t, o->owner, o->device, !speaks_for(t, o->account));
    else
        take_sign(t, o);
}

static void look_up(struct publish *p, struct iq_request *r, const struct notification *n)
{
    struct taken *t = arena_alloc(r->arena, sizeof *t);
    if (!t) {
        iq_later(r, NULL);
        return;
    }
    *t = (struct taken){.publish = p, .request = r, .n = *n, .domain = jid_domain(&r->asker)};
    p->open++;
    if (strlen(n->node) > NOTIFICATION_NODE_MAX)
        miss(t);
    else if (!take_stateless(t))
        devices_find(p->opts.devices, n->node, n->secret, on_found, t);
}

/* A client of MongooseIM makes a node for its server to publish to, and says who may: there is
 * nothing to make. */
static bool take_node(struct publish *p, struct iq_request *r)
{
    bool owner = strcmp(r->payload->ns, NS_PUBSUB_OWNER) == 0;
    if (!owner && !stanza_child(r->payload, "create", NS_PUBSUB))
        return false;
    if (!r->own_account && !(r->guest && r->asker.local_len > 0))
        iq_forbid(r);
    else if (r->is_set && p->push->stateless & PUSH_STATELESS_MONGOOSEIM)
        iq_reply(r, NULL);
    else
        iq_error(r, "cancel", "feature-not-implemented", NULL);
    return true;
}

void publish_take(struct publish *p, struct iq_request *r)
{
    struct notification n;
    turn_minute(p);
    if (take_node(p, r))
        return;
    if (!is_server(p, r))
        iq_forbid(r);
    else if (!r->is_set || !notification_read(r->payload, &n))
        iq_error(r, "modify", "bad-request", NULL);
    else if (!p->ready)
        iq_later(r, "the database is not reachable now");
    else if (p->open >= PUBLISH_OPEN_MAX)
        iq_later(r, "too many at a time");
    else if (counted(p->misses, jid_domain(&r->asker)) >= PUBLISH_MISSES_MAX)
        iq_later(r, "too many of unknown devices, try again in a minute");
    else
        look_up(p, r, &n);
}

struct publish *publish_new(struct service *service, const struct push_opts *push)
{
    struct publish *p = calloc(1, sizeof *p);
    if (!p)
        abort();
    p->service = service;
    p->push = push;
    p->misses = map_new();
    p->fresh = map_new();
    return p;
}

void publish_free(struct publish **p)
{
    if (!*p)
        return;
    hints_free(&(*p)->hints);
    map_free(&(*p)->misses);
    map_free(&(*p)->fresh);
    free(*p);
    *p = NULL;
}

void publish_ready(struct publish *p, struct event_base *base, const struct publish_opts *opts)
{
    p->opts = *opts;
    const struct hints_opts hints = {
        .pool = opts->pool, .ingest = opts->ingest, .spools = opts->spools};
    p->hints = hints_new(base, &hints);
    p->ready = true;
}

void publish_pause(struct publish *p, bool pause)
{
    if (p->hints)
        hints_pause(p->hints, pause);
}
