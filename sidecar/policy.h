// SPDX-License-Identifier: Apache-2.0
/* When a push is due: the table of docs/architecture.md as a pure function. */
#ifndef SIDECAR_POLICY_H
#define SIDECAR_POLICY_H

#include <stdint.h>

#include "apns/outbox.h"
#include "component/sessions.h"

struct push_opts;

#define POLICY_ACTIVE_US (120 * INT64_C(1000000)) /* a resource seen this lately is in use */

/* What is known of the account at the moment of deciding; times in microseconds since 1970,
 * 0 for never. */
struct policy_presence {
    enum session_state state;
    int64_t own_seen_us;    /* the resource that registered the device */
    int64_t others_seen_us; /* the newest of all others */
    int64_t stuck_us;       /* when the server said that its session got something not; 0: it
                               has been seen since */
};

struct outbox_decision policy_decide(const struct push_opts *opts,
                                     const struct outbox_candidate *c,
                                     const struct policy_presence *p, int64_t now_us);

#endif
