// SPDX-License-Identifier: Apache-2.0
/*
 * The story of one message's push: the row, whether it is counted, when it was read, and for
 * each device what was decided and what the gateway answered, as long as push.history keeps
 * that.  It shows no text and no token.  A message of a room is in cli_explain_room.c, what is
 * particular to calls in cli_explain_call.c.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sysexits.h>

#include <cjson/cJSON.h>

#include "archive/rows.h"
#include "base/crypt.h"
#include "base/xml_parse.h"
#include "config/config.h"
#include "sidecar/cli_account.h"
#include "sidecar/cli_explain_call.h"
#include "sidecar/cli_explain_room.h"
#include "sidecar/cli_print.h"
#include "store/pg_array.h"

#define REFS_BYTES ((size_t)64 << 20)

#define ROW_COLUMNS                                                                           \
    "SELECT m.id, m.flags, m.peer, c.jid, c.read_id, c.read_at, m.stanza,"                    \
    "   EXISTS (SELECT FROM xs.mute u WHERE u.owner = m.owner AND u.peer = m.peer"            \
    "     AND (u.until IS NULL OR u.until > now())),"                                         \
    "   (SELECT count(*) FROM xs.registration r WHERE r.owner = m.owner)"                     \
    " FROM xs.message m"                                                                      \
    " LEFT JOIN xs.conversation c ON c.owner = m.owner AND c.peer = m.peer"
static const struct pg_statement row_by_id = {
    "cli_explain_id", ROW_COLUMNS " WHERE m.owner = $1::uuid AND m.id = $2::bigint"};
/* Newest first: clients use an id again. */
static const struct pg_statement row_by_ref = {
    "cli_explain_ref", ROW_COLUMNS " WHERE m.owner = $1::uuid AND m.ref_id = ANY ($2::uuid[])"
                                   " ORDER BY m.id DESC LIMIT 1"};
static const struct pg_statement peers = {
    "cli_explain_peers", "SELECT peer FROM xs.conversation WHERE owner = $1::uuid"};
/* What was tried for this message or newer ones of its conversation. */
static const struct pg_statement tries = {
    "cli_explain_log",
    "SELECT l.device, r.app, r.resource, l.at, l.status, l.reason, l.decision, l.badge,"
    "   l.apns_id, l.newest_id"
    " FROM xs.push_log l"
    " LEFT JOIN xs.registration r ON r.owner = l.owner AND r.device = l.device"
    " WHERE l.owner = $1::uuid AND l.peer = $2::bigint AND l.newest_id >= $3::bigint"
    " ORDER BY l.device, l.at"};
static const struct pg_statement entries = {
    "cli_explain_outbox",
    "SELECT o.device, r.app, r.resource, o.state, o.due, o.attempts, o.reason, o.newest_id"
    " FROM xs.outbox o"
    " LEFT JOIN xs.registration r ON r.owner = o.owner AND r.device = o.device"
    " WHERE o.owner = $1::uuid AND o.peer = $2::bigint AND o.newest_id >= $3::bigint"
    " ORDER BY o.device"};

struct explain {
    struct cli_account *a;
    cJSON *tree;
    bool found;
    int64_t id;
    uint64_t peer;
    struct stanza *stanza; /* of the account's own archive */
    bool outgoing;
    struct explained_call call;
    cJSON *devices;
    struct pg_array refs;
    const char *stanza_id;
};

/* --- the message ------------------------------------------------------------------------- */

/* NULL: it counts. */
static const char *why_uncounted(unsigned flags, const struct stanza *stanza)
{
    if (flags & ROW_COUNTED)
        return NULL;
    if (flags & ROW_OUTGOING)
        return "the account sent it itself";
    if (flags & ROW_RETRACTED)
        return "it was taken back";
    if (flags & ROW_UNKEPT)
        return "its content was removed";
    if (flags & ROW_HIDDEN)
        return "the server could not deliver it";
    struct content c = {0};
    if (stanza)
        rows_classify(stanza, &c);
    return c.uncounted ? c.uncounted : "not known";
}

