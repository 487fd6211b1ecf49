// SPDX-License-Identifier: Apache-2.0
/* Settings of pushes and gateways; owned by the configuration. */
#ifndef APNS_OPTS_H
#define APNS_OPTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum push_content {
    PUSH_CONTENT_NONE,
    PUSH_CONTENT_COUNT,
    PUSH_CONTENT_SENDER,
    PUSH_CONTENT_BODY
};

struct apns_app_opts {
    const char *id;             /* the name clients register with */
    const char *const *domains; /* which of xmpp.domains may use it; domains_n 0 = all */
    size_t domains_n;
    const char *sound; /* "" = silent */
    /* apns: */
    const char *topic;
    const char *key_pem; /* the contents of key_file */
    const char *key_id;
    const char *team_id;
    bool sandbox;
    const char *host; /* from url, or Apple's */
    uint16_t port;
    const char *ca_pem;            /* contents of ca_file; NULL = the system's */
    int64_t server_error_retry_ms; /* after a 5xx; 0 = 15 minutes, which Apple asks for */
};

struct push_opts {
    enum push_content content;
    int64_t settle_ms;
    int64_t confirm_after_ms;
    int64_t while_active_elsewhere_ms; /* -1 = never push while another resource is active */
    int64_t stale_after_ms;
    int64_t max_age_ms;
    int64_t history_ms;
    unsigned devices_per_account;
    const struct apns_app_opts *apps;
    size_t apps_n;
};

#endif
