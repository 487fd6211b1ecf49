// SPDX-License-Identifier: Apache-2.0
/*
 * A Web Push subscription as a client hands it over, and as a device's token keeps it:
 * "endpoint p256dh auth".  The endpoint is an address that a stranger gives us, so that it is
 * read strictly here, and where it leads is looked at again whenever it is connected to.
 */
#ifndef APNS_SUBSCRIPTION_H
#define APNS_SUBSCRIPTION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "apns/ece.h"

struct webpush_opts;

#define SUBSCRIPTION_ENDPOINT_MAX 1000 /* UnifiedPush: no endpoint is longer */
#define SUBSCRIPTION_HOST_MAX 253
#define SUBSCRIPTION_TOKEN_MAX (SUBSCRIPTION_ENDPOINT_MAX + 1 + 87 + 1 + 22)
#define SUBSCRIPTION_ORIGIN_BYTES (SUBSCRIPTION_HOST_MAX + 17)

struct subscription {
    char endpoint[SUBSCRIPTION_ENDPOINT_MAX + 1];
    char host[SUBSCRIPTION_HOST_MAX +
              1]; /* lower case; a name, or an address in [] when IPv6 */
    uint16_t port;
    char origin[SUBSCRIPTION_ORIGIN_BYTES]; /* RFC 6454: without the port when it is 443 */
    struct ece_keys keys;
};

/* NULL, or what is wrong: a constant for the client. */
const char *subscription_read(const char *endpoint, const char *p256dh, const char *auth,
                              struct subscription *out);
/* Whether the settings let us go there; NULL, or why not.  An address that is written out is
 * looked at here, a name's are when we connect. */
const char *subscription_refused(const struct subscription *s, const struct webpush_opts *o);

void subscription_write(const struct subscription *s, char token[SUBSCRIPTION_TOKEN_MAX + 1]);
/* What subscription_write wrote; the point is not looked at again.  False for anything else.
 */
bool subscription_parse(const char *token, struct subscription *out);

#endif
