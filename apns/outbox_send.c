// SPDX-License-Identifier: Apache-2.0
/*
 * From "a push is wanted" to the gateway: ready -> read the counts -> gateway.  What becomes
 * of it then is outbox_settle.c's.
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "apns/gateway.h"
#include "apns/opts.h"
#include "apns/outbox_int.h"
#include "apns/token_keys.h"
#include "base/clock.h"
#include "base/crypt.h"
#include "base/failpoint.h"
#include "base/log.h"

#define PREFIX "outbox"
#define ELSEWHERE_AGAIN_MS 5000   /* no room at the other environment's gateway */
#define NO_KEY_MS (5 * 60 * 1000) /* until the next look, and as much at random */

/* Why there is no alert, NULL when there is one.  Who asks for a test wants to see it. */
static const char *silent_because(const struct outbox *o, const struct entry *e,
                                  const struct outbox_fetched *f)
{
    const bool call = outbox_is_call(e->peer);
    if (e->peer == OUTBOX_TEST_PEER)
        return NULL;
    if (call && !f->call)
        return f->over ? f->over : "the call is over";
    if (!call && f->unread <= 0)
        return "nothing unread";
    if (f->muted)
        return "muted";
    if (f->quiet)
        return "quiet hours";
    int64_t max_age_ms = call ? CALL_LIFE_MS : o->push->max_age_ms;
    return clock_real_us() - f->counted_us > max_age_ms * 1000 ? "too old" : NULL;
}

void outbox_back_to_ready(struct entry *e)
{
    free(e->flight);
    e->flight = NULL;
    outbox_set_state(e, ENTRY_READY);
    outbox_set_requeue(e);
}

static void begin_flight(const struct outbox *o, struct entry *e,
                         const struct outbox_fetched *f)
{
    assert(!e->flight);
    e->flight = calloc(1, sizeof *e->flight + f->withdraw_n * sizeof *f->withdraw);
    if (!e->flight)
        abort();
    e->flight->gen = f->gen;
    e->flight->newest_id = f->newest_id;
    e->flight->sent_us = clock_real_us();
    e->flight->badge = f->badge;
    if (f->gen > e->gen)
        e->gen = f->gen;
    if (f->counted_us > e->newest_us)
        e->newest_us = f->counted_us;
    outbox_apns_id(o, e, f->gen, e->flight->apns_id);
}

/* What a key of the settings would open waits for it; what a key that is there does not open
 * is damaged, and no waiting mends that. */
static bool open_token(struct outbox *o, struct entry *e, struct outbox_fetched *f,
                       char token[DEVICE_TOKEN_MAX + 1])
{
    if (f->sealed_by == TOKEN_IN_CLEAR)
        return true;
    const bool known = token_keys_has(o->tokens, f->sealed_by);
    if (known &&
        token_keys_open(o->tokens, f->sealed_by, e->device, f->sealed, f->sealed_len, token)) {
        f->token = token;
        return true;
    }
    const bool too_old = clock_real_us() - e->newest_us > o->push->max_age_ms * 1000;
    if (known && !o->damage_told)
        log_error(PREFIX, "app=%s a device's token in the database is damaged", e->app->id);
    o->damage_told |= known;
    if (known || too_old)
        outbox_settle(o, e, OUTBOX_PARK, o->push->history_ms, 0, OUTBOX_BADGE_SAME,
                      known ? "the token is damaged" : "no key for the token");
    else
        outbox_settle(o, e, OUTBOX_RELEASE,
                      NO_KEY_MS + (int64_t)(crypt_random_u64() % NO_KEY_MS), OUTBOX_NO_LOG,
                      OUTBOX_BADGE_SAME, "no key for the token");
    return false;
}

/* One that cannot be opened is as if there were none: an alert tells of the call. */
static void open_voip_token(struct outbox *o, const struct entry *e, struct outbox_fetched *f,
                            char token[DEVICE_TOKEN_MAX + 1])
{
    uint8_t id[16];
    devices_voip_id(e->device, id);
    if (f->voip_sealed && token_keys_has(o->tokens, f->voip_sealed_by) &&
        token_keys_open(o->tokens, f->voip_sealed_by, id, f->voip_sealed, f->voip_sealed_len,
                        token))
        f->voip_token = token;
}

