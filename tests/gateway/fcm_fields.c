// SPDX-License-Identifier: Apache-2.0
#include "tests/gateway/fcm_fields.h"

#include <cjson/cJSON.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

enum type {
    END,
    BOOL,
    TEXT,
    TEXTS,
    COUNT,    /* a whole number from 0 */
    TTL,      /* "3.5s", at most four weeks */
    TIMES,    /* of such, without that limit */
    WORD,     /* one of words, in any case */
    TEXT_MAP, /* of strings by our own names */
    JSON,     /* an object of which Google knows nothing */
    OBJECT
};

struct field {
    const char *name;
    enum type type;
    const char *words;          /* WORD: " a b " */
    const struct field *fields; /* OBJECT */
};

static const struct field analytics[] = {{"analytics_label", TEXT, NULL, NULL}, {0}};
static const struct field color[] = {{"red", COUNT, NULL, NULL},
                                     {"green", COUNT, NULL, NULL},
                                     {"blue", COUNT, NULL, NULL},
                                     {"alpha", COUNT, NULL, NULL},
                                     {0}};
static const struct field light[] = {{"color", OBJECT, NULL, color},
                                     {"light_on_duration", TTL, NULL, NULL},
                                     {"light_off_duration", TTL, NULL, NULL},
                                     {0}};
static const struct field notification[] = {
    {"title", TEXT, NULL, NULL}, {"body", TEXT, NULL, NULL}, {"image", TEXT, NULL, NULL}, {0}};
static const struct field android_notification[] = {
    {"title", TEXT, NULL, NULL},
    {"body", TEXT, NULL, NULL},
    {"icon", TEXT, NULL, NULL},
    {"color", TEXT, NULL, NULL},
    {"sound", TEXT, NULL, NULL},
    {"tag", TEXT, NULL, NULL},
    {"click_action", TEXT, NULL, NULL},
    {"body_loc_key", TEXT, NULL, NULL},
    {"body_loc_args", TEXTS, NULL, NULL},
    {"title_loc_key", TEXT, NULL, NULL},
    {"title_loc_args", TEXTS, NULL, NULL},
    {"channel_id", TEXT, NULL, NULL},
    {"ticker", TEXT, NULL, NULL},
    {"sticky", BOOL, NULL, NULL},
    {"event_time", TEXT, NULL, NULL},
    {"local_only", BOOL, NULL, NULL},
    {"notification_priority", WORD,
     " priority_unspecified priority_min priority_low priority_default priority_high "
     "priority_max ",
     NULL},
    {"default_sound", BOOL, NULL, NULL},
    {"default_vibrate_timings", BOOL, NULL, NULL},
    {"default_light_settings", BOOL, NULL, NULL},
    {"vibrate_timings", TIMES, NULL, NULL},
    {"visibility", WORD, " visibility_unspecified private public secret ", NULL},
    {"notification_count", COUNT, NULL, NULL},
    {"light_settings", OBJECT, NULL, light},
    {"image", TEXT, NULL, NULL},
    {"bypass_proxy_notification", BOOL, NULL, NULL},
    {"proxy", WORD, " proxy_unspecified allow deny if_priority_lowered ", NULL},
    {0}};
static const struct field android[] = {{"collapse_key", TEXT, NULL, NULL},
                                       {"priority", WORD, " normal high ", NULL},
                                       {"ttl", TTL, NULL, NULL},
                                       {"restricted_package_name", TEXT, NULL, NULL},
                                       {"data", TEXT_MAP, NULL, NULL},
                                       {"notification", OBJECT, NULL, android_notification},
                                       {"fcm_options", OBJECT, NULL, analytics},
                                       {"direct_boot_ok", BOOL, NULL, NULL},
                                       {"bandwidth_constrained_ok", BOOL, NULL, NULL},
                                       {"restricted_satellite_ok", BOOL, NULL, NULL},
                                       {0}};
static const struct field apns_options[] = {
    {"analytics_label", TEXT, NULL, NULL}, {"image", TEXT, NULL, NULL}, {0}};
static const struct field apns[] = {{"headers", TEXT_MAP, NULL, NULL},
                                    {"payload", JSON, NULL, NULL},
                                    {"fcm_options", OBJECT, NULL, apns_options},
                                    {"live_activity_token", TEXT, NULL, NULL},
                                    {0}};
static const struct field webpush_options[] = {
    {"link", TEXT, NULL, NULL}, {"analytics_label", TEXT, NULL, NULL}, {0}};
static const struct field webpush[] = {{"headers", TEXT_MAP, NULL, NULL},
                                       {"data", TEXT_MAP, NULL, NULL},
                                       {"notification", JSON, NULL, NULL},
                                       {"fcm_options", OBJECT, NULL, webpush_options},
                                       {0}};
