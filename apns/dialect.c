// SPDX-License-Identifier: Apache-2.0
#include "apns/dialect_int.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "apns/opts.h"
#include "apns/subscription.h"
#include "apns/vapid.h"
#include "base/crypt.h"

#define COUNT(a) (sizeof(a) / sizeof *(a))
#define APNS_TOKEN_MIN 64
#define APNS_TOKEN_MAX 200
#define FCM_TOKEN_MIN 20
#define FCM_TOKEN_MAX 512
#define NAMED_MAX (2 * 1024 + DEVICE_CLIENT_MAX) /* a bare JID, NUL, the client's id */

static const struct dialect_command commands[] = {
    {"register-device", "Register a device for push", DEVICE_TIGASE, PUSH_ANY, true},
    {"unregister-device", "Unregister a device", DEVICE_TIGASE, PUSH_ANY, false},
    {"register-push-apns", "Register this device for push (APNs)", DEVICE_P2, PUSH_APNS, true},
    {"unregister-push-apns", "Unregister this device (APNs)", DEVICE_P2, PUSH_APNS, false},
    {"register-push-fcm", "Register this device for push (FCM)", DEVICE_P2, PUSH_FCM, true},
    {"unregister-push-fcm", "Unregister this device (FCM)", DEVICE_P2, PUSH_FCM, false},
    {"register-push-webpush", "Register this device for push (Web Push)", DEVICE_P2,
     PUSH_WEBPUSH, true},
    {"unregister-push-webpush", "Unregister this device (Web Push)", DEVICE_P2, PUSH_WEBPUSH,
     false},
    {"v1-register-push", "Register for push (mod_push_appserver)", DEVICE_APPSERVER, PUSH_ANY,
     true},
    {"v1-unregister-push", "Unregister from push (mod_push_appserver)", DEVICE_APPSERVER,
     PUSH_ANY, false},
};

/* What clients of the first dialect look for among our features, and send as provider.  An
 * app's id is a provider too. */
static const struct provider {
    const char *name;
    enum push_service service;
} providers[] = {
    {"tigase:messenger:apns:1", PUSH_APNS},
    {"snikket:apns:1", PUSH_APNS},
    {"fcm-xmpp-api", PUSH_FCM},
    {"tigase:messenger:fcm:1", PUSH_FCM},
};

static const struct dialect_error bad_token = {"modify", "bad-request",
                                               "the device token is not 64 to 200 hex digits"};
static const struct dialect_error bad_fcm_token = {
    "modify", "bad-request", "the token is not one that FCM gives to a device"};
static const struct dialect_error bad_voip_token = {
    "modify", "bad-request", "the token for calls is not 64 to 200 hex digits"};
static const struct dialect_error no_client = {"modify", "bad-request",
                                               "device-id is missing or too long"};
static const struct dialect_error no_node = {"modify", "bad-request",
                                             "node is missing or too long"};
static const struct dialect_error no_type = {"cancel", "item-not-found",
                                             "type is neither apns nor fcm"};
static const struct dialect_error no_channel = {"cancel", "feature-not-implemented",
                                                "group chats are not registered here"};
static const struct dialect_error no_app = {"cancel", "item-not-found", "unknown app"};
static const struct dialect_error no_provider = {"cancel", "item-not-found",
                                                 "unknown provider"};
static const struct dialect_error many_apps = {"modify", "item-not-found",
                                               "several apps are served: name one as app"};

const struct dialect_command *dialect_find(const char *node)
{
    for (size_t i = 0; i < COUNT(commands); i++)
        if (strcmp(commands[i].node, node) == 0)
            return &commands[i];
    return NULL;
}

const char *dialect_name(enum device_dialect dialect)
{
    switch (dialect) {
    case DEVICE_TIGASE:
        return "register-device";
    case DEVICE_P2:
        return "register-push";
    case DEVICE_APPSERVER:
        return "v1-register-push";
    case DEVICE_STATELESS:
        return "publish";
    }
    return "unknown";
}

const struct dialect_command *dialect_commands(size_t *n_out)
{
    *n_out = COUNT(commands);
    return commands;
}

