// SPDX-License-Identifier: Apache-2.0
/*
 * From the gateway's verdict to "its outcome is stored": verdict -> store -> gone, or again.
 * A crash before the gateway answered, or between its answer and our storing it, leaves the
 * entry in the database: the next worker sends it once more, with the same apns-id and
 * collapse id.
 */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "apns/gateway.h"
#include "apns/opts.h"
#include "apns/outbox_int.h"
#include "base/backoff.h"
#include "base/clock.h"
#include "base/crypt.h"
#include "base/failpoint.h"
#include "base/log.h"

#define PREFIX "outbox"
#define RETRY_MIN_MS 2000
#define RETRY_MAX_MS (15 * 60 * 1000)
#define STOPPED_MS 60000

/* Outcomes. */

static struct outbox_outcome *new_outcome(struct outbox *o, struct entry *e)
{
    if (o->outcomes_n == o->outcomes_cap) {
        o->outcomes_cap = o->outcomes_cap ? 2 * o->outcomes_cap : 64;
        o->outcomes = realloc(o->outcomes, o->outcomes_cap * sizeof *o->outcomes);
        o->outcome_entries =
            realloc(o->outcome_entries, o->outcomes_cap * sizeof(struct entry *));
        if (!o->outcomes || !o->outcome_entries)
            abort();
    }
    o->outcome_entries[o->outcomes_n] = e;
    struct outbox_outcome *out = &o->outcomes[o->outcomes_n++];
    *out = (struct outbox_outcome){.status = OUTBOX_NO_LOG, .badge = OUTBOX_BADGE_SAME};
    return out;
}

void outbox_key_of(const struct entry *e, struct outbox_key *key)
{
    memcpy(key->owner, e->account->owner, 16);
    memcpy(key->device, e->device, 16);
    key->peer = e->peer;
}

/* The gateway's words may be any bytes; ours are a line of ASCII. */
static void set_reason(struct outbox_outcome *out, const char *reason)
{
    size_t n = 0;
    for (; reason && reason[n] && n < sizeof out->reason - 1; n++) {
        bool printable = reason[n] >= ' ' && reason[n] <= '~';
        memcpy(&out->reason[n], printable ? &reason[n] : "?", 1);
    }
    out->reason[n] = '\0';
}

static void fill_outcome(const struct outbox *o, struct outbox_outcome *out,
                         const struct entry *e)
{
    outbox_key_of(e, &out->key);
    out->gen = e->gen;
    out->newest_id = e->newest_id;
    out->attempts = e->attempts;
    for (size_t i = ENTRY_DECISIONS, at = 0; i-- > 0 && at < sizeof out->decision;)
        if (e->decisions[i])
            at += (size_t)snprintf(out->decision + at, sizeof out->decision - at, "%s%s",
                                   at ? ", " : "", o->reasons[e->decisions[i] - 1]);
    if (e->flight) {
        out->gen = e->flight->gen;
        out->newest_id = e->flight->newest_id;
    }
}

static struct outbox_outcome *settle(struct outbox *o, struct entry *e,
                                     enum outbox_action action, int64_t delay_ms)
{
    outbox_set_untime(o->set, e);
    outbox_set_unqueue(e);
    if (e->state != ENTRY_SETTLING) { /* it is there when its device was to be deleted */
        outbox_set_state(e, ENTRY_SETTLING);
        e->again_us = 0;
    }
    struct outbox_outcome *out = new_outcome(o, e);
    fill_outcome(o, out, e);
    out->action = action;
    out->delay_ms = delay_ms;
    e->due_ms = clock_mono_ms() + delay_ms; /* when it is held, however long storing takes */
    outbox_soon(o);
    return out;
}

void outbox_settle(struct outbox *o, struct entry *e, enum outbox_action action,
                   int64_t delay_ms, int status, int badge, const char *reason)
{
    struct outbox_outcome *out = settle(o, e, action, delay_ms);
    out->status = status;
    out->badge = badge;
    set_reason(out, reason);
}

void outbox_release_unknown(struct outbox *o, const struct outbox_key *key)
{
    struct outbox_outcome *out = new_outcome(o, NULL);
    out->key = *key;
    out->action = OUTBOX_RELEASE;
    o->released = true;
}

