// SPDX-License-Identifier: Apache-2.0
/*
 * An app reached through Web Push (RFC 8030, 8291, 8292): what gateway.h promises, towards any
 * number of push services, one for each origin of the subscriptions' endpoints.  Each has its
 * own queue, its own limits and its own pauses, so that the trouble of one delays no other.
 * gateway.c passes everything on to here for such an app.
 *
 * Encrypting a push takes 110 to 140 µs, nearly all of it for the key pair and the agreement
 * that are made for each (RFC 8291 section 3.1); to send it takes about 80.  A thousand pushes
 * a second would be a fifth of the loop that also archives messages.  So a crew of two threads
 * encrypts, begun with the first push.
 */
#ifndef APNS_WEBPUSH_H
#define APNS_WEBPUSH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "apns/gateway.h"
#include "base/err.h"

struct webpush;

struct webpush_tuning {
    size_t room_max;     /* requests that are here */
    size_t room_small;   /* of them to services that have shown nothing yet, or are slow */
    unsigned active_max; /* services with requests under way */
    unsigned active_new; /* of them such that have shown nothing yet */
    size_t origins_max;  /* services that are remembered */
    int64_t queue_ms;    /* longer waits go back to the outbox */
    int64_t connect_timeout_ms;
    int64_t timeout_ms; /* of one request */
    size_t pad_to;      /* lengths of messages are multiples of it */
    unsigned threads;
};
extern const struct webpush_tuning webpush_tuning_default;

/* As gateway_new; owner is what events are told. */
MUST_CHECK enum err_kind webpush_new(struct event_base *base, const struct apns_app_opts *opts,
                                     const struct gateway_events *events,
                                     const struct webpush_tuning *tuning,
                                     struct gateway *owner, struct webpush **out,
                                     struct err *e);
void webpush_free(struct webpush **w);
size_t webpush_room(const struct webpush *w);
bool webpush_submit(struct webpush *w, const struct push_request *r);
void webpush_get_status(const struct webpush *w, struct gateway_status *out);

#endif
