// SPDX-License-Identifier: Apache-2.0
/*
 * The state of the service as plain data, and its three forms: JSON, text for a person, and
 * Prometheus metrics.  It knows nobody it reports on, and holds no token, body or secret.
 */
#ifndef SIDECAR_REPORT_H
#define SIDECAR_REPORT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "apns/gateway.h"
#include "apns/outbox.h"
#include "component/service.h"
#include "sidecar/relay.h"

#define REPORT_LINKS_MAX 16
#define REPORT_APPS_MAX 64

struct buf;

struct report_link {
    const char *host;
    uint16_t port;
    const char *state; /* "up", "backoff", ... */
    char why[160];     /* last error, "" when up */
    uint64_t epoch;
    int64_t since_us; /* up since; 0 when it is not */
    int64_t down_since_us;
    uint64_t connects;
    uint64_t gaps;       /* since the service was started; all of them are in xs.gap */
    int64_t gap_from_us; /* of the last one that has ended, 0 when there was none */
    int64_t gap_to_us;
    uint64_t spool_bytes; /* on disk */
    uint64_t spool_max;
    uint64_t behind_bytes; /* received and not yet committed */
    bool known;            /* the worker has told what follows */
    bool messages_granted;
    bool presence_granted;
    unsigned namespaces_delegated;
    size_t accounts_online;
    size_t requests_open;
    enum service_copies copies;
    int64_t copies_since_us;
    const char *copies_trouble;
    unsigned copies_busiest;
    unsigned copies_losses;
    int64_t copies_lost_from_us;
    int64_t copies_lost_to_us;
};

struct report_app {
    const char *id;
    struct gateway_status gateway;
    struct outbox_app_status outbox;
};

struct report {
    const char *component;
    int64_t now_us;
    int64_t worker_pid; /* 0: none */
    uint64_t worker_starts;
    uint64_t worker_faults;  /* deaths by a fault of its own */
    unsigned faults_unclear; /* the last ones in a row, with no stanza to blame */
    char worker_death[160];  /* how the last one ended, "" when none did */
    size_t poison;       /* stanzas that no worker may look into, not yet passed for good */
    bool worker_answers; /* false: only what the shared page shows is filled in */
    size_t links_n;
    struct report_link links[REPORT_LINKS_MAX];
    struct service_nodes nodes;
    struct relay_status relay;
    int64_t behind_us;
    size_t apps_n;
    struct report_app apps[REPORT_APPS_MAX];
};

void report_json(const struct report *r, struct buf *out);
void report_text(const struct report *r, struct buf *out);
void report_metrics(const struct report *r, struct buf *out);
/* Messages flow from every link to the database; why (may be NULL) gets what is missing. */
bool report_ready(const struct report *r, struct buf *why);

#endif
