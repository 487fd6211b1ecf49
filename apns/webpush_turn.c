// SPDX-License-Identifier: Apache-2.0
/*
 * The way of a push: its origin's queue -> encrypted by the crew -> sent -> answered -> told.
 * Each step starts the next; a service that wants to be left alone, or has to be, gives its
 * queue back to the outbox.
 */
#include <assert.h>
#include <event2/event.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "apns/verdict.h"
#include "apns/webpush_int.h"
#include "apns/webpush_verdict.h"
#include "base/clock.h"
#include "base/crypt.h"
#include "base/log.h"

#define TICK_MS 1000
#define SLOW_AGAIN_MS 10000
#define LOG_EVERY_MS 1000 /* who invents services does not fill the log */

/* --- ends --- */

void webpush_finish(struct webpush *w, struct piece *p, const struct push_verdict *v)
{
    void *ctx = p->ctx;
    if (log_enabled(LOG_DEBUG))
        log_line(LOG_DEBUG, w->log_prefix, "push %s: %s status=%d reason=\"%s\"", p->id,
                 push_reaction_name(v->reaction), v->status, v->reason);
    if (v->status != 0 && v->reaction == PUSH_DONE)
        w->counted.accepted++;
    else if (v->status != 0)
        w->counted.rejected++;
    if (p->origin) {
        p->origin->items--;
        w->items_small -= p->is_small;
    }
    w->items--;
    LIST_REMOVE(p, all);
    const struct push_verdict copy = *v; /* it may be the piece's */
    free(p->body);
    free(p);
    w->events.verdict(w->events.ctx, ctx, &copy);
}

void webpush_tell_later(struct webpush *w, struct piece *p, enum push_reaction reaction,
                        int64_t retry_after_ms, const char *reason)
{
    p->judged = true;
    p->verdict = (struct push_verdict){.reaction = reaction, .retry_after_ms = retry_after_ms};
    snprintf(p->verdict.reason, sizeof p->verdict.reason, "%s", reason);
    TAILQ_INSERT_TAIL(&w->told, p, next);
}

static void tell_all(struct webpush *w)
{
    struct pieces now = TAILQ_HEAD_INITIALIZER(now);
    struct piece *p;
    TAILQ_CONCAT(&now, &w->told, next); /* a verdict may make the outbox submit again */
    while ((p = TAILQ_FIRST(&now))) {
        TAILQ_REMOVE(&now, p, next);
        webpush_finish(w, p, &p->verdict);
    }
}

static void stop_waiting(struct webpush *w, struct origin *o)
{
    if (o->waiting)
        TAILQ_REMOVE(&w->by_wait, o, by_wait);
    o->waiting = false;
}

static void give_back_queue(struct webpush *w, struct origin *o, int64_t delay_ms)
{
    struct piece *p;
    while ((p = TAILQ_FIRST(&o->queue))) {
        TAILQ_REMOVE(&o->queue, p, next);
        webpush_tell_later(w, p, PUSH_RETRY, delay_ms, o->state.reason);
    }
    stop_waiting(w, o);
}

/* --- answers --- */

static void leave_alone(struct webpush *w, struct origin *o, int64_t now_ms)
{
    int64_t delay_ms = o->state.held_until_ms - now_ms;
    enum log_level level = now_ms >= w->log_again_ms ? LOG_WARN : LOG_DEBUG;
    if (level == LOG_WARN)
        w->log_again_ms = now_ms + LOG_EVERY_MS;
    snprintf(w->trouble, sizeof w->trouble, "%.60s: %.32s", o->name, o->state.reason);
    if (log_enabled(level))
        log_line(level, w->log_prefix, "%s is left alone for %lld s: %s", o->name,
                 (long long)(delay_ms / 1000), o->state.reason);
}

static void land(struct webpush *w, struct piece *p)
{
    struct origin *o = p->origin;
    w->in_flight--;
    if (--o->in_flight > 0)
        return;
    w->active--;
    w->active_new -= o->counted_new;
}

static void again(struct webpush *w, struct piece *p)
{
    struct origin *o = p->origin;
    free(p->body);
    p->body = NULL;
    w->counted.resent++;
    TAILQ_INSERT_HEAD(&o->queue, p, next);
    if (!o->waiting) {
        o->waiting = true;
        TAILQ_INSERT_TAIL(&w->by_wait, o, by_wait);
    }
}

static bool step_helps(struct piece *p, enum webpush_step step)
{
    switch (step) {
    case WEBPUSH_FINAL:
        return false;
    case WEBPUSH_AGAIN:
        if (p->lost || p->topic[0] == '\0')
            return false;
        return p->lost = true;
    case WEBPUSH_SHORTER:
        if (p->short_now || p->brief_len == 0)
            return false;
        p->short_now = true;
        p->plain = p->brief;
        p->plain_len = p->brief_len;
        return true;
    case WEBPUSH_RENEW:
        if (p->renewed || !origin_renew(&p->origin->state, clock_real_us() / 1000000))
            return false;
        p->renewed = true;
        return true;
    }
    return false;
}

