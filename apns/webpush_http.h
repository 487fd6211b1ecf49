// SPDX-License-Identifier: Apache-2.0
/*
 * POSTs to addresses that strangers give us (RFC 8030 section 5), on the event loop.
 *
 * By libcurl for all push services, although APNs and FCM have an engine of our own: there are
 * many services with little traffic each, some of them speak HTTP/1.1 only, and libcurl speaks
 * what ALPN brings, keeps connections and shares them.  The address is looked at where it is
 * used: libcurl asks for a socket with the very address it is about to connect to, whatever
 * the name meant before, and gets none for an address that is not public.  Redirects are not
 * followed, proxies of the environment not asked, bodies of answers dropped.
 */
#ifndef APNS_WEBPUSH_HTTP_H
#define APNS_WEBPUSH_HTTP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct event_base;
struct proxy_opts;
struct webpush_http;

struct webpush_answer {
    int status;           /* 0: there was none */
    const char *error;    /* why there was none; a constant */
    bool refused_address; /* there was none because nothing public is behind the name */
    bool lost;            /* there was none because a connection that was good broke */
    bool http2;
    int64_t retry_after_s; /* -1: it does not say */
};

struct webpush_http_opts {
    struct event_base *base;
    const char *ca_pem; /* borrowed; NULL: whom the system trusts */
    bool allow_private;
    /* Borrowed; NULL: none.  It is told an address that we have looked at, not a name, unless
     * allow_private is set. */
    const struct proxy_opts *proxy;
    unsigned connections_per_origin;
    unsigned connections;
    int64_t connect_timeout_ms;
    int64_t timeout_ms;
    /* Exactly once for each webpush_http_send, later than it; may send again, may not free. */
    void (*done)(void *ctx, void *post_ctx, const struct webpush_answer *a);
    void *ctx;
};

struct webpush_post {
    const char *endpoint; /* libcurl copies it and the fields */
    const char *authorization;
    int64_t ttl_s;
    const char *urgency;
    const char *topic;   /* NULL: none */
    const uint8_t *body; /* borrowed until done */
    size_t len;
    bool share; /* wait for a connection that can be shared rather than open another */
    void *ctx;
};

/* Never NULL. */
struct webpush_http *webpush_http_new(const struct webpush_http_opts *opts);
/* What is under way ends without a word. */
void webpush_http_free(struct webpush_http **h);
void webpush_http_send(struct webpush_http *h, const struct webpush_post *p);

#endif
