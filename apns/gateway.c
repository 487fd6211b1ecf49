// SPDX-License-Identifier: Apache-2.0
#include "apns/gateway.h"

#include <assert.h>
#include <event2/event.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "apns/client_cert.h"
#include "apns/gateway_int.h"
#include "apns/opts.h"
#include "apns/protocol.h"
#include "apns/webpush.h"
#include "base/clock.h"

#define HTTPS_PORT 443

const struct gateway_tuning gateway_tuning_default = {
    .room_max = 2000,
    .resends_max = 5,
    .queue_ms = 30000,
    .probe_ms = 600000,
    .broken_after_ms = 60000,
    .connect_timeout_ms = 15000,
    .alarm_ms = 3600000,
    .verdict = {.server_error_ms = 900000, .device_hold_ms = 60000, .no_answer_ms = 1000},
    .h2 = {.streams_max = 1000,
           .timeouts_max = 3,
           .request_timeout_ms = 20000,
           .quiet_ping_ms = 15000,
           .idle_ping_ms = 3600000,
           .ping_ack_ms = 5000},
    .pool = {.members_max = 4,
             .backoff_min_ms = 1000,
             .backoff_max_ms = 60000,
             .grow_after_ms = 100,
             .calm_ms = 180000,
             .drain_ms = 30000,
             .proven_ms = 10000},
};

/* Firebase, "Scale FCM": a minute from nothing to the full rate, which is a project's quota;
 * ten seconds before the first retry.  Connections that have nothing to do are not asked for
 * life: the service ends them for that, and after four minutes anyway. */
const struct gateway_tuning gateway_tuning_fcm = {
    .room_max = 600,
    .resends_max = 5,
    .queue_ms = 30000,
    .probe_ms = 600000,
    .broken_after_ms = 60000,
    .connect_timeout_ms = 15000,
    .alarm_ms = 3600000,
    .ramp = {.start = 100, .full = 10000, .rise_s = 60},
    .verdict = {.server_error_ms = 10000, .device_hold_ms = 60000, .no_answer_ms = 10000},
    .h2 = {.streams_max = 100,
           .timeouts_max = 3,
           .request_timeout_ms = 20000,
           .quiet_ping_ms = 15000,
           .ping_ack_ms = 5000},
    .pool = {.members_max = 4,
             .backoff_min_ms = 1000,
             .backoff_max_ms = 60000,
             .grow_after_ms = 100,
             .calm_ms = 180000,
             .drain_ms = 30000,
             .proven_ms = 10000},
};

struct gateway *gateway_of(void *ctx)
{
    struct gateway *g = ctx;
    assert(g->magic == GATEWAY_MAGIC);
    return g;
}

size_t gateway_room_at(const struct gateway *g, int64_t now_ms)
{
    if (g->closing || gateway_is_held(g, now_ms) || g->credentials == PROTOCOL_FAILING ||
        g->credentials == PROTOCOL_REFUSED)
        return 0;
    if (g->stopped)
        return now_ms >= g->probe_at_ms && g->items == 0 ? 1 : 0;
    if (pool_get_state(g->pool) == POOL_BACKOFF)
        return 0;
    return g->items < g->tuning.room_max ? g->tuning.room_max - g->items : 0;
}

static void on_timer(evutil_socket_t fd, short what, void *ctx)
{
    (void)fd;
    (void)what;
    gateway_of(ctx)->armed_ms = INT64_MAX;
    gateway_turn(ctx);
}

static void on_wake(evutil_socket_t fd, short what, void *ctx)
{
    (void)fd;
    (void)what;
    gateway_turn(ctx);
}

/* --- for the outbox --- */

