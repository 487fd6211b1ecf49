// SPDX-License-Identifier: Apache-2.0
/*
 * Keeps what accounts with a device call their contacts, out of their rosters: asked for when
 * a device registers, when the roster has changed and when a push finds that it is old.
 * Nothing waits for it; of many wishes at a time a few are asked for, and what finds no room
 * in the queue is wished again by the next push.
 */
#ifndef SIDECAR_CONTACT_NAMES_H
#define SIDECAR_CONTACT_NAMES_H

struct contact_names;
struct event_base;
struct ingest;
struct pg_pool;
struct service;

/* All are borrowed; free it before any of them. */
struct contact_names *contact_names_new(struct event_base *base, struct service *service,
                                        struct ingest *ingest, struct pg_pool *pool);
void contact_names_free(struct contact_names **n);

/* account: a bare JID.  Nothing happens where the server does not let us read rosters. */
void contact_names_want(struct contact_names *n, const char *account);
/* Its roster is about to change, or has just changed. */
void contact_names_changed(struct contact_names *n, const char *account);

#endif
