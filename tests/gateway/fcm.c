// SPDX-License-Identifier: Apache-2.0
#include "tests/gateway/fcm.h"

#include <cjson/cJSON.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/gateway/devices.h"
#include "tests/gateway/fcm_fields.h"
#include "tests/gateway/gateway.h"
#include "tests/gateway/oauth.h"
#include "tests/gateway/text.h"

enum { MESSAGE_MAX = 4096, TOKEN_PART_MIN = 11, RATE_MAX = 240, COLLAPSE_KEYS = 4 };

static struct gw_verdict passed(void)
{
    return (struct gw_verdict){.status = 200};
}

static struct gw_verdict rejected(int status, const char *reason)
{
    return (struct gw_verdict){.status = status, .reason = reason};
}

static struct gw_verdict invalid(const char *field)
{
    struct gw_verdict v = {.status = 400, .reason = "INVALID_ARGUMENT"};

    snprintf(v.field, sizeof(v.field), "%s", field);
    return v;
}

/* An installation, a colon, and what it was registered with. */
bool gw_fcm_is_token(const char *s)
{
    static const char digits[] =
        "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz-_";
    size_t first = strspn(s, digits), second;

    if (first < TOKEN_PART_MIN || s[first] != ':')
        return false;
    second = strspn(s + first + 1, digits);
    return second >= TOKEN_PART_MIN && s[first + 1 + second] == '\0' &&
           strlen(s) <= GW_TOKEN_MAX;
}

static struct gw_verdict check_request(struct gateway *gw, const struct gw_request *r,
                                       struct gw_push *push)
{
    const char *method = gw_request_header(r, ":method");
    const char *path = gw_request_header(r, ":path");
    const char *type = gw_request_header(r, "content-type");
    struct gw_text expected = {0};
    bool same;

    gw_text_printf(&expected, "/v1/projects/%s/messages:send", gw_oauth_project(gw->oauth));
    same = path != NULL && strcmp(path, expected.s) == 0;
    gw_text_free(&expected);
    if (!same)
        return rejected(404, "NOT_FOUND");
    if (method == NULL || strcmp(method, "POST") != 0)
        return rejected(404, "NOT_FOUND");
    if (gw_oauth_check(gw->oauth, gw_request_header(r, "authorization"), &push->jwt) != 200)
        return rejected(401, "UNAUTHENTICATED");
    if (type == NULL || strncmp(type, "application/json", 16) != 0 ||
        (type[16] != '\0' && type[16] != ';'))
        return invalid("content-type");
    if (gw_request_duplicate(r) != NULL)
        return invalid("headers");
    return passed();
}

static const cJSON *member(const cJSON *object, const char *name)
{
    return cJSON_GetObjectItemCaseSensitive(object, name);
}

/* For the record, however the message is judged. */
static void read_message(const cJSON *message, struct gw_push *push)
{
    const cJSON *android = member(message, "android");
    const cJSON *shown = member(android, "notification");
    const cJSON *count = member(shown, "notification_count");
    const cJSON *token = member(message, "token"), *key = member(android, "collapse_key");
    const cJSON *data = member(member(message, "data"), "badge");
    const cJSON *ttl = member(android, "ttl");

    if (cJSON_IsString(token))
        snprintf(push->token, sizeof(push->token), "%s", token->valuestring);
    if (cJSON_IsString(key))
        snprintf(push->kept_collapse, sizeof(push->kept_collapse), "%s", key->valuestring);
    push->collapse_id = push->kept_collapse[0] == '\0' ? NULL : push->kept_collapse;
    push->has_alert = cJSON_IsObject(member(message, "notification")) || cJSON_IsObject(shown);
    if (cJSON_IsString(ttl)) {
        push->has_expiration = true;
        push->expiration_s = gw_now_ms() / 1000 + strtoll(ttl->valuestring, NULL, 10);
    }
    if (cJSON_IsNumber(count)) {
        push->has_badge = true;
        push->badge = count->valueint;
    } else if (cJSON_IsString(data)) {
        push->has_badge = true;
        push->badge = strtoll(data->valuestring, NULL, 10);
    }
}

static struct gw_verdict check_target(struct gateway *gw, const cJSON *message,
                                      const char *token)
{
    static const char *const kinds[] = {"token", "topic", "condition", "fid"};
    struct gw_verdict gone = rejected(404, "UNREGISTERED");
    size_t i, n = 0;

    for (i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++)
        n += member(message, kinds[i]) != NULL;
    if (n != 1)
        return invalid("message");
    if (member(message, "token") == NULL)
        return passed(); /* the other targets are taken and go nowhere */
    if (!gw_fcm_is_token(token))
        return invalid("message.token");
    if (gw_devices_expired(gw->devices, token, &gone.timestamp_ms)) {
        gone.timestamp_ms = 0;
        return gone;
    }
    if (!gw_devices_has_topic(gw->devices, token, gw_oauth_project(gw->oauth),
                              gw->opts.token_any))
        return rejected(403, "SENDER_ID_MISMATCH");
    if (gw_devices_rate(gw->devices, token, gw_now_ms()) > RATE_MAX)
        return rejected(429, "QUOTA_EXCEEDED");
    return passed();
}

/* Shown by APNs in the dark: an alert needs nothing, data alone must not be urgent. */
static struct gw_verdict check_apns(const cJSON *message, const struct gw_push *push)
{
    const cJSON *apns = member(message, "apns");
    const cJSON *priority = member(member(apns, "headers"), "apns-priority");
    const cJSON *alert = member(member(member(apns, "payload"), "aps"), "alert");

