// SPDX-License-Identifier: Apache-2.0
#include "apns/fcm_message.h"

#include <inttypes.h>
#include <string.h>

#include "base/buf.h"

/* In bytes of JSON, so that the text of the message is never left without room. */
#define TOKEN_MAX 1024
#define NAME_MAX 256
#define TITLE_MAX 512

static void add_text(struct buf *b, const char *name, const char *text, size_t max)
{
    buf_addf(b, "\"%s\":", name);
    payload_add_text(b, text, max);
}

static void add_target(struct buf *b, const struct fcm_message_opts *o)
{
    buf_add_str(b, "{\"message\":{");
    add_text(b, "token", o->token, TOKEN_MAX);
}

/* All values are strings; p2's apps take account for the one to wake. */
static void add_data(struct buf *b, const struct fcm_message_opts *o, unsigned badge,
                     const char *conversation)
{
    buf_addf(b, ",\"data\":{\"badge\":\"%u\"", badge);
    if (o->account) {
        buf_add_char(b, ',');
        add_text(b, "account", o->account, NAME_MAX);
    } else if (conversation) {
        buf_add_char(b, ',');
        add_text(b, "conversation", conversation, NAME_MAX);
    }
}

static void begin_android(struct buf *b, const struct fcm_message_opts *o,
                          const char *priority)
{
    int64_t ttl_s = o->ttl_s > FCM_TTL_MAX_S ? FCM_TTL_MAX_S : o->ttl_s;
    buf_add_str(b, ",\"android\":{");
    add_text(b, "collapse_key", o->collapse_key, NAME_MAX);
    buf_addf(b, ",\"priority\":\"%s\",\"ttl\":\"%" PRId64 "s\"", priority,
             ttl_s > 0 ? ttl_s : 0);
}

static void begin_apns(struct buf *b, const struct fcm_message_opts *o, int priority,
                       unsigned badge)
{
    buf_addf(b, ",\"apns\":{\"headers\":{\"apns-priority\":\"%d\",", priority);
    add_text(b, "apns-collapse-id", o->collapse_key, NAME_MAX);
    buf_addf(b, ",\"apns-expiration\":\"%" PRId64 "\"},\"payload\":{\"aps\":{\"badge\":%u",
             o->ttl_s > 0 ? o->expiration_s : 0, badge);
}

/* The text comes last, so that it gets all the room left below the end of the message. */
static void add_words(struct buf *b, size_t start, const struct payload_alert_opts *a,
                      const char *end)
{
    char count[PAYLOAD_COUNT_BYTES];
    const char *title = payload_title(a);
    if (title) {
        add_text(b, "title", title, TITLE_MAX);
        buf_add_char(b, ',');
    }
    buf_add_str(b, "\"body\":");
    size_t used = buf_len(b) - start + strlen(end);
    payload_add_text(b, payload_body(a, count), FCM_MESSAGE_MAX - used);
    buf_add_str(b, end);
}

/* The same where the app has the words; false and nothing when they are ours. */
static bool add_loc_words(struct buf *b, const struct payload_alert_opts *a, const char *key,
                          const char *args)
{
    if (!payload_loc_key(a))
        return false;
    if (payload_title(a)) {
        add_text(b, "title", payload_title(a), NAME_MAX);
        buf_add_char(b, ',');
    }
    return payload_add_loc_key(b, a, key, args);
}

/* One key each: FCM's values are texts.  Words that Google keeps for itself ("from") are not
 * among them. */
static void add_call(struct buf *b, const struct payload_alert_opts *a)
{
    const struct payload_call *c = a->call;
    buf_add_char(b, ',');
    add_text(b, "call", c->session, PAYLOAD_SESSION_MAX);
    buf_addf(b, ",\"call_media\":\"%s\"", c->media);
    if (c->from) {
        buf_add_char(b, ',');
        add_text(b, "call_from", c->from, PAYLOAD_ADDRESS_MAX + 2);
    }
    if (c->account) {
        buf_add_char(b, ',');
        add_text(b, "call_account", c->account, PAYLOAD_ADDRESS_MAX + 2);
    }
}

/* A phone rings by the app alone: the system would only show a line.  iOS is not told by
 * PushKit through FCM, so there it is an alert. */