bool gateway_submit(struct gateway *g, const struct push_request *r)
{
    if (g->webpush)
        return webpush_submit(g->webpush, r);
    int64_t now_ms = clock_mono_ms();
    if (gateway_room_at(g, now_ms) == 0) {
        g->had_room = false;
        return false;
    }
    struct item *it = g->protocol.ops->make_item(g->protocol.self, r);
    it->probe = g->stopped;
    it->queued_ms = now_ms;
    /* What is refused here needs no connection and waits for none. */
    queue_add(it->refused ? &g->again : &g->queue, it);
    g->items++;
    if (!g->in_turn)
        event_active(g->wake, EV_TIMEOUT, 0);
    return true;
}

size_t gateway_room(const struct gateway *g)
{
    return g->webpush ? webpush_room(g->webpush) : gateway_room_at(g, clock_mono_ms());
}

void gateway_get_status(const struct gateway *g, struct gateway_status *out)
{
    if (g->webpush) {
        webpush_get_status(g->webpush, out);
        return;
    }
    int64_t now_ms = clock_mono_ms();
    const char *reason = "";
    *out = g->counted;
    out->connections = pool_up_count(g->pool);
    out->stream_limit = pool_limit(g->pool);
    out->queued = (unsigned)(g->again.n + g->queue.n);
    if (g->certificate)
        out->certificate_expires_s = client_cert_expires_s(g->certificate);
    out->in_flight = (unsigned)g->items - out->queued;
    switch (pool_get_state(g->pool)) {
    case POOL_IDLE:
        out->state = GATEWAY_IDLE;
        break;
    case POOL_CONNECTING:
        out->state = GATEWAY_CONNECTING;
        break;
    case POOL_UP:
        out->state = GATEWAY_UP;
        break;
    case POOL_BACKOFF:
        out->state = GATEWAY_BACKOFF;
        reason = pool_error(g->pool);
        break;
    }
    if (g->credentials == PROTOCOL_FAILING) {
        out->state = GATEWAY_BACKOFF;
        (void)gateway_credentials(g, &reason);
    }
    if (gateway_is_held(g, now_ms)) {
        out->state = GATEWAY_BACKOFF;
        reason = g->hold_reason;
    }
    if (g->stopped) {
        out->state = GATEWAY_STOPPED;
        reason = g->stopped_reason;
    }
    snprintf(out->reason, sizeof out->reason, "%.95s", reason);
}

const char *gateway_state_name(enum gateway_state s)
{
    switch (s) {
    case GATEWAY_IDLE:
        return "idle";
    case GATEWAY_CONNECTING:
        return "connecting";
    case GATEWAY_UP:
        return "up";
    case GATEWAY_BACKOFF:
        return "backoff";
    case GATEWAY_STOPPED:
        return "stopped";
    }
    return "?";
}

/* --- birth and death --- */

static char *make_authority(const char *host, uint16_t port)
{
    bool v6 = strchr(host, ':') != NULL;
    size_t size = strlen(host) + 16;
    char *out = malloc(size);
    if (!out)
        abort();
    if (port == HTTPS_PORT)
        snprintf(out, size, v6 ? "[%s]" : "%s", host);
    else
        snprintf(out, size, v6 ? "[%s]:%u" : "%s:%u", host, port);
    return out;
}

static void make_pool(struct gateway *g, struct event_base *base)
{
    struct pool_opts o = g->tuning.pool;
    o.log_prefix = g->log_prefix;
    o.conn = (struct conn_opts){.base = base,
                                .tls = g->tls,
                                .host = g->opts->host,
                                .port = g->opts->port,
                                .proxy = g->opts->proxy,
                                .connect_timeout_ms = g->tuning.connect_timeout_ms,
                                .h2 = g->tuning.h2,
                                .turn = gateway_turn,
                                .ctx = g};
    o.conn.h2.protocol = g->protocol.ops->h2;
    o.conn.h2.authority = g->authority;
    g->pool = pool_new(&o);
}

static void wake(void *ctx)
{
    event_active(gateway_of(ctx)->wake, EV_TIMEOUT, 0);
}

