// SPDX-License-Identifier: Apache-2.0
#include "apns/payload.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/buf.h"
#include "base/utf8.h"

#define ELLIPSIS_BYTES 3
#define BADGE_START "{\"aps\":{\"badge\":"

/* In bytes of JSON, so that the text of the message is never left without room. */
#define TITLE_MAX 512
#define SOUND_MAX 256
#define THREAD_MAX 256
#define CATEGORY_MAX 256
#define LOC_KEY_MAX 256

static const uint8_t ellipsis[ELLIPSIS_BYTES] = {0xE2, 0x80, 0xA6};
static const uint8_t unknown[3] = {0xEF, 0xBF, 0xBD}; /* U+FFFD */

static bool is_plain(char c)
{
    return (unsigned char)c >= 0x20 && (unsigned char)c < 0x7F && c != '"' && c != '\\';
}

#define EACH_BYTE(value) (UINT64_C(0x0101010101010101) * (value))

static uint64_t any_below(uint64_t bytes, uint8_t least)
{
    return (bytes - EACH_BYTE(least)) & ~bytes;
}

/* is_plain of eight characters at a time: of a long text one by one is most of what a push
 * costs. */
static bool are_plain(const char text[8])
{
    uint64_t bytes;
    memcpy(&bytes, text, sizeof bytes);
    uint64_t bad = bytes | any_below(bytes, 0x20) | any_below(bytes ^ EACH_BYTE(0x7F), 1) |
                   any_below(bytes ^ EACH_BYTE('"'), 1) |
                   any_below(bytes ^ EACH_BYTE('\\'), 1);
    return (bad & EACH_BYTE(0x80)) == 0;
}

static size_t plain_length(const char *text, size_t max)
{
    size_t n = 0;
    while (max - n >= 8 && are_plain(text + n))
        n += 8;
    while (n < max && is_plain(text[n]))
        n++;
    return n;
}

/* How much of text, at most max bytes of it and whole characters, JSON takes as it is. */
static size_t unescaped_length(const char *text, size_t len, size_t max)
{
    size_t n = 0;
    max = len < max ? len : max;
    while (n < max) {
        size_t more = (unsigned char)text[n] < 0x80 ? plain_length(text + n, max - n)
                                                    : utf8_char(text + n, len - n);
        if (more == 0 || more > max - n)
            break;
        n += more;
    }
    return n;
}

/* One character of input as JSON; returns the bytes of input it took. */
static size_t escape_char(const char *text, size_t len, char out[8], size_t *out_len)
{
    static const char shorts[] = "\"\"\\\\\bb\ff\nn\rr\tt";
    size_t n = utf8_char(text, len);
    if (n == 0) {
        memcpy(out, unknown, sizeof unknown);
        *out_len = 3;
        return 1;
    }
    for (const char *s = shorts; n == 1 && *s; s += 2) {
        if (*s == *text) {
            out[0] = '\\';
            out[1] = s[1];
            *out_len = 2;
            return 1;
        }
    }
    if ((unsigned char)*text < 0x20) {
        *out_len = (size_t)snprintf(out, 8, "\\u%04x", (unsigned char)*text);
        return 1;
    }
    memcpy(out, text, n);
    *out_len = n;
    return n;
}

void payload_add_text(struct buf *b, const char *text, size_t max)
{
    assert(max >= 2 + ELLIPSIS_BYTES);
    char *out = (char *)buf_reserve(b, max);
    if (!out)
        return;
    size_t len = strlen(text), room = max - 1, used = 1;
    size_t fits = 1; /* how much of used leaves room for an ellipsis */
    out[0] = '"';
    for (size_t i = 0; i < len;) {
        char json[8];
        size_t json_len;
        size_t space = used + ELLIPSIS_BYTES < room ? room - ELLIPSIS_BYTES - used : 0;
        size_t plain = unescaped_length(text + i, len - i, space);
        if (plain > 0) {
            memcpy(out + used, text + i, plain);
            i += plain;
            used += plain;
            fits = used;
            continue;
        }
        i += escape_char(text + i, len - i, json, &json_len);
        if (used + json_len > room) {
            memcpy(out + fits, ellipsis, ELLIPSIS_BYTES);
            used = fits + ELLIPSIS_BYTES;
            break;
        }
        memcpy(out + used, json, json_len);
        used += json_len;
        if (used + ELLIPSIS_BYTES <= room)
            fits = used;
    }
    out[used++] = '"';
    buf_commit(b, used);
}