static enum push_service service_of(const struct apns_app_opts *app)
{
    if (app->webpush)
        return PUSH_WEBPUSH;
    return app->fcm ? PUSH_FCM : PUSH_APNS;
}

static bool is_served(const struct push_opts *opts, enum push_service service)
{
    for (size_t i = 0; i < opts->apps_n; i++)
        if (service_of(&opts->apps[i]) == service)
            return true;
    return false;
}

const char *dialect_feature(const struct push_opts *opts, size_t i)
{
    for (size_t k = 0; k < COUNT(providers); k++)
        if (is_served(opts, providers[k].service) && i-- == 0)
            return providers[k].name;
    return NULL;
}

static bool is_one_of(const char *text, const char *const *list, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (strcmp(text, list[i]) == 0)
            return true;
    return false;
}

static bool app_serves(const struct apns_app_opts *app, const char *domain)
{
    return app->domains_n == 0 || is_one_of(domain, app->domains, app->domains_n);
}

/* A subscription is no device-token, which is all that the command for any service takes. */
bool dialect_app_fits(const struct apns_app_opts *app, const char *domain,
                      enum push_service service)
{
    enum push_service its = service_of(app);
    return app_serves(app, domain) &&
           (service == PUSH_ANY ? its != PUSH_WEBPUSH : its == service);
}

bool dialect_app_is_called(const struct apns_app_opts *app, const char *name)
{
    return strcmp(app->id, name) == 0 || is_one_of(name, app->names, app->names_n);
}

static bool named_app(const struct push_opts *opts, const char *domain,
                      enum push_service service, const char *name, size_t *app_out)
{
    for (size_t i = 0; i < opts->apps_n; i++)
        if (dialect_app_is_called(&opts->apps[i], name) &&
            dialect_app_fits(&opts->apps[i], domain, service)) {
            *app_out = i;
            return true;
        }
    return false;
}

static const struct provider *find_provider(const char *name)
{
    for (size_t i = 0; name && i < COUNT(providers); i++)
        if (strcmp(providers[i].name, name) == 0)
            return &providers[i];
    return NULL;
}

/* NULL when the request names an app, or there is just one it can mean. */
static const struct dialect_error *find_app(const struct push_opts *opts, const char *domain,
                                            enum push_service service, const char *app,
                                            const char *provider, size_t *app_out)
{
    if (app && *app)
        return named_app(opts, domain, service, app, app_out) ? NULL : &no_app;
    if (provider && named_app(opts, domain, service, provider, app_out))
        return NULL;
    const struct provider *known = find_provider(provider);
    if (known)
        service = known->service;
    size_t found = 0;
    for (size_t i = 0; i < opts->apps_n; i++)
        if (dialect_app_fits(&opts->apps[i], domain, service) && found++ == 0)
            *app_out = i;
    if (found == 1)
        return NULL;
    return found > 1 && (known || !provider) ? &many_apps : &no_provider;
}

/* APNs' tokens are hex of a length Apple reserves the right to change. */
bool dialect_read_apns_token(const char *text, char out[DEVICE_TOKEN_MAX + 1])
{
    static const char digits[] = "0123456789abcdef0123456789ABCDEF";
    size_t n = 0;
    for (; text && text[n]; n++) {
        const char *at = strchr(digits, text[n]);
        if (!at || n == APNS_TOKEN_MAX)
            return false;
        out[n] = digits[(at - digits) % 16];
    }
    out[n] = '\0';
    return n >= APNS_TOKEN_MIN && n % 2 == 0;
}

/* What Google's look like is not written anywhere; these are the characters they are made of,
 * and they differ in upper and lower case. */
bool dialect_read_fcm_token(const char *text, char out[DEVICE_TOKEN_MAX + 1])
{
    static const char characters[] =
        "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz-_:.%";
    size_t len = text ? strlen(text) : 0;
    if (len < FCM_TOKEN_MIN || len > FCM_TOKEN_MAX || strspn(text, characters) != len)
        return false;
    memcpy(out, text, len + 1);
    return true;
}

