// SPDX-License-Identifier: Apache-2.0
#include "sidecar/commands_int.h"

#include <stdlib.h>
#include <string.h>

#include "apns/devices.h"
#include "apns/dialect.h"
#include "apns/opts.h"
#include "apns/outbox.h"
#include "archive/ident.h"
#include "archive/ingest.h"
#include "archive/turns.h"
#include "base/clock.h"
#include "base/form.h"
#include "base/log.h"
#include "component/adhoc.h"
#include "component/service.h"
#include "sidecar/contact_names.h"
#include "store/pg.h"

#define MARK_ALL_READ "mark-all-read"
#define MARKED_WITHIN_MS 10000
#define APP_OPENED "app-opened"

/* One registration on its way to the database. */
struct pending {
    struct commands *commands;
    struct adhoc_call *call;
    struct dialect_request request;
};

void commands_later(struct adhoc_call *call)
{
    adhoc_error(call, "wait", "internal-server-error",
                "not possible now, try again in a moment");
}

static struct pending *pending_new(struct commands *c, struct adhoc_call *call,
                                   const struct dialect_request *request)
{
    struct pending *p = malloc(sizeof *p);
    if (!p)
        abort();
    *p = (struct pending){c, call, *request};
    return p;
}

/* With the form of the answer, when there is one. */
static void answer(struct adhoc_call *call, const struct dialect_result *result)
{
    if (result->form_type) {
        struct stanza *form = form_add(call->answer, result->form_type, NULL);
        for (size_t i = 0; i < result->n; i++)
            form_add_field(form, result->fields[i].var, result->fields[i].type,
                           result->fields[i].value);
    }
    adhoc_completed(call, ADHOC_INFO, NULL);
}

static void on_registered(void *ctx, const struct device_registered *r,
                          const struct pg_error *e)
{
    struct pending p = *(struct pending *)ctx;
    free(ctx);
    if (e->failure) {
        log_warn("registration", "not stored: %s", e->text);
        commands_later(p.call);
        return;
    }
    log_info("registration", "dialect=%s fresh=%d evicted=%u ended=%u",
             p.request.command->node, r->fresh, r->evicted, r->ended);
    if (p.commands->opts.push->apps[p.request.app].badge == PUSH_BADGE_SINCE_OPENED)
        outbox_look(p.commands->opts.outbox); /* the app was opened */
    if (p.commands->opts.names)
        contact_names_want(p.commands->opts.names, p.call->account);
    struct dialect_result result;
    dialect_result(p.request.command, r, p.commands->opts.component, &result);
    answer(p.call, &result);
}

static void on_unregistered(void *ctx, unsigned removed, const struct pg_error *e)
{
    struct pending p = *(struct pending *)ctx;
    free(ctx);
    if (e->failure) {
        log_warn("registration", "not removed: %s", e->text);
        commands_later(p.call);
    } else if (removed == 0) {
        adhoc_error(p.call, "cancel", "item-not-found", "no such device is registered");
    } else {
        log_info("registration", "removed dialect=%s", p.request.command->node);
        struct dialect_result result;
        dialect_farewell(&p.request, p.commands->opts.component, &result);
        answer(p.call, &result);
    }
}

static void ask_for_form(const struct commands *c, struct adhoc_call *call,
                         const struct dialect_command *command)
{
    char offer[DIALECT_OFFER_BYTES];
    struct stanza *field = NULL, *form = form_add(call->answer, "form", NULL);
    for (const char *const *var = dialect_asks(command); *var; var++)
        form_add_field(form, *var, "text-single", NULL);
    for (size_t i = 0;
         c->ready && dialect_offer(c->opts.push, command, jid_domain(call->from), i, offer);
         i++) {
        if (!field)
            field = form_add_field(form, "vapid", "hidden", NULL);
        form_add_value(field, offer);
    }
    adhoc_executing(call);
}

static const char *field_of_call(void *ctx, const char *var)
{
    struct adhoc_call *call = ctx;
    return form_value(call->form, var);
}

