// SPDX-License-Identifier: Apache-2.0
/*
 * One host name to its addresses, without blocking.  Each question is asked anew, with a
 * resolver of its own: services move, and changes of resolv.conf are seen.
 */
#ifndef BASE_RESOLVE_H
#define BASE_RESOLVE_H

#include <stdint.h>

struct addrinfo;
struct event_base;
struct resolve;

/* first: the addresses, valid until resolve_free; NULL: none, because of why.  Called once and
 * never before resolve_start has returned; resolve_free may be called in it. */
typedef void (*resolve_fn)(void *ctx, const struct addrinfo *first, const char *why);

struct resolve *resolve_start(struct event_base *base, const char *host, uint16_t port,
                              resolve_fn fn, void *ctx);
/* An answer that has not come will not be told any more. */
void resolve_free(struct resolve **r);

#endif
