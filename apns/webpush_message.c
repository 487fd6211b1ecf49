// SPDX-License-Identifier: Apache-2.0
#include "apns/webpush_message.h"

#include <inttypes.h>

#include "apns/ece.h"
#include "base/buf.h"

/* In bytes of JSON, so that the text of the message is never left without room. */
#define TITLE_MAX 512
#define CONVERSATION_MAX 256

static void begin(struct buf *b, const struct payload_alert_opts *o)
{
    buf_addf(b, "{\"badge\":%u", o->badge);
    if (!o->thread)
        return;
    buf_add_str(b, ",\"conversation\":");
    payload_add_text(b, o->thread, CONVERSATION_MAX);
    if (!o->call)
        return;
    buf_add_char(b, ',');
    payload_add_call(b, o);
}

/* The text comes last, so that it gets all the room left. */
void webpush_message_alert(struct buf *b, const struct payload_alert_opts *o)
{
    char count[PAYLOAD_COUNT_BYTES];
    size_t start = buf_len(b);
    begin(b, o);
    if (payload_title(o)) {
        buf_add_str(b, ",\"title\":");
        payload_add_text(b, payload_title(o), TITLE_MAX);
    }
    buf_add_str(b, ",\"body\":");
    size_t used = buf_len(b) - start + 1;
    payload_add_text(b, payload_body(o, count), ECE_PLAIN_MAX - used);
    buf_add_char(b, '}');
}

void webpush_message_brief(struct buf *b, const struct payload_alert_opts *o)
{
    begin(b, o);
    buf_add_char(b, '}');
}

void webpush_message_badge(struct buf *b, const struct payload_badge_opts *o)
{
    buf_addf(b, "{\"badge\":%u", o->badge);
    if (payload_withdraws(o)) {
        buf_add_str(b, ",\"withdraw\":[\"");
        payload_add_withdrawn(b, o, "\",\"");
        buf_addf(b, "\"],\"as_of\":%" PRId64, o->as_of_s);
    }
    buf_add_char(b, '}');
}
