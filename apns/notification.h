// SPDX-License-Identifier: Apache-2.0
/*
 * What a server publishes for one of its users (XEP-0357), in every shape that servers have:
 * with a form of any type or none, with a count, a sender and a text or without, encrypted, or
 * with the extensions of Tigase.  A pure function; it knows no registration.
 */
#ifndef APNS_NOTIFICATION_H
#define APNS_NOTIFICATION_H

#include <stdbool.h>

struct stanza;

#define NS_PUBSUB "http://jabber.org/protocol/pubsub"
#define NOTIFICATION_NODE_MAX 1200 /* of some clients it is the device's token */

enum notification_weight {
    NOTIFICATION_NOTHING,   /* no message: a receipt, a chat state, a count that has changed */
    NOTIFICATION_UNCERTAIN, /* the server says nothing at all */
    NOTIFICATION_MESSAGE,
};

/* Strings are the stanza's. */
struct notification {
    const char *node;
    const char *secret;           /* "" when there is none */
    const struct stanza *options; /* the form of publish-options, NULL */
    const char *sender;           /* NULL when it is not told */
    const char *body;             /* NULL when it is not told, or there is none */
    int count;                    /* -1 when it is not told */
    bool encrypted;               /* there is something to read, and body is not it */
    bool placeholder;             /* body is one of the texts that servers put instead */
    enum notification_weight weight;
};

/* One of the texts that servers write where they may not, or cannot, tell what is in it. */
bool notification_is_placeholder(const char *body, bool *encrypted_out);
/* pubsub: the request's payload.  False when it publishes to no node. */
bool notification_read(const struct stanza *pubsub, struct notification *out);

#endif