    if (apns != NULL && !push->has_alert && alert == NULL &&
        (!cJSON_IsString(priority) || strcmp(priority->valuestring, "5") != 0))
        return invalid("message.apns.headers");
    return passed();
}

/* Android takes the text where there is one, whatever the key beside it says. */
static void check_keys(struct gateway *gw, const cJSON *message)
{
    static const char *const parts[][3] = {{"body", "body_loc_key", "body_loc_args"},
                                           {"title", "title_loc_key", "title_loc_args"}};
    const cJSON *shown = member(member(message, "android"), "notification");
    const cJSON *common = member(message, "notification");

    for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++) {
        bool has_key = member(shown, parts[i][1]) != NULL;

        if (member(shown, parts[i][2]) != NULL && !has_key)
            gw_stats_violation(&gw->stats, "%s without %s", parts[i][2], parts[i][1]);
        if (has_key &&
            (member(shown, parts[i][0]) != NULL || member(common, parts[i][0]) != NULL))
            gw_stats_violation(&gw->stats, "%s beside %s", parts[i][1], parts[i][0]);
    }
}

struct gw_verdict gw_fcm_check(struct gateway *gw, const struct gw_request *r,
                               struct gw_push *push_out)
{
    char wrong[GW_FIELD_PATH_MAX];
    const cJSON *message;
    struct gw_verdict v;
    cJSON *root = NULL;

    *push_out = (struct gw_push){.priority = 10, .kept = COLLAPSE_KEYS};
    push_out->payload_valid =
        r->body_len == r->body_kept && gw_json_valid(r->body, r->body_kept);
    if (push_out->payload_valid)
        root = cJSON_ParseWithLength((const char *)r->body, r->body_kept);
    message = member(root, "message");
    read_message(message, push_out);
    check_keys(gw, message);
    v = check_request(gw, r, push_out);
    if (v.status == 200 && !push_out->payload_valid)
        v = invalid("");
    if (v.status == 200 && r->body_len > MESSAGE_MAX)
        v = rejected(400, "INVALID_ARGUMENT"); /* too big is said without details */
    if (v.status == 200 && !gw_fcm_fields_check(root, wrong))
        v = invalid(wrong);
    if (v.status == 200 && message == NULL)
        v = invalid("message");
    if (v.status == 200)
        v = check_target(gw, message, push_out->token);
    if (v.status == 200)
        v = check_apns(message, push_out);
    cJSON_Delete(root);
    return v;
}

/* What Google calls the HTTP status beside the more special word. */
static const char *status_word(int status, const char *reason)
{
    static const struct {
        int status;
        const char *word;
    } words[] = {{400, "INVALID_ARGUMENT"},   {401, "UNAUTHENTICATED"},
                 {403, "PERMISSION_DENIED"},  {404, "NOT_FOUND"},
                 {429, "RESOURCE_EXHAUSTED"}, {500, "INTERNAL"},
                 {503, "UNAVAILABLE"}};
    size_t i;

    for (i = 0; i < sizeof(words) / sizeof(words[0]); i++)
        if (words[i].status == status)
            return words[i].word;
    return reason;
}

/* The words of FCM itself; the others are Google's for every service. */
static bool is_fcm_word(const char *reason)
{
    static const char *const words[] = {
        "UNSPECIFIED_ERROR",  "INVALID_ARGUMENT", "UNREGISTERED",
        "SENDER_ID_MISMATCH", "QUOTA_EXCEEDED",   "UNAVAILABLE",
        "INTERNAL",           "APNS_AUTH_ERROR",  "THIRD_PARTY_AUTH_ERROR"};
    size_t i;

    for (i = 0; i < sizeof(words) / sizeof(words[0]); i++)
        if (strcmp(words[i], reason) == 0)
            return true;
    return false;
}

static void write_fcm_error(const struct gw_verdict *v, struct gw_text *out)
{
    gw_text_puts(out, "{\"@type\":\"type.googleapis.com/google.firebase.fcm.v1.FcmError\","
                      "\"errorCode\":");
    gw_text_json_str(out, v->reason);
    gw_text_puts(out, "}");
}

static void write_other_detail(const struct gw_verdict *v, struct gw_text *out)
{
    if (v->field[0] == '\0') {
        gw_text_puts(out, "{\"@type\":\"type.googleapis.com/google.rpc.Help\",\"links\":[]}");
        return;
    }
    gw_text_puts(out, "{\"@type\":\"type.googleapis.com/google.rpc.BadRequest\","
                      "\"fieldViolations\":[{\"field\":");
    gw_text_json_str(out, v->field);
    gw_text_puts(out, ",\"description\":\"Invalid value\"}]}");
}

void gw_fcm_write_error(const struct gw_verdict *v, bool fcm_error_first, struct gw_text *out)
{
    bool known;

    if (v->reason == NULL)
        return;
    known = is_fcm_word(v->reason);
    gw_text_printf(out, "{\"error\":{\"code\":%d,\"message\":\"Request refused.\",\"status\":",
                   v->status);
    gw_text_json_str(out, status_word(v->status, v->reason));
    if (known && (v->field[0] != '\0' || v->status != 400)) {
        gw_text_puts(out, ",\"details\":[");
        if (fcm_error_first) {
            write_fcm_error(v, out);
            gw_text_puts(out, ",");
            write_other_detail(v, out);
        } else {
            write_other_detail(v, out);
            gw_text_puts(out, ",");
            write_fcm_error(v, out);
        }
        gw_text_puts(out, "]");
    }
    gw_text_puts(out, "}}");
}