/* Something came while it was on its way: from the beginning, for that. */
static void again(struct outbox *o, struct entry *e)
{
    free(e->flight);
    e->flight = NULL;
    outbox_set_pass_turn(o->set, e);
    e->counted_us = e->again_us ? e->again_us : e->newest_us;
    e->asked = 0;
    memset(e->decisions, 0, sizeof e->decisions);
    e->attempts = 0;
    e->elsewhere = e->voip_refused = false;
    outbox_retime(o, e, o->push->settle_ms);
}

static void finish(struct outbox *o, struct entry *e, const struct outbox_outcome *out,
                   bool kept)
{
    bool keep_turn = e->keep_turn;
    free(e->flight);
    e->flight = NULL;
    e->keep_turn = false;
    switch (out->action) {
    case OUTBOX_HOLD:
        outbox_set_loaded(o->set, e, false);
        if (!keep_turn)
            outbox_set_pass_turn(o->set, e);
        outbox_retime(o, e, e->due_ms - clock_mono_ms());
        break;
    case OUTBOX_RELEASE:
        outbox_set_remove(o->set, e);
        break;
    case OUTBOX_END:
    case OUTBOX_PARK:
    case OUTBOX_PARK_BRAKED:
        if (kept || e->again_us)
            again(o, e);
        else
            outbox_set_remove(o->set, e);
        break;
    }
}

/* Entries stay SETTLING, and their devices' turns taken, until PostgreSQL has it: the next
 * push to the device then reads the badge that this one has left there. */
static void settled(struct outbox *o, struct outbox_job *job, const struct pg_result *r)
{
    o->settling = false;
    if (!r)
        return; /* they are still the first; said again as soon as it may be */
    FAILPOINT("push-settled");
    bool kept[OUTBOX_BATCH_MAX] = {false};
    for (int i = 0; i < pg_rows(r); i++) {
        int64_t gen, counted_us;
        size_t n = outbox_sql_kept(r, i, &gen, &counted_us);
        assert(n < job->n);
        struct entry *e = o->outcome_entries[n];
        kept[n] = true;
        if (!e)
            continue;
        e->gen = gen;
        if (counted_us > e->newest_us)
            e->newest_us = counted_us;
    }
    for (size_t i = 0; i < job->n; i++)
        if (o->outcome_entries[i])
            finish(o, o->outcome_entries[i], &o->outcomes[i], kept[i]);
    o->outcomes_n -= job->n;
    memmove(o->outcomes, o->outcomes + job->n, o->outcomes_n * sizeof *o->outcomes);
    memmove(o->outcome_entries, o->outcome_entries + job->n,
            o->outcomes_n * sizeof(struct entry *));
}

static void store(struct outbox *o, size_t n)
{
    struct outbox_job *job = outbox_job_new(o, 0, settled);
    job->n = n;
    outbox_sql_settle(o->sql, o->outcomes, n, outbox_job_result, job);
    FAILPOINT("push-settling");
}

/* While its entry is there a device is asked whether something is to be taken back; then the
 * database must know what it shows. */
static void shown_stored(struct outbox *o, struct outbox_job *job, const struct pg_result *r)
{
    if (r)
        store(o, job->n);
    else
        o->settling = false;
}

void outbox_flush_outcomes(struct outbox *o)
{
    if (o->settling || o->outcomes_n == 0 || clock_mono_ms() < o->sql_again_ms)
        return;
    o->settling = true;
    size_t n = o->outcomes_n < OUTBOX_BATCH_MAX ? o->outcomes_n : OUTBOX_BATCH_MAX;
    if (!outbox_withdraw_note(o, n, shown_stored))
        store(o, n);
}

/* Verdicts. */

int64_t outbox_retry_delay_ms(const struct entry *e)
{
    struct backoff b;
    backoff_init(&b, RETRY_MIN_MS, RETRY_MAX_MS);
    b.failures = e->attempts;
    b.waited_ms = RETRY_MAX_MS; /* not kept: by attempts alone */
    return backoff_next_ms(&b, crypt_random_u64());
}

