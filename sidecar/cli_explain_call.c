// SPDX-License-Identifier: Apache-2.0
#include "sidecar/cli_explain_call.h"

#include <string.h>

#include <cjson/cJSON.h>

#include "apns/opts.h"
#include "apns/outbox.h"
#include "archive/call.h"
#include "base/clock.h"
#include "base/crypt.h"
#include "sidecar/cli_account.h"
#include "sidecar/cli_print.h"

#define KEPT_US (INT64_C(3600) * 1000000) /* how long xs.call has a row */
#define CLOCKS_US (INT64_C(60) * 1000000) /* PostgreSQL's and ours may differ so much */

/* Newest first: ids are used again. */
static const struct pg_statement calls = {
    "cli_explain_calls",
    "SELECT session, ref, peer, entry, jid, media, at, over_because, over_at FROM xs.call"
    " WHERE owner = $1::uuid ORDER BY at DESC"};
enum column { SESSION, REF, PEER, ENTRY, JID, MEDIA, AT, OVER_BECAUSE, OVER_AT };
/* And how many calls were told in the minute before that one, of its caller and of all. */
static const struct pg_statement devices = {
    "cli_explain_call_devices",
    "SELECT r.device, r.app, r.resource, r.registered_at, k.of_caller, k.of_all"
    " FROM (SELECT count(*) FILTER (WHERE c.peer = $2::bigint) AS of_caller, count(*) AS "
    "of_all"
    "   FROM xs.call c, (SELECT timestamptz 'epoch' + $3::bigint * interval '1 us' AS at) this"
    "   WHERE c.owner = $1::uuid AND c.at > this.at - interval '1 minute' AND c.at <= this.at)"
    "   AS k LEFT JOIN xs.registration r ON r.owner = $1::uuid"
    " ORDER BY r.registered_at, r.device"};

struct search {
    const struct cli_account *a;
    const char *text;
    const struct explained_row *row;
    struct call_said said; /* by row */
    cJSON *tree;
    struct explained_call *out;
};

static bool is_meant(const struct search *s, const struct pg_result *r, int i)
{
    uint64_t peer = (uint64_t)pg_i64(r, i, PEER);
    const char *session = pg_text(r, i, SESSION);
    if (s->row) /* what a device tells its account's others does not say who calls */
        return strcmp(session, s->said.session) == 0 &&
               (peer == s->row->peer || strcmp(s->row->peer_jid, s->a->jid.bare) == 0);
    return strcmp(session, s->text) == 0 ||
           (!pg_is_null(r, i, REF) &&
            (uint64_t)pg_i64(r, i, REF) == ident_ref(s->a->ident, peer, false, s->text));
}

static cJSON *add_call(const struct search *s, const char *session, const char *from,
                       const char *media)
{
    cJSON *o = cJSON_AddObjectToObject(s->tree, "call");
    cli_json_text(o, "session", session);
    cli_json_text(o, "from", from);
    cli_json_text(o, "media", media);
    cli_json_time(o, "at", s->out->at_us);
    return o;
}

static void on_calls(void *ctx, const struct pg_result *r)
{
    struct search *s = ctx;
    for (int i = 0; i < pg_rows(r) && !s->out->found; i++) {
        if (!is_meant(s, r, i))
            continue;
        *s->out = (struct explained_call){.found = true,
                                          .kept = true,
                                          .peer = (uint64_t)pg_i64(r, i, PEER),
                                          .entry = (uint64_t)pg_i64(r, i, ENTRY),
                                          .at_us = pg_time_us(r, i, AT)};
        bool over = !pg_is_null(r, i, OVER_BECAUSE);
        cJSON *o =
            add_call(s, pg_text(r, i, SESSION), pg_text(r, i, JID), pg_text(r, i, MEDIA));
        cli_json_text(o, "over_because", over ? pg_text(r, i, OVER_BECAUSE) : NULL);
        cli_json_time(o, "over_at", over ? pg_time_us(r, i, OVER_AT) : 0);
    }
}

/* It is none that was to be told, or so long ago that only what was tried is left. */
static void take_from_archive(struct search *s)
{
    const struct explained_row *row = s->row;
    uint64_t hash = ident_ref(s->a->ident, row->peer, false, s->said.session);
    *s->out = (struct explained_call){.found = true,
                                      .peer = row->peer,
                                      .entry = outbox_call_peer(hash),
                                      .at_us = row->at_us};
    cJSON *o = add_call(s, s->said.session, row->outgoing ? s->a->jid.bare : row->peer_jid,
                        s->said.media);
    cli_json_text(o, "over_because", NULL);
    cli_json_time(o, "over_at", 0);
    if (row->outgoing)
        cli_json_text(o, "untold_because", "the account itself calls");
}

