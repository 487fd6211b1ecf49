// SPDX-License-Identifier: Apache-2.0
/*
 * Who is reached by which phone: a device is (app, token), a registration is (device,
 * account).  Each call is one transaction under the account's lane.  It knows neither forms
 * nor sessions, and never logs a token.
 */
#ifndef APNS_DEVICES_H
#define APNS_DEVICES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/event.h"

struct devices;
struct pg_error;
struct pg_pool;
struct token_keys;

#define DEVICES_KEY_BYTES 32
#define DEVICE_TOKEN_MAX 1200 /* characters; a Web Push subscription is the longest */
#define DEVICE_CLIENT_MAX 256
#define DEVICE_NODE_BYTES (DEVICE_CLIENT_MAX + 1) /* a client may choose its own */
#define DEVICE_SECRET_BYTES 25

enum device_dialect {
    DEVICE_TIGASE = 1, /* register-device: the node is the secret */
    DEVICE_P2 = 2, /* register-push-apns, -fcm: node and secret, bound to the client's id */
    DEVICE_APPSERVER = 3, /* v1-register-push: the node is the client's id; and a secret */
    DEVICE_STATELESS = 4, /* by a publish that names the token; nobody knows whose it is */
};

struct device_key {
    const uint8_t *owner; /* OWNER_BYTES */
    const char *app;
    const char *token;     /* APNs': lower-case hex; NULL when only the client's id is known */
    const char *client_id; /* NULL when only the token is known */
};

struct device_registration {
    struct device_key key;
    const char *account;  /* bare JID */
    const char *resource; /* "" when not known */
    enum device_dialect dialect;
    const char *account_name; /* what a push calls the account by; NULL: the app asks none */
    bool alone;               /* ends the registrations of other accounts on the device */
    const char *voip_token;   /* the app's second one, for this account's calls; NULL: none */
};

struct device_registered {
    char node[DEVICE_NODE_BYTES];
    char secret[DEVICE_SECRET_BYTES]; /* "" where the dialect has none */
    bool fresh;                       /* was not registered before */
    unsigned evicted;                 /* oldest ones that had to go: devices_per_account */
    unsigned ended;                   /* other accounts' on this device: alone */
};

struct device_row {
    const char *app;
    const char *resource;
    uint8_t device[16];
    enum device_dialect dialect;
    int64_t registered_us;
    int64_t answered_us; /* the last push that was accepted, 0: none */
    int badge_sent;      /* -1: not known */
};

/* key: DEVICES_KEY_BYTES, copied.  tokens: what they are kept under, borrowed. */
struct devices *devices_new(struct pg_pool *pool, const uint8_t *key,
                            struct token_keys *tokens, unsigned per_account);
void devices_free(struct devices **d); /* answers what is open with PG_LOST first */
void devices_set_limit(struct devices *d, unsigned per_account);

/* Each callback is called exactly once, never before the function returned; r and rows are
 * NULL when e->failure is not PG_OK.  Strings of arguments are copied. */
typedef void (*devices_registered_fn)(void *ctx, const struct device_registered *r,
                                      const struct pg_error *e);
void devices_register(struct devices *d, const struct device_registration *r,
                      devices_registered_fn fn, void *ctx);

/* removed: how many registrations of this account went (0 or 1). */
typedef void (*devices_removed_fn)(void *ctx, unsigned removed, const struct pg_error *e);
void devices_unregister(struct devices *d, const struct device_key *key, devices_removed_fn fn,
                        void *ctx);

/* The same by the id that devices_list shows. */
void devices_remove(struct devices *d, const uint8_t owner[OWNER_BYTES],
                    const uint8_t device[16], devices_removed_fn fn, void *ctx);

/* Leaves an alert about nothing for each device of the account in the outbox: how many.  Tell
 * outbox_look. */
typedef void (*devices_tested_fn)(void *ctx, unsigned devices, const struct pg_error *e);
void devices_test(struct devices *d, const uint8_t owner[OWNER_BYTES], devices_tested_fn fn,
                  void *ctx);

/* The app was opened on the device that was given that node: what is there now is not counted
 * any more on the icon of an app that counts since then.  Registering says the same.  opened:
 * how many registrations of the account have that node.  Tell outbox_look. */
typedef void (*devices_opened_fn)(void *ctx, unsigned opened, const struct pg_error *e);
void devices_opened(struct devices *d, const uint8_t owner[OWNER_BYTES], const char *node,
                    devices_opened_fn fn, void *ctx);

typedef void (*devices_list_fn)(void *ctx, const struct device_row *rows, size_t n,
                                const struct pg_error *e);
void devices_list(struct devices *d, const uint8_t owner[OWNER_BYTES], devices_list_fn fn,
                  void *ctx);

/* Whose registration a server's publish names (XEP-0357): NULL when it is none, or the secret
 * that belongs to it was not given, or, with another failure than PG_OK, nobody knows. */
struct device_owner {
    uint8_t owner[OWNER_BYTES];
    uint8_t device[16];
    const char *account; /* bare JID */
    const char *resource;
    const char *app;
    bool has_secret; /* which was given; otherwise the node is the secret */
};
typedef void (*devices_owner_fn)(void *ctx, const struct device_owner *o,
                                 const struct pg_error *e);
void devices_find(struct devices *d, const char *node, const char *secret, devices_owner_fn fn,
                  void *ctx);

/* Whether such a device is registered, without being told an account: by a publish of that
 * domain alone. */
enum device_known {
    DEVICE_UNKNOWN,
    DEVICE_KNOWN,
    DEVICE_GONE, /* it was, until the gateway said that it is gone */
};
struct device_stateless {
    uint8_t owner[OWNER_BYTES]; /* stands for an account, one for each device */
    uint8_t device[16];
};
void devices_stateless_id(const struct devices *d, const char *domain, const char *app,
                          const char *token, struct device_stateless *out);
typedef void (*devices_known_fn)(void *ctx, enum device_known known, const struct pg_error *e);
void devices_know(struct devices *d, const struct device_stateless *id, devices_known_fn fn,
                  void *ctx);

/* What a registration's token for calls is sealed for, in place of the device's id. */
void devices_voip_id(const uint8_t device[16], uint8_t out[16]);
/* The id of (app, token), and of a client's device-id within an account. */
void devices_id(const struct devices *d, const char *app, const char *token, uint8_t out[16]);

#endif