static struct outbox_outcome *settle_answer(struct outbox *o, struct entry *e,
                                            const struct push_verdict *v,
                                            enum outbox_action action, int64_t delay_ms)
{
    const struct outbox_flight *flight = e->flight;
    assert(flight);
    struct outbox_outcome *out = settle(o, e, action, delay_ms);
    out->status = v->status;
    memcpy(out->apns_id, flight->apns_id, sizeof out->apns_id);
    set_reason(out, v->reason[0] ? v->reason : flight->note);
    /* Without an answer nobody knows whether the phone shows it. */
    if (v->status == 0 && flight->badge != OUTBOX_BADGE_SAME)
        out->badge = OUTBOX_BADGE_UNKNOWN;
    out->shown = v->status == 0 && flight->shows;
    return out;
}

static const char *what_to_check(const struct apns_app_opts *app)
{
    if (!app || app->webpush)
        return "the settings of the app";
    if (app->fcm)
        return "whether the service account is of the project that the app was built for";
    return app->sandbox ? "topic and environment, which is sandbox: only builds from Xcode "
                          "have tokens of it"
                        : "topic and environment, which is production: builds from Xcode have "
                          "tokens of the sandbox";
}

static void brake_on(struct outbox *o, const struct outbox_app *app)
{
    char text[256];
    snprintf(text, sizeof text,
             "many pushes are rejected for their device: devices are kept, their pushes "
             "parked; check %s",
             what_to_check(app->opts));
    log_error(PREFIX, "app=%s %s", app->id, text);
    if (o->hooks.alarm)
        o->hooks.alarm(o->hooks.ctx, app->id, text);
}

/* An answer that the device is gone since then is no rejection: it proves that our settings
 * are right. */
static void note_answer(struct outbox *o, struct outbox_app *app, bool rejected)
{
    switch (brake_note(&app->brake, rejected, clock_mono_ms())) {
    case BRAKE_SAME:
        break;
    case BRAKE_OFF:
        log_info(PREFIX, "app=%s devices are accepted again", app->id);
        break;
    case BRAKE_ON:
        brake_on(o, app);
        break;
    }
    if (app->braked && !rejected)
        outbox_upkeep_soon(o);
}

static struct outbox_outcome *retry(struct outbox *o, struct entry *e,
                                    const struct push_verdict *v, bool keep_turn)
{
    /* An alert that gets too old becomes a badge at its next try; a badge ends here. */
    if (!e->flight->alert && clock_real_us() - e->newest_us > o->push->max_age_ms * 1000)
        return settle_answer(o, e, v, OUTBOX_PARK, o->push->history_ms);
    int64_t delay_ms = outbox_retry_delay_ms(e);
    if (e->attempts == 0 && v->status == 0) /* a lost connection is soon replaced */
        delay_ms /= 10;
    if (delay_ms < v->retry_after_ms)
        delay_ms = v->retry_after_ms;
    if (outbox_is_call(e->peer) &&
        clock_real_us() + delay_ms * 1000 - e->newest_us > CALL_LIFE_MS * INT64_C(1000))
        return settle_answer(o, e, v, OUTBOX_END, 0); /* it will not ring late */
    if (e->attempts < INT16_MAX)
        e->attempts++;
    e->keep_turn = keep_turn;
    bool held = keep_turn || (delay_ms <= OUTBOX_MEMORY_DELAY_MS &&
                              outbox_set_count(o->set) <= o->memory_max / 4 * 3);
    return settle_answer(o, e, v, held ? OUTBOX_HOLD : OUTBOX_RELEASE, delay_ms);
}

static void app_stopped(struct outbox *o, struct entry *e, const struct push_verdict *v)
{
    e->flight->through->stopped = true;
    int64_t delay_ms = STOPPED_MS + (int64_t)(crypt_random_u64() % STOPPED_MS);
    settle_answer(o, e, v, OUTBOX_RELEASE, delay_ms);
}

/* The answer to a deletion. */
static void dropped(struct outbox *o, struct outbox_job *job, const struct pg_result *r)
{
    struct entry *e = job->entries[0];
    if (r && !pg_bool(r, 0, 1)) {
        log_info(PREFIX, "app=%s a device is gone, registrations=%lld", e->app->id,
                 (long long)pg_i64(r, 0, 0));
        if (e->again_us) /* registered and written to since */
            again(o, e);
        else
            outbox_set_remove(o->set, e); /* the entry went with the registration */
        return;
    }
    struct push_verdict v = {.reaction = PUSH_RETRY, .reason = "not stored"};
    if (r) /* the gateway will know soon */
        memcpy(v.reason, "registered anew", sizeof "registered anew");
    struct outbox_outcome *out = retry(o, e, &v, false);
    out->status = OUTBOX_NO_LOG;
    out->badge = OUTBOX_BADGE_SAME; /* it was refused */
    out->shown = false;
}