static const struct field message[] = {{"token", TEXT, NULL, NULL},
                                       {"topic", TEXT, NULL, NULL},
                                       {"condition", TEXT, NULL, NULL},
                                       {"fid", TEXT, NULL, NULL},
                                       {"data", TEXT_MAP, NULL, NULL},
                                       {"notification", OBJECT, NULL, notification},
                                       {"android", OBJECT, NULL, android},
                                       {"apns", OBJECT, NULL, apns},
                                       {"webpush", OBJECT, NULL, webpush},
                                       {"fcm_options", OBJECT, NULL, analytics},
                                       {0}};
static const struct field request[] = {
    {"validate_only", BOOL, NULL, NULL}, {"message", OBJECT, NULL, message}, {0}};

static bool is_ttl(const cJSON *item, double max_s)
{
    const char *s = cJSON_IsString(item) ? item->valuestring : "";
    size_t whole = strspn(s, "0123456789"), part;
    double seconds;

    if (whole == 0 || whole > 12 || sscanf(s, "%lf", &seconds) != 1 || seconds > max_s)
        return false;
    s += whole;
    if (*s == '.') {
        part = strspn(++s, "0123456789");
        if (part == 0 || part > 9)
            return false;
        s += part;
    }
    return strcmp(s, "s") == 0;
}

static bool is_word(const cJSON *item, const char *words)
{
    char padded[64];
    size_t i;

    if (!cJSON_IsString(item) || strlen(item->valuestring) > sizeof(padded) - 3)
        return false;
    snprintf(padded, sizeof(padded), " %s ", item->valuestring);
    for (i = 0; padded[i] != '\0'; i++)
        if (padded[i] >= 'A' && padded[i] <= 'Z')
            padded[i] = (char)(padded[i] - 'A' + 'a');
    return strstr(words, padded) != NULL;
}

static bool all_texts(const cJSON *list)
{
    const cJSON *item;

    cJSON_ArrayForEach(item, list)
    {
        if (!cJSON_IsString(item))
            return false;
    }
    return true;
}

static bool all_times(const cJSON *list)
{
    const cJSON *item;

    cJSON_ArrayForEach(item, list)
    {
        if (!is_ttl(item, 1e9))
            return false;
    }
    return true;
}

/* Names that FCM keeps to itself are none of a message's data. */
static bool is_reserved(const char *name)
{
    return strcasecmp(name, "from") == 0 || strcasecmp(name, "message_type") == 0 ||
           strncasecmp(name, "google.", 7) == 0 || strncasecmp(name, "gcm.", 4) == 0;
}

static bool is_text_map(const cJSON *map, bool data)
{
    const cJSON *item;

    if (!cJSON_IsObject(map))
        return false;
    cJSON_ArrayForEach(item, map)
    {
        if (!cJSON_IsString(item) || (data && is_reserved(item->string)))
            return false;
    }
    return true;
}

static bool fits(const cJSON *item, const struct field *f)
{
    switch (f->type) {
    case BOOL:
        return cJSON_IsBool(item);
    case TEXT:
        return cJSON_IsString(item);
    case TEXTS:
        return cJSON_IsArray(item) && all_texts(item);
    case COUNT:
        return cJSON_IsNumber(item) && item->valuedouble >= 0 && item->valuedouble <= 1e9 &&
               (double)item->valueint == item->valuedouble;
    case TTL:
        return is_ttl(item, 2419200);
    case TIMES:
        return cJSON_IsArray(item) && all_times(item);
    case WORD:
        return is_word(item, f->words);
    case TEXT_MAP:
        return is_text_map(item, strcmp(f->name, "data") == 0);
    case JSON:
    case OBJECT:
        return cJSON_IsObject(item);
    case END:
        break;
    }
    return false;
}

static const struct field *find(const struct field *fields, const char *name)
{
    const struct field *f;

    for (f = fields; f->name != NULL; f++)
        if (strcmp(f->name, name) == 0)
            return f;
    return NULL;
}

/* len: of the path so far, which names the object. */
static bool check_object(const cJSON *object, const struct field *fields, char *path,
                         size_t len)
{
    const struct field *f;
    const cJSON *item, *other;

    cJSON_ArrayForEach(item, object)
    {
        snprintf(path + len, GW_FIELD_PATH_MAX - len, "%s%s", len > 0 ? "." : "",
                 item->string);
        for (other = object->child; other != item; other = other->next)
            if (strcmp(other->string, item->string) == 0)
                return false;
        f = find(fields, item->string);
        if (f == NULL || !fits(item, f))
            return false;
        if (f->type == OBJECT && !check_object(item, f->fields, path, strlen(path)))
            return false;
    }
    path[len] = '\0';
    return true;
}

bool gw_fcm_fields_check(const struct cJSON *root, char path_out[GW_FIELD_PATH_MAX])
{
    path_out[0] = '\0';
    return cJSON_IsObject(root) && check_object(root, request, path_out, 0);
}
