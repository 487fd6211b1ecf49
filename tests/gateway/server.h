// SPDX-License-Identifier: Apache-2.0
/* The port of the gateway: listening, TLS with ALPN h2, and the connections. */
#ifndef GATEWAY_SERVER_H
#define GATEWAY_SERVER_H

#include <stdbool.h>
#include <stdint.h>

#include "tests/gateway/gateway.h"

struct gateway;
struct gw_server;

/* NULL with a text on stderr.  Listens on return. */
struct gw_server *gw_server_new(struct gateway *gw, enum gw_service service,
                                const char *listen);
void gw_server_free(struct gw_server **s);
uint16_t gw_server_port(const struct gw_server *s);

/* Closes the listening socket and all connections. */
void gw_server_down(struct gw_server *s);
/* Listens on the same port again, after a while; tries on while somebody else has it. */
void gw_server_up(struct gw_server *s, int after_ms);
/* The gateway's max_streams changed. */
void gw_server_update_limit(struct gw_server *s);

#endif
