// SPDX-License-Identifier: Apache-2.0
/*
 * One app at its push service (Web Push: services): takes requests while it has room, answers
 * each exactly once with a verdict that names the reaction.  What the service refused without
 * looking at it (REFUSED_STREAM, GOAWAY below our stream, an expired provider token) is sent
 * again inside; the caller hears only final words.  It keeps nothing over a restart: the
 * outbox does.
 */
#ifndef APNS_GATEWAY_H
#define APNS_GATEWAY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

struct event_base;
struct apns_app_opts;
struct gateway;
struct provider_tokens;

#define GATEWAY_CERTIFICATE_WARN_DAYS 30 /* before its end */

enum push_type { PUSH_ALERT, PUSH_BACKGROUND, PUSH_VOIP };

struct push_request {
    uint8_t apns_id[16]; /* the same again for a resend of the same content */
    const char *token;   /* this and what follows is copied by gateway_submit */
    enum push_type type;
    int priority;            /* 10, 5 or 1 */
    int64_t expiration_s;    /* seconds since 1970; 0 = try once, do not store */
    const char *collapse_id; /* NULL or at most 64 bytes */
    const uint8_t *payload;  /* JSON */
    size_t payload_len;
    const uint8_t *brief; /* Web Push: instead of payload where that is too long */
    size_t brief_len;     /* 0: there is none */
    void *ctx;            /* given back with the verdict */
};

/* What the outbox has to do (push.md names each: every status and reason has one). */
enum push_reaction {
    PUSH_DONE,        /* accepted */
    PUSH_DROP_DEVICE, /* gone since timestamp_ms: drop registrations older than that */
    PUSH_SUSPECT,     /* malformed, or for the other environment, or another app's */
    PUSH_RETRY,       /* later, after retry_after_ms */
    PUSH_HOLD_DEVICE, /* too many for this device: hold it for retry_after_ms */
    PUSH_PARK,        /* our request was wrong: park it with the reason, never retry */
    PUSH_APP_STOPPED, /* a setting of this app is wrong: keep it, the gateway is stopped */
};

struct push_verdict {
    enum push_reaction reaction;
    int status;             /* HTTP status, 0 when there was no answer */
    char reason[64];        /* the service's word, or ours: "timeout", "connection lost" */
    int64_t timestamp_ms;   /* 410 only */
    int64_t retry_after_ms; /* RETRY and HOLD_DEVICE */
};

enum gateway_state {
    GATEWAY_IDLE, /* no connection, none needed */
    GATEWAY_CONNECTING,
    GATEWAY_UP,
    GATEWAY_BACKOFF, /* the service is not reachable; trying again */
    GATEWAY_STOPPED, /* a person is needed; tries again every 10 minutes and on reload */
};

struct gateway_events {
    void (*verdict)(void *ctx, void *request_ctx, const struct push_verdict *v);
    void (*room)(void *ctx, struct gateway *g); /* it had none, now it has */
    void *ctx;
    /* Borrowed until gateway_free: where provider tokens are shared; NULL: its own. */
    struct provider_tokens *tokens;
};

struct gateway_status {
    enum gateway_state state;
    char reason[96]; /* of BACKOFF and STOPPED */
    unsigned connections;
    unsigned in_flight;
    unsigned queued;
    unsigned stream_limit;
    uint64_t sent;
    uint64_t accepted;
    uint64_t rejected;
    uint64_t resent;
    int64_t certificate_expires_s; /* seconds since 1970; 0: the app has none */
};

/* Borrows opts until gateway_free.  CONFIG when the key cannot be read. */
MUST_CHECK enum err_kind gateway_new(struct event_base *base, const struct apns_app_opts *opts,
                                     const struct gateway_events *events, struct gateway **out,
                                     struct err *e);
/* Answers what is open with RETRY "shutdown" first. */
void gateway_free(struct gateway **g);

/* Requests it would take now. */
size_t gateway_room(const struct gateway *g);
/* True when taken; false when there is no room (try again after the room event).
 * The verdict never comes before this returned. */
bool gateway_submit(struct gateway *g, const struct push_request *r);
void gateway_get_status(const struct gateway *g, struct gateway_status *out);
const char *gateway_state_name(enum gateway_state s);

#endif
