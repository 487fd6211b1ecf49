// SPDX-License-Identifier: Apache-2.0
/*
 * The publishes of servers (XEP-0357).  Of a host whose messages we see a publish makes no
 * push of its own: it says that a session did not get something, and it counts what we cannot
 * see (sidecar/hints.h).  Of another host in push.accept_from, and in the dialects without
 * registration, it is all we know, and makes the push.
 *
 * Servers delete a registration that is refused, so only a device that is truly not there is:
 * with the same words whether it never was, is gone, or the secret is another.
 */
#ifndef SIDECAR_PUBLISH_H
#define SIDECAR_PUBLISH_H

#include <stdbool.h>

struct devices;
struct event_base;
struct ingest;
struct iq_request;
struct outbox;
struct pg_pool;
struct publish;
struct push_opts;
struct service;

#define NS_PUBSUB_OWNER "http://jabber.org/protocol/pubsub#owner"
#define PUBLISH_OPEN_MAX 500  /* at a time; more are told to wait */
#define PUBLISH_MISSES_MAX 60 /* a minute, of each domain of push.accept_from */
#define PUBLISH_NEW_MAX 60    /* devices a minute, of each domain, that nobody registered */

/* Answers "wait" until it is ready.  Borrows both. */
struct publish *publish_new(struct service *service, const struct push_opts *push);
/* After the pool of publish_ready. */
void publish_free(struct publish **p);

struct publish_opts {
    struct pg_pool *pool; /* all borrowed */
    struct devices *devices;
    struct outbox *outbox;
    struct ingest *ingest;
    unsigned spools;
};
void publish_ready(struct publish *p, struct event_base *base,
                   const struct publish_opts *opts);
void publish_pause(struct publish *p, bool pause);

/* Ends the request: a publish, or a node that a client of MongooseIM makes before it. */
void publish_take(struct publish *p, struct iq_request *r);

#endif
