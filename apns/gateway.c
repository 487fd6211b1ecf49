// SPDX-License-Identifier: Apache-2.0
#include "apns/gateway.h"

#include <assert.h>
#include <event2/event.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "apns/gateway_int.h"
#include "apns/gateway_item.h"
#include "apns/jwt.h"
#include "apns/opts.h"
#include "base/clock.h"
#include "base/crypt.h"
#include "base/log.h"

#define MAGIC 0x67617465u
#define HTTPS_PORT 443
/* A wave of rejected devices is a wrong setting: when so many of the last 64 were. */
#define WAVE_MIN 48

const struct gateway_tuning gateway_tuning_default = {
    .room_max = 2000,
    .resends_max = 5,
    .queue_ms = 30000,
    .probe_ms = 600000,
    .broken_after_ms = 60000,
    .connect_timeout_ms = 15000,
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

struct gateway {
    unsigned magic;
    const struct apns_app_opts *opts;
    struct gateway_events events;
    struct gateway_tuning tuning;
    struct jwt *jwt;
    struct conn_tls *tls;
    struct pool *pool;
    struct event *timer;
    struct event *wake;
    int64_t armed_ms; /* when the timer fires; INT64_MAX = it does not */
    char *authority;
    char *voip_topic;
    char log_prefix[128];

    struct queue again; /* resends, before what never went out, in their old order */
    struct queue queue;
    size_t items; /* queued and in flight */
    bool had_room;
    bool in_turn;     /* what is submitted now is sent in this turn */
    bool in_callback; /* of ours, where gateway_free may not be called */
    bool closing;

    bool stopped;
    char stopped_reason[96];
    int64_t probe_at_ms;   /* while stopped */
    int64_t hold_until_ms; /* provider token changed too often; 0 = no */
    uint64_t suspects;     /* one bit for each of the last verdicts */
    struct gateway_status counted;
};

static struct gateway *gateway_of(void *ctx)
{
    struct gateway *g = ctx;
    assert(g->magic == MAGIC);
    return g;
}

static bool is_held(const struct gateway *g, int64_t now_ms)
{
    return now_ms < g->hold_until_ms;
}

/* --- final words --- */

static void stop_app(struct gateway *g, const char *reason, int64_t now_ms)
{
    if (!g->stopped)
        log_error(g->log_prefix, "stopped: %s; one push is tried every %lld s", reason,
                  (long long)(g->tuning.probe_ms / 1000));
    g->stopped = true;
    snprintf(g->stopped_reason, sizeof g->stopped_reason, "%s", reason);
    g->probe_at_ms = now_ms + g->tuning.probe_ms;
    pool_retire_all(g->pool, now_ms, "the app is stopped");
}

static void watch_wave(struct gateway *g, const struct push_verdict *v, int64_t now_ms)
{
    g->suspects = g->suspects << 1 | (v->reaction == PUSH_SUSPECT);
    if (!g->stopped && __builtin_popcountll(g->suspects) >= WAVE_MIN)
        stop_app(g, "too many devices rejected: wrong topic or environment?", now_ms);
}

/* What a verdict means for the app as a whole. */
static void learn(struct gateway *g, const struct item *it, const struct push_verdict *v,
                  int64_t now_ms)
{
    if (it->probe && g->stopped)
        g->probe_at_ms = now_ms + g->tuning.probe_ms / (v->status == 0 ? 10 : 1);
    if (v->status == 0)
        return;
    if (v->reaction == PUSH_DONE)
        g->counted.accepted++;
    else
        g->counted.rejected++;
    if (v->reaction == PUSH_APP_STOPPED) {
        stop_app(g, v->reason, now_ms);
        return;
    }
    if (it->probe && v->reaction != PUSH_SUSPECT) {
        log_info(g->log_prefix, "goes on: a push was answered %d", v->status);
        g->stopped = false;
        g->suspects = 0;
    }
    watch_wave(g, v, now_ms);
}

static void finish(struct gateway *g, struct item *it, const struct push_verdict *v,
                   int64_t now_ms)
{
    void *request_ctx = it->ctx;
    if (log_enabled(LOG_DEBUG))
        log_line(LOG_DEBUG, g->log_prefix, "push %.36s: %s status=%d reason=\"%s\"",
                 it->push.apns_id.s, push_reaction_name(v->reaction), v->status, v->reason);
    learn(g, it, v, now_ms);
    free(it);
    g->items--;
    g->in_callback = true;
    g->events.verdict(g->events.ctx, request_ctx, v);
    g->in_callback = false;
}

static void finish_unanswered(struct gateway *g, struct item *it, const char *reason,
                              int64_t now_ms)
{
    struct push_verdict v;
    verdict_of_silence(g->closing ? "shutdown" : reason, &g->tuning.verdict, &v);
    finish(g, it, &v, now_ms);
}

static void finish_stopped(struct gateway *g, struct item *it, int64_t now_ms)
{
    struct push_verdict v = {.reaction = PUSH_APP_STOPPED};
    snprintf(v.reason, sizeof v.reason, "%.63s", g->stopped_reason);
    finish(g, it, &v, now_ms);
}

/* Again inside, before those that never went out; bounded, then the outbox waits. */
static void resend(struct gateway *g, struct item *it, const char *reason, int64_t now_ms)
{
    if (g->closing || it->resends >= g->tuning.resends_max) {
        finish_unanswered(g, it, reason, now_ms);
        return;
    }
    if (g->stopped && !it->probe) {
        finish_stopped(g, it, now_ms);
        return;
    }
    it->resends++;
    it->queued_ms = now_ms;
    g->counted.resent++;
    queue_add(&g->again, it);
}

/* --- answers --- */

/* A new provider token goes with a new connection: the service goes on refusing on the old
 * one.  Many pushes may come back for the same old token; it is renewed for the first. */
static bool renew_token(struct gateway *g, const struct item *it, int64_t now_ms)
{
    if (it->retried_new)
        return false;
    return it->jwt_serial != jwt_serial(g->jwt) ||
           jwt_renew(g->jwt, clock_real_us() / 1000000, now_ms);
}

static void hold_tokens(struct gateway *g, struct item *it, struct push_verdict *v,
                        int64_t now_ms)
{
    if (it->jwt_serial != jwt_serial(g->jwt) ||
        jwt_revert(g->jwt, clock_real_us() / 1000000)) {
        resend(g, it, v->reason, now_ms);
        return;
    }
    int64_t until_ms = jwt_renewable_ms(g->jwt);
    if (until_ms < now_ms + v->retry_after_ms)
        until_ms = now_ms + v->retry_after_ms;
    if (!is_held(g, now_ms))
        log_warn(g->log_prefix, "%s: nothing is sent for %lld s", v->reason,
                 (long long)((until_ms - now_ms) / 1000));
    g->hold_until_ms = until_ms;
    v->retry_after_ms = until_ms - now_ms;
    finish(g, it, v, now_ms);
}

static void take_answer(struct gateway *g, struct item *it, struct pool_member *from,
                        int64_t now_ms)
{
    struct push_verdict v;
    const struct verdict_answer a = {it->push.status, it->push.retry_after_s, it->push.body,
                                     it->push.body_len};
    enum verdict_step step = verdict_of_answer(&a, &g->tuning.verdict, &v);
    if (a.status == 500 && pool_member_age_ms(from, now_ms) >= g->tuning.broken_after_ms)
        pool_retire(g->pool, from, now_ms, v.reason);
    bool again = false;
    switch (step) {
    case VERDICT_FINAL:
        break;
    case VERDICT_RESEND:
        again = true;
        break;
    case VERDICT_RENEW_TOKEN:
        again = renew_token(g, it, now_ms);
        it->retried_new = true;
        break;
    case VERDICT_RECONNECT:
        again = !it->retried_new;
        it->retried_new = true;
        break;
    case VERDICT_TOKEN_HOLD:
        hold_tokens(g, it, &v, now_ms);
        return;
    }
    if (step != VERDICT_FINAL)
        pool_retire(g->pool, from, now_ms, v.reason);
    if (again)
        resend(g, it, v.reason, now_ms);
    else
        finish(g, it, &v, now_ms);
}

static void take_back(struct gateway *g, struct item *it, struct pool_member *from,
                      int64_t now_ms)
{
    switch (it->push.outcome) {
    case H2_ANSWERED:
        take_answer(g, it, from, now_ms);
        return;
    case H2_REFUSED:
        resend(g, it, "refused", now_ms);
        return;
    case H2_RESET:
    case H2_LOST: {
        const char *reason = it->push.outcome == H2_LOST ? "connection lost" : "stream reset";
        /* Whether it was processed nobody knows.  A second alert would be seen, so the
         * outbox decides; a badge, or what replaces itself, just goes again. */
        if (it->idempotent)
            resend(g, it, reason, now_ms);
        else
            finish_unanswered(g, it, reason, now_ms);
        return;
    }
    case H2_TIMEOUT:
        finish_unanswered(g, it, "timeout", now_ms);
        return;
    }
}

static void take_answers(struct gateway *g, int64_t now_ms)
{
    struct h2_push *push;
    struct pool_member *from;
    while (pool_next_push(g->pool, &push, &from))
        take_back(g, (struct item *)push, from, now_ms);
}

/* --- the queue --- */

static void finish_refused(struct gateway *g, struct item *it, int64_t now_ms)
{
    struct push_verdict v = {.reaction = PUSH_PARK};
    snprintf(v.reason, sizeof v.reason, "%s", it->refused);
    if (strcmp(it->refused, "BadDeviceToken") == 0)
        v.reaction = PUSH_SUSPECT;
    finish(g, it, &v, now_ms);
}

static bool is_stale(const struct gateway *g, const struct item *it, int64_t now_ms)
{
    return now_ms >= it->queued_ms + g->tuning.queue_ms;
}

/* Gives back what must not or cannot be sent.  Bounded by what is there now: a verdict may
 * make the outbox submit again. */
static void clear_queue(struct gateway *g, struct queue *q, int64_t now_ms)
{
    struct queue old = *q;
    if (!old.head || (!g->stopped && !is_held(g, now_ms) && !is_stale(g, old.head, now_ms)))
        return;
    *q = (struct queue){0};
    for (struct item *it; (it = queue_take(&old)) != NULL;) {
        if (it->refused)
            finish_refused(g, it, now_ms);
        else if (g->stopped && !it->probe)
            finish_stopped(g, it, now_ms);
        else if (is_held(g, now_ms))
            finish_unanswered(g, it, "TooManyProviderTokenUpdates", now_ms);
        else if (is_stale(g, it, now_ms))
            finish_unanswered(
                g, it, pool_up_count(g->pool) ? "service too slow" : "no connection", now_ms);
        else
            queue_add(q, it);
    }
}

static void send_queue(struct gateway *g, struct queue *q, int64_t now_ms)
{
    if (!q->head || is_held(g, now_ms))
        return;
    size_t len;
    const char *authorization =
        jwt_authorization(g->jwt, clock_real_us() / 1000000, now_ms, &len);
    unsigned serial = jwt_serial(g->jwt);
    for (struct item *it; (it = q->head) != NULL;) {
        if (it->refused) {
            finish_refused(g, queue_take(q), now_ms);
            continue;
        }
        it->push.authorization = (struct h2_text){authorization, len};
        it->jwt_serial = serial;
        if (!pool_submit(g->pool, &it->push, now_ms))
            break;
        (void)queue_take(q);
        g->counted.sent += it->resends == 0;
    }
}

/* --- the turn: everything happens here, once for whatever woke us --- */

static size_t room_at(const struct gateway *g, int64_t now_ms)
{
    if (g->closing || is_held(g, now_ms))
        return 0;
    if (g->stopped)
        return now_ms >= g->probe_at_ms && g->items == 0 ? 1 : 0;
    if (pool_get_state(g->pool) == POOL_BACKOFF)
        return 0;
    return g->items < g->tuning.room_max ? g->tuning.room_max - g->items : 0;
}

static void tell_room(struct gateway *g, int64_t now_ms)
{
    size_t room = room_at(g, now_ms);
    if (room == 0)
        g->had_room = false;
    /* Not for every single place: the outbox fetches in batches. */
    if (g->had_room || room == 0 || (!g->stopped && room < g->tuning.room_max / 4))
        return;
    g->had_room = true;
    if (g->events.room) {
        g->in_callback = true;
        g->events.room(g->events.ctx, g);
        g->in_callback = false;
    }
}

static void arm_timer(struct gateway *g, int64_t now_ms)
{
    int64_t at = pool_deadline(g->pool);
    const struct item *oldest[] = {g->again.head, g->queue.head};
    for (size_t i = 0; i < 2; i++)
        if (oldest[i] && oldest[i]->queued_ms + g->tuning.queue_ms < at)
            at = oldest[i]->queued_ms + g->tuning.queue_ms;
    if (g->stopped && now_ms < g->probe_at_ms && g->probe_at_ms < at)
        at = g->probe_at_ms;
    if (is_held(g, now_ms) && g->hold_until_ms < at)
        at = g->hold_until_ms;
    /* A timer that fires too early looks again; only an earlier one is worth a call. */
    if (at >= g->armed_ms || at == INT64_MAX)
        return;
    int64_t wait_ms = at > now_ms ? at - now_ms : 1;
    struct timeval tv = {wait_ms / 1000, wait_ms % 1000 * 1000};
    if (evtimer_add(g->timer, &tv) != 0)
        abort();
    g->armed_ms = at;
}

static void turn(void *ctx)
{
    struct gateway *g = gateway_of(ctx);
    int64_t now_ms = clock_mono_ms();
    assert(!g->in_turn);
    g->in_turn = true;
    bool more;
    do {
        take_answers(g, now_ms);
        clear_queue(g, &g->again, now_ms);
        clear_queue(g, &g->queue, now_ms);
        send_queue(g, &g->again, now_ms);
        send_queue(g, &g->queue, now_ms);
        pool_tick(g->pool, now_ms, g->again.n + g->queue.n, !g->stopped);
        pool_flush(g->pool);
        more = pool_reap(g->pool, now_ms);
    } while (more);
    g->in_turn = false;
    tell_room(g, now_ms);
    arm_timer(g, now_ms);
}

static void on_timer(evutil_socket_t fd, short what, void *ctx)
{
    (void)fd;
    (void)what;
    gateway_of(ctx)->armed_ms = INT64_MAX;
    turn(ctx);
}

static void on_wake(evutil_socket_t fd, short what, void *ctx)
{
    (void)fd;
    (void)what;
    turn(ctx);
}

/* --- for the outbox --- */

bool gateway_submit(struct gateway *g, const struct push_request *r)
{
    int64_t now_ms = clock_mono_ms();
    if (room_at(g, now_ms) == 0) {
        g->had_room = false;
        return false;
    }
    const char *topic = r->type == PUSH_VOIP ? g->voip_topic : g->opts->topic;
    struct item *it = item_new(r, topic);
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
    return room_at(g, clock_mono_ms());
}

void gateway_get_status(const struct gateway *g, struct gateway_status *out)
{
    int64_t now_ms = clock_mono_ms();
    const char *reason = "";
    *out = g->counted;
    out->connections = pool_up_count(g->pool);
    out->stream_limit = pool_limit(g->pool);
    out->queued = (unsigned)(g->again.n + g->queue.n);
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
    if (is_held(g, now_ms)) {
        out->state = GATEWAY_BACKOFF;
        reason = "TooManyProviderTokenUpdates";
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
                                .connect_timeout_ms = g->tuning.connect_timeout_ms,
                                .h2 = g->tuning.h2,
                                .turn = turn,
                                .ctx = g};
    o.conn.h2.authority = g->authority;
    g->pool = pool_new(&o);
}

enum err_kind gateway_new_tuned(struct event_base *base, const struct apns_app_opts *opts,
                                const struct gateway_events *events,
                                const struct gateway_tuning *tuning, struct gateway **out,
                                struct err *e)
{
    struct jwt *jwt = NULL;
    struct conn_tls *tls = NULL;
    enum err_kind kind = jwt_new(opts->key_pem, opts->key_id, opts->team_id, &jwt, e);
    if (!kind)
        kind = conn_tls_new(opts->ca_pem, &tls, e);
    if (kind) {
        jwt_free(&jwt);
        return kind;
    }
    struct gateway *g = calloc(1, sizeof *g);
    size_t voip_size = strlen(opts->topic) + sizeof ".voip";
    char *voip_topic = malloc(voip_size);
    if (!g || !voip_topic)
        abort();
    snprintf(voip_topic, voip_size, "%s.voip", opts->topic);
    g->magic = MAGIC;
    g->opts = opts;
    g->events = *events;
    g->tuning = *tuning;
    if (opts->server_error_retry_ms > 0)
        g->tuning.verdict.server_error_ms = opts->server_error_retry_ms;
    g->jwt = jwt;
    g->tls = tls;
    g->voip_topic = voip_topic;
    g->authority = make_authority(opts->host, opts->port);
    g->had_room = true;
    g->armed_ms = INT64_MAX;
    snprintf(g->log_prefix, sizeof g->log_prefix, "gateway app=%s", opts->id);
    g->timer = evtimer_new(base, on_timer, g);
    g->wake = event_new(base, -1, 0, on_wake, g);
    if (!g->timer || !g->wake)
        abort();
    make_pool(g, base);
    *out = g;
    return ERR_NONE;
}

enum err_kind gateway_new(struct event_base *base, const struct apns_app_opts *opts,
                          const struct gateway_events *events, struct gateway **out,
                          struct err *e)
{
    return gateway_new_tuned(base, opts, events, &gateway_tuning_default, out, e);
}

void gateway_free(struct gateway **gp)
{
    struct gateway *g = *gp;
    if (!g)
        return;
    assert(!g->in_turn && !g->in_callback);
    int64_t now_ms = clock_mono_ms();
    g->closing = true;
    pool_kill(g->pool, "shutdown");
    take_answers(g, now_ms);
    for (struct item *it; (it = queue_take(&g->again)) || (it = queue_take(&g->queue));)
        finish_unanswered(g, it, "shutdown", now_ms);
    assert(g->items == 0);
    pool_free(&g->pool);
    event_free(g->timer);
    event_free(g->wake);
    jwt_free(&g->jwt);
    conn_tls_free(&g->tls);
    free(g->authority);
    free(g->voip_topic);
    g->magic = 0;
    free(g);
    *gp = NULL;
}
