// SPDX-License-Identifier: Apache-2.0
/* The numbers of a gateway, for tests that cannot wait for the real ones. */
#ifndef APNS_GATEWAY_INT_H
#define APNS_GATEWAY_INT_H

#include "apns/gateway.h"
#include "apns/h2.h"
#include "apns/pool.h"
#include "apns/verdict.h"

struct gateway_tuning {
    size_t room_max;         /* in flight and queued */
    unsigned resends_max;    /* of one push, inside */
    int64_t queue_ms;        /* longer waits go back to the outbox */
    int64_t probe_ms;        /* while stopped: one push is tried this often */
    int64_t broken_after_ms; /* a 500 on a connection of this age: a new connection */
    int64_t connect_timeout_ms;
    struct verdict_opts verdict;
    struct h2_opts h2;     /* without authority */
    struct pool_opts pool; /* without conn and log_prefix */
};

extern const struct gateway_tuning gateway_tuning_default;

MUST_CHECK enum err_kind gateway_new_tuned(struct event_base *base,
                                           const struct apns_app_opts *opts,
                                           const struct gateway_events *events,
                                           const struct gateway_tuning *tuning,
                                           struct gateway **out, struct err *e);

#endif