/* Whose words stand below the title: the sender's, or what is said of the message. */
enum said { SAID_TEXT, SAID_MESSAGE, SAID_COUNT, SAID_ENCRYPTED, SAID_CALL };

static enum said said_by(const struct payload_alert_opts *o)
{
    if (o->call)
        return SAID_CALL;
    switch (o->content) {
    case PUSH_CONTENT_NONE:
    case PUSH_CONTENT_SENDER:
        break;
    case PUSH_CONTENT_COUNT:
        return SAID_COUNT;
    case PUSH_CONTENT_BODY:
        if (o->encrypted)
            return SAID_ENCRYPTED;
        if (o->body && *o->body)
            return SAID_TEXT;
        break;
    }
    return SAID_MESSAGE;
}

const char *payload_body(const struct payload_alert_opts *o, char count[PAYLOAD_COUNT_BYTES])
{
    switch (said_by(o)) {
    case SAID_TEXT:
        return o->body;
    case SAID_MESSAGE:
        break;
    case SAID_COUNT:
        snprintf(count, PAYLOAD_COUNT_BYTES,
                 o->badge == 1 ? "%u unread message" : "%u unread messages", o->badge);
        return count;
    case SAID_ENCRYPTED:
        return o->encrypted_text ? o->encrypted_text : "Encrypted message";
    case SAID_CALL:
        assert(o->call);
        return o->call->text ? o->call->text : "Incoming call";
    }
    return "New message";
}

const char *payload_loc_key(const struct payload_alert_opts *o)
{
    if (!o->loc)
        return NULL;
    switch (said_by(o)) {
    case SAID_TEXT:
        break;
    case SAID_MESSAGE:
        return o->loc->message;
    case SAID_COUNT:
        return o->loc->count;
    case SAID_ENCRYPTED:
        return o->loc->encrypted;
    case SAID_CALL:
        return o->loc->call;
    }
    return NULL;
}

bool payload_add_loc_key(struct buf *b, const struct payload_alert_opts *o, const char *key,
                         const char *args)
{
    const char *name = payload_loc_key(o);
    if (!name)
        return false;
    buf_addf(b, "\"%s\":", key);
    payload_add_text(b, name, LOC_KEY_MAX);
    if (said_by(o) == SAID_COUNT) /* arguments are texts */
        buf_addf(b, ",\"%s\":[\"%u\"]", args, o->badge);
    return true;
}

const char *payload_title(const struct payload_alert_opts *o)
{
    bool shown = (o->content == PUSH_CONTENT_SENDER || o->content == PUSH_CONTENT_BODY) &&
                 o->sender && *o->sender;
    return shown ? o->sender : NULL;
}

void payload_add_call(struct buf *b, const struct payload_alert_opts *o)
{
    const struct payload_call *c = o->call;
    const char *comma = strchr(c->media, ',');
    buf_add_str(b, "\"call\":{\"id\":");
    payload_add_text(b, c->session, PAYLOAD_SESSION_MAX);
    if (comma)
        buf_addf(b, ",\"media\":[\"%.*s\",\"%s\"]", (int)(comma - c->media), c->media,
                 comma + 1);
    else
        buf_addf(b, ",\"media\":[\"%s\"]", c->media);
    if (c->from) {
        buf_add_str(b, ",\"from\":");
        payload_add_text(b, c->from, PAYLOAD_ADDRESS_MAX + 2);
    }
    if (c->account) {
        buf_add_str(b, ",\"account\":");
        payload_add_text(b, c->account, PAYLOAD_ADDRESS_MAX + 2);
    }
    buf_add_char(b, '}');
}

