// SPDX-License-Identifier: Apache-2.0
#include "tests/gateway/checks.h"

#include <cjson/cJSON.h>
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/gateway/devices.h"
#include "tests/gateway/gateway.h"
#include "tests/gateway/jwt_check.h"
#include "tests/gateway/text.h"

#define DEVICE_PATH "/3/device/"

enum { COLLAPSE_ID_MAX = 64, PAYLOAD_MAX = 4096, PAYLOAD_MAX_VOIP = 5120, CALL_KEPT_S = 60 };

struct push_type {
    const char *name;
    const char *suffix; /* NULL: the topic is no bundle id and may be anything */
    size_t payload_max;
};

static const struct push_type push_types[] = {
    {"alert", "", PAYLOAD_MAX},
    {"background", "", PAYLOAD_MAX},
    {"voip", ".voip", PAYLOAD_MAX_VOIP},
    {"complication", ".complication", PAYLOAD_MAX},
    {"fileprovider", ".pushkit.fileprovider", PAYLOAD_MAX},
    {"mdm", NULL, PAYLOAD_MAX},
    {"liveactivity", ".push-type.liveactivity", PAYLOAD_MAX},
    {"location", ".location-query", PAYLOAD_MAX},
    {"pushtotalk", ".voip-ptt", PAYLOAD_MAX},
    {"widgets", ".push-type.widgets", PAYLOAD_MAX},
    {"controls", ".push-type.controls", PAYLOAD_MAX},
};

enum { N_PUSH_TYPES = sizeof(push_types) / sizeof(push_types[0]) };

struct check {
    struct gateway *gw;
    struct gw_binding *binding;
    const struct gw_request *request;
    struct gw_push *push;
    const struct push_type *type;
    char bundle[256]; /* the topic without its suffix */
};

static struct gw_verdict passed(void)
{
    return (struct gw_verdict){.status = 200};
}

static struct gw_verdict rejected(int status, const char *reason)
{
    return (struct gw_verdict){.status = status, .reason = reason};
}

/* 8-4-4-4-12 in lower case; Apple calls it canonical. */
static bool is_uuid(const char *s)
{
    size_t i;

    if (strlen(s) != 36)
        return false;
    for (i = 0; i < 36; i++) {
        if (i == 8 || i == 13 || i == 18 || i == 23) {
            if (s[i] != '-')
                return false;
        } else if (!isxdigit((unsigned char)s[i]) || isupper((unsigned char)s[i])) {
            return false;
        }
    }
    return true;
}

static bool ends_with(const char *s, const char *end)
{
    size_t n = strlen(s), n_end = strlen(end);

    return n > n_end && strcmp(s + n - n_end, end) == 0;
}

static struct gw_verdict check_identity(struct check *c)
{
    const char *method = gw_request_header(c->request, ":method");

    c->push->apns_id = gw_request_header(c->request, "apns-id");
    c->push->topic = gw_request_header(c->request, "apns-topic");
    c->push->collapse_id = gw_request_header(c->request, "apns-collapse-id");
    if (gw_request_duplicate(c->request) != NULL)
        return rejected(400, "DuplicateHeaders");
    if (c->push->apns_id != NULL && !is_uuid(c->push->apns_id))
        return rejected(400, "BadMessageId");
    if (method == NULL || strcmp(method, "POST") != 0)
        return rejected(405, "MethodNotAllowed");
    if (c->push->topic == NULL || c->push->topic[0] == '\0')
        return rejected(400, "MissingTopic");
    if (c->push->collapse_id != NULL &&
        (c->push->collapse_id[0] == '\0' || strlen(c->push->collapse_id) > COLLAPSE_ID_MAX))
        return rejected(400, "BadCollapseId");
    return passed();
}

static struct gw_verdict check_delivery(struct check *c)
{
    const char *priority = gw_request_header(c->request, "apns-priority");
    const char *expiration = gw_request_header(c->request, "apns-expiration");

    c->push->priority = 10;
    if (priority != NULL) {
        if (strcmp(priority, "10") != 0 && strcmp(priority, "5") != 0 &&
            strcmp(priority, "1") != 0)
            return rejected(400, "BadPriority");
        c->push->priority = (int)strtol(priority, NULL, 10);
    }
    if (expiration != NULL) {
        size_t n = strlen(expiration);

        if (n == 0 || n > 15 || strspn(expiration, "0123456789") != n)
            return rejected(400, "BadExpirationDate");
        c->push->has_expiration = true;
        c->push->expiration_s = strtoll(expiration, NULL, 10);
    }
    return passed();
}

