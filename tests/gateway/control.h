// SPDX-License-Identifier: Apache-2.0
/*
 * The control port: plain HTTP/1.1 with JSON, for tests that order misbehaviour and ask
 * what was received.  control.c lists the requests.
 */
#ifndef GATEWAY_CONTROL_H
#define GATEWAY_CONTROL_H

#include <stdint.h>

struct gateway;
struct gw_control;

/* NULL with a text on stderr.  Listens on return. */
struct gw_control *gw_control_new(struct gateway *gw);
void gw_control_free(struct gw_control **c);
uint16_t gw_control_port(const struct gw_control *c);

/* A push was recorded: somebody may be waiting for it. */
void gw_control_saw(struct gw_control *c);

#endif