static void on_row(void *ctx, const struct pg_result *r)
{
    struct explain *x = ctx;
    x->found = pg_rows(r) == 1;
    if (!x->found)
        return;
    char id[ARCHIVE_ID_BYTES];
    size_t len;
    struct err e;
    unsigned flags = (unsigned)pg_i64(r, 0, 1);
    int64_t read_id = pg_i64(r, 0, 4);
    const uint8_t *bytes = pg_bytes(r, 0, 6, &len);
    x->stanza = len > 0 ? xml_parse_element((const char *)bytes, len, &e) : NULL;
    x->outgoing = flags & ROW_OUTGOING;
    const char *uncounted = why_uncounted(flags, x->stanza);
    x->id = pg_i64(r, 0, 0);
    x->peer = (uint64_t)pg_i64(r, 0, 2);
    ident_archive_id(x->a->ident, x->a->owner, x->id, id);
    cJSON *m = cJSON_AddObjectToObject(x->tree, "message");
    cli_json_text(m, "id", id);
    cli_json_text(m, "stanza_id", x->stanza ? stanza_get(x->stanza, "id") : NULL);
    cli_json_time(m, "at", ident_us_from_id(x->id));
    cli_json_text(m, "peer", pg_text(r, 0, 3));
    cli_json_text(m, "direction", flags & ROW_OUTGOING ? "out" : "in");
    (void)cJSON_AddBoolToObject(m, "counted", !uncounted);
    cli_json_text(m, "uncounted_because", uncounted);
    (void)cJSON_AddBoolToObject(m, "read", read_id >= x->id);
    /* When the position that covers it was last moved: not later than that. */
    cli_json_time(m, "read_by", read_id >= x->id ? pg_time_us(r, 0, 5) : 0);
    (void)cJSON_AddBoolToObject(m, "muted", pg_bool(r, 0, 7));
    (void)cJSON_AddNumberToObject(x->tree, "devices_now", (double)pg_i64(r, 0, 8));
}

static void on_peers(void *ctx, const struct pg_result *r)
{
    struct explain *x = ctx;
    for (int i = 0; i < pg_rows(r); i++)
        for (int outgoing = 0; outgoing < 2; outgoing++) {
            uint64_t ref =
                ident_ref(x->a->ident, (uint64_t)pg_i64(r, i, 0), outgoing, x->stanza_id);
            uint8_t raw[UUID_BYTES];
            ident_ref_key(x->a->owner, ref, raw);
            pg_array_add_uuid(&x->refs, raw);
        }
}

/* By the stanza's own id: looked for in every conversation, in both directions. */
static bool find_by_stanza_id(struct explain *x, const char *text)
{
    struct pg_params p;
    pg_params_init(&p);
    pg_add_uuid(&p, x->a->owner);
    x->stanza_id = text;
    pg_array_init(&x->refs, PG_UUID, REFS_BYTES);
    bool good = cli_db_ask(x->a->db, &peers, &p, on_peers, x);
    if (good) {
        pg_add_array(&p, &x->refs);
        good = cli_db_ask(x->a->db, &row_by_ref, &p, on_row, x);
    }
    pg_array_deinit(&x->refs);
    return good;
}

static bool find_own(struct explain *x, const char *text)
{
    int64_t id;
    if (!ident_archive_id_parse(x->a->ident, x->a->owner, text, &id))
        return find_by_stanza_id(x, text);
    struct pg_params p;
    pg_params_init(&p);
    pg_add_uuid(&p, x->a->owner);
    pg_add_i64(&p, id);
    return cli_db_ask(x->a->db, &row_by_id, &p, on_row, x) &&
           (x->found || find_by_stanza_id(x, text));
}

