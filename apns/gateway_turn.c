// SPDX-License-Identifier: Apache-2.0
/*
 * What a gateway does when something happened: answers are judged, queues cleared and sent,
 * connections looked after, timers set.  Everything happens in gateway_turn, once for whatever
 * woke us, so that nothing is changed under the feet of who is looking at it.
 */
#include <assert.h>
#include <event2/event.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "apns/client_cert.h"
#include "apns/gateway_int.h"
#include "base/clock.h"
#include "base/log.h"

/* A wave of rejected devices is a wrong setting: when so many of the last 64 were. */
#define WAVE_MIN 48
#define SHUTDOWN_MS 1000
#define DAY_S (24 * 3600)

bool gateway_is_held(const struct gateway *g, int64_t now_ms)
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

static void stop_wave(struct gateway *g, int64_t now_ms)
{
    char reason[96];
    snprintf(reason, sizeof reason, "too many devices rejected: %s", g->protocol.ops->wave);
    stop_app(g, reason, now_ms);
}

static void watch_wave(struct gateway *g, const struct push_verdict *v, int64_t now_ms)
{
    g->suspects = g->suspects << 1 | (v->reaction == PUSH_SUSPECT);
    if (!g->stopped && __builtin_popcountll(g->suspects) >= WAVE_MIN)
        stop_wave(g, now_ms);
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
        log_line(LOG_DEBUG, g->log_prefix, "push %s: %s status=%d reason=\"%s\"", it->id,
                 push_reaction_name(v->reaction), v->status, v->reason);
    learn(g, it, v, now_ms);
    free(it);
    g->items--;
    g->in_callback = true;
    g->events.verdict(g->events.ctx, request_ctx, v);
    g->in_callback = false;
}

void gateway_give_back(struct gateway *g, struct item *it, const char *reason, int64_t now_ms)
{
    struct push_verdict v;
    verdict_of_silence(g->closing ? "shutdown" : reason, &g->tuning.verdict, &v);
    /* The service has no part in it: the next gateway need not wait for its sake. */
    if (g->closing && v.retry_after_ms > SHUTDOWN_MS)
        v.retry_after_ms = SHUTDOWN_MS;
    finish(g, it, &v, now_ms);
}

static void finish_stopped(struct gateway *g, struct item *it, int64_t now_ms)
{
    struct push_verdict v = {.reaction = PUSH_APP_STOPPED};
    snprintf(v.reason, sizeof v.reason, "%.63s", g->stopped_reason);
    finish(g, it, &v, now_ms);
}

static void finish_held(struct gateway *g, struct item *it, int64_t now_ms)
{
    struct push_verdict v = {.reaction = PUSH_RETRY,
                             .retry_after_ms = g->hold_until_ms - now_ms};
    snprintf(v.reason, sizeof v.reason, "%s", g->hold_reason);
    finish(g, it, &v, now_ms);
}