/* Why an alert tells of a call where the app has tokens for calls. */
static const char *no_voip_because(const struct entry *e, const struct outbox_fetched *f)
{
    if (e->voip_refused)
        return "its token for calls was refused";
    return f->voip_sealed ? "its token for calls cannot be opened"
                          : "it has no token for calls";
}

static void send_one(struct outbox *o, struct entry *e, const struct outbox_fetched *row)
{
    struct outbox_fetched found = *row, *f = &found; /* what is opened here ends here */
    outbox_withdraw_inherited(e, f);
    begin_flight(o, e, f);
    if (!f->registered) {
        outbox_settle(o, e, OUTBOX_END, 0, OUTBOX_NO_LOG, OUTBOX_BADGE_SAME, NULL);
        return;
    }
    struct outbox_flight *flight = e->flight;
    flight->note = e->peer ? silent_because(o, e, f) : NULL;
    flight->alert = e->peer && !flight->note;
    outbox_withdraw_take(flight, e, f);
    const bool badge_is_right =
        f->badge == f->badge_sent && f->withdraw_n == 0 && !e->inherited;
    /* What was no call to be told changes no badge either. */
    if (!flight->alert && (badge_is_right || outbox_is_call(e->peer))) {
        outbox_settle(o, e, OUTBOX_END, 0, e->peer ? 0 : OUTBOX_NO_LOG, OUTBOX_BADGE_SAME,
                      flight->note);
        return;
    }
    struct outbox_app *app = outbox_route(o, e, f);
    if (!app->gateway || !app->opts || o->draining) {
        outbox_back_to_ready(e);
        return;
    }
    char collapse_id[65], token[DEVICE_TOKEN_MAX + 1], voip_token[DEVICE_TOKEN_MAX + 1];
    struct push_request req;
    if (!open_token(o, e, f, token))
        return;
    open_voip_token(o, e, f, voip_token);
    outbox_compose(o, e, f, flight->alert, collapse_id, &req);
    if (flight->alert && f->names_old && o->hooks.names)
        o->hooks.names(o->hooks.ctx, e->account->jid);
    memcpy(req.apns_id, flight->apns_id, sizeof req.apns_id);
    req.ctx = e;
    flight->through = app;
    flight->voip = req.type == PUSH_VOIP;
    if (req.type != PUSH_ALERT) /* it has no badge; an app that is woken makes its own */
        flight->badge = flight->voip ? OUTBOX_BADGE_SAME : OUTBOX_BADGE_UNKNOWN;
    if (e->app->opts && e->app->opts->voip && f->call && !flight->voip)
        flight->note = no_voip_because(e, f);
    if (app != e->app && !flight->note)
        flight->note = "to the other environment";
    FAILPOINT("push-send");
    if (o->gateways.submit(app->gateway, &req))
        outbox_set_state(e, ENTRY_FLYING);
    else if (app == e->app) /* it had room when we asked; it will say when it has again */
        outbox_back_to_ready(e);
    else
        outbox_settle(o, e, OUTBOX_HOLD, ELSEWHERE_AGAIN_MS, OUTBOX_NO_LOG, OUTBOX_BADGE_SAME,
                      NULL);
}

/* Whether the last statement failed by what it was about, and not by how PostgreSQL is. */
static bool is_about_entries(const struct outbox *o)
{
    return o->sql_failure == PG_DATA || o->sql_failure == PG_CONFLICT ||
           o->sql_failure == PG_OTHER;
}

/* One that cannot be read must not stop the others: they are asked for in halves until it is
 * alone. */
static void learn_fetch_max(struct outbox_app *app, size_t n, bool read)
{
    if (!read)
        app->fetch_max = n > 1 ? n / 2 : 1;
    else if (app->fetch_max > 0)
        app->fetch_max = app->fetch_max < OUTBOX_BATCH_MAX / 2 ? 2 * app->fetch_max : 0;
}