static void drop_device(struct outbox *o, struct entry *e, const struct push_verdict *v)
{
    const struct outbox_flight *flight = e->flight;
    assert(flight);
    const bool suspect = v->reaction == PUSH_SUSPECT;
    note_answer(o, suspect ? e->app : flight->through, suspect);
    if (suspect && !brake_believes(&e->app->brake)) {
        e->app->braked = true;
        settle_answer(o, e, v, OUTBOX_PARK_BRAKED, o->push->history_ms);
        return;
    }
    outbox_set_state(e, ENTRY_SETTLING);
    e->again_us = 0;
    struct outbox_outcome out = {.status = v->status};
    fill_outcome(o, &out, e);
    memcpy(out.apns_id, flight->apns_id, sizeof out.apns_id);
    set_reason(&out, v->reason);
    int64_t before_us = v->reaction == PUSH_DROP_DEVICE && v->timestamp_ms > 0
                            ? v->timestamp_ms * 1000
                            : flight->sent_us;
    struct outbox_job *job = outbox_job_new(o, 1, dropped);
    job->entries[0] = e;
    job->n = 1;
    outbox_sql_drop(o->sql, &out, before_us, outbox_job_result, job);
}

static void settle_accepted(struct outbox *o, struct entry *e, const struct push_verdict *v)
{
    struct outbox_outcome *out = settle_answer(o, e, v, OUTBOX_END, 0);
    out->badge = e->flight->badge;
    out->shown = e->flight->shows;
}

/* When this is not stored, the next call finds out again. */
static void noted(struct outbox *o, struct outbox_job *job, const struct pg_result *r)
{
    (void)o, (void)job, (void)r;
}

/* Of the account's token for calls, not of the device: that one is told by an alert then. */
static bool is_refused_call(struct outbox *o, struct entry *e, const struct push_verdict *v)
{
    if (!e->flight->voip || (v->reaction != PUSH_DROP_DEVICE && v->reaction != PUSH_SUSPECT))
        return false;
    log_info(PREFIX, "app=%s a token for calls is refused reason=%s", e->app->id, v->reason);
    if (v->reaction == PUSH_DROP_DEVICE)
        outbox_sql_voip_gone(o->sql, e->account->owner, e->device,
                             v->timestamp_ms > 0 ? v->timestamp_ms * 1000 : e->flight->sent_us,
                             outbox_job_result, outbox_job_new(o, 0, noted));
    e->voip_refused = true;
    e->elsewhere = false; /* of the other token nothing is known yet */
    return true;
}

void outbox_verdict(void *ctx, void *request_ctx, const struct push_verdict *v)
{
    struct outbox *o = ctx;
    struct entry *e = request_ctx;
    assert(o->magic == OUTBOX_MAGIC && e->state == ENTRY_FLYING && e->flight);
    FAILPOINT("push-answered");
    struct outbox_app *through = e->flight->through;
    if (v->status)
        through->answered++;
    if (outbox_route_elsewhere(o, e, v) || is_refused_call(o, e, v)) {
        outbox_back_to_ready(e);
        outbox_soon(o);
        return;
    }
    switch (v->reaction) {
    case PUSH_DONE:
        through->accepted++;
        note_answer(o, through, false);
        outbox_route_accepted(o, e);
        outbox_withdraw_accepted(o, e);
        settle_accepted(o, e, v);
        break;
    case PUSH_DROP_DEVICE:
    case PUSH_SUSPECT:
        drop_device(o, e, v);
        break;
    case PUSH_RETRY:
        retry(o, e, v, false);
        break;
    case PUSH_HOLD_DEVICE:
        retry(o, e, v, true);
        break;
    case PUSH_PARK:
        settle_answer(o, e, v, OUTBOX_PARK, o->push->history_ms);
        break;
    case PUSH_APP_STOPPED:
        app_stopped(o, e, v);
        break;
    }
}
