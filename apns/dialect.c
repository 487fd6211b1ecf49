// SPDX-License-Identifier: Apache-2.0
#include "apns/dialect.h"

#include <assert.h>
#include <string.h>

#include "apns/opts.h"

#define TOKEN_MIN 64

static const struct dialect_command commands[] = {
    {"register-device", "Register a device for push", DEVICE_TIGASE, true},
    {"unregister-device", "Unregister a device", DEVICE_TIGASE, false},
    {"register-push-apns", "Register this device for push (APNs)", DEVICE_P2, true},
    {"unregister-push-apns", "Unregister this device (APNs)", DEVICE_P2, false},
};

/* What clients of the first dialect look for among our features, and send as provider.  An
 * app's id is a provider too. */
static const char *const providers[] = {"tigase:messenger:apns:1", "snikket:apns:1"};
static const char *const other_gateways[] = {"fcm-xmpp-api", "tigase:messenger:fcm:1"};

static const struct dialect_error bad_token = {"modify", "bad-request",
                                               "the device token is not 64 to 200 hex digits"};
static const struct dialect_error no_client = {"modify", "bad-request",
                                               "device-id is missing or too long"};
static const struct dialect_error no_channel = {"cancel", "feature-not-implemented",
                                                "group chats are not registered here"};
static const struct dialect_error no_app = {"cancel", "item-not-found", "unknown app"};
static const struct dialect_error no_provider = {"cancel", "item-not-found",
                                                 "unknown provider"};
static const struct dialect_error many_apps = {"modify", "item-not-found",
                                               "several apps are served: name one as app"};

#define COUNT(a) (sizeof(a) / sizeof *(a))

const struct dialect_command *dialect_find(const char *node)
{
    for (size_t i = 0; i < COUNT(commands); i++)
        if (strcmp(commands[i].node, node) == 0)
            return &commands[i];
    return NULL;
}

const struct dialect_command *dialect_commands(size_t *n_out)
{
    *n_out = COUNT(commands);
    return commands;
}

const char *const *dialect_features(size_t *n_out)
{
    *n_out = COUNT(providers);
    return providers;
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

static bool named_app(const struct push_opts *opts, const char *domain, const char *name,
                      size_t *app_out)
{
    for (size_t i = 0; i < opts->apps_n; i++)
        if (strcmp(opts->apps[i].id, name) == 0 && app_serves(&opts->apps[i], domain)) {
            *app_out = i;
            return true;
        }
    return false;
}

/* NULL when the request names an app, or there is just one it can mean. */
static const struct dialect_error *find_app(const struct push_opts *opts, const char *domain,
                                            const char *app, const char *provider,
                                            size_t *app_out)
{
    if (app && *app)
        return named_app(opts, domain, app, app_out) ? NULL : &no_app;
    if (provider && named_app(opts, domain, provider, app_out))
        return NULL;
    if (provider && is_one_of(provider, other_gateways, COUNT(other_gateways)))
        return &no_provider;
    size_t found = 0;
    for (size_t i = 0; i < opts->apps_n; i++)
        if (app_serves(&opts->apps[i], domain) && found++ == 0)
            *app_out = i;
    if (found == 1)
        return NULL;
    bool known = !provider || is_one_of(provider, providers, COUNT(providers));
    return found > 1 && known ? &many_apps : &no_provider;
}

/* APNs' tokens are hex of a length Apple reserves the right to change. */
static bool read_token(const char *text, char out[DEVICE_TOKEN_MAX + 1])
{
    static const char digits[] = "0123456789abcdef0123456789ABCDEF";
    size_t n = 0;
    for (; text && text[n]; n++) {
        const char *at = strchr(digits, text[n]);
        if (!at || n == DEVICE_TOKEN_MAX)
            return false;
        out[n] = digits[(at - digits) % 16];
    }
    out[n] = '\0';
    return n >= TOKEN_MIN && n % 2 == 0;
}

static bool read_client(const char *text, char out[DEVICE_CLIENT_MAX + 1])
{
    size_t len = text ? strlen(text) : 0;
    if (len == 0 || len > DEVICE_CLIENT_MAX)
        return false;
    memcpy(out, text, len + 1);
    return true;
}

static const struct dialect_error *read_tigase(dialect_field_fn field, void *ctx,
                                               struct dialect_request *out)
{
    return read_token(field(ctx, "device-token"), out->token) ? NULL : &bad_token;
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
    if (!read_client(client, out->client_id))
        return &no_client;
    if (out->command->registers && !read_token(field(ctx, "token"), out->token))
        return &bad_token;
    return NULL;
}

bool dialect_read(const struct push_opts *opts, const struct dialect_command *command,
                  const char *domain, dialect_field_fn field, void *ctx,
                  struct dialect_request *out, struct dialect_error *err_out)
{
    *out = (struct dialect_request){.command = command};
    const char *provider = NULL;
    const struct dialect_error *err = NULL;
    switch (command->dialect) {
    case DEVICE_TIGASE:
        err = read_tigase(field, ctx, out);
        provider = field(ctx, "provider");
        break;
    case DEVICE_P2:
        err = read_p2(field, ctx, out);
        break;
    }
    if (!err)
        err = find_app(opts, domain, field(ctx, "app"), provider, &out->app);
    if (err)
        *err_out = *err;
    return !err;
}

const char *const *dialect_asks(const struct dialect_command *command)
{
    static const char *const tigase[] = {"provider", "device-token", NULL};
    static const char *const p2[] = {"token", "device-id", NULL};
    static const char *const p2_unregister[] = {"device-id", NULL};
    switch (command->dialect) {
    case DEVICE_TIGASE:
        return tigase;
    case DEVICE_P2:
        return command->registers ? p2 : p2_unregister;
    }
    return NULL;
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
        *out = (struct dialect_result){
            .form_type = "form",
            .fields = {{"jid", "jid-single", component},
                       {"node", "text-single", r->node},
                       {"secret", "text-single", r->secret}},
            .n = 3,
        };
        break;
    }
}
