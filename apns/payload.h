// SPDX-License-Identifier: Apache-2.0
/*
 * The JSON of a push: always valid, always within APNs' 4096 bytes, whatever bytes the
 * sender's name and text are made of.  It does not decide whether there is a push.
 */
#ifndef APNS_PAYLOAD_H
#define APNS_PAYLOAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "apns/opts.h"

#define PAYLOAD_MAX 4096

struct buf;

struct payload_alert_opts {
    enum push_content content;  /* how much of the message may be shown */
    const char *sender;         /* who wrote, as shown; NULL or "" = no title */
    const char *body;           /* NULL = a message without text */
    bool encrypted;             /* the text is not for us: say so instead of it */
    const char *encrypted_text; /* what says so; NULL: English */
    unsigned badge;
    const char *sound;        /* NULL or "" = silent */
    const char *category;     /* NULL: none */
    const char *interruption; /* the level; NULL: none is said */
    const char *channel;      /* of Android; NULL: none */
    const char *thread;       /* a hash of the conversation; NULL = none */
};

/* Appends the payload of a visible push to b, which must have PAYLOAD_MAX bytes of room
 * below its maximum.  Invalid UTF-8 becomes U+FFFD; a text that is too long is cut between
 * two characters and ends in an ellipsis. */
void payload_alert(struct buf *b, const struct payload_alert_opts *o);

/* What an alert says, for protocols that write it elsewhere.  title: NULL for none; both
 * borrow from o, or are in count. */
#define PAYLOAD_COUNT_BYTES 32
const char *payload_title(const struct payload_alert_opts *o);
const char *payload_body(const struct payload_alert_opts *o, char count[PAYLOAD_COUNT_BYTES]);

/* Appends text as a quoted JSON string of at most max bytes (5 or more), quotes included. */
void payload_add_text(struct buf *b, const char *text, size_t max);

/* Appends {"aps":{"badge":n}}. */
void payload_badge(struct buf *b, unsigned badge);

/* Whether a payload is payload_badge's: sending it twice changes nothing. */
bool payload_is_badge(const uint8_t *payload, size_t len);

#endif