static void add_ringing(struct buf *b, const struct fcm_message_opts *o,
                        const struct payload_alert_opts *a)
{
    char text[PAYLOAD_COUNT_BYTES];
    const char *title = payload_title(a);
    add_data(b, o, a->badge, a->thread);
    add_call(b, a);
    buf_add_char(b, '}');
    begin_android(b, o, "high");
    buf_add_char(b, '}');
    begin_apns(b, o, 10, a->badge);
    if (a->sound && *a->sound) {
        buf_add_char(b, ',');
        add_text(b, "sound", a->sound, NAME_MAX);
    }
    buf_add_str(b, ",\"alert\":{");
    if (!add_loc_words(b, a, "loc-key", "loc-args")) {
        if (title) {
            add_text(b, "title", title, NAME_MAX);
            buf_add_char(b, ',');
        }
        add_text(b, "body", payload_body(a, text), NAME_MAX);
    }
    buf_add_str(b, "}},");
    payload_add_call(b, a);
    buf_add_str(b, "}}}}");
}

/* The system shows it, also when the app does not run. */
static void add_notification(struct buf *b, size_t start, const struct fcm_message_opts *o,
                             const struct payload_alert_opts *a)
{
    bool sound = a->sound && *a->sound;
    begin_android(b, o, "high");
    buf_add_str(b, ",\"notification\":{");
    add_text(b, "tag", o->collapse_key, NAME_MAX);
    buf_addf(b, ",\"notification_count\":%u", a->badge);
    if (sound) {
        buf_add_char(b, ',');
        add_text(b, "sound", a->sound, NAME_MAX);
    }
    if (a->channel) {
        buf_add_char(b, ',');
        add_text(b, "channel_id", a->channel, NAME_MAX);
    }
    /* Beside a body Android would not look at the key, so neither system gets one. */
    const bool loc = payload_loc_key(a) != NULL;
    if (loc) {
        buf_add_char(b, ',');
        (void)add_loc_words(b, a, "body_loc_key", "body_loc_args");
    }
    buf_add_str(b, "}}");
    begin_apns(b, o, 10, a->badge);
    buf_add_str(b, ",\"mutable-content\":1");
    if (a->thread) {
        buf_add_char(b, ',');
        add_text(b, "thread-id", a->thread, NAME_MAX);
    }
    if (sound) {
        buf_add_char(b, ',');
        add_text(b, "sound", a->sound, NAME_MAX);
    }
    if (loc) {
        buf_add_str(b, ",\"alert\":{");
        (void)add_loc_words(b, a, "loc-key", "loc-args");
        buf_add_str(b, "}}}}}}");
        return;
    }
    buf_add_str(b, "}}},\"notification\":{");
    add_words(b, start, a, "}}}");
}

void fcm_message_alert(struct buf *b, const struct fcm_message_opts *o,
                       const struct payload_alert_opts *a)
{
    size_t start = buf_len(b);
    add_target(b, o);
    if (o->account) {
        add_data(b, o, a->badge, NULL);
        buf_add_char(b, '}');
        begin_android(b, o, "high");
        buf_add_str(b, "}}}");
        return;
    }
    if (a->call) {
        add_ringing(b, o, a);
        return;
    }
    if (o->form == FCM_NOTIFICATION) {
        add_data(b, o, a->badge, a->thread);
        buf_add_char(b, '}');
        add_notification(b, start, o, a);
        return;
    }
    /* The app shows it itself, and may fetch the message first. */
    begin_android(b, o, "high");
    buf_add_char(b, '}');
    begin_apns(b, o, 5, a->badge);
    buf_add_str(b, ",\"content-available\":1}}}");
    add_data(b, o, a->badge, a->thread);
    buf_add_char(b, ',');
    if (payload_loc_key(a)) { /* beside the words: it takes which it likes */
        add_text(b, "body_loc_key", payload_loc_key(a), NAME_MAX);
        buf_add_char(b, ',');
    }
    add_words(b, start, a, "}}}");
}

void fcm_message_badge(struct buf *b, const struct fcm_message_opts *o,
                       const struct payload_badge_opts *badge)
{
    const bool withdraws = payload_withdraws(badge) && !o->account;
    add_target(b, o);
    add_data(b, o, badge->badge, NULL);
    if (withdraws) {
        buf_add_str(b, ",\"withdraw\":\"");
        payload_add_withdrawn(b, badge, " ");
        buf_addf(b, "\",\"as_of\":\"%" PRId64 "\"", badge->as_of_s);
    }
    buf_add_char(b, '}');
    begin_android(b, o, "normal");
    buf_add_char(b, '}');
    if (!o->account) {
        begin_apns(b, o, 5, badge->badge);
        buf_add_str(b, withdraws ? ",\"content-available\":1}}}" : "}}}");
    }
    buf_add_str(b, "}}");
}
