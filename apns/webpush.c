// SPDX-License-Identifier: Apache-2.0
#include "apns/webpush.h"

#include <assert.h>
#include <event2/event.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "apns/opts.h"
#include "apns/webpush_int.h"
#include "base/clock.h"
#include "base/crypt.h"
#include "base/map.h"

#define BUSY_MS 300

const struct webpush_tuning webpush_tuning_default = {
    .room_max = 1000,
    .room_small = 250,
    .active_max = 32,
    .active_new = 16,
    .origins_max = 1000,
    .queue_ms = 30000,
    .connect_timeout_ms = 10000,
    .timeout_ms = 20000,
    .pad_to = 256,
    .threads = 2,
};

struct webpush *webpush_of(void *ctx)
{
    struct webpush *w = ctx;
    assert(w->magic == WEBPUSH_MAGIC);
    return w;
}

size_t webpush_room(const struct webpush *w)
{
    return w->items < w->tuning.room_max && !w->closing ? w->tuning.room_max - w->items : 0;
}

/* --- origins --- */

/* One that nothing is under way to; those with something are fewer than are remembered. */
static void forget_one(struct webpush *w)
{
    struct origin *o = TAILQ_FIRST(&w->by_use);
    while (o && o->items > 0)
        o = TAILQ_NEXT(o, by_use);
    if (!o)
        return;
    TAILQ_REMOVE(&w->by_use, o, by_use);
    (void)map_take(w->origins, o->name, strlen(o->name));
    free(o);
}

static struct origin *origin_of(struct webpush *w, const char *name)
{
    struct origin *o = map_get(w->origins, name, strlen(name));
    if (o) {
        TAILQ_REMOVE(&w->by_use, o, by_use);
    } else {
        if (map_count(w->origins) >= w->tuning.origins_max)
            forget_one(w);
        o = calloc(1, sizeof *o);
        if (!o)
            abort();
        TAILQ_INIT(&o->queue);
        origin_init(&o->state);
        snprintf(o->name, sizeof o->name, "%s", name);
        (void)map_put(w->origins, o->name, strlen(o->name), o);
    }
    TAILQ_INSERT_TAIL(&w->by_use, o, by_use);
    return o;
}

/* --- submitting --- */

