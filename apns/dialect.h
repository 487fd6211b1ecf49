// SPDX-License-Identifier: Apache-2.0
/*
 * How clients register: the fields of each ad-hoc command in, what the registry needs out, and
 * back.  Pure functions; they know neither stanzas nor tables.
 *
 * register-device, unregister-device: Siskin, Snikket, Stork.
 * register-push-apns, register-push-fcm, and their unregister-: p2's.
 * register-push-webpush: the same with a Web Push subscription for the token.
 * v1-register-push, v1-unregister-push: mod_push_appserver's.
 */
#ifndef APNS_DIALECT_H
#define APNS_DIALECT_H

#include <stdbool.h>
#include <stddef.h>

#include "apns/devices.h"

struct push_opts;

enum push_service { PUSH_ANY, PUSH_APNS, PUSH_FCM, PUSH_WEBPUSH };

struct dialect_command {
    const char *node;
    const char *title;
    enum device_dialect dialect;
    enum push_service service;
    bool registers; /* false: unregisters */
};
/* NULL when it is none of ours. */
const struct dialect_command *dialect_find(const char *node);
/* A word for people. */
const char *dialect_name(enum device_dialect dialect);
/* All of them, for announcing. */
const struct dialect_command *dialect_commands(size_t *n_out);
/* What disco#info of the component shows so that clients find us: the i-th of what these apps
 * can be reached by; NULL after the last. */
const char *dialect_feature(const struct push_opts *opts, size_t i);

/* First value of a submitted field; NULL when it is absent. */
typedef const char *(*dialect_field_fn)(void *ctx, const char *var);

struct dialect_request {
    const struct dialect_command *command;
    size_t app;                            /* index in push_opts.apps */
    char token[DEVICE_TOKEN_MAX + 1];      /* "" when the dialect has none here */
    char client_id[DEVICE_CLIENT_MAX + 1]; /* "" when the dialect has none */
    char voip_token[DEVICE_TOKEN_MAX +
                    1]; /* for calls; "": none, or its app has no use for it */
};

/* For <error/>; conditions and texts are constants and quote nothing of the request. */
struct dialect_error {
    const char *type;
    const char *condition;
    const char *text;
};

/* False and err when it cannot be done.  domain: the account's. */
bool dialect_read(const struct push_opts *opts, const struct dialect_command *command,
                  const char *domain, dialect_field_fn field, void *ctx,
                  struct dialect_request *out, struct dialect_error *err_out);

/* What apps of p2's dialect know an account by in a push through FCM: SHA-1 in hex of the bare
 * JID and the client's device-id.  False: the registration needs no such name. */
#define DIALECT_NAME_BYTES 41
bool dialect_account_name(const struct push_opts *opts, const struct dialect_request *r,
                          const char *account, char out[DIALECT_NAME_BYTES]);

/* The empty form for a call without one: names of the fields, NULL-terminated. */
const char *const *dialect_asks(const struct dialect_command *command);

/* What a client must know before it can fill in that form: the i-th value of its field
 * "vapid", "KEY APP", the key being what to subscribe with; false after the last. */
#define DIALECT_OFFER_BYTES 400
bool dialect_offer(const struct push_opts *opts, const struct dialect_command *command,
                   const char *domain, size_t i, char out[DIALECT_OFFER_BYTES]);

struct dialect_field {
    const char *var;
    const char *type; /* for the form */
    const char *value;
};
#define DIALECT_FIELDS_MAX 3
struct dialect_result {
    const char *form_type; /* "result" or "form"; NULL: no form */
    struct dialect_field fields[DIALECT_FIELDS_MAX];
    size_t n;
};
/* What a completed registration answers; strings are borrowed from r and component. */
void dialect_result(const struct dialect_command *command, const struct device_registered *r,
                    const char *component, struct dialect_result *out);
/* What a completed unregistration answers; strings are borrowed from request. */
void dialect_farewell(const struct dialect_request *request, const char *component,
                      struct dialect_result *out);

#endif
