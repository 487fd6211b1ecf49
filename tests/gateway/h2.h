// SPDX-License-Identifier: Apache-2.0
/*
 * One HTTP/2 connection of the gateway: bytes in, bytes out.  It collects requests, has
 * them checked, follows the scripts and keeps the limit of streams.  As APNs: 1 until a push
 * was accepted, 1 again after a rejection.  As FCM: always the same; it ends when it is idle,
 * old, or asked for life too often.  Knows no TLS and no socket.
 */
#ifndef GATEWAY_H2_H
#define GATEWAY_H2_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "tests/gateway/gateway.h"

struct gateway;
struct gw_h2;

enum gw_h2_fate {
    GW_H2_RUN,
    GW_H2_CLOSE,       /* send what is queued, then end in good order */
    GW_H2_CUT_FLUSHED, /* send what is queued, then end without goodbye */
    GW_H2_CUT          /* end at once */
};

/* Called when a timer made new output or a new fate: never during _input. */
typedef void (*gw_h2_pump_fn)(void *conn);

/* cert_topics: of the client's certificate, "" when it showed none. */
struct gw_h2 *gw_h2_new(struct gateway *gw, enum gw_service service, uint32_t conn_id,
                        const char *cert_topics, gw_h2_pump_fn pump, void *conn);
void gw_h2_free(struct gw_h2 **h);

void gw_h2_input(struct gw_h2 *h, const uint8_t *data, size_t len);
/* Bytes of one frame, valid until the next call; 0 when there is nothing to send. */
size_t gw_h2_output(struct gw_h2 *h, const uint8_t **data_out);
enum gw_h2_fate gw_h2_fate(const struct gw_h2 *h);
/* The gateway's max_streams changed. */
void gw_h2_update_limit(struct gw_h2 *h);

#endif
