// SPDX-License-Identifier: Apache-2.0
/*
 * A request as the gateway keeps it: copied, with every header field ready to be sent, in one
 * piece of memory; and the queue it waits in.  It knows no connection, no protocol and no
 * verdict: a protocol fills it.
 */
#ifndef APNS_GATEWAY_ITEM_H
#define APNS_GATEWAY_ITEM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "apns/gateway.h"
#include "apns/h2.h"
#include "base/crypt.h"

struct item {
    struct h2_push push; /* first: the pool gives back its address */
    struct item *next;   /* in the queue */
    void *ctx;
    int64_t queued_ms;
    unsigned token_serial; /* of the authorization it was sent with */
    unsigned resends;
    bool idempotent;     /* sending it twice shows nothing twice */
    bool retried_new;    /* had its one chance with a new token or connection */
    bool probe;          /* the one that is tried while the app is stopped */
    const char *refused; /* never to be sent: our own reason */
    char id[UUID_TEXT_BYTES];
    char text[]; /* what the protocol keeps here */
};

struct queue {
    struct item *head, *tail;
    size_t n;
};

/* With the payload copied, room for text_bytes in item->text and for body_max bytes of an
 * answer; the header fields are empty.  free() ends it. */
struct item *item_new(const struct push_request *r, size_t text_bytes, size_t body_max);

void queue_add(struct queue *q, struct item *it);
struct item *queue_take(struct queue *q); /* NULL when empty */

#endif
