// SPDX-License-Identifier: Apache-2.0
/*
 * A name to addresses, asked anew each time (push services move) and in random order (they
 * want the load spread).  A numeric address needs no network.
 */
#ifndef APNS_LOOKUP_H
#define APNS_LOOKUP_H

#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#define LOOKUP_MAX 8 /* addresses kept */

struct event_base;
struct lookup;

struct lookup_address {
    struct sockaddr_storage addr;
    socklen_t len;
};

struct lookup_result {
    struct lookup_address list[LOOKUP_MAX];
    size_t n;
};

/* error is NULL and the result has at least one address, or the other way round. */
typedef void (*lookup_fn)(void *ctx, const struct lookup_result *r, const char *error);

/* Calls done exactly once unless cancelled, possibly before returning.  *out is set only
 * while the answer is outstanding; the caller clears it in done. */
void lookup_start(struct event_base *base, const char *host, uint16_t port, lookup_fn done,
                  void *ctx, struct lookup **out);
/* done will not be called.  *l may be NULL. */
void lookup_cancel(struct lookup **l);

#endif
