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

/* In bytes of JSON.  An address of more bytes than the second is not told: a part of it would
 * be another's. */
#define PAYLOAD_SESSION_MAX 260
#define PAYLOAD_ADDRESS_MAX 252

/* A call (XEP-0353) in place of a message. */
struct payload_call {
    const char *session;
    const char *media;   /* "audio", "video" or "audio,video" */
    const char *from;    /* bare JID of who calls; NULL: not told */
    const char *account; /* and of whom */
    const char *text;    /* what says that somebody calls; NULL: English */
};

struct payload_alert_opts {
    enum push_content content;  /* how much of the message may be shown */
    const char *sender;         /* who wrote, as shown; NULL or "" = no title */
    const char *body;           /* NULL = a message without text */
    bool encrypted;             /* the text is not for us: say so instead of it */
    const char *encrypted_text; /* what says so; NULL: English */
    unsigned badge;
    const char *sound;               /* NULL or "" = silent */
    const char *category;            /* NULL: none */
    const char *interruption;        /* the level; NULL: none is said */
    const char *channel;             /* of Android; NULL: none */
    const char *thread;              /* a hash of the conversation; NULL = none */
    const struct payload_call *call; /* NULL: it is a message */
    const struct push_loc_keys
        *loc; /* where it is the app that has the words; NULL: nowhere */
};

/* Appends the payload of a visible push to b, which must have PAYLOAD_MAX bytes of room
 * below its maximum.  Invalid UTF-8 becomes U+FFFD; a text that is too long is cut between
 * two characters and ends in an ellipsis. */
void payload_alert(struct buf *b, const struct payload_alert_opts *o);

/* The same for PushKit, of a call: nothing is shown but what the app shows.  Not more than
 * PAYLOAD_MAX either. */
void payload_voip(struct buf *b, const struct payload_alert_opts *o);
/* Wakes the app, which fetches what there is and shows it. */
void payload_background(struct buf *b, const struct payload_alert_opts *o);

/* What an alert says, for protocols that write it elsewhere.  title: NULL for none; both
 * borrow from o, or are in count. */
#define PAYLOAD_COUNT_BYTES 32
const char *payload_title(const struct payload_alert_opts *o);
const char *payload_body(const struct payload_alert_opts *o, char count[PAYLOAD_COUNT_BYTES]);

/* The name under which the app has the words of payload_body; NULL: they are ours. */
const char *payload_loc_key(const struct payload_alert_opts *o);
/* Appends it as the member key, with its arguments as args, in place of a body; false and
 * nothing when there is none. */
bool payload_add_loc_key(struct buf *b, const struct payload_alert_opts *o, const char *key,
                         const char *args);

/* Appends "call":{...}, of an alert that is one. */
void payload_add_call(struct buf *b, const struct payload_alert_opts *o);

/* Appends text as a quoted JSON string of at most max bytes (5 or more), quotes included. */
void payload_add_text(struct buf *b, const char *text, size_t max);

/* The count alone, and which notifications are to go: those of conversations that have been
 * read, by the names that they were sent with. */
#define PAYLOAD_NAME_BYTES 33
#define PAYLOAD_WITHDRAW_MAX 64 /* so that the whole is short enough for every service */
struct payload_badge_opts {
    unsigned badge;
    char (*withdraw)[PAYLOAD_NAME_BYTES];
    size_t withdraw_n;
    bool withdraw_all; /* every notification of the app, whatever withdraw says */
    int64_t as_of_s;   /* what was shown later is about something newer */
};
/* Appends {"aps":{"badge":n}}, or the same with "content-available", "withdraw" and "as_of",
 * for which the app is woken. */
void payload_badge(struct buf *b, const struct payload_badge_opts *o);

/* For protocols that write the names elsewhere. */
bool payload_withdraws(const struct payload_badge_opts *o);
void payload_add_withdrawn(struct buf *b, const struct payload_badge_opts *o,
                           const char *between);

/* Whether a payload is nothing but payload_badge's count: sending it twice changes nothing. */
bool payload_is_badge(const uint8_t *payload, size_t len);

#endif