static const struct dialect_error *read_subscription(const struct webpush_opts *opts,
                                                     dialect_field_fn field, void *ctx,
                                                     char out[DEVICE_TOKEN_MAX + 1],
                                                     struct dialect_error *why)
{
    struct subscription s;
    _Static_assert(SUBSCRIPTION_TOKEN_MAX <= DEVICE_TOKEN_MAX, "it is a token");
    *why =
        (struct dialect_error){"modify", "bad-request",
                               subscription_read(field(ctx, "endpoint"), field(ctx, "p256dh"),
                                                 field(ctx, "auth"), &s)};
    if (why->text)
        return why;
    *why = (struct dialect_error){"cancel", "not-acceptable", subscription_refused(&s, opts)};
    if (why->text)
        return why;
    subscription_write(&s, out);
    return NULL;
}

static const struct dialect_error *read_token(const struct apns_app_opts *app,
                                              dialect_field_fn field, void *ctx,
                                              const char *name, char out[DEVICE_TOKEN_MAX + 1],
                                              struct dialect_error *why)
{
    if (app->webpush)
        return read_subscription(app->webpush, field, ctx, out, why);
    const char *text = field(ctx, name);
    if (app->fcm)
        return dialect_read_fcm_token(text, out) ? NULL : &bad_fcm_token;
    return dialect_read_apns_token(text, out) ? NULL : &bad_token;
}

static bool read_client(const char *text, char out[DEVICE_CLIENT_MAX + 1])
{
    size_t len = text ? strlen(text) : 0;
    if (len == 0 || len > DEVICE_CLIENT_MAX)
        return false;
    memcpy(out, text, len + 1);
    return true;
}

static const struct dialect_error *read_p2(dialect_field_fn field, void *ctx,
                                           struct dialect_request *out)
{
    const char *client = field(ctx, "device-id");
    const char *muc = field(ctx, "muc");
    if (!client)
        client = field(ctx, "android-id");
    if (muc && *muc)
        return &no_channel;
    return read_client(client, out->client_id) ? NULL : &no_client;
}

static const struct dialect_error *read_appserver(dialect_field_fn field, void *ctx,
                                                  struct dialect_request *out,
                                                  enum push_service *service_out)
{
    const char *type = field(ctx, "type");
    if (!read_client(field(ctx, "node"), out->client_id))
        return &no_node;
    if (type && strcmp(type, "apns") == 0)
        *service_out = PUSH_APNS;
    else if (type && strcmp(type, "fcm") == 0)
        *service_out = PUSH_FCM;
    else
        return &no_type;
    return NULL;
}

/* PushKit's token, the device's second one; it may stay away, or be left empty in a form. */
static const struct dialect_error *read_voip_token(const struct apns_app_opts *app,
                                                   dialect_field_fn field, void *ctx,
                                                   struct dialect_request *out)
{
    bool tigase = out->command->dialect == DEVICE_TIGASE;
    const char *text = field(ctx, tigase ? "device-second-token" : "voip-token");
    if (!app->voip || !text || !*text)
        return NULL;
    return dialect_read_apns_token(text, out->voip_token) ? NULL : &bad_voip_token;
}

bool dialect_read(const struct push_opts *opts, const struct dialect_command *command,
                  const char *domain, dialect_field_fn field, void *ctx,
                  struct dialect_request *out, struct dialect_error *err_out)
{
    *out = (struct dialect_request){.command = command};
    const char *provider = NULL, *token = NULL;
    const struct dialect_error *err = NULL;
    enum push_service service = command->service;
    switch (command->dialect) {
    case DEVICE_TIGASE:
        provider = field(ctx, "provider");
        token = "device-token";
        break;
    case DEVICE_P2:
        err = read_p2(field, ctx, out);
        token = command->registers ? "token" : NULL;
        break;
    case DEVICE_APPSERVER:
        err = read_appserver(field, ctx, out, &service);
        token = command->registers ? "token" : NULL;
        break;
    case DEVICE_STATELESS: /* has no command */
        break;
    }
    if (!err)
        err = find_app(opts, domain, service, field(ctx, "app"), provider, &out->app);
    struct dialect_error why;
    if (!err && token)
        err = read_token(&opts->apps[out->app], field, ctx, token, out->token, &why);
    if (!err && token && command->registers)
        err = read_voip_token(&opts->apps[out->app], field, ctx, out);
    if (err)
        *err_out = *err;
    return !err;
}