/* Pushes of a call are those of its entry. */
static bool find_call(struct explain *x, const char *text)
{
    const char *peer = cJSON_GetStringValue(
        cJSON_GetObjectItem(cJSON_GetObjectItem(x->tree, "message"), "peer"));
    const struct explained_row row = {.stanza = x->stanza,
                                      .peer_jid = peer ? peer : "",
                                      .peer = x->peer,
                                      .at_us = ident_us_from_id(x->id),
                                      .outgoing = x->outgoing};
    if (!cli_explain_call(x->a, text, x->found ? &row : NULL, x->tree, &x->call))
        return false;
    if (x->call.found) {
        x->found = true;
        x->peer = x->call.entry;
        x->id = 0;
    }
    return true;
}

/* In the account's own archive, among its calls, or in the archive of a room that it belongs
 * to. */
static bool find(struct explain *x, const char *text)
{
    struct explained_room room;
    if (!find_own(x, text) || !find_call(x, text))
        return false;
    if (x->found)
        return true;
    if (!cli_explain_room(x->a, text, x->tree, &room))
        return false;
    x->found = room.found;
    x->id = room.id;
    x->peer = room.peer;
    return true;
}

/* --- its pushes -------------------------------------------------------------------------- */

static cJSON *device_of(struct explain *x, const struct pg_result *r, int row)
{
    char text[UUID_TEXT_BYTES];
    uint8_t raw[UUID_BYTES];
    pg_uuid(r, row, 0, raw);
    uuid_format(raw, text);
    cJSON *d;
    cJSON_ArrayForEach(d, x->devices)
    {
        if (strcmp(cJSON_GetStringValue(cJSON_GetObjectItem(d, "device")), text) == 0)
            return d;
    }
    d = cJSON_CreateObject();
    (void)cJSON_AddItemToArray(x->devices, d);
    cli_json_text(d, "device", text);
    cli_json_text(d, "app", pg_is_null(r, row, 1) ? NULL : pg_text(r, row, 1));
    cli_json_text(d, "resource", pg_is_null(r, row, 2) ? NULL : pg_text(r, row, 2));
    (void)cJSON_AddArrayToObject(d, "tries");
    (void)cJSON_AddNullToObject(d, "waiting");
    if (x->call.found)
        (void)cJSON_AddNullToObject(d, "untold_because");
    return d;
}

/* Behind an answer of 200, or behind what was not sent at all, the log goes on with newer
 * messages. */
static bool is_settled(const cJSON *device)
{
    const cJSON *list = cJSON_GetObjectItem(device, "tries");
    const cJSON *last = cJSON_GetArrayItem(list, cJSON_GetArraySize(list) - 1);
    if (!last)
        return false;
    return cJSON_GetNumberValue(cJSON_GetObjectItem(last, "status")) == 200 ||
           cJSON_IsNull(cJSON_GetObjectItem(last, "apns_id"));
}

static void on_tries(void *ctx, const struct pg_result *r)
{
    struct explain *x = ctx;
    for (int i = 0; i < pg_rows(r); i++) {
        if (x->call.found && !cli_explain_call_covers(&x->call, pg_time_us(r, i, 3)))
            continue;
        cJSON *d = device_of(x, r, i);
        if (is_settled(d))
            continue;
        cJSON *o = cJSON_CreateObject();
        (void)cJSON_AddItemToArray(cJSON_GetObjectItem(d, "tries"), o);
        cli_json_time(o, "at", pg_time_us(r, i, 3));
        (void)cJSON_AddNumberToObject(o, "status", (double)pg_i64(r, i, 4));
        cli_json_text(o, "reason", pg_is_null(r, i, 5) ? NULL : pg_text(r, i, 5));
        cli_json_text(o, "decision", pg_is_null(r, i, 6) ? NULL : pg_text(r, i, 6));
        if (pg_is_null(r, i, 7))
            (void)cJSON_AddNullToObject(o, "badge");
        else
            (void)cJSON_AddNumberToObject(o, "badge", (double)pg_i64(r, i, 7));
        char apns_id[UUID_TEXT_BYTES];
        uint8_t raw[UUID_BYTES];
        pg_uuid(r, i, 8, raw);
        uuid_format(raw, apns_id);
        cli_json_text(o, "apns_id", pg_is_null(r, i, 8) ? NULL : apns_id);
        (void)cJSON_AddBoolToObject(o, "with_newer", pg_i64(r, i, 9) > x->id);
    }
}