static void unreadable(struct outbox *o, struct entry *e)
{
    const bool too_old = clock_real_us() - e->newest_us > o->push->max_age_ms * 1000;
    const int64_t delay_ms = too_old ? o->push->history_ms : outbox_retry_delay_ms(e);
    if (e->attempts == 0)
        log_error(PREFIX, "app=%s PostgreSQL cannot read a push: it waits", e->app->id);
    if (e->attempts < INT16_MAX)
        e->attempts++;
    outbox_settle(o, e, too_old ? OUTBOX_PARK : OUTBOX_RELEASE, delay_ms, 0, OUTBOX_BADGE_SAME,
                  "cannot be read");
}

static void fetched(struct outbox *o, struct outbox_job *job, const struct pg_result *r)
{
    struct outbox_app *app = job->arg;
    const bool refused = !r && is_about_entries(o);
    app->fetches--;
    if (r || refused)
        learn_fetch_max(app, job->n, r != NULL);
    for (int i = 0; r && i < pg_rows(r); i++) {
        struct outbox_fetched f;
        outbox_sql_fetched(r, i, &f);
        assert(f.n < job->n && job->entries[f.n]);
        send_one(o, job->entries[f.n], &f);
        job->entries[f.n] = NULL;
    }
    for (size_t i = job->n; i-- > 0;) {
        struct entry *e = job->entries[i];
        if (!e)
            continue;
        if (r)
            outbox_set_remove(o->set, e); /* erased, moved to another token, or not ours */
        else if (refused && job->n == 1)
            unreadable(o, e);
        else
            outbox_back_to_ready(e);
    }
}

/* Ready entries of an app whose gateway takes none must not fill the memory of all. */
static void release_excess(struct outbox *o, struct outbox_app *app)
{
    while (outbox_set_count(o->set) > o->memory_max / 4 * 3 &&
           app->by_state[ENTRY_READY] > o->memory_max / 8 && !TAILQ_EMPTY(&app->ready)) {
        struct entry *e = TAILQ_LAST(&app->ready, outbox_ready);
        int64_t delay_ms = OUTBOX_MEMORY_DELAY_MS / 2 +
                           (int64_t)(crypt_random_u64() % (OUTBOX_MEMORY_DELAY_MS / 2));
        outbox_settle(o, e, OUTBOX_RELEASE, delay_ms, OUTBOX_NO_LOG, OUTBOX_BADGE_SAME, NULL);
        if (o->outcomes_n > OUTBOX_BATCH_MAX)
            break; /* no faster than PostgreSQL takes them */
    }
}

static void fetch(struct outbox *o, struct outbox_app *app, size_t n)
{
    struct outbox_key keys[OUTBOX_BATCH_MAX];
    struct outbox_job *job = outbox_job_new(o, n, fetched);
    job->arg = app;
    struct entry *e;
    while (job->n < n && (e = TAILQ_FIRST(&app->ready))) {
        outbox_set_unqueue(e);
        outbox_set_state(e, ENTRY_FETCHING);
        outbox_key_of(e, &keys[job->n]);
        job->entries[job->n++] = e;
    }
    app->fetches++;
    const enum push_content most =
        app->opts->content < o->push->content ? app->opts->content : o->push->content;
    const struct outbox_fetch what = {.text = most == PUSH_CONTENT_BODY,
                                      .names = most >= PUSH_CONTENT_SENDER,
                                      .withdraws = app->opts->withdraws,
                                      .since_opened =
                                          app->opts->badge == PUSH_BADGE_SINCE_OPENED,
                                      .notices = &o->push->notices,
                                      .keys = keys,
                                      .n = job->n};
    outbox_sql_fetch(o->sql, &what, outbox_job_result, job);
}

void outbox_pump(struct outbox *o, struct outbox_app *app)
{
    bool may = !o->paused && !o->draining && app->gateway && app->opts &&
               clock_mono_ms() >= o->sql_again_ms;
    while (may && app->fetches < OUTBOX_FETCHES && !TAILQ_EMPTY(&app->ready)) {
        size_t room = o->gateways.room(app->gateway);
        size_t busy = app->by_state[ENTRY_FETCHING];
        if (room <= busy)
            break;
        size_t n = room - busy;
        size_t most = app->fetch_max > 0 ? app->fetch_max : OUTBOX_BATCH_MAX;
        fetch(o, app, n < most ? n : most);
    }
    release_excess(o, app);
}