bool cli_explain_call(const struct cli_account *a, const char *text,
                      const struct explained_row *row, struct cJSON *tree,
                      struct explained_call *out)
{
    struct search s = {.a = a, .text = text, .row = row, .tree = tree, .out = out};
    struct pg_params p;
    *out = (struct explained_call){0};
    if (row && row->stanza)
        call_read(row->stanza, &s.said);
    if (row && s.said.word == CALL_NONE)
        return true;
    pg_params_init(&p);
    pg_add_uuid(&p, a->owner);
    if (!cli_db_ask(a->db, &calls, &p, on_calls, &s))
        return false;
    if (!out->found && s.said.word == CALL_PROPOSED)
        take_from_archive(&s);
    return true;
}

bool cli_explain_call_covers(const struct explained_call *call, int64_t tried_us)
{
    return tried_us >= call->at_us - CLOCKS_US && tried_us <= call->at_us + KEPT_US;
}

/* --- who was told nothing --------------------------------------------------------------- */

struct untold {
    const struct push_opts *push;
    const struct explained_call *call;
    cJSON *tree;
};

static const struct apns_app_opts *app_of(const struct push_opts *push, const char *id)
{
    for (size_t i = 0; i < push->apps_n; i++)
        if (strcmp(push->apps[i].id, id) == 0)
            return &push->apps[i];
    return NULL;
}

static bool is_listed(const cJSON *list, const char *device)
{
    const cJSON *d;
    cJSON_ArrayForEach(d, list)
    {
        if (strcmp(cJSON_GetStringValue(cJSON_GetObjectItem(d, "device")), device) == 0)
            return true;
    }
    return false;
}

/* By today's settings and registrations, which is all that is known of it. */
static const char *why_no_device(const struct untold *u, const struct pg_result *r, int i)
{
    const struct apns_app_opts *app = app_of(u->push, pg_text(r, i, 1));
    if (!app)
        return "its app is not in the settings";
    if (!app->calls)
        return "its app is not told of calls, by today's settings";
    if (pg_time_us(r, i, 3) > u->call->at_us)
        return "not known: it has registered since the call";
    return "not known";
}

static void add_device(const struct untold *u, const struct pg_result *r, int i)
{
    cJSON *list = cJSON_GetObjectItem(u->tree, "devices");
    char text[UUID_TEXT_BYTES];
    uint8_t raw[UUID_BYTES];
    pg_uuid(r, i, 0, raw);
    uuid_format(raw, text);
    if (is_listed(list, text))
        return;
    cJSON *d = cJSON_CreateObject();
    (void)cJSON_AddItemToArray(list, d);
    cli_json_text(d, "device", text);
    cli_json_text(d, "app", pg_text(r, i, 1));
    cli_json_text(d, "resource", pg_text(r, i, 2));
    (void)cJSON_AddArrayToObject(d, "tries");
    (void)cJSON_AddNullToObject(d, "waiting");
    cli_json_text(d, "untold_because", why_no_device(u, r, i));
}

/* Of a call that xs.call does not have and that was tried nowhere. */
static const char *why_no_call(const struct untold *u, const struct pg_result *r, bool device)
{
    int64_t age_us = clock_real_us() - u->call->at_us;
    if (age_us > u->push->history_ms * 1000)
        return "push.history is over";
    if (!device)
        return "the account has no device of an app that is told of calls";
    if (age_us < KEPT_US && pg_i64(r, 0, 4) >= CALLS_OF_CALLER_MAX)
        return "as many calls of this caller as are told had come within a minute";
    if (age_us < KEPT_US && pg_i64(r, 0, 5) >= CALLS_MAX)
        return "as many calls as are told had come within a minute";
    return "not known: it came late, or the account had no device then of an app that was "
           "told "
           "of calls";
}

static void on_devices(void *ctx, const struct pg_result *r)
{
    struct untold *u = ctx;
    cJSON *call = cJSON_GetObjectItem(u->tree, "call");
    bool told = u->call->kept || cJSON_GetArraySize(cJSON_GetObjectItem(u->tree, "devices"));
    bool could = false;
    int n = 0;
    for (int i = 0; i < pg_rows(r); i++) {
        if (pg_is_null(r, i, 0)) /* of none there is a row with the numbers alone */
            continue;
        const struct apns_app_opts *app = app_of(u->push, pg_text(r, i, 1));
        could |= app && app->calls;
        n++;
        if (!cJSON_HasObjectItem(call, "untold_because") && (told || !app || !app->calls))
            add_device(u, r, i);
    }
    if (!cJSON_HasObjectItem(call, "untold_because"))
        cli_json_text(call, "untold_because", told ? NULL : why_no_call(u, r, could));
    if (!cJSON_HasObjectItem(u->tree, "devices_now"))
        (void)cJSON_AddNumberToObject(u->tree, "devices_now", n);
}

bool cli_explain_call_devices(const struct cli_account *a, const struct push_opts *push,
                              const struct explained_call *call, struct cJSON *tree)
{
    struct untold u = {.push = push, .call = call, .tree = tree};
    struct pg_params p;
    pg_params_init(&p);
    pg_add_uuid(&p, a->owner);
    pg_add_i64(&p, (int64_t)call->peer);
    pg_add_i64(&p, call->at_us);
    return cli_db_ask(a->db, &devices, &p, on_devices, &u);
}
