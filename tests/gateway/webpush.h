// SPDX-License-Identifier: Apache-2.0
/*
 * The Web Push side (RFC 8030, 8188, 8291, 8292): what a push must be like, a fixed order of
 * checks, the first that fails answers.  It cannot read what it passes on, nor can a real one.
 */
#ifndef GATEWAY_WEBPUSH_H
#define GATEWAY_WEBPUSH_H

#include <stddef.h>

#include "tests/gateway/request.h"

struct gateway;
struct gw_action;

#define GW_WEBPUSH_PATH "/push/" /* and 64 hex digits: the subscription */

/* Fills push_out as far as the request can be understood, also when it is rejected. */
struct gw_verdict gw_webpush_check(struct gateway *gw, const struct gw_request *r,
                                   struct gw_push *push_out);

/* Fields of the answer, "name: value" each. */
enum { GW_WEBPUSH_FIELDS = 4, GW_WEBPUSH_FIELD_SIZE = 400 };
struct gw_webpush_fields {
    char name[GW_WEBPUSH_FIELDS][24], value[GW_WEBPUSH_FIELDS][GW_WEBPUSH_FIELD_SIZE];
    size_t n;
};
void gw_webpush_answer(const struct gw_request *r, const struct gw_push *push,
                       const struct gw_action *a, const struct gw_verdict *v,
                       struct gw_webpush_fields *out);

#endif