/* Again inside, before those that never went out; bounded, then the outbox waits. */
static void resend(struct gateway *g, struct item *it, const char *reason, int64_t now_ms)
{
    if (g->closing || it->resends >= g->tuning.resends_max) {
        gateway_give_back(g, it, reason, now_ms);
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

/* Nothing goes out for so long. */
static void hold_all(struct gateway *g, const char *reason, int64_t until_ms, int64_t now_ms)
{
    if (!gateway_is_held(g, now_ms))
        log_warn(g->log_prefix, "%s: nothing is sent for %lld s", reason,
                 (long long)((until_ms - now_ms) / 1000));
    if (until_ms > g->hold_until_ms)
        g->hold_until_ms = until_ms;
    snprintf(g->hold_reason, sizeof g->hold_reason, "%s", reason);
    ramp_restart(&g->ramp);
}

/* The token changed too often: the one before, or wait. */
static void hold_tokens(struct gateway *g, struct item *it, struct push_verdict *v,
                        int64_t now_ms)
{
    int64_t until_ms;
    if (g->protocol.ops->revert(g->protocol.self, it->token_serial, clock_real_us() / 1000000,
                                &until_ms)) {
        resend(g, it, v->reason, now_ms);
        return;
    }
    if (until_ms < now_ms + v->retry_after_ms)
        until_ms = now_ms + v->retry_after_ms;
    hold_all(g, v->reason, until_ms, now_ms);
    v->retry_after_ms = until_ms - now_ms;
    finish(g, it, v, now_ms);
}

static void raise_alarm(struct gateway *g, const char *reason, int64_t now_ms)
{
    if (now_ms < g->alarm_again_ms)
        return;
    g->alarm_again_ms = now_ms + g->tuning.alarm_ms;
    log_error(g->log_prefix, "%s: some pushes cannot be sent until this is mended", reason);
}

static bool renew_token(struct gateway *g, const struct item *it, int64_t now_ms)
{
    return !it->retried_new && g->protocol.ops->renew(g->protocol.self, it->token_serial,
                                                      clock_real_us() / 1000000, now_ms);
}

static int64_t retry_after_s(const struct h2_push *p)
{
    if (p->retry_after_s >= 0 || p->retry_at_s < 0)
        return p->retry_after_s;
    int64_t left_s = p->retry_at_s - clock_real_us() / 1000000;
    return left_s > 0 ? left_s : 0;
}

/* Whether it was processed nobody knows.  A second alert would be seen, so the outbox decides;
 * a badge, or what replaces itself, just goes again. */
static void take_loss(struct gateway *g, struct item *it, const char *reason, int64_t now_ms)
{
    if (it->idempotent)
        resend(g, it, reason, now_ms);
    else
        gateway_give_back(g, it, reason, now_ms);
}

/* What ends a push, a device or an app for good is said by a word in the answer's body: of one
 * that was cut off the word may be missing. */
static bool is_missing_word(const struct item *it, enum verdict_step step,
                            const struct push_verdict *v)
{
    return it->push.cut && step == VERDICT_FINAL && v->reaction != PUSH_DONE &&
           v->reaction != PUSH_RETRY && v->reaction != PUSH_HOLD_DEVICE;
}

static void take_answer(struct gateway *g, struct item *it, struct pool_member *from,
                        int64_t now_ms)
{
    struct push_verdict v;
    const struct verdict_answer a = {it->push.status, retry_after_s(&it->push), it->push.body,
                                     it->push.body_len};
    enum verdict_step step = g->protocol.ops->judge(&a, &g->tuning.verdict, &v);
    if (is_missing_word(it, step, &v)) {
        take_loss(g, it, "answer cut off", now_ms);
        return;
    }
    if (a.status == 500 && pool_member_age_ms(from, now_ms) >= g->tuning.broken_after_ms)
        pool_retire(g->pool, from, now_ms, v.reason);
    bool again = false, leave = false;
    switch (step) {
    case VERDICT_FINAL:
        break;
    case VERDICT_ALARM:
        raise_alarm(g, v.reason, now_ms);
        break;
    case VERDICT_HOLD_ALL:
        hold_all(g, v.reason, now_ms + v.retry_after_ms, now_ms);
        break;
    case VERDICT_RESEND:
        again = leave = true;
        break;
    case VERDICT_RENEW_TOKEN:
        again = renew_token(g, it, now_ms);
        it->retried_new = true;
        leave = g->protocol.ops->token_needs_connection;
        break;
    case VERDICT_RECONNECT:
        again = !it->retried_new;
        it->retried_new = leave = true;
        break;
    case VERDICT_TOKEN_HOLD:
        hold_tokens(g, it, &v, now_ms);
        return;
    }
    if (leave)
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
        take_loss(g, it, "stream reset", now_ms);
        return;
    case H2_LOST:
        take_loss(g, it, "connection lost", now_ms);
        return;
    case H2_TIMEOUT:
        gateway_give_back(g, it, "timeout", now_ms);
        return;
    }
}

void gateway_take_answers(struct gateway *g, int64_t now_ms)
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

/* Stopped with it, even when it is the one that is tried. */
static bool must_stop(const struct gateway *g, const struct item *it)
{
    return g->stopped && (!it->probe || g->credentials == PROTOCOL_REFUSED);
}

static const char *why_stale(const struct gateway *g)
{
    if (g->credentials != PROTOCOL_READY)
        return "no access token";
    return pool_up_count(g->pool) ? "service too slow" : "no connection";
}

/* Gives back what must not or cannot be sent.  Bounded by what is there now: a verdict may
 * make the outbox submit again. */
static void clear_queue(struct gateway *g, struct queue *q, int64_t now_ms)
{
    struct queue old = *q;
    if (!old.head ||
        (!g->stopped && !gateway_is_held(g, now_ms) && !is_stale(g, old.head, now_ms)))
        return;
    *q = (struct queue){0};
    for (struct item *it; (it = queue_take(&old)) != NULL;) {
        if (it->refused)
            finish_refused(g, it, now_ms);
        else if (must_stop(g, it))
            finish_stopped(g, it, now_ms);
        else if (gateway_is_held(g, now_ms))
            finish_held(g, it, now_ms);
        else if (is_stale(g, it, now_ms))
            gateway_give_back(g, it, why_stale(g), now_ms);
        else
            queue_add(q, it);
    }
}

static void send_queue(struct gateway *g, struct queue *q, int64_t now_ms)
{
    size_t len;
    unsigned serial;
    if (!q->head || gateway_is_held(g, now_ms))
        return;
    const char *authorization = g->protocol.ops->authorization(
        g->protocol.self, clock_real_us() / 1000000, now_ms, &len, &serial);
    for (struct item *it; (it = q->head) != NULL;) {
        if (it->refused) {
            finish_refused(g, queue_take(q), now_ms);
            continue;
        }
        if (!authorization || ramp_next_ms(&g->ramp) > now_ms)
            break;
        it->push.authorization = (struct h2_text){authorization, len};
        it->token_serial = serial;
        if (!pool_submit(g->pool, &it->push, now_ms))
            break;
        (void)ramp_take(&g->ramp, now_ms);
        (void)queue_take(q);
        g->counted.sent += it->resends == 0;
    }
}

static int64_t certificate_left_s(const struct gateway *g)
{
    return client_cert_expires_s(g->certificate) - clock_real_us() / 1000000;
}

enum protocol_state gateway_credentials(const struct gateway *g, const char **reason_out)
{
    if (!g->certificate || certificate_left_s(g) > 0)
        return g->protocol.ops->state(g->protocol.self, reason_out);
    *reason_out = "the certificate has expired";
    return PROTOCOL_REFUSED;
}

/* Said once a day, and at the end for the last time, when the app is stopped. */
static void watch_certificate(struct gateway *g, int64_t now_ms)
{
    if (!g->certificate || now_ms < g->certificate_look_ms)
        return;
    int64_t left_s = certificate_left_s(g);
    if (left_s > 0 && left_s < GATEWAY_CERTIFICATE_WARN_DAYS * DAY_S)
        log_warn(g->log_prefix, "the certificate expires in %lld days: a new one is needed",
                 (long long)(left_s / DAY_S));
    bool ends_soon = left_s > 0 && left_s < DAY_S;
    g->certificate_look_ms = now_ms + (ends_soon ? left_s : DAY_S) * 1000;
}

/* Without credentials the app is stopped as by an answer; with new ones it is tried again. */
static void watch_credentials(struct gateway *g, int64_t now_ms)
{
    const char *reason;
    enum protocol_state before = g->credentials;
    g->credentials = gateway_credentials(g, &reason);
    if (g->credentials == PROTOCOL_REFUSED && before != PROTOCOL_REFUSED)
        stop_app(g, reason, now_ms);
    else if (before == PROTOCOL_REFUSED && g->credentials == PROTOCOL_READY)
        g->probe_at_ms = now_ms;
}

/* --- the turn: everything happens here, once for whatever woke us --- */

static void tell_room(struct gateway *g, int64_t now_ms)
{
    size_t room = gateway_room_at(g, now_ms);
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
    if (gateway_is_held(g, now_ms) && g->hold_until_ms < at)
        at = g->hold_until_ms;
    if (g->certificate && g->certificate_look_ms < at)
        at = g->certificate_look_ms;
    int64_t ramp_ms = ramp_next_ms(&g->ramp);
    if ((g->again.head || g->queue.head) && ramp_ms > now_ms && ramp_ms < at)
        at = ramp_ms;
    /* A timer that fires too early looks again; only an earlier one is worth a call. */
    if (at >= g->armed_ms || at == INT64_MAX)
        return;
    int64_t wait_ms = at > now_ms ? at - now_ms : 1;
    struct timeval tv = {wait_ms / 1000, wait_ms % 1000 * 1000};
    if (evtimer_add(g->timer, &tv) != 0)
        abort();
    g->armed_ms = at;
}

void gateway_turn(void *ctx)
{
    struct gateway *g = gateway_of(ctx);
    int64_t now_ms = clock_mono_ms();
    assert(!g->in_turn);
    g->in_turn = true;
    bool more;
    do {
        watch_certificate(g, now_ms);
        watch_credentials(g, now_ms);
        gateway_take_answers(g, now_ms);
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
