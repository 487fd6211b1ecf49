// SPDX-License-Identifier: Apache-2.0
/*
 * What gateway.c (birth, submitting, status) and gateway_turn.c (whatever happens) share, and
 * the numbers of a gateway, for tests that cannot wait for the real ones.
 */
#ifndef APNS_GATEWAY_INT_H
#define APNS_GATEWAY_INT_H

#include "apns/gateway.h"
#include "apns/gateway_item.h"
#include "apns/h2.h"
#include "apns/pool.h"
#include "apns/protocol.h"
#include "apns/ramp.h"
#include "apns/verdict.h"

struct gateway_tuning {
    size_t room_max;         /* in flight and queued */
    unsigned resends_max;    /* of one push, inside */
    int64_t queue_ms;        /* longer waits go back to the outbox */
    int64_t probe_ms;        /* while stopped: one push is tried this often */
    int64_t broken_after_ms; /* a 500 on a connection of this age: a new connection */
    int64_t connect_timeout_ms;
    int64_t alarm_ms; /* an alarm is not repeated sooner */
    struct ramp_opts ramp;
    struct verdict_opts verdict;
    struct h2_opts h2;     /* without protocol and authority */
    struct pool_opts pool; /* without conn and log_prefix */
};

#define GATEWAY_MAGIC 0x67617465u

struct client_cert;
struct event;
struct webpush;

struct gateway {
    unsigned magic;
    const struct apns_app_opts *opts;
    struct webpush
        *webpush; /* NULL: APNs or FCM; else everything is its, and below is unused */
    struct gateway_events events;
    struct gateway_tuning tuning;
    struct protocol protocol;
    enum protocol_state credentials; /* as they were in the last turn */
    struct ramp ramp;
    struct conn_tls *tls;
    struct client_cert *certificate; /* NULL: none */
    int64_t certificate_look_ms;     /* when it is looked at next */
    struct pool *pool;
    struct event *timer;
    struct event *wake;
    int64_t armed_ms; /* when the timer fires; INT64_MAX = it does not */
    char *authority;
    char log_prefix[128];

    struct queue again; /* resends, before what never went out, in their old order */
    struct queue queue;
    size_t items; /* queued and in flight */
    bool had_room;
    bool in_turn;     /* what is submitted now is sent in this turn */
    bool in_callback; /* of ours, where gateway_free may not be called */
    bool closing;

    bool stopped;
    char stopped_reason[96];
    int64_t probe_at_ms;   /* while stopped */
    int64_t hold_until_ms; /* nothing is sent until then; 0 = no */
    char hold_reason[64];
    int64_t alarm_again_ms;
    uint64_t suspects; /* one bit for each of the last verdicts */
    struct gateway_status counted;
};

struct gateway *gateway_of(void *ctx);
/* Of the credentials, the certificate among them. */
enum protocol_state gateway_credentials(const struct gateway *g, const char **reason_out);
bool gateway_is_held(const struct gateway *g, int64_t now_ms);
size_t gateway_room_at(const struct gateway *g, int64_t now_ms);

/* Everything happens here, once for whatever woke us; ctx is a gateway. */
void gateway_turn(void *ctx);
/* RETRY for the reason given, or because the gateway ends. */
void gateway_give_back(struct gateway *g, struct item *it, const char *reason, int64_t now_ms);
void gateway_take_answers(struct gateway *g, int64_t now_ms);

extern const struct gateway_tuning gateway_tuning_default; /* APNs' */
extern const struct gateway_tuning gateway_tuning_fcm;

MUST_CHECK enum err_kind gateway_new_tuned(struct event_base *base,
                                           const struct apns_app_opts *opts,
                                           const struct gateway_events *events,
                                           const struct gateway_tuning *tuning,
                                           struct gateway **out, struct err *e);
/* With another protocol than the app's own. */
MUST_CHECK enum err_kind gateway_new_as(protocol_fn protocol, struct event_base *base,
                                        const struct apns_app_opts *opts,
                                        const struct gateway_events *events,
                                        const struct gateway_tuning *tuning,
                                        struct gateway **out, struct err *e);

#endif