static bool is_topic(const char *s)
{
    size_t len = strspn(s, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_");
    return len > 0 && len <= WEBPUSH_TOPIC_MAX && s[len] == '\0';
}

static struct piece *new_piece(struct webpush *w, const struct push_request *r)
{
    struct piece *p = calloc(1, sizeof *p + r->payload_len + r->brief_len);
    if (!p)
        abort();
    p->webpush = w;
    p->ctx = r->ctx;
    p->queued_ms = clock_mono_ms();
    p->expiration_s = r->expiration_s;
    p->high = r->priority >= 10;
    p->plain_len = r->payload_len;
    p->brief_len = r->brief_len;
    uuid_format(r->apns_id, p->id);
    if (r->payload_len > 0)
        memcpy(p->text, r->payload, r->payload_len);
    if (r->brief_len > 0)
        memcpy(p->text + r->payload_len, r->brief, r->brief_len);
    p->plain = p->text;
    p->brief = p->text + r->payload_len;
    LIST_INSERT_HEAD(&w->all, p, all);
    w->items++;
    return p;
}

/* What would be refused for certain, or may not be sent any more by the settings of now. */
static const char *find_fault(const struct webpush *w, struct piece *p,
                              const struct push_request *r)
{
    if (!subscription_parse(r->token, &p->to))
        return "BadSubscription";
    if (r->collapse_id && !is_topic(r->collapse_id))
        return "BadTopic";
    if (p->plain_len == 0)
        return "PayloadEmpty";
    if (p->plain_len > ECE_PLAIN_MAX || p->brief_len > ECE_PLAIN_MAX)
        return "PayloadTooLarge";
    return subscription_refused(&p->to, w->opts);
}

static void enqueue(struct webpush *w, struct piece *p)
{
    struct origin *o = origin_of(w, p->to.origin);
    int64_t now_ms = p->queued_ms;
    bool small = origin_is_small(&o->state);
    if (origin_is_held(&o->state, now_ms)) {
        webpush_tell_later(w, p, PUSH_RETRY, o->state.held_until_ms - now_ms, o->state.reason);
        return;
    }
    if (o->items >= origin_items_max(&o->state) ||
        (small && w->items_small >= w->tuning.room_small)) {
        webpush_tell_later(w, p, PUSH_RETRY, BUSY_MS, "push service is busy");
        return;
    }
    p->origin = o;
    p->is_small = small;
    w->items_small += small;
    o->items++;
    TAILQ_INSERT_TAIL(&o->queue, p, next);
    if (!o->waiting) {
        o->waiting = true;
        TAILQ_INSERT_TAIL(&w->by_wait, o, by_wait);
    }
}

bool webpush_submit(struct webpush *w, const struct push_request *r)
{
    if (webpush_room(w) == 0) {
        w->had_room = false;
        return false;
    }
    struct piece *p = new_piece(w, r);
    const char *fault = find_fault(w, p, r);
    if (r->collapse_id && !fault)
        strcpy(p->topic, r->collapse_id);
    if (fault)
        webpush_tell_later(w, p, PUSH_PARK, 0, fault);
    else
        enqueue(w, p);
    event_active(w->wake, EV_TIMEOUT, 0);
    return true;
}

/* --- status --- */

static unsigned count_held(const struct webpush *w, int64_t now_ms)
{
    unsigned held = 0;
    const struct origin *o;
    TAILQ_FOREACH(o, &w->by_use, by_use)
    held += origin_is_held(&o->state, now_ms);
    return held;
}

void webpush_get_status(const struct webpush *w, struct gateway_status *out)
{
    unsigned held = count_held(w, clock_mono_ms());
    size_t known = map_count(w->origins);
    *out = w->counted;
    out->connections = w->active;
    out->in_flight = (unsigned)w->in_flight;
    out->queued = (unsigned)(w->items - w->in_flight);
    out->state = w->items > 0 ? GATEWAY_UP : GATEWAY_IDLE;
    if (held > 0 && held == known)
        out->state = GATEWAY_BACKOFF;
    if (held > 0)
        snprintf(out->reason, sizeof out->reason, "%u of %zu push services paused: %.50s",
                 held, known, w->trouble);
}

/* --- birth and death --- */

static void on_wake(evutil_socket_t fd, short what, void *ctx)
{
    (void)fd;
    (void)what;
    webpush_turn(webpush_of(ctx));
}

enum err_kind webpush_new(struct event_base *base, const struct apns_app_opts *opts,
                          const struct gateway_events *events,
                          const struct webpush_tuning *tuning, struct gateway *owner,
                          struct webpush **out, struct err *e)
{
    struct vapid *vapid = NULL;
    enum err_kind kind =
        vapid_new(opts->webpush->private_key, opts->webpush->subject, &vapid, e);
    if (kind)
        return kind;
    struct webpush *w = calloc(1, sizeof *w);
    if (!w)
        abort();
    w->magic = WEBPUSH_MAGIC;
    w->base = base;
    w->opts = opts->webpush;
    w->tuning = *tuning;
    w->events = *events;
    w->owner = owner;
    w->vapid = vapid;
    w->had_room = true;
    w->origins = map_new();
    TAILQ_INIT(&w->by_use);
    TAILQ_INIT(&w->by_wait);
    TAILQ_INIT(&w->told);
    LIST_INIT(&w->all);
    snprintf(w->log_prefix, sizeof w->log_prefix, "gateway app=%s", opts->id);
    w->wake = event_new(base, -1, 0, on_wake, w);
    w->timer = evtimer_new(base, on_wake, w);
    if (!w->wake || !w->timer)
        abort();
    const struct webpush_http_opts http = {
        .base = base,
        .ca_pem = opts->ca_pem,
        .allow_private = opts->webpush->allow_private,
        .proxy = opts->proxy,
        .connections_per_origin = ORIGIN_CONNECTIONS,
        .connections = tuning->active_max * ORIGIN_CONNECTIONS,
        .connect_timeout_ms = tuning->connect_timeout_ms,
        .timeout_ms = tuning->timeout_ms,
        .done = webpush_answered,
        .ctx = w,
    };
    w->http = webpush_http_new(&http);
    *out = w;
    return ERR_NONE;
}

void webpush_free(struct webpush **wp)
{
    static const struct push_verdict shutdown = {
        .reaction = PUSH_RETRY, .reason = "shutdown", .retry_after_ms = 1000};
    struct webpush *w = *wp;
    struct origin *o;
    if (!w)
        return;
    assert(!w->in_turn);
    w->closing = true;
    crew_free(&w->crew);
    webpush_http_free(&w->http);
    while (!LIST_EMPTY(&w->all)) {
        struct piece *p = LIST_FIRST(&w->all);
        webpush_finish(w, p, p->judged ? &p->verdict : &shutdown);
    }
    while ((o = TAILQ_FIRST(&w->by_use))) {
        TAILQ_REMOVE(&w->by_use, o, by_use);
        free(o);
    }
    map_free(&w->origins);
    vapid_free(&w->vapid);
    event_free(w->wake);
    event_free(w->timer);
    w->magic = 0;
    free(w);
    *wp = NULL;
}