static void on_entries(void *ctx, const struct pg_result *r)
{
    static const char *const states[] = {"?", "held by the worker", "waiting", "parked"};
    struct explain *x = ctx;
    for (int i = 0; i < pg_rows(r); i++) {
        cJSON *d = device_of(x, r, i);
        int64_t state = pg_i64(r, i, 3);
        if (is_settled(d)) /* it is about newer messages */
            continue;
        cJSON *o = cJSON_CreateObject();
        (void)cJSON_ReplaceItemInObject(d, "waiting", o);
        cli_json_text(o, "state", states[state >= 1 && state <= 3 ? state : 0]);
        cli_json_time(o, "due", pg_time_us(r, i, 4));
        (void)cJSON_AddNumberToObject(o, "attempts", (double)pg_i64(r, i, 5));
        cli_json_text(o, "reason", pg_is_null(r, i, 6) ? NULL : pg_text(r, i, 6));
    }
}

static bool find_pushes(struct explain *x, const struct push_opts *push)
{
    struct pg_params p;
    pg_params_init(&p);
    pg_add_uuid(&p, x->a->owner);
    pg_add_i64(&p, (int64_t)x->peer);
    pg_add_i64(&p, x->id);
    x->devices = cJSON_AddArrayToObject(x->tree, "devices");
    const bool is_past = x->call.found && !x->call.kept; /* what waits is another's */
    return cli_db_ask(x->a->db, &tries, &p, on_tries, x) &&
           (is_past || cli_db_ask(x->a->db, &entries, &p, on_entries, x)) &&
           (!x->call.found || cli_explain_call_devices(x->a, push, &x->call, x->tree));
}

/* --- as text ----------------------------------------------------------------------------- */

static const char *text_in(const cJSON *o, const char *name)
{
    const char *text = cJSON_GetStringValue(cJSON_GetObjectItem(o, name));
    return text ? text : "";
}

static void print_line(const char *name, const char *text, const char *more)
{
    printf("%-9s ", name);
    cli_print_text(text);
    if (more[0]) {
        printf(": ");
        cli_print_text(more);
    }
    printf("\n");
}

static void print_message(const cJSON *m)
{
    bool counted = cJSON_IsTrue(cJSON_GetObjectItem(m, "counted"));
    bool read = cJSON_IsTrue(cJSON_GetObjectItem(m, "read"));
    print_line("message", text_in(m, "id"), text_in(m, "stanza_id"));
    print_line("archived", text_in(m, "at"), "");
    print_line(strcmp(text_in(m, "direction"), "in") == 0 ? "from" : "to", text_in(m, "peer"),
               "");
    print_line("counted", counted ? "yes" : "no", text_in(m, "uncounted_because"));
    const char *by = text_in(m, "read_by");
    print_line("read", !read ? "no" : by[0] ? "yes, by" : "yes", by);
    if (cJSON_IsTrue(cJSON_GetObjectItem(m, "muted")))
        print_line("muted", "yes, now", "");
    if (cJSON_IsTrue(cJSON_GetObjectItem(m, "room")))
        print_line("of rooms", text_in(m, "notify"), text_in(m, "unpushed_because"));
}

static void print_try(const cJSON *o)
{
    bool sent = !cJSON_IsNull(cJSON_GetObjectItem(o, "apns_id"));
    printf("    %.19sZ  ", text_in(o, "at"));
    if (sent)
        printf("answered %d", (int)cJSON_GetNumberValue(cJSON_GetObjectItem(o, "status")));
    else
        printf("not sent");
    if (text_in(o, "reason")[0]) {
        printf(" ");
        cli_print_text(text_in(o, "reason"));
    }
    if (text_in(o, "decision")[0])
        printf("  because: %s", text_in(o, "decision"));
    if (cJSON_IsNumber(cJSON_GetObjectItem(o, "badge")))
        printf("  badge %d", (int)cJSON_GetNumberValue(cJSON_GetObjectItem(o, "badge")));
    if (sent)
        printf("  apns-id %s", text_in(o, "apns_id"));
    if (cJSON_IsTrue(cJSON_GetObjectItem(o, "with_newer")))
        printf("  (together with newer ones)");
    printf("\n");
}

