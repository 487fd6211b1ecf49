// SPDX-License-Identifier: Apache-2.0
/*
 * What we know of one push service, by its origin: how much it may have of us, and until when
 * it is left alone.  A service that has shown nothing yet, or fails, gets little, so that
 * whoever invents services takes no room from those that work.  No sockets, no clock.
 */
#ifndef APNS_WEBPUSH_ORIGIN_H
#define APNS_WEBPUSH_ORIGIN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "apns/vapid.h"
#include "apns/webpush_verdict.h"
#include "base/backoff.h"

#define ORIGIN_CONNECTIONS 4
#define ORIGIN_ITEMS_NEW 8
#define ORIGIN_ITEMS_SLOW 32
#define ORIGIN_SLOW_MS 3000 /* a queue whose first has waited for so long is a slow one's */

struct origin_state {
    bool slow;    /* its queue has not been empty since it got too long */
    bool proven;  /* it has answered, and not failed twice since */
    bool http2;   /* as far as known */
    unsigned bad; /* failures or refusals in a row */
    struct backoff backoff;
    int64_t failed_ms;     /* when the last one was noted */
    int64_t held_until_ms; /* nothing is sent to it until then */
    char reason[64];       /* of the last thing that went wrong; "" after one that went well */
    int64_t token_s;       /* when authorization was made; 0: never */
    char authorization[VAPID_AUTHORIZATION_BYTES];
};

void origin_init(struct origin_state *o);
/* Requests that may be under way, and be here at all: of a service that keeps up as many as
 * there is room for, so that nothing is given back without need. */
unsigned origin_in_flight_max(const struct origin_state *o);
unsigned origin_items_max(const struct origin_state *o);
/* Whether it must share the room of those that have shown nothing. */
bool origin_is_small(const struct origin_state *o);
/* oldest_ms: since when the first of its queue waits; -1: the queue is empty.  True when it is
 * slow from now on. */
bool origin_note_queue(struct origin_state *o, int64_t oldest_ms, int64_t now_ms);
bool origin_is_held(const struct origin_state *o, int64_t now_ms);
/* Notes an answer to what was sent at sent_ms; many sent together count as one failure.  True
 * when the service is left alone from now on and was not before. */
bool origin_note(struct origin_state *o, enum webpush_sign sign, const struct push_verdict *v,
                 int64_t sent_ms, int64_t now_ms, uint64_t random);

/* Its token; made when there is none, or half its life is over. */
const char *origin_authorization(struct origin_state *o, const struct vapid *v,
                                 const char *origin, int64_t real_s);
/* The service refuses it.  True: it was not just made, and there will be another. */
bool origin_renew(struct origin_state *o, int64_t real_s);

#endif