/* The topic must be the one of the push type: a bundle id, and its suffix. */
static struct gw_verdict check_topic_suffix(struct check *c)
{
    const char *topic = c->push->topic;
    size_t i, cut = 0;

    if (c->type->suffix != NULL) {
        if (c->type->suffix[0] != '\0' && !ends_with(topic, c->type->suffix))
            return rejected(400, "BadTopic");
        for (i = 0; c->type->suffix[0] == '\0' && i < N_PUSH_TYPES; i++)
            if (push_types[i].suffix != NULL && push_types[i].suffix[0] != '\0' &&
                ends_with(topic, push_types[i].suffix))
                return rejected(400, "BadTopic");
        cut = strlen(c->type->suffix);
    }
    if (strlen(topic) - cut >= sizeof(c->bundle))
        return rejected(400, "BadTopic");
    snprintf(c->bundle, sizeof(c->bundle), "%.*s", (int)(strlen(topic) - cut), topic);
    return passed();
}

/* Apple takes it, and rings for a call that nobody waits in any more. */
static void check_call(const struct check *c)
{
    struct gw_stats *stats = &c->gw->stats;

    if (c->push->priority != 10)
        gw_stats_violation(stats, "a voip push that is not urgent");
    if (!c->push->has_expiration || (c->push->expiration_s > gw_now_ms() / 1000 + CALL_KEPT_S))
        gw_stats_violation(stats, "a voip push that is kept for longer than a minute");
}

static struct gw_verdict check_push_type(struct check *c)
{
    size_t i;

    c->push->push_type = gw_request_header(c->request, "apns-push-type");
    for (i = 0; c->push->push_type != NULL && i < N_PUSH_TYPES; i++)
        if (strcmp(push_types[i].name, c->push->push_type) == 0)
            c->type = &push_types[i];
    if (c->type == NULL)
        return rejected(400, "InvalidPushType");
    if (strcmp(c->type->name, "background") == 0 && c->push->priority == 10)
        return rejected(400, "BadPriority");
    if (strcmp(c->type->name, "voip") == 0)
        check_call(c);
    if (strcmp(c->type->name, "pushtotalk") == 0) {
        if (c->push->priority != 10)
            return rejected(400, "BadPriority");
        if (!c->push->has_expiration || c->push->expiration_s != 0)
            return rejected(400, "BadExpirationDate");
    }
    return check_topic_suffix(c);
}

/* For the record the token is taken from any path that has one. */
static void read_token(struct check *c)
{
    const char *path = gw_request_header(c->request, ":path");
    size_t i;

    if (path == NULL || strncmp(path, DEVICE_PATH, strlen(DEVICE_PATH)) != 0)
        return;
    path += strlen(DEVICE_PATH);
    for (i = 0; i < sizeof(c->push->token) - 1 && path[i] != '\0'; i++)
        c->push->token[i] = (char)tolower((unsigned char)path[i]);
}

static struct gw_verdict check_device(struct check *c)
{
    const char *path = gw_request_header(c->request, ":path");
    const char *token = c->push->token;
    struct gw_verdict v;

    if (path == NULL || strncmp(path, DEVICE_PATH, strlen(DEVICE_PATH)) != 0)
        return rejected(404, "BadPath");
    if (token[0] == '\0')
        return rejected(400, "MissingDeviceToken");
    if (strlen(token) != GW_TOKEN_HEX || strspn(token, "0123456789abcdef") != GW_TOKEN_HEX)
        return rejected(400, "BadDeviceToken");
    v = rejected(410, "Unregistered");
    if (gw_devices_expired(c->gw->devices, token, &v.timestamp_ms))
        return v;
    /* As one of the other environment is. */
    if (!c->gw->opts.token_any && !gw_devices_known(c->gw->devices, token))
        return rejected(400, "BadDeviceToken");
    if (!gw_devices_has_topic(c->gw->devices, token, c->push->topic, c->gw->opts.token_any))
        return rejected(400, "DeviceTokenNotForTopic");
    return passed();
}

