// SPDX-License-Identifier: Apache-2.0
/*
 * What a push must be like: a fixed order of checks, the first that fails answers.
 * checks.c lists them in that order.
 */
#ifndef GATEWAY_CHECKS_H
#define GATEWAY_CHECKS_H

#include "tests/gateway/request.h"

struct gateway;
struct gw_binding;

/* Fills push_out as far as the request can be understood, also when it is rejected. */
struct gw_verdict gw_check(struct gateway *gw, struct gw_binding *binding,
                           const struct gw_request *r, struct gw_push *push_out);

#endif
