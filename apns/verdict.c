// SPDX-License-Identifier: Apache-2.0
#include "apns/verdict.h"

#include <cjson/cJSON.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#define RETRY_AFTER_MAX_S (24 * 60 * 60) /* a longer order is not believed */

struct row {
    int status;
    const char *reason; /* NULL: every other reason of this status */
    enum verdict_step step;
    enum push_reaction reaction;
};

/* Apple, "Handling notification responses from APNs".  The first row that fits counts. */
static const struct row rows[] = {
    {200, NULL, VERDICT_FINAL, PUSH_DONE},
    {400, "BadDeviceToken", VERDICT_FINAL, PUSH_SUSPECT},
    {400, "DeviceTokenNotForTopic", VERDICT_FINAL, PUSH_SUSPECT},
    {400, "BadTopic", VERDICT_FINAL, PUSH_APP_STOPPED},
    {400, "MissingTopic", VERDICT_FINAL, PUSH_APP_STOPPED},
    {400, "TopicDisallowed", VERDICT_FINAL, PUSH_APP_STOPPED},
    {400, "IdleTimeout", VERDICT_RESEND, PUSH_RETRY},
    {400, "BadCollapseId", VERDICT_FINAL, PUSH_PARK},
    {400, "BadExpirationDate", VERDICT_FINAL, PUSH_PARK},
    {400, "BadMessageId", VERDICT_FINAL, PUSH_PARK},
    {400, "BadPriority", VERDICT_FINAL, PUSH_PARK},
    {400, "DuplicateHeaders", VERDICT_FINAL, PUSH_PARK},
    {400, "InvalidPushType", VERDICT_FINAL, PUSH_PARK},
    {400, "MissingDeviceToken", VERDICT_FINAL, PUSH_PARK},
    {400, "PayloadEmpty", VERDICT_FINAL, PUSH_PARK},
    {403, "ExpiredProviderToken", VERDICT_RENEW_TOKEN, PUSH_APP_STOPPED},
    {403, "InvalidProviderToken", VERDICT_RENEW_TOKEN, PUSH_APP_STOPPED},
    {403, "UnrelatedKeyIdInToken", VERDICT_RECONNECT, PUSH_APP_STOPPED},
    {403, "BadCertificate", VERDICT_FINAL, PUSH_APP_STOPPED},
    {403, "BadCertificateEnvironment", VERDICT_FINAL, PUSH_APP_STOPPED},
    {403, "BadEnvironmentKeyIdInToken", VERDICT_FINAL, PUSH_APP_STOPPED},
    {403, "Forbidden", VERDICT_FINAL, PUSH_APP_STOPPED},
    {403, "MissingProviderToken", VERDICT_FINAL, PUSH_APP_STOPPED},
    /* Spellings differ in the wild (BadEnvironmentKeyInToken, InvalidSigningKey, ...). */
    {403, NULL, VERDICT_FINAL, PUSH_APP_STOPPED},
    {404, "BadPath", VERDICT_FINAL, PUSH_PARK},
    {405, "MethodNotAllowed", VERDICT_FINAL, PUSH_PARK},
    {410, "ExpiredToken", VERDICT_FINAL, PUSH_DROP_DEVICE},
    {410, "Unregistered", VERDICT_FINAL, PUSH_DROP_DEVICE},
    {410, NULL, VERDICT_FINAL, PUSH_DROP_DEVICE},
    {413, "PayloadTooLarge", VERDICT_FINAL, PUSH_PARK},
    {429, "TooManyProviderTokenUpdates", VERDICT_TOKEN_HOLD, PUSH_RETRY},
    {429, "TooManyRequests", VERDICT_FINAL, PUSH_HOLD_DEVICE},
    {429, NULL, VERDICT_FINAL, PUSH_RETRY},
    {500, "InternalServerError", VERDICT_FINAL, PUSH_RETRY},
    {503, "ServiceUnavailable", VERDICT_FINAL, PUSH_RETRY},
    {503, "Shutdown", VERDICT_RESEND, PUSH_RETRY},
};

