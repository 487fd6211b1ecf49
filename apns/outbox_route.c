// SPDX-License-Identifier: Apache-2.0
/*
 * Tokens of APNs' other environment: a build from Xcode has tokens of the sandbox, whatever
 * app its user has registered with.  When the app is configured twice, once for each
 * environment, what the one does not know is tried at the other, and where it was accepted is
 * written down. Of each push at most one is tried so, and a device that is rejected where it
 * was accepted before is not taken back: nothing goes to and fro.
 */
#include <string.h>

#include "apns/dialect_int.h"
#include "apns/gateway.h"
#include "apns/opts.h"
#include "apns/outbox_int.h"
#include "base/log.h"

#define PREFIX "outbox"

/* The same topic in the other environment, for users of that domain.  NULL: there is none, or
 * it takes nothing. */
static struct outbox_app *sibling(const struct outbox *o, const struct entry *e)
{
    const struct apns_app_opts *own = e->app->opts;
    const char *at = strchr(e->account->jid, '@');
    const char *domain = at ? at + 1 : e->account->jid;
    if (!own || !own->topic)
        return NULL;
    for (struct outbox_app *app = outbox_set_apps(o->set); app; app = app->next)
        if (app->opts && app->opts->topic && app->gateway && !app->stopped &&
            app->opts->sandbox != own->sandbox && strcmp(app->opts->topic, own->topic) == 0 &&
            dialect_app_fits(app->opts, domain, PUSH_APNS))
            return app;
    return NULL;
}

struct outbox_app *outbox_route(const struct outbox *o, const struct entry *e,
                                const struct outbox_fetched *f)
{
    if (!e->app->opts)
        return e->app;
    const bool known_elsewhere = f->environment != OUTBOX_AS_APP &&
                                 (f->environment == OUTBOX_SANDBOX) != e->app->opts->sandbox;
    struct outbox_app *other = e->elsewhere || known_elsewhere ? sibling(o, e) : NULL;
    return other ? other : e->app;
}

bool outbox_route_elsewhere(const struct outbox *o, struct entry *e,
                            const struct push_verdict *v)
{
    if (v->reaction != PUSH_SUSPECT || strcmp(v->reason, "BadDeviceToken") != 0 ||
        e->elsewhere || e->flight->through != e->app || !sibling(o, e))
        return false;
    e->elsewhere = true;
    return true;
}

/* When this is not stored, the next push finds out again. */
static void noted(struct outbox *o, struct outbox_job *job, const struct pg_result *r)
{
    (void)o, (void)job, (void)r;
}

void outbox_route_accepted(struct outbox *o, const struct entry *e)
{
    const struct outbox_app *through = e->flight->through;
    /* A token for calls is one account's, and must decide nothing for the others on the
     * device. */
    if (through == e->app || !e->elsewhere || !through->opts || e->flight->voip)
        return;
    log_info(PREFIX, "app=%s a device is of the other environment, that of app=%s", e->app->id,
             through->id);
    outbox_sql_environment(o->sql, e->device, through->opts->sandbox, outbox_job_result,
                           outbox_job_new(o, 0, noted));
}