/* The user id is also good for what it was of old, with these suffixes. */
static bool is_certified(const char *topics, const char *topic)
{
    bool first = true;
    size_t n;

    for (; *topics != '\0'; topics += n + 1, first = false) {
        n = strcspn(topics, ",");
        if (n == 0 || strncmp(topic, topics, n) != 0)
            continue;
        if (topic[n] == '\0' || (first && (strcmp(topic + n, ".voip") == 0 ||
                                           strcmp(topic + n, ".complication") == 0)))
            return true;
    }
    return false;
}

static struct gw_verdict check_certificate(struct check *c)
{
    /* Apple ignores it; who sends both does not know who he is. */
    if (gw_request_header(c->request, "authorization") != NULL)
        gw_stats_violation(&c->gw->stats, "authorization beside a certificate");
    return is_certified(c->binding->cert_topics, c->push->topic) ? passed()
                                                                 : rejected(400, "BadTopic");
}

static struct gw_verdict check_provider(struct check *c)
{
    const char *authorization = gw_request_header(c->request, "authorization");

    if (c->binding->cert_topics[0] != '\0')
        return check_certificate(c);
    if (authorization == NULL || strncmp(authorization, "bearer ", 7) != 0 ||
        authorization[7] == '\0')
        return rejected(403, "MissingProviderToken");
    switch (gw_jwts_check(c->gw->jwts, c->binding, authorization + 7, c->bundle,
                          gw_now_ms() / 1000, &c->push->jwt)) {
    case GW_JWT_OK:
        return passed();
    case GW_JWT_INVALID:
        return rejected(403, "InvalidProviderToken");
    case GW_JWT_EXPIRED:
        return rejected(403, "ExpiredProviderToken");
    case GW_JWT_TOO_MANY:
        return rejected(429, "TooManyProviderTokenUpdates");
    }
    return rejected(500, "InternalServerError");
}

static bool is_text_or_object(const cJSON *item)
{
    return cJSON_IsString(item) || cJSON_IsObject(item);
}

/* What groups and ranks a notification. */
static bool has_known_words(const cJSON *aps)
{
    static const char *const levels[] = {"passive", "active", "time-sensitive", "critical"};
    const cJSON *level = cJSON_GetObjectItemCaseSensitive(aps, "interruption-level");
    const cJSON *category = cJSON_GetObjectItemCaseSensitive(aps, "category");
    const cJSON *thread = cJSON_GetObjectItemCaseSensitive(aps, "thread-id");
    bool known = level == NULL;
    size_t i;

    for (i = 0; cJSON_IsString(level) && i < 4; i++)
        known = known || strcmp(levels[i], level->valuestring) == 0;
    return known && (category == NULL || cJSON_IsString(category)) &&
           (thread == NULL || cJSON_IsString(thread));
}

/* They are 1 or not there. */
static bool is_flag(const cJSON *aps, const char *name)
{
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(aps, name);

    return item == NULL || (cJSON_IsNumber(item) && item->valuedouble == 1);
}

static bool are_texts(const cJSON *list)
{
    const cJSON *item;

    if (!cJSON_IsArray(list))
        return false;
    cJSON_ArrayForEach(item, list) if (!cJSON_IsString(item)) return false;
    return true;
}

/* Words that the app has itself: the key is a text, its arguments are, and nothing else says
 * what is to stand there. */
static bool has_good_keys(struct check *c, const cJSON *alert)
{
    static const char *const parts[][3] = {
        {"body", "loc-key", "loc-args"},
        {"title", "title-loc-key", "title-loc-args"},
        {"subtitle", "subtitle-loc-key", "subtitle-loc-args"}};

    for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++) {
        const cJSON *key = cJSON_GetObjectItemCaseSensitive(alert, parts[i][1]);
        const cJSON *args = cJSON_GetObjectItemCaseSensitive(alert, parts[i][2]);

        if ((key != NULL && !cJSON_IsString(key)) || (args != NULL && !are_texts(args)))
            return false;
        if (args != NULL && key == NULL)
            gw_stats_violation(&c->gw->stats, "%s without %s", parts[i][2], parts[i][1]);
        if (key != NULL && cJSON_GetObjectItemCaseSensitive(alert, parts[i][0]) != NULL)
            gw_stats_violation(&c->gw->stats, "%s beside %s", parts[i][1], parts[i][0]);
    }
    return true;
}

