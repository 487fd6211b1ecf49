// SPDX-License-Identifier: Apache-2.0
/*
 * What is particular to one kind of push service, as the gateway needs it: how a push looks on
 * the wire, what authorizes it, and what an answer means.  Everything else (connections,
 * streams, queues, resends, stopping) is the gateway's and the same for all.
 */
#ifndef APNS_PROTOCOL_H
#define APNS_PROTOCOL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "apns/gateway_item.h"
#include "apns/h2.h"
#include "apns/verdict.h"
#include "base/err.h"

struct apns_app_opts;
struct event_base;
struct provider_tokens;

/* Of the credentials, when there is no authorization. */
enum protocol_state {
    PROTOCOL_READY,   /* there is one, or will be when it is asked for */
    PROTOCOL_WAITING, /* it is being fetched for the first time */
    PROTOCOL_FAILING, /* it could not be fetched and is tried again */
    PROTOCOL_REFUSED, /* a person is needed */
};

struct protocol_ops {
    const struct h2_protocol *h2;
    const char *wave; /* what may be wrong when most devices are rejected */
    /* A service that refuses a token goes on refusing on that connection. */
    bool token_needs_connection;

    /* Never NULL; a request that the service would refuse has item->refused. */
    struct item *(*make_item)(void *self, const struct push_request *r);
    /* Stays readable until the second next one.  serial_out tells one from another.  NULL:
     * none now, and the owner is told when that changes. */
    const char *(*authorization)(void *self, int64_t real_s, int64_t mono_ms, size_t *len_out,
                                 unsigned *serial_out);
    /* The service refuses what had this serial.  True: there is, or will be, another. */
    bool (*renew)(void *self, unsigned serial, int64_t real_s, int64_t mono_ms);
    /* VERDICT_TOKEN_HOLD: true when there is an older one to go back to, else until when
     * nothing may be sent.  NULL where the service has no such answer. */
    bool (*revert)(void *self, unsigned serial, int64_t real_s, int64_t *until_ms_out);
    enum protocol_state (*state)(const void *self, const char **reason_out);
    enum verdict_step (*judge)(const struct verdict_answer *a, const struct verdict_opts *o,
                               struct push_verdict *out);
    void (*free)(void *self);
};

struct protocol {
    const struct protocol_ops *ops;
    void *self;
};

struct protocol_opts {
    struct event_base *base;
    const struct apns_app_opts *app; /* borrowed */
    const char *log_prefix;          /* borrowed */
    struct provider_tokens *tokens;  /* shared; NULL: one of its own */
    void (*changed)(void *ctx);      /* there is an authorization now, or the state changed */
    void *ctx;
};

typedef enum err_kind (*protocol_fn)(const struct protocol_opts *opts, struct protocol *out,
                                     struct err *e);

/* Whether the app's keys can be used; CONFIG as below, without a loop. */
MUST_CHECK enum err_kind protocol_check(const struct apns_app_opts *app, struct err *e);

extern const struct h2_protocol h2_apns, h2_fcm;

/* CONFIG when the key, or what else the app was given, cannot be used. */
MUST_CHECK enum err_kind protocol_apns(const struct protocol_opts *opts, struct protocol *out,
                                       struct err *e);
MUST_CHECK enum err_kind protocol_fcm(const struct protocol_opts *opts, struct protocol *out,
                                      struct err *e);

#endif
