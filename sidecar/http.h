// SPDX-License-Identifier: Apache-2.0
/*
 * The worker's HTTP: /healthz (the loop runs), /readyz (messages flow), /metrics, /status.json
 * and, as text, /status.  Read only, meant for loopback.
 */
#ifndef SIDECAR_HTTP_H
#define SIDECAR_HTTP_H

#include <stdint.h>

#include "base/err.h"

struct event_base;
struct http;
struct report;

typedef void (*http_report_fn)(void *ctx, struct report *out);

/* RETRY when the address cannot be bound now. */
MUST_CHECK enum err_kind http_new(struct event_base *base, const char *host, uint16_t port,
                                  http_report_fn fn, void *ctx, struct http **out,
                                  struct err *e);
void http_free(struct http **h);

#endif