/* The members of aps that decide what the phone shows must have their types. */
static bool read_aps(struct check *c, const cJSON *aps)
{
    const cJSON *alert = cJSON_GetObjectItemCaseSensitive(aps, "alert");
    const cJSON *badge = cJSON_GetObjectItemCaseSensitive(aps, "badge");
    const cJSON *sound = cJSON_GetObjectItemCaseSensitive(aps, "sound");

    if (!has_known_words(aps) || !is_flag(aps, "content-available") ||
        !is_flag(aps, "mutable-content"))
        return false;
    if ((alert != NULL && !is_text_or_object(alert)) ||
        (sound != NULL && !is_text_or_object(sound)) ||
        (cJSON_IsObject(alert) && !has_good_keys(c, alert)))
        return false;
    if (badge != NULL) {
        if (!cJSON_IsNumber(badge) || badge->valuedouble < 0 || badge->valuedouble > 1e9 ||
            (double)(int64_t)badge->valuedouble != badge->valuedouble)
            return false;
        c->push->has_badge = true;
        c->push->badge = (int64_t)badge->valuedouble;
    }
    c->push->has_alert = alert != NULL;
    return true;
}

/* A background push wakes the app and shows nothing: it says only that. */
static bool agrees_with_type(const struct check *c, const cJSON *aps)
{
    const cJSON *wake;

    if (strcmp(c->type->name, "background") != 0)
        return true;
    wake = cJSON_GetObjectItemCaseSensitive(aps, "content-available");
    return cJSON_IsNumber(wake) && wake->valueint == 1 &&
           cJSON_GetObjectItemCaseSensitive(aps, "alert") == NULL &&
           cJSON_GetObjectItemCaseSensitive(aps, "badge") == NULL &&
           cJSON_GetObjectItemCaseSensitive(aps, "sound") == NULL;
}

static struct gw_verdict check_payload(struct check *c)
{
    const struct gw_request *r = c->request;
    const cJSON *aps;
    cJSON *root;
    struct gw_verdict v;

    if (r->body_len == 0)
        return rejected(400, "PayloadEmpty");
    if (r->body_len > c->type->payload_max)
        return rejected(413, "PayloadTooLarge");
    if (!c->push->payload_valid)
        return rejected(400, "BadPayload");
    root = cJSON_ParseWithLength((const char *)r->body, r->body_kept);
    aps = cJSON_GetObjectItemCaseSensitive(root, "aps");
    if (strcmp(c->type->name, "mdm") == 0)
        v = cJSON_IsString(cJSON_GetObjectItemCaseSensitive(root, "mdm"))
                ? passed()
                : rejected(400, "BadPayload");
    else if (!cJSON_IsObject(aps) || !read_aps(c, aps))
        v = rejected(400, "BadPayload");
    else if (!agrees_with_type(c, aps))
        v = rejected(400, "InvalidPushType");
    else
        v = passed();
    cJSON_Delete(root);
    return v;
}

struct gw_verdict gw_check(struct gateway *gw, struct gw_binding *binding,
                           const struct gw_request *r, struct gw_push *push_out)
{
    static struct gw_verdict (*const steps[])(struct check *) = {
        check_identity,  /* DuplicateHeaders BadMessageId MethodNotAllowed MissingTopic
                            BadCollapseId */
        check_delivery,  /* BadPriority BadExpirationDate */
        check_push_type, /* InvalidPushType BadPriority BadExpirationDate BadTopic */
        check_device,    /* BadPath MissingDeviceToken BadDeviceToken Unregistered
                            DeviceTokenNotForTopic */
        check_provider,  /* MissingProviderToken InvalidProviderToken
                            ExpiredProviderToken TooManyProviderTokenUpdates; BadTopic */
        check_payload,   /* PayloadEmpty PayloadTooLarge BadPayload InvalidPushType */
    };
    struct check c = {.gw = gw, .binding = binding, .request = r, .push = push_out};
    struct gw_verdict v = passed();
    size_t i;

    *push_out = (struct gw_push){.kept = 1};
    read_token(&c);
    push_out->payload_valid =
        r->body_len == r->body_kept && gw_json_valid(r->body, r->body_kept);
    for (i = 0; v.status == 200 && i < sizeof(steps) / sizeof(steps[0]); i++)
        v = steps[i](&c);
    return v;
}
