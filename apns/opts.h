// SPDX-License-Identifier: Apache-2.0
/* Settings of pushes and gateways; owned by the configuration. */
#ifndef APNS_OPTS_H
#define APNS_OPTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/event.h"
#include "base/notice.h"

enum push_content {
    PUSH_CONTENT_NONE,
    PUSH_CONTENT_COUNT,
    PUSH_CONTENT_SENDER,
    PUSH_CONTENT_BODY
};

enum push_badge {
    PUSH_BADGE_MESSAGES,      /* that are unread */
    PUSH_BADGE_CONVERSATIONS, /* that have some */
    PUSH_BADGE_SINCE_OPENED   /* those of the messages that came after the app was opened */
};

/* How an app is told of a message through FCM. */
enum fcm_form {
    FCM_NOTIFICATION, /* the system shows it */
    FCM_DATA          /* the app does */
};

/* A proxy that opens a way to the services by CONNECT. */
struct proxy_opts {
    const char *host; /* of the proxy itself */
    uint16_t port;
    const char *user; /* NULL: it asks for none */
    const char *password;
};

struct fcm_opts {
    const char *service_account; /* the contents of service_account_file */
    const char *token_url;       /* NULL: the service account's own */
    enum fcm_form form;
    const char *channel; /* NULL: the app's default one */
};

struct webpush_opts {
    const char *private_key; /* the contents of private_key_file */
    const char *subject;
    const char *const *allow_hosts; /* "host" or "*.below"; none: every host */
    size_t allow_hosts_n;
    const uint16_t *ports;
    size_t ports_n;
    bool allow_private; /* also addresses that are not public */
};

/* Texts of the app itself, which phones show in their own language; NULL: ours is shown. */
struct push_loc_keys {
    const char *message;   /* there is one */
    const char *count;     /* of unread messages: its argument */
    const char *encrypted; /* for its reader only */
    const char *call;
};

struct apns_app_opts {
    const char *id;           /* the name clients register with */
    const char *const *names; /* others that clients have for it */
    size_t names_n;
    const char *const *domains; /* which of xmpp.domains may use it; domains_n 0 = all */
    size_t domains_n;
    enum push_content content;  /* at most push_opts' */
    const char *encrypted_text; /* shown for a message that only its reader can read */
    const char *call_text;      /* shown for a call */
    struct push_loc_keys loc_keys;
    const char *sound;     /* "" = silent */
    enum push_badge badge; /* what its icon counts */
    bool withdraws;   /* it is told which of its notifications are about what has been read */
    bool one_account; /* on a device: who registers ends the registration of who was there */
    bool calls;       /* is told of calls */
    const struct fcm_opts *fcm;         /* NULL: not through FCM */
    const struct webpush_opts *webpush; /* NULL: not through Web Push; neither: through APNs */
    /* apns: */
    const char *topic;
    const char *category;           /* of notifications; NULL: none */
    const char *interruption_level; /* NULL: active, as without one */
    const char *key_pem;            /* the contents of key_file; NULL: a certificate instead */
    const char *key_id;
    const char *team_id;
    const char *certificate_pem; /* the contents of certificate_file */
    const char *private_key_pem; /* and of private_key_file */
    bool sandbox;
    bool voip;       /* calls go to PushKit's tokens, where a device has one */
    bool background; /* of a message the app is only woken */
    /* either: */
    const char *host; /* from url, or the service's own */
    uint16_t port;
    const char *ca_pem;             /* contents of ca_file; NULL = the system's */
    const struct proxy_opts *proxy; /* NULL: none */
    int64_t server_error_retry_ms;  /* after a 5xx; 0 = what the service asks for */
};

/* Dialects in which the node of a publish is the device's token, or it stands beside it, so
 * that nobody has registered. */
enum push_stateless {
    PUSH_STATELESS_FPUSH = 1,      /* Monal: the node, and pushModule in publish-options */
    PUSH_STATELESS_MONGOOSEIM = 2, /* service, device_id, mode, topic in publish-options */
    PUSH_STATELESS_CHATSECURE = 4, /* token, endpoint in publish-options */
};

#define TOKEN_KEY_BYTES 32
struct token_key_opts {
    const uint8_t (*keys)[TOKEN_KEY_BYTES]; /* all open, the first seals */
    size_t n;
    bool in_clear; /* none seals: what they have sealed goes back */
};

struct push_opts {
    unsigned stateless; /* of push_stateless */
    struct token_key_opts token_keys;
    enum push_content content;
    enum event_notify rooms; /* of rooms of which the account has not said */
    int64_t settle_ms;
    int64_t confirm_after_ms;
    int64_t while_active_elsewhere_ms; /* -1 = never push while another resource is active */
    int64_t stale_after_ms;
    int64_t max_age_ms;
    int64_t history_ms;
    unsigned devices_per_account;
    const struct apns_app_opts *apps;
    size_t apps_n;
    struct notice_list notices;
};

#endif
