// SPDX-License-Identifier: Apache-2.0
/*
 * The server's own push publishes (XEP-0357).  On hosts whose messages we see they make no
 * push of their own: they say that a session did not get something, so that its device need
 * not wait until that is found out.  Every one is accepted at once, because servers delete a
 * registration that is refused; one that cannot be looked up only makes no difference.
 */
#ifndef SIDECAR_PUBLISH_H
#define SIDECAR_PUBLISH_H

struct devices;
struct iq_request;
struct outbox;
struct service;

#define PUBLISH_OPEN_MAX 200 /* lookups at a time; more signs are not heard */

/* All borrowed.  Without a database there are no devices and no outbox: NULL. */
struct publish {
    struct service *service;
    struct devices *devices;
    struct outbox *outbox;
    unsigned open;
};

/* Ends the request. */
void publish_take(struct publish *p, struct iq_request *r);

#endif
