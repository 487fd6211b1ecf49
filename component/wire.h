// SPDX-License-Identifier: Apache-2.0
/*
 * One TCP connection, plain or TLS from the first byte: connects to one address, reads in big
 * pieces when asked, writes from a bounded queue.  It promises that a lost peer is noticed
 * within about a minute (keep-alive, and a limit for what is sent and not acknowledged).  It
 * knows nothing of XMPP and never connects again by itself.
 */
#ifndef COMPONENT_WIRE_H
#define COMPONENT_WIRE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/types.h>

#include "base/err.h"

struct event_base;

/* What TLS connections have in common. */
struct wire_tls;
/* ca_pem: trusted certificates as text, NULL: the system's.  CONFIG. */
MUST_CHECK enum err_kind wire_tls_new(const char *ca_pem, struct wire_tls **out,
                                      struct err *e);
void wire_tls_free(struct wire_tls **t);

struct wire;

struct wire_events {
    void (*up)(void *ctx);                    /* connected, and TLS agreed */
    void (*readable)(void *ctx);              /* only while reading is on */
    void (*drained)(void *ctx);               /* the queue has become empty */
    void (*down)(void *ctx, const char *why); /* not up, or no more; the last call */
    void *ctx;
};

struct wire_setup {
    struct event_base *base;
    const struct sockaddr *addr;
    socklen_t addr_len;
    struct wire_tls *tls; /* NULL: plain */
    const char *name;     /* what the certificate must say: a host name or an address */
    size_t queue_max;
};

/* PEER when it fails at once.  Reading is off until wire_read_on. */
MUST_CHECK enum err_kind wire_connect(const struct wire_setup *setup,
                                      const struct wire_events *events, struct wire **out,
                                      struct err *e);
/* Closes at once; may be called in its own callbacks. */
void wire_free(struct wire **w);

/* Bytes now there, 0: none; -1: there will be no more, *why_out says why. */
ssize_t wire_read(struct wire *w, uint8_t *data, size_t len, const char **why_out);
void wire_read_on(struct wire *w, bool on);

/* Queues; false when the queue would pass its maximum: nothing was queued then. */
bool wire_write(struct wire *w, const void *data, size_t len);
size_t wire_queued(const struct wire *w);

#endif