bool dialect_account_name(const struct push_opts *opts, const struct dialect_request *r,
                          const char *account, char out[DIALECT_NAME_BYTES])
{
    char text[NAMED_MAX];
    size_t account_len = strlen(account), client_len = strlen(r->client_id);
    if (r->command->dialect != DEVICE_P2 || !opts->apps[r->app].fcm ||
        account_len + 1 + client_len > sizeof text)
        return false;
    memcpy(text, account, account_len + 1);
    memcpy(text + account_len + 1, r->client_id, client_len);
    crypt_sha1_hex_of(text, account_len + 1 + client_len, out);
    return true;
}

const char *const *dialect_asks(const struct dialect_command *command)
{
    static const char *const tigase[] = {"provider", "device-token", NULL};
    static const char *const p2[] = {"token", "device-id", NULL};
    static const char *const webpush[] = {"endpoint", "p256dh", "auth", "device-id", NULL};
    static const char *const p2_unregister[] = {"device-id", NULL};
    static const char *const appserver[] = {"type", "node", "token", NULL};
    static const char *const appserver_unregister[] = {"type", "node", NULL};
    switch (command->dialect) {
    case DEVICE_TIGASE:
        return tigase;
    case DEVICE_P2:
        if (command->service == PUSH_WEBPUSH && command->registers)
            return webpush;
        return command->registers ? p2 : p2_unregister;
    case DEVICE_APPSERVER:
        return command->registers ? appserver : appserver_unregister;
    case DEVICE_STATELESS:
        break;
    }
    return NULL;
}

bool dialect_offer(const struct push_opts *opts, const struct dialect_command *command,
                   const char *domain, size_t i, char out[DIALECT_OFFER_BYTES])
{
    for (size_t k = 0; command->service == PUSH_WEBPUSH && command->registers; k++) {
        if (k == opts->apps_n)
            return false;
        const struct apns_app_opts *app = &opts->apps[k];
        struct vapid *vapid;
        struct err e;
        if (!dialect_app_fits(app, domain, PUSH_WEBPUSH) || i-- > 0)
            continue;
        if (vapid_new(app->webpush->private_key, app->webpush->subject, &vapid, &e))
            return false; /* such an app does not start */
        snprintf(out, DIALECT_OFFER_BYTES, "%s %s", vapid_public(vapid), app->id);
        vapid_free(&vapid);
        return true;
    }
    return false;
}

void dialect_result(const struct dialect_command *command, const struct device_registered *r,
                    const char *component, struct dialect_result *out)
{
    *out = (struct dialect_result){0};
    if (!command->registers)
        return;
    switch (command->dialect) {
    case DEVICE_TIGASE:
        /* Without tigase:push:encrypt:0 among the features a client sends nothing encrypted.
         */
        *out = (struct dialect_result){
            .form_type = "result",
            .fields = {{"node", "text-single", r->node},
                       {"features", "text-multi", "urn:xmpp:push:0"},
                       {"max-payload-size", "text-single", "3072"}},
            .n = 3,
        };
        break;
    case DEVICE_P2:
    case DEVICE_APPSERVER:
        *out = (struct dialect_result){
            .form_type = "form",
            .fields = {{"jid", "jid-single", component},
                       {"node", "text-single", r->node},
                       {"secret", "text-single", r->secret}},
            .n = 3,
        };
        break;
    case DEVICE_STATELESS:
        break;
    }
}

void dialect_farewell(const struct dialect_request *request, const char *component,
                      struct dialect_result *out)
{
    *out = (struct dialect_result){0};
    if (request->command->dialect == DEVICE_APPSERVER)
        *out = (struct dialect_result){
            .form_type = "form",
            .fields = {{"jid", "jid-single", component},
                       {"node", "text-single", request->client_id}},
            .n = 2,
        };
}
