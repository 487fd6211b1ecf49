// SPDX-License-Identifier: Apache-2.0
#include "apns/stateless.h"

#include <string.h>

#include "apns/dialect_int.h"
#include "apns/notification.h"
#include "apns/opts.h"
#include "base/form.h"

/* What the publish wants: NULL where it does not say. */
struct wish {
    enum push_service service;
    const char *app;
    const char *topic;
    const char *mode;
    const char *token;
};

static const char *option(const struct notification *n, const char *var)
{
    const char *value = n->options ? form_value(n->options, var) : NULL;
    return value && *value ? value : NULL;
}

/* Two apps may share a topic, one for each environment. */
static bool fits(const struct apns_app_opts *app, const char *domain, const struct wish *w)
{
    if (!dialect_app_fits(app, domain, w->service))
        return false;
    if (w->app)
        return dialect_app_is_called(app, w->app);
    if (w->topic && !dialect_app_is_called(app, w->topic) &&
        (!app->topic || strcmp(app->topic, w->topic) != 0))
        return false;
    return !w->mode || app->fcm || app->sandbox == (strcmp(w->mode, "dev") == 0);
}

/* The app that is meant, when it is exactly one. */
static enum stateless_result find(const struct push_opts *opts, const char *domain,
                                  const struct wish *w, struct stateless_device *out)
{
    size_t found = 0;
    for (size_t i = 0; i < opts->apps_n; i++)
        if (fits(&opts->apps[i], domain, w) && found++ == 0)
            out->app = i;
    if (found != 1)
        return STATELESS_NO_APP;
    bool good = opts->apps[out->app].fcm ? dialect_read_fcm_token(w->token, out->token)
                                         : dialect_read_apns_token(w->token, out->token);
    return good ? STATELESS_DEVICE : STATELESS_NO_TOKEN;
}

static enum stateless_result read_mongooseim(const struct push_opts *opts, const char *domain,
                                             const struct notification *n,
                                             struct stateless_device *out)
{
    const char *service = option(n, "service");
    struct wish w = {.topic = option(n, "topic"),
                     .mode = option(n, "mode"),
                     .token = option(n, "device_id")};
    if (strcmp(service, "apns") == 0)
        w.service = PUSH_APNS;
    else if (strcmp(service, "fcm") == 0)
        w.service = PUSH_FCM;
    else
        return STATELESS_NO_APP;
    return find(opts, domain, &w, out);
}

/* The endpoint is another push server's: the name of one of ours, or there is only one. */
static enum stateless_result read_chatsecure(const struct push_opts *opts, const char *domain,
                                             const struct notification *n,
                                             struct stateless_device *out)
{
    struct wish w = {
        .service = PUSH_APNS, .app = option(n, "endpoint"), .token = option(n, "token")};
    enum stateless_result r = find(opts, domain, &w, out);
    w.app = NULL;
    return r == STATELESS_NO_APP ? find(opts, domain, &w, out) : r;
}

/* Without a form the module is "default"; an app may be called so, or be the only one. */
static enum stateless_result read_fpush(const struct push_opts *opts, const char *domain,
                                        const struct notification *n,
                                        struct stateless_device *out)
{
    struct wish w = {.app = option(n, "pushModule"), .token = n->node};
    char token[DEVICE_TOKEN_MAX + 1];
    if (!w.app && !dialect_read_apns_token(n->node, token))
        return STATELESS_NONE; /* a node of ours */
    if (w.app)
        return find(opts, domain, &w, out);
    w.app = "default";
    enum stateless_result r = find(opts, domain, &w, out);
    w.app = NULL;
    w.service = PUSH_APNS;
    return r == STATELESS_NO_APP ? find(opts, domain, &w, out) : r;
}

enum stateless_result stateless_read(const struct push_opts *opts, const char *domain,
                                     const struct notification *n,
                                     struct stateless_device *out)
{
    if (option(n, "service") && option(n, "device_id"))
        return opts->stateless & PUSH_STATELESS_MONGOOSEIM
                   ? read_mongooseim(opts, domain, n, out)
                   : STATELESS_NONE;
    if (option(n, "token") && option(n, "endpoint"))
        return opts->stateless & PUSH_STATELESS_CHATSECURE
                   ? read_chatsecure(opts, domain, n, out)
                   : STATELESS_NONE;
    if (n->secret[0] || !(opts->stateless & PUSH_STATELESS_FPUSH))
        return STATELESS_NONE;
    return read_fpush(opts, domain, n, out);
}