static void on_dialect(void *ctx, struct adhoc_call *call)
{
    struct commands *c = ctx;
    const struct dialect_command *command = dialect_find(call->node);
    if (!call->form) {
        ask_for_form(c, call, command);
        return;
    }
    if (!c->ready) {
        commands_later(call);
        return;
    }
    struct dialect_request request;
    struct dialect_error refusal;
    if (!dialect_read(c->opts.push, command, jid_domain(call->from), field_of_call, call,
                      &request, &refusal)) {
        adhoc_error(call, refusal.type, refusal.condition, refusal.text);
        return;
    }
    uint8_t owner[OWNER_BYTES];
    ident_owner(ingest_ident(c->opts.ingest), call->account, owner);
    struct device_key key = {
        .owner = owner,
        .app = c->opts.push->apps[request.app].id,
        .token = request.token[0] ? request.token : NULL,
        .client_id = request.client_id[0] ? request.client_id : NULL,
    };
    struct pending *p = pending_new(c, call, &request);
    if (command->registers) {
        char name[DIALECT_NAME_BYTES];
        struct device_registration r = {.key = key,
                                        .account = call->account,
                                        .resource = call->from->resource,
                                        .dialect = command->dialect,
                                        .alone = c->opts.push->apps[request.app].one_account};
        if (dialect_account_name(c->opts.push, &request, call->account, name))
            r.account_name = name;
        if (request.voip_token[0])
            r.voip_token = request.voip_token;
        devices_register(c->opts.devices, &r, on_registered, p);
    } else {
        devices_unregister(c->opts.devices, &key, on_unregistered, p);
    }
}

static void on_marked(void *ctx, bool done)
{
    struct adhoc_call *call = ctx;
    if (done)
        adhoc_completed(call, ADHOC_INFO, "Everything is marked as read.");
    else
        adhoc_error(call, "wait", "internal-server-error",
                    "the database is slow; it will still be done");
}

static void on_mark_all_read(void *ctx, struct adhoc_call *call)
{
    struct commands *c = ctx;
    if (!c->ready || !ingest_has_room(c->opts.ingest)) {
        commands_later(call);
        return;
    }
    ingest_mark_read(c->opts.ingest, call->account, NULL, clock_mono_ms() + MARKED_WITHIN_MS,
                     on_marked, call);
}

struct opening {
    struct commands *commands;
    struct adhoc_call *call;
};

static void on_opened(void *ctx, unsigned opened, const struct pg_error *e)
{
    struct opening o = *(struct opening *)ctx;
    free(ctx);
    if (e->failure) {
        log_warn("registration", "not known that an app was opened: %s", e->text);
        commands_later(o.call);
        return;
    }
    if (opened == 0) {
        adhoc_error(o.call, "cancel", "item-not-found", "no such device is registered");
        return;
    }
    outbox_look(o.commands->opts.outbox);
    adhoc_completed(o.call, ADHOC_INFO, NULL);
}

static void on_app_opened(void *ctx, struct adhoc_call *call)
{
    struct commands *c = ctx;
    const char *node = call->form ? form_value(call->form, "node") : NULL;
    if (!call->form) {
        form_add_field(form_add(call->answer, "form", NULL), "node", "text-single", NULL);
        adhoc_executing(call);
        return;
    }
    if (!node || !*node || strlen(node) >= DEVICE_NODE_BYTES) {
        adhoc_error(call, "modify", "bad-request", "node is missing or too long");
        return;
    }
    if (!c->ready) {
        commands_later(call);
        return;
    }
    uint8_t owner[OWNER_BYTES];
    ident_owner(ingest_ident(c->opts.ingest), call->account, owner);
    struct opening *o = malloc(sizeof *o);
    if (!o)
        abort();
    *o = (struct opening){c, call};
    devices_opened(c->opts.devices, owner, node, on_opened, o);
}

struct commands *commands_new(struct service *service, bool rooms)
{
    struct commands *c = calloc(1, sizeof *c);
    if (!c)
        abort();
    c->rooms = rooms;
    c->settings = turns_new_one_each();
    size_t n;
    const struct dialect_command *all = dialect_commands(&n);
    for (size_t i = 0; i < n; i++) {
        adhoc_add(service, all[i].node, all[i].title, on_dialect, c);
        adhoc_welcome(service, all[i].node);
    }
    adhoc_add(service, MARK_ALL_READ, "Mark everything as read", on_mark_all_read, c);
    adhoc_add(service, APP_OPENED, "Say that the app was opened", on_app_opened, c);
    commands_add_devices(service, c);
    commands_add_settings(service, c);
    if (rooms)
        commands_add_rooms(service, c);
    return c;
}

void commands_free(struct commands **c)
{
    if (*c)
        turns_free(&(*c)->settings);
    free(*c);
    *c = NULL;
}

void commands_ready(struct commands *c, const struct commands_opts *opts)
{
    c->opts = *opts;
    c->ready = true;
}