static struct row find_row(int status, const char *reason)
{
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if (rows[i].status == status &&
            (!rows[i].reason || strcmp(rows[i].reason, reason) == 0))
            return rows[i];
    if (status >= 400 && status < 500)
        return (struct row){status, NULL, VERDICT_FINAL, PUSH_PARK};
    /* 5xx, and what no push service should say (1xx, 3xx): later, and the outbox counts. */
    return (struct row){status, NULL, VERDICT_FINAL, PUSH_RETRY};
}

void verdict_word(const char *word, char *out, size_t out_size)
{
    size_t n = 0;
    for (; *word && n + 1 < out_size; word++) {
        bool plain = (*word >= 'a' && *word <= 'z') || (*word >= 'A' && *word <= 'Z') ||
                     (*word >= '0' && *word <= '9') || strchr(" _.:-", *word);
        out[n] = '?';
        if (plain)
            out[n] = *word;
        n++;
    }
    out[n] = '\0';
}

static cJSON *parse_body(const uint8_t *body, size_t len)
{
    if (!body || len == 0 || len > VERDICT_BODY_MAX)
        return NULL;
    return cJSON_ParseWithLength((const char *)body, len);
}

void verdict_reason(const uint8_t *body, size_t len, char *out, size_t out_size)
{
    out[0] = '\0';
    cJSON *json = parse_body(body, len);
    const cJSON *reason = cJSON_GetObjectItemCaseSensitive(json, "reason");
    if (cJSON_IsString(reason))
        verdict_word(reason->valuestring, out, out_size);
    cJSON_Delete(json);
}

static int64_t read_timestamp(const uint8_t *body, size_t len)
{
    int64_t ms = 0;
    cJSON *json = parse_body(body, len);
    const cJSON *t = cJSON_GetObjectItemCaseSensitive(json, "timestamp");
    /* Up to 2^53 a double is exact; no date is beyond that. */
    if (cJSON_IsNumber(t) && t->valuedouble > 0 && t->valuedouble < 9007199254740992.0)
        ms = (int64_t)t->valuedouble;
    cJSON_Delete(json);
    return ms;
}

int64_t verdict_delay_ms(const struct verdict_answer *a, int64_t otherwise_ms)
{
    if (a->retry_after_s < 0)
        return otherwise_ms;
    int64_t s = a->retry_after_s > RETRY_AFTER_MAX_S ? RETRY_AFTER_MAX_S : a->retry_after_s;
    return s * 1000;
}

enum verdict_step verdict_of_answer(const struct verdict_answer *a,
                                    const struct verdict_opts *o, struct push_verdict *out)
{
    *out = (struct push_verdict){.reaction = PUSH_DONE, .status = a->status};
    if (a->status == 200)
        return VERDICT_FINAL;
    verdict_reason(a->body, a->body_len, out->reason, sizeof out->reason);
    struct row r = find_row(a->status, out->reason);
    out->reaction = r.reaction;
    if (a->status == 410)
        out->timestamp_ms = read_timestamp(a->body, a->body_len);
    /* Without a timestamp nothing says that the registration is the older one. */
    if (r.reaction == PUSH_DROP_DEVICE && out->timestamp_ms == 0)
        out->reaction = PUSH_SUSPECT;
    if (r.reaction == PUSH_HOLD_DEVICE || a->status == 429)
        out->retry_after_ms = verdict_delay_ms(a, o->device_hold_ms);
    else if (r.reaction == PUSH_RETRY)
        out->retry_after_ms = verdict_delay_ms(a, o->server_error_ms);
    if (out->reason[0] == '\0')
        snprintf(out->reason, sizeof out->reason, "status %d", a->status);
    return r.step;
}

void verdict_of_silence(const char *reason, const struct verdict_opts *o,
                        struct push_verdict *out)
{
    *out = (struct push_verdict){.reaction = PUSH_RETRY, .retry_after_ms = o->no_answer_ms};
    snprintf(out->reason, sizeof out->reason, "%s", reason);
}

const char *push_reaction_name(enum push_reaction r)
{
    switch (r) {
    case PUSH_DONE:
        return "done";
    case PUSH_DROP_DEVICE:
        return "drop device";
    case PUSH_SUSPECT:
        return "suspect";
    case PUSH_RETRY:
        return "retry";
    case PUSH_HOLD_DEVICE:
        return "hold device";
    case PUSH_PARK:
        return "park";
    case PUSH_APP_STOPPED:
        return "app stopped";
    }
    return "?";
}
