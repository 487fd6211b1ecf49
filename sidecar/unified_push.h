// SPDX-License-Identifier: Apache-2.0
/*
 * A UnifiedPush server whose way to the phone is XMPP (the draft at
 * http://gultsch.de/xmpp/drafts/unified-push): a client registers by an IQ and is given an
 * endpoint; what others POST there is passed on to it by an IQ, and its answer is theirs.
 * Nothing is stored, neither registrations nor pushes.  Its HTTP is meant for a web server of
 * this machine that passes on what comes from outside by https.
 */
#ifndef SIDECAR_UNIFIED_PUSH_H
#define SIDECAR_UNIFIED_PUSH_H

#include <stddef.h>
#include <stdint.h>

struct event_base;
struct service;
struct unified_push;
struct unified_push_opts;

/* Borrows all until unified_push_free; serves registrations of the service from now on. */
struct unified_push *unified_push_new(struct event_base *base,
                                      const struct unified_push_opts *opts,
                                      struct service *service, size_t links);
/* After the service: it still answers what was asked. */
void unified_push_free(struct unified_push **u);
/* The key of its endpoints is known: before, everybody is told to wait.  u may be NULL. */
void unified_push_ready(struct unified_push *u, const uint8_t key[32]);

#endif
