// SPDX-License-Identifier: Apache-2.0
/*
 * The FCM side: what a message must be like (a fixed order of checks, the first that fails
 * answers), and errors as Google writes them, their details in changing order.
 */
#ifndef GATEWAY_FCM_H
#define GATEWAY_FCM_H

#include <stdbool.h>

#include "tests/gateway/request.h"

struct gateway;
struct gw_text;

/* Fills push_out as far as the message can be understood, also when it is rejected. */
struct gw_verdict gw_fcm_check(struct gateway *gw, const struct gw_request *r,
                               struct gw_push *push_out);
/* Nothing for a verdict without a reason. */
void gw_fcm_write_error(const struct gw_verdict *v, bool fcm_error_first, struct gw_text *out);
/* Whether it has the form of a registration token. */
bool gw_fcm_is_token(const char *s);

#endif
