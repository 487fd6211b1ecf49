// SPDX-License-Identifier: Apache-2.0
/*
 * The access token of a service account (OAuth 2.0, RFC 7523): fetched once it is asked for,
 * one fetch at a time, renewed before it ends while the old one goes on being used, and tried
 * again by itself while it cannot be had.  It never logs a token.
 */
#ifndef APNS_OAUTH_H
#define APNS_OAUTH_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

struct event_base;
struct oauth;

struct oauth_tuning {
    int64_t renew_before_ms; /* its end; a short-lived one is renewed at half its life */
    int64_t spacing_ms;      /* between two fetches when a token is refused at once */
    int64_t backoff_min_ms;
    int64_t backoff_max_ms;
    int64_t refused_ms; /* after an answer that only a person can change */
    int64_t timeout_ms; /* of one fetch */
};
extern const struct oauth_tuning oauth_tuning_default;

struct oauth_opts {
    struct event_base *base;
    const char *service_account;    /* what its file holds; not borrowed */
    const char *url;                /* instead of the file's token_uri; NULL: none */
    const char *ca_pem;             /* NULL: whom the system trusts */
    const struct proxy_opts *proxy; /* borrowed; NULL: none */
    const char *log_prefix;         /* borrowed */
    void (*changed)(void *ctx);     /* the state, or the token: never during a call of ours */
    void *ctx;
};

enum oauth_state {
    OAUTH_WAITING, /* for the first token */
    OAUTH_GOOD,    /* there is one */
    OAUTH_FAILING, /* there is none, and the last fetch failed: tried again soon */
    OAUTH_REFUSED, /* there is none, and there will be none until a person does something */
};

/* Fetches the first token in the next turn of the loop.  CONFIG when the file is no good. */
MUST_CHECK enum err_kind oauth_new(const struct oauth_opts *opts,
                                   const struct oauth_tuning *tuning, struct oauth **out,
                                   struct err *e);
void oauth_free(struct oauth **o);

/* "Bearer <token>" and which one it is (1, 2, ...); NULL: none now.  Begins to fetch when it
 * is time.  The text stays readable until the second next token. */
const char *oauth_authorization(struct oauth *o, int64_t now_ms, size_t *len_out,
                                unsigned *serial_out);
/* A service refuses that token: if it is the present one, another is fetched. */
void oauth_reject(struct oauth *o, unsigned serial, int64_t now_ms);

/* reason: one line; "" when GOOD or WAITING. */
enum oauth_state oauth_get_state(const struct oauth *o, int64_t now_ms,
                                 const char **reason_out);
const char *oauth_project(const struct oauth *o);

#endif
