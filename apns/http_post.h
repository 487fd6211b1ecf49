// SPDX-License-Identifier: Apache-2.0
/*
 * One form sent by POST to an https address, on the event loop, and its answer: for the rare
 * requests that need no connection of their own to be kept.  One at a time; no redirects, no
 * proxy from the environment, a bounded body.  It does not know what the answer means.
 */
#ifndef APNS_HTTP_POST_H
#define APNS_HTTP_POST_H

#include <stddef.h>
#include <stdint.h>

struct event_base;
struct http_post;
struct proxy_opts;

#define HTTP_POST_BODY_MAX 16384 /* of an answer; a longer one is none */

struct http_answer {
    int status;          /* 0: there was none */
    const char *error;   /* why there was none */
    const uint8_t *body; /* valid during the call */
    size_t len;
    int64_t date_s;        /* the server's clock, seconds since 1970; -1: it does not say */
    int64_t retry_after_s; /* -1: it does not say */
};

struct http_post_opts {
    struct event_base *base;
    const char *url;                /* copied */
    const char *ca_pem;             /* copied; NULL: whom the system trusts */
    const struct proxy_opts *proxy; /* borrowed; NULL: none */
    int64_t timeout_ms;             /* from http_post_send to done */
    /* Exactly once for each http_post_send, later than it; may send again, may not free. */
    void (*done)(void *ctx, const struct http_answer *a);
    void *ctx;
};

/* Never NULL. */
struct http_post *http_post_new(const struct http_post_opts *opts);
/* What is under way ends without a word. */
void http_post_free(struct http_post **p);
/* Only when nothing is under way.  body is copied. */
void http_post_send(struct http_post *p, const char *body, size_t len);

#endif
