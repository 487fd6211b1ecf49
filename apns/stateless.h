// SPDX-License-Identifier: Apache-2.0
/*
 * Devices that nobody has registered: the publish itself names app and token (Monal with
 * fpush, MongooseIM, ChatSecure).  Which app and topic that may be is the configuration's to
 * say.  A pure function.
 */
#ifndef APNS_STATELESS_H
#define APNS_STATELESS_H

#include <stddef.h>

#include "apns/devices.h"

struct notification;
struct push_opts;

enum stateless_result {
    STATELESS_NONE,    /* the node is of another dialect, or these are not configured */
    STATELESS_DEVICE,  /* out is filled */
    STATELESS_NO_APP,  /* it names an app, a topic or an environment that is not configured */
    STATELESS_NO_TOKEN /* what should be the token is none of that app's service */
};
struct stateless_device {
    size_t app; /* index in push_opts.apps */
    char token[DEVICE_TOKEN_MAX + 1];
};
/* domain: the publishing server's. */
enum stateless_result stateless_read(const struct push_opts *opts, const char *domain,
                                     const struct notification *n,
                                     struct stateless_device *out);

#endif