static void add_conversation(struct buf *b, const struct payload_alert_opts *o)
{
    if (!o->thread)
        return;
    buf_add_str(b, "\"conversation\":");
    payload_add_text(b, o->thread, THREAD_MAX);
    buf_add_char(b, ',');
}

void payload_voip(struct buf *b, const struct payload_alert_opts *o)
{
    buf_add_char(b, '{');
    add_conversation(b, o);
    payload_add_call(b, o);
    buf_add_str(b, ",\"aps\":{}}");
}

void payload_background(struct buf *b, const struct payload_alert_opts *o)
{
    buf_add_char(b, '{');
    add_conversation(b, o);
    buf_addf(b, "\"unread\":%u,\"aps\":{\"content-available\":1}}", o->badge);
}

/* The alert comes last and its text at the very end, so that it gets all the room left. */
void payload_alert(struct buf *b, const struct payload_alert_opts *o)
{
    static const char end[] = "}}}";
    char text[PAYLOAD_COUNT_BYTES];
    size_t start = buf_len(b);
    buf_add_char(b, '{');
    add_conversation(b, o);
    if (o->call) {
        payload_add_call(b, o);
        buf_add_char(b, ',');
    }
    snprintf(text, sizeof text, "%u", o->badge);
    buf_add_str(b, &BADGE_START[1]); /* without its brace */
    buf_add_str(b, text);
    if (o->sound && *o->sound) {
        buf_add_str(b, ",\"sound\":");
        payload_add_text(b, o->sound, SOUND_MAX);
    }
    if (o->thread) {
        buf_add_str(b, ",\"thread-id\":");
        payload_add_text(b, o->thread, THREAD_MAX);
    }
    if (o->category) {
        buf_add_str(b, ",\"category\":");
        payload_add_text(b, o->category, CATEGORY_MAX);
    }
    if (o->interruption)
        buf_addf(b, ",\"interruption-level\":\"%s\"", o->interruption);
    buf_add_str(b, ",\"mutable-content\":1,\"alert\":{");
    if (payload_title(o)) {
        buf_add_str(b, "\"title\":");
        payload_add_text(b, payload_title(o), TITLE_MAX);
        buf_add_char(b, ',');
    }
    if (!payload_add_loc_key(b, o, "loc-key", "loc-args")) {
        buf_add_str(b, "\"body\":");
        size_t used = buf_len(b) - start + sizeof end - 1;
        payload_add_text(b, payload_body(o, text), PAYLOAD_MAX - used);
    }
    buf_add_str(b, end);
}

bool payload_withdraws(const struct payload_badge_opts *o)
{
    return o->withdraw_all || o->withdraw_n > 0;
}

void payload_add_withdrawn(struct buf *b, const struct payload_badge_opts *o,
                           const char *between)
{
    assert(o->withdraw_n <= PAYLOAD_WITHDRAW_MAX);
    if (o->withdraw_all) {
        buf_add_str(b, "all");
        return;
    }
    for (size_t i = 0; i < o->withdraw_n; i++) {
        buf_add_str(b, i ? between : "");
        buf_add_str(b, o->withdraw[i]);
    }
}

/* An app is only woken by what it has to do something about: the system counts how often. */
void payload_badge(struct buf *b, const struct payload_badge_opts *o)
{
    buf_addf(b, BADGE_START "%u", o->badge);
    if (!payload_withdraws(o)) {
        buf_add_str(b, "}}");
        return;
    }
    buf_add_str(b, ",\"content-available\":1},\"withdraw\":[\"");
    payload_add_withdrawn(b, o, "\",\"");
    buf_addf(b, "\"],\"as_of\":%" PRId64 "}", o->as_of_s);
}

bool payload_is_badge(const uint8_t *payload, size_t len)
{
    size_t start = strlen(BADGE_START);
    if (len < start + 3 || memcmp(payload, BADGE_START, start) != 0)
        return false;
    while (start < len && payload[start] >= '0' && payload[start] <= '9')
        start++;
    return len - start == 2 && payload[start] == '}' && payload[start + 1] == '}';
}