static void print_device(const cJSON *d)
{
    const cJSON *o;
    printf("device    %s  ", text_in(d, "device"));
    cli_print_text(text_in(d, "app")[0] ? text_in(d, "app") : "not registered any more");
    printf("  ");
    cli_print_text(text_in(d, "resource"));
    printf("\n");
    cJSON_ArrayForEach(o, cJSON_GetObjectItem(d, "tries"))
    {
        print_try(o);
    }
    if (text_in(d, "untold_because")[0])
        printf("    not told: %s\n", text_in(d, "untold_because"));
    const cJSON *w = cJSON_GetObjectItem(d, "waiting");
    if (cJSON_IsNull(w))
        return;
    printf("    %s until %.19sZ after %d attempts ", text_in(w, "state"), text_in(w, "due"),
           (int)cJSON_GetNumberValue(cJSON_GetObjectItem(w, "attempts")));
    cli_print_text(text_in(w, "reason"));
    printf("\n");
}

static void print_call(const cJSON *c)
{
    print_line("call", text_in(c, "session"), text_in(c, "media"));
    print_line("caller", text_in(c, "from"), "");
    print_line("came", text_in(c, "at"), "");
    if (text_in(c, "over_because")[0])
        print_line("over", text_in(c, "over_at"), text_in(c, "over_because"));
    if (text_in(c, "untold_because")[0])
        print_line("not told", text_in(c, "untold_because"), "");
}

static void print_all(const struct explain *x)
{
    const cJSON *d;
    if (cJSON_HasObjectItem(x->tree, "message"))
        print_message(cJSON_GetObjectItem(x->tree, "message"));
    if (x->call.found)
        print_call(cJSON_GetObjectItem(x->tree, "call"));
    cJSON_ArrayForEach(d, x->devices)
    {
        print_device(d);
    }
    if (x->call.found)
        return;
    const char *why = text_in(cJSON_GetObjectItem(x->tree, "message"), "unpushed_because");
    if (cJSON_GetNumberValue(cJSON_GetObjectItem(x->tree, "devices_now")) == 0)
        why = "the account has no device";
    else if (!why[0])
        why = "it was due for no device then, or push.history is over";
    if (cJSON_GetArraySize(x->devices) == 0)
        print_line("push", "none is known of", why);
}

static int explain(struct explain *x, const struct push_opts *push, const char *id, bool json)
{
    if (!find(x, id))
        return EX_TEMPFAIL;
    if (!x->found) {
        (void)fprintf(stderr, "xmpp-sidecar: %s has no message and no call of that id\n",
                      x->a->jid.bare);
        return EX_NOINPUT;
    }
    if (!find_pushes(x, push))
        return EX_TEMPFAIL;
    if (json) {
        cli_print_json(x->tree);
        x->tree = NULL;
    } else {
        print_all(x);
    }
    return EX_OK;
}

int cli_explain(const struct cli *c)
{
    bool json = false;
    const char *words[2];
    const struct cli_option options[] = {{"--json", &json, NULL}, {0}};
    if (!cli_arguments(c, options, 2, 2, words))
        return EX_USAGE;
    struct config *config = cli_load(c);
    if (!config)
        return EX_CONFIG;
    struct cli_account a;
    int status = cli_account_open(c, words[0], &a);
    if (status == EX_OK) {
        struct explain x = {.a = &a, .tree = cJSON_CreateObject()};
        status = explain(&x, &config->push, words[1], json);
        cJSON_Delete(x.tree);
        stanza_free(&x.stanza);
    }
    cli_account_close(&a);
    config_free(&config);
    return status;
}