enum err_kind gateway_new_as(protocol_fn protocol, struct event_base *base,
                             const struct apns_app_opts *opts,
                             const struct gateway_events *events,
                             const struct gateway_tuning *tuning, struct gateway **out,
                             struct err *e)
{
    struct gateway *g = calloc(1, sizeof *g);
    if (!g)
        abort();
    g->magic = GATEWAY_MAGIC;
    g->opts = opts;
    g->events = *events;
    g->tuning = *tuning;
    snprintf(g->log_prefix, sizeof g->log_prefix, "gateway app=%s", opts->id);
    const struct protocol_opts p = {base, opts, g->log_prefix, events->tokens, wake, g};
    enum err_kind kind = protocol(&p, &g->protocol, e);
    if (!kind && opts->certificate_pem)
        kind = client_cert_new(opts->certificate_pem, opts->private_key_pem, opts->topic,
                               opts->voip, &g->certificate, e);
    if (!kind)
        kind = conn_tls_new(opts->ca_pem, g->certificate, &g->tls, e);
    if (kind) {
        if (g->protocol.ops)
            g->protocol.ops->free(g->protocol.self);
        client_cert_free(&g->certificate);
        free(g);
        return kind;
    }
    if (opts->server_error_retry_ms > 0)
        g->tuning.verdict.server_error_ms = opts->server_error_retry_ms;
    ramp_init(&g->ramp, &tuning->ramp);
    g->authority = make_authority(opts->host, opts->port);
    g->had_room = true;
    g->armed_ms = INT64_MAX;
    g->timer = evtimer_new(base, on_timer, g);
    g->wake = event_new(base, -1, 0, on_wake, g);
    if (!g->timer || !g->wake)
        abort();
    make_pool(g, base);
    if (g->certificate)
        wake(g);
    *out = g;
    return ERR_NONE;
}

enum err_kind gateway_new_tuned(struct event_base *base, const struct apns_app_opts *opts,
                                const struct gateway_events *events,
                                const struct gateway_tuning *tuning, struct gateway **out,
                                struct err *e)
{
    return gateway_new_as(opts->fcm ? protocol_fcm : protocol_apns, base, opts, events, tuning,
                          out, e);
}

static enum err_kind new_webpush(struct event_base *base, const struct apns_app_opts *opts,
                                 const struct gateway_events *events, struct gateway **out,
                                 struct err *e)
{
    struct gateway *g = calloc(1, sizeof *g);
    if (!g)
        abort();
    g->magic = GATEWAY_MAGIC;
    enum err_kind kind =
        webpush_new(base, opts, events, &webpush_tuning_default, g, &g->webpush, e);
    if (kind)
        free(g);
    else
        *out = g;
    return kind;
}

enum err_kind gateway_new(struct event_base *base, const struct apns_app_opts *opts,
                          const struct gateway_events *events, struct gateway **out,
                          struct err *e)
{
    if (opts->webpush)
        return new_webpush(base, opts, events, out, e);
    const struct gateway_tuning *tuning =
        opts->fcm ? &gateway_tuning_fcm : &gateway_tuning_default;
    return gateway_new_tuned(base, opts, events, tuning, out, e);
}

void gateway_free(struct gateway **gp)
{
    struct gateway *g = *gp;
    if (!g)
        return;
    if (g->webpush) {
        webpush_free(&g->webpush);
        free(g);
        *gp = NULL;
        return;
    }
    assert(!g->in_turn && !g->in_callback);
    int64_t now_ms = clock_mono_ms();
    g->closing = true;
    pool_kill(g->pool, "shutdown");
    gateway_take_answers(g, now_ms);
    for (struct item *it; (it = queue_take(&g->again)) || (it = queue_take(&g->queue));)
        gateway_give_back(g, it, "shutdown", now_ms);
    assert(g->items == 0);
    pool_free(&g->pool);
    event_free(g->timer);
    event_free(g->wake);
    g->protocol.ops->free(g->protocol.self);
    conn_tls_free(&g->tls);
    client_cert_free(&g->certificate);
    free(g->authority);
    g->magic = 0;
    free(g);
    *gp = NULL;
}
