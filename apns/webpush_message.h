// SPDX-License-Identifier: Apache-2.0
/*
 * The JSON that a Web Push client is shown once it has decrypted it: always valid, always
 * short enough for one message, whatever the sender's name and text are made of.
 */
#ifndef APNS_WEBPUSH_MESSAGE_H
#define APNS_WEBPUSH_MESSAGE_H

#include "apns/payload.h"

struct buf;

/* {"badge":n,"conversation":...,"call":{...},"title":...,"body":...}, call and title only
 * where there is one.  b must have ECE_PLAIN_MAX bytes of room. */
void webpush_message_alert(struct buf *b, const struct payload_alert_opts *o);
/* The same without its words, for a service that takes no more: the client fetches them. */
void webpush_message_brief(struct buf *b, const struct payload_alert_opts *o);
/* {"badge":n}, or {"badge":n,"withdraw":[...],"as_of":s}: nothing is shown but the count. */
void webpush_message_badge(struct buf *b, const struct payload_badge_opts *o);

#endif
