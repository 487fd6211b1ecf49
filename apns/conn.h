// SPDX-License-Identifier: Apache-2.0
/*
 * One connection to a push service: name, TCP, TLS with ALPN "h2", and the HTTP/2 session on
 * top.  It either becomes UP within its deadline or DEAD with a reason, and once DEAD stays
 * so.  It does not reconnect and has no timer: its owner calls conn_tick.  The process must
 * ignore SIGPIPE: OpenSSL writes to sockets that may be gone.
 */
#ifndef APNS_CONN_H
#define APNS_CONN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "apns/h2.h"
#include "base/err.h"

struct client_cert;
struct conn;
struct conn_tls;
struct event_base;
struct proxy_opts;

/* Whom to trust: the certificates in ca_pem, or the system's when NULL; and what we show
 * ourselves, NULL for nothing, which is not borrowed.  CONFIG. */
MUST_CHECK enum err_kind conn_tls_new(const char *ca_pem, const struct client_cert *ours,
                                      struct conn_tls **out, struct err *e);
void conn_tls_free(struct conn_tls **t);

enum conn_state {
    CONN_RESOLVING,  /* -> CONNECTING, DEAD */
    CONN_CONNECTING, /* -> PROXY, HANDSHAKE, CONNECTING (next address), DEAD */
    CONN_PROXY,      /* the proxy is asked for the way -> HANDSHAKE, CONNECTING, DEAD */
    CONN_HANDSHAKE,  /* -> SETTINGS, CONNECTING (next address), DEAD */
    CONN_SETTINGS,   /* waits for the peer's SETTINGS -> UP, DEAD */
    CONN_UP,         /* -> DEAD */
    CONN_DEAD,
};

struct conn_opts {
    struct event_base *base;
    struct conn_tls *tls;
    const char *host; /* a name or a numeric address; the certificate must be for it */
    uint16_t port;
    const struct proxy_opts *proxy; /* NULL: straight there */
    int64_t connect_timeout_ms;     /* until UP, over all addresses */
    struct h2_opts h2;
    /* Something happened on the socket: look at the state and the events.  It is the last
     * thing a conn does in a loop turn, so the conn may be freed in it. */
    void (*turn)(void *ctx);
    void *ctx;
};

/* Borrows what opts point to.  Begins to connect; never calls turn before returning. */
struct conn *conn_new(const struct conn_opts *opts, int64_t now_ms);
/* Says goodbye if it can.  The events must have been taken, no push may be open. */
void conn_free(struct conn **c);

enum conn_state conn_get_state(const struct conn *c);
const char *conn_error(const struct conn *c); /* why DEAD */
/* The session, for h2_can_take, h2_submit and its counters; what was submitted is written
 * by conn_flush. */
struct h2 *conn_h2(struct conn *c);
bool conn_next_event(struct conn *c, struct h2_event *out);

void conn_flush(struct conn *c);
void conn_tick(struct conn *c, int64_t now_ms);
int64_t conn_deadline(const struct conn *c);
/* Ends it now, for the reason given; open pushes become events. */
void conn_kill(struct conn *c, const char *why);

#endif
