// SPDX-License-Identifier: Apache-2.0
/*
 * One HTTP/1.1 connection of the Web Push side (RFC 9112): bytes in, bytes out, one request
 * after the other.  Stricter than most: exactly one Host, exactly one Content-Length and no
 * other framing, no folded fields, no second request before the answer.  Knows no TLS and no
 * socket.
 */
#ifndef GATEWAY_H1_H
#define GATEWAY_H1_H

#include <stddef.h>
#include <stdint.h>

#include "tests/gateway/h2.h"

struct gateway;
struct gw_h1;

struct gw_h1 *gw_h1_new(struct gateway *gw, uint32_t conn_id, gw_h2_pump_fn pump, void *conn);
void gw_h1_free(struct gw_h1 **h);
void gw_h1_input(struct gw_h1 *h, const uint8_t *data, size_t len);
/* Bytes valid until the next call; 0 when there is nothing to send. */
size_t gw_h1_output(struct gw_h1 *h, const uint8_t **data_out);
enum gw_h2_fate gw_h1_fate(const struct gw_h1 *h);

#endif
