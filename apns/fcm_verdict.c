// SPDX-License-Identifier: Apache-2.0
#include "apns/fcm_verdict.h"

#include <cjson/cJSON.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#define FCM_ERROR "type.googleapis.com/google.firebase.fcm.v1.FcmError"
#define BAD_REQUEST "type.googleapis.com/google.rpc.BadRequest"
#define QUOTA_FAILURE "type.googleapis.com/google.rpc.QuotaFailure"
#define APNS_KEY_MS (15 * 60 * 1000) /* somebody has to give Firebase a key first */

struct row {
    int status;
    const char *code; /* FcmError's errorCode; NULL: every other answer with this status */
    enum verdict_step step;
    enum push_reaction reaction;
};

/* Firebase, "REST Resource: projects.messages", ErrorCode.  The first row that fits counts;
 * status 0: whatever the status is. */
static const struct row rows[] = {
    {200, NULL, VERDICT_FINAL, PUSH_DONE},
    {0, "UNREGISTERED", VERDICT_FINAL, PUSH_DROP_DEVICE},
    {0, "SENDER_ID_MISMATCH", VERDICT_FINAL, PUSH_SUSPECT},
    /* Of the devices behind it only those that Firebase reaches through APNs are concerned:
     * they wait, the others go on. */
    {0, "THIRD_PARTY_AUTH_ERROR", VERDICT_ALARM, PUSH_RETRY},
    {0, "APNS_AUTH_ERROR", VERDICT_ALARM, PUSH_RETRY},
    {0, "QUOTA_EXCEEDED", VERDICT_FINAL, PUSH_HOLD_DEVICE},
    {400, NULL, VERDICT_FINAL, PUSH_PARK},
    {401, NULL, VERDICT_RENEW_TOKEN, PUSH_APP_STOPPED},
    {403, NULL, VERDICT_FINAL, PUSH_APP_STOPPED}, /* the role is missing, the API is off */
    {404, NULL, VERDICT_FINAL, PUSH_APP_STOPPED}, /* the project, not the device */
    {429, NULL, VERDICT_HOLD_ALL, PUSH_RETRY},
};

/* What a body says; texts are the parsed body's. */
struct error_body {
    const char *code;   /* FcmError's; NULL: none */
    const char *status; /* as google.rpc.Code names it; NULL: none */
    bool about_token;   /* the field that is wrong is the device's token */
    bool whole_project; /* the quota that is used up is everybody's */
};

static const char *text_of(const cJSON *object, const char *name)
{
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(object, name);
    return cJSON_IsString(item) ? item->valuestring : NULL;
}

static bool says(const char *text, const char *word)
{
    return text && strcasestr(text, word);
}

/* The first entry of a list; NULL when it is none, or empty. */
static const cJSON *first_of(const cJSON *object, const char *name)
{
    const cJSON *list = cJSON_GetObjectItemCaseSensitive(object, name);
    return cJSON_IsArray(list) ? list->child : NULL;
}

static void read_detail(const cJSON *detail, struct error_body *out)
{
    const char *type = text_of(detail, "@type");
    if (!type)
        return;
    if (strcmp(type, FCM_ERROR) == 0 && text_of(detail, "errorCode"))
        out->code = text_of(detail, "errorCode");
    if (strcmp(type, BAD_REQUEST) == 0)
        for (const cJSON *v = first_of(detail, "fieldViolations"); v; v = v->next) {
            const char *field = text_of(v, "field");
            out->about_token |= field && strcmp(field, "message.token") == 0;
        }
    if (strcmp(type, QUOTA_FAILURE) == 0)
        for (const cJSON *v = first_of(detail, "violations"); v; v = v->next)
            out->whole_project |= says(text_of(v, "subject"), "project") ||
                                  says(text_of(v, "description"), "project");
}

static void read_error(const cJSON *root, struct error_body *out)
{
    const cJSON *error = cJSON_GetObjectItemCaseSensitive(root, "error");
    *out = (struct error_body){.status = text_of(error, "status")};
    out->about_token = says(text_of(error, "message"), "not a valid FCM registration token");
    for (const cJSON *detail = first_of(error, "details"); detail; detail = detail->next)
        read_detail(detail, out);
}

static struct row find_row(int status, const char *code)
{
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if ((rows[i].status == status && !rows[i].code) ||
            (rows[i].status == 0 && code && strcmp(rows[i].code, code) == 0))
            return rows[i];
    if (status >= 400 && status < 500)
        return (struct row){status, NULL, VERDICT_FINAL, PUSH_PARK};
    return (struct row){status, NULL, VERDICT_FINAL, PUSH_RETRY};
}

static void set_reason(int status, const struct error_body *b, struct push_verdict *out)
{
    const char *word = b->code ? b->code : b->status;
    if (word)
        verdict_word(word, out->reason, sizeof out->reason);
    if (out->reason[0] == '\0')
        snprintf(out->reason, sizeof out->reason, "status %d", status);
}

static void set_delay(const struct verdict_answer *a, const struct row *r,
                      const struct verdict_opts *o, struct push_verdict *out)
{
    if (r->step == VERDICT_ALARM)
        out->retry_after_ms = verdict_delay_ms(a, APNS_KEY_MS);
    else if (a->status == 429 || r->reaction == PUSH_HOLD_DEVICE)
        out->retry_after_ms = verdict_delay_ms(a, o->device_hold_ms);
    else if (r->reaction == PUSH_RETRY)
        out->retry_after_ms = verdict_delay_ms(a, o->server_error_ms);
}

enum verdict_step fcm_verdict_of_answer(const struct verdict_answer *a,
                                        const struct verdict_opts *o, struct push_verdict *out)
{
    *out = (struct push_verdict){.reaction = PUSH_DONE, .status = a->status};
    if (a->status == 200)
        return VERDICT_FINAL;
    cJSON *root = NULL;
    if (a->body && a->body_len > 0 && a->body_len <= FCM_BODY_MAX)
        root = cJSON_ParseWithLength((const char *)a->body, a->body_len);
    struct error_body b;
    read_error(root, &b);
    struct row r = find_row(a->status, b.code);
    if (r.reaction == PUSH_PARK && a->status == 400 && b.about_token)
        r.reaction = PUSH_SUSPECT;
    if (r.reaction == PUSH_HOLD_DEVICE && b.whole_project)
        r = (struct row){.step = VERDICT_HOLD_ALL, .reaction = PUSH_RETRY};
    /* Who names a time means everybody. */
    if (a->status == 503 && a->retry_after_s >= 0)
        r.step = VERDICT_HOLD_ALL;
    out->reaction = r.reaction;
    set_reason(a->status, &b, out);
    set_delay(a, &r, o, out);
    cJSON_Delete(root);
    return r.step;
}
