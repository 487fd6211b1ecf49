// SPDX-License-Identifier: Apache-2.0
/* A request has come to its end: the phone gets it, counters and records are written, and
 * whoever waits for it is told. */
#ifndef GATEWAY_RECORD_H
#define GATEWAY_RECORD_H

#include <stdbool.h>

struct gateway;
struct gw_push;
struct gw_push_origin;
struct gw_request;
struct gw_verdict;

/* deliver: the phone gets it whatever the verdict says. */
void gw_record(struct gateway *gw, const struct gw_push_origin *from,
               const struct gw_request *r, const struct gw_push *push,
               const struct gw_verdict *v, bool deliver);
/* 200 or another of its kind. */
bool gw_is_good(const struct gw_verdict *v);

#endif
