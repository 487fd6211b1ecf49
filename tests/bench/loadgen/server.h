// SPDX-License-Identifier: Apache-2.0
/*
 * The server's side of one XEP-0114 connection: listens on 127.0.0.1 and nowhere else, takes
 * one component, checks its handshake, and from then on writes what it is given and hands over
 * the component's stanzas.  It counts the bytes after its <handshake/>, both queued and
 * written, and how often and for how long the component did not read.
 */
#ifndef TESTS_BENCH_LOADGEN_SERVER_H
#define TESTS_BENCH_LOADGEN_SERVER_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

struct event_base;
struct stanza;

struct server_opts {
    uint16_t port;
    const char *component;
    const char *secret;
};

struct server_events {
    /* The component has shaken hands. */
    void (*up)(void *ctx);
    void (*stanza)(void *ctx, struct stanza *st); /* borrowed */
    /* server_written has grown. */
    void (*written)(void *ctx);
    /* The connection is over, or never came up; the last call. */
    void (*down)(void *ctx, const char *why);
    void *ctx;
};

struct server_blocked {
    uint64_t times; /* the socket took no more */
    int64_t us;     /* in all */
    int64_t longest_us;
    uint64_t bytes_max; /* waiting for it */
};

struct server;

/* Borrows the opts' texts.  CONFIG: the port cannot be listened on. */
MUST_CHECK enum err_kind server_new(struct event_base *base, const struct server_opts *opts,
                                    const struct server_events *events, struct server **out,
                                    struct err *e);
void server_free(struct server **s);

/* Whole stanzas; they are written as fast as the component reads.  down is called when more
 * wait than memory is set aside for. */
void server_send(struct server *s, const void *data, size_t len);
uint64_t server_queued(const struct server *s);
uint64_t server_written(const struct server *s);
void server_get_blocked(const struct server *s, struct server_blocked *out);

#endif
