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
/* Takes a connected plain TCP socket, up from the beginning, of which `written` bytes were
 * written before.  setup's address and name are not looked at. */
struct wire *wire_adopt(const struct wire_setup *setup, const struct wire_events *events,
                        int fd, uint64_t written);
/* Closes at once, even if somebody else holds the descriptor; may be called in its own
 * callbacks. */
void wire_free(struct wire **w);

/* Bytes now there, 0: none; -1: there will be no more, *why_out says why. */
ssize_t wire_read(struct wire *w, uint8_t *data, size_t len, const char **why_out);
/* The same, but over plain TCP the bytes stay the kernel's, and come again, until they are
 * consumed: a process that dies in between has lost none.  Over TLS they are gone like with
 * wire_read, and nothing is to be consumed. */
ssize_t wire_peek(struct wire *w, uint8_t *data, size_t len, const char **why_out);
/* False when not all of these could be taken. */
bool wire_consume(struct wire *w, size_t len);
void wire_read_on(struct wire *w, bool on);

/* Queues; false when the queue would pass its maximum: nothing was queued then. */
bool wire_write(struct wire *w, const void *data, size_t len);
size_t wire_queued(const struct wire *w);
uint64_t wire_written(const struct wire *w); /* bytes that the kernel has taken */
/* Ends our side: what the server still sends can be read.  Drops what is queued. */
void wire_end(struct wire *w);
/* The descriptor of a plain connection, -1 for one over TLS. */
int wire_plain_fd(const struct wire *w);

#endif
