// SPDX-License-Identifier: Apache-2.0
#include "sidecar/http.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <event2/buffer.h>
#include <event2/http.h>

#include "base/buf.h"
#include "sidecar/report.h"

#define ANSWER_MAX (1 << 20)
#define TIMEOUT_S 10

struct http {
    struct evhttp *server;
    http_report_fn report;
    void *ctx;
};

static void answer(struct evhttp_request *req, int status, const char *type, struct buf *body)
{
    struct evbuffer *out = evbuffer_new();
    if (!out)
        abort();
    (void)evhttp_add_header(evhttp_request_get_output_headers(req), "Content-Type", type);
    (void)evbuffer_add(out, buf_data(body), buf_len(body));
    evhttp_send_reply(req, status, NULL, out);
    evbuffer_free(out);
}

static void answer_report(struct http *h, struct evhttp_request *req, const char *type,
                          void (*write)(const struct report *r, struct buf *out))
{
    struct report *r = calloc(1, sizeof *r);
    if (!r)
        abort();
    struct buf body;
    buf_init(&body, ANSWER_MAX);
    h->report(h->ctx, r);
    write(r, &body);
    answer(req, HTTP_OK, type, &body);
    buf_deinit(&body);
    free(r);
}

static void on_ready(struct evhttp_request *req, void *ctx)
{
    struct http *h = ctx;
    struct report *r = calloc(1, sizeof *r);
    if (!r)
        abort();
    struct buf body;
    buf_init(&body, ANSWER_MAX);
    h->report(h->ctx, r);
    bool ready = report_ready(r, &body);
    buf_add_str(&body, ready ? "ready\n" : "\n");
    answer(req, ready ? HTTP_OK : HTTP_SERVUNAVAIL, "text/plain", &body);
    buf_deinit(&body);
    free(r);
}

static void on_health(struct evhttp_request *req, void *ctx)
{
    (void)ctx;
    struct buf body;
    buf_init(&body, 16);
    buf_add_str(&body, "ok\n");
    answer(req, HTTP_OK, "text/plain", &body);
    buf_deinit(&body);
}

static void on_metrics(struct evhttp_request *req, void *ctx)
{
    answer_report(ctx, req, "text/plain; version=0.0.4", report_metrics);
}

static void on_json(struct evhttp_request *req, void *ctx)
{
    answer_report(ctx, req, "application/json", report_json);
}

static void on_text(struct evhttp_request *req, void *ctx)
{
    answer_report(ctx, req, "text/plain", report_text);
}

enum err_kind http_new(struct event_base *base, const char *host, uint16_t port,
                       http_report_fn fn, void *ctx, struct http **out, struct err *e)
{
    static const struct {
        const char *path;
        void (*fn)(struct evhttp_request *req, void *ctx);
    } routes[] = {{"/healthz", on_health}, {"/readyz", on_ready},     {"/metrics", on_metrics},
                  {"/status", on_text},    {"/status.json", on_json}, {"/", on_text}};
    struct http *h = calloc(1, sizeof *h);
    if (!h)
        abort();
    h->report = fn;
    h->ctx = ctx;
    h->server = evhttp_new(base);
    if (!h->server)
        abort();
    evhttp_set_allowed_methods(h->server, EVHTTP_REQ_GET | EVHTTP_REQ_HEAD);
    evhttp_set_max_headers_size(h->server, 8192);
    evhttp_set_max_body_size(h->server, 1024);
    evhttp_set_timeout(h->server, TIMEOUT_S);
    for (size_t i = 0; i < sizeof routes / sizeof *routes; i++)
        (void)evhttp_set_cb(h->server, routes[i].path, routes[i].fn, h);
    if (evhttp_bind_socket(h->server, host, port) != 0) {
        http_free(&h);
        return err_set(e, ERR_RETRY, "cannot listen on %s port %u: %s", host, port,
                       strerror(errno));
    }
    *out = h;
    return ERR_NONE;
}

void http_free(struct http **h)
{
    if (!*h)
        return;
    evhttp_free((*h)->server);
    free(*h);
    *h = NULL;
}