void webpush_answered(void *ctx, void *post_ctx, const struct webpush_answer *a)
{
    struct webpush *w = webpush_of(ctx);
    struct piece *p = post_ctx;
    struct origin *o = p->origin;
    int64_t now_ms = clock_mono_ms();
    enum webpush_sign sign;
    struct push_verdict v;
    enum webpush_step step = webpush_judge(a, &sign, &v);
    land(w, p);
    if (a->status != 0)
        o->state.http2 = a->http2;
    if (step_helps(p, step)) {
        again(w, p);
    } else {
        if (origin_note(&o->state, sign, &v, p->sent_ms, now_ms, crypt_random_u64())) {
            leave_alone(w, o, now_ms);
            give_back_queue(w, o, o->state.held_until_ms - now_ms);
        }
        webpush_finish(w, p, &v);
    }
    event_active(w->wake, EV_TIMEOUT, 0);
}

/* --- beginning --- */

static int64_t ttl_of(const struct piece *p)
{
    int64_t left_s = p->expiration_s - clock_real_us() / 1000000;
    return p->expiration_s > 0 && left_s > 0 ? left_s : 0;
}

static void send_piece(struct crew_job *j)
{
    struct piece *p = (struct piece *)j;
    struct webpush *w = p->webpush;
    struct origin *o = p->origin;
    const struct webpush_post post = {
        .endpoint = p->to.endpoint,
        .authorization =
            origin_authorization(&o->state, w->vapid, o->name, clock_real_us() / 1000000),
        .ttl_s = ttl_of(p),
        .urgency = p->high ? "high" : "low",
        .topic = p->topic[0] ? p->topic : NULL,
        .body = p->body,
        .len = p->body_len,
        .share = o->state.http2,
        .ctx = p,
    };
    p->sent_ms = clock_mono_ms();
    w->counted.sent += !p->short_now && !p->renewed && !p->lost;
    webpush_http_send(w->http, &post);
}

static void encrypt(struct crew_job *j)
{
    struct piece *p = (struct piece *)j;
    p->body_len = ece_encrypt(&p->to.keys, p->plain, p->plain_len, p->pad_to, p->body);
}

static void begin(struct webpush *w, struct piece *p)
{
    struct origin *o = p->origin;
    if (o->in_flight++ == 0) {
        o->counted_new = !o->state.proven;
        w->active++;
        w->active_new += o->counted_new;
    }
    w->in_flight++;
    if (!w->crew)
        w->crew = crew_new(w->base, w->tuning.threads);
    p->body = malloc(ECE_BODY_MAX);
    if (!p->body)
        abort();
    p->pad_to = w->tuning.pad_to;
    p->job = (struct crew_job){.work = encrypt, .done = send_piece};
    crew_give(w->crew, &p->job);
}

static bool may_begin(const struct webpush *w, const struct origin *o)
{
    if (o->in_flight > 0)
        return o->in_flight < origin_in_flight_max(&o->state);
    return w->active < w->tuning.active_max &&
           (o->state.proven || w->active_new < w->tuning.active_new);
}

/* What cannot be sent soon goes back, so that it is not in the way of others. */
static void trim(struct webpush *w, struct origin *o, int64_t now_ms)
{
    struct piece *p = TAILQ_FIRST(&o->queue);
    if (!origin_note_queue(&o->state, p ? p->queued_ms : -1, now_ms))
        return;
    log_info(w->log_prefix, "%s is slow", o->name);
    unsigned max = origin_items_max(&o->state), items = o->items;
    for (; items > max && (p = TAILQ_LAST(&o->queue, pieces)); items--) {
        TAILQ_REMOVE(&o->queue, p, next);
        webpush_tell_later(w, p, PUSH_RETRY, SLOW_AGAIN_MS, "push service is slow");
    }
}

static void begin_all(struct webpush *w, int64_t now_ms)
{
    for (struct origin *o = TAILQ_FIRST(&w->by_wait), *next; o; o = next) {
        struct piece *p;
        next = TAILQ_NEXT(o, by_wait);
        while ((p = TAILQ_FIRST(&o->queue)) && may_begin(w, o)) {
            TAILQ_REMOVE(&o->queue, p, next);
            begin(w, p);
        }
        while ((p = TAILQ_FIRST(&o->queue)) && now_ms >= p->queued_ms + w->tuning.queue_ms) {
            TAILQ_REMOVE(&o->queue, p, next);
            webpush_tell_later(w, p, PUSH_RETRY, 0, "push service is slow");
        }
        trim(w, o, now_ms);
        if (TAILQ_EMPTY(&o->queue))
            stop_waiting(w, o);
    }
}

static void tell_room(struct webpush *w)
{
    size_t room = webpush_room(w);
    if (room == 0)
        w->had_room = false;
    if (w->had_room || room < w->tuning.room_max / 4)
        return;
    w->had_room = true;
    if (w->events.room)
        w->events.room(w->events.ctx, w->owner);
}

void webpush_turn(struct webpush *w)
{
    static const struct timeval tick = {TICK_MS / 1000, 0};
    assert(!w->in_turn && !w->closing);
    w->in_turn = true;
    begin_all(w, clock_mono_ms());
    tell_all(w);
    tell_room(w);
    w->in_turn = false;
    if (!TAILQ_EMPTY(&w->told))
        event_active(w->wake, EV_TIMEOUT, 0);
    if (!TAILQ_EMPTY(&w->by_wait) && evtimer_add(w->timer, &tick) != 0)
        abort();
}
