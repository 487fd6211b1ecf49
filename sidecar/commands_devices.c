// SPDX-License-Identifier: Apache-2.0
/* Ad-hoc commands for people: which devices an account has, one of them goes, and whether a
 * push arrives.  A device is shown under an id that is made of its token with a key: nobody
 * learns the token from it. */
#include "sidecar/commands_int.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "apns/devices.h"
#include "apns/outbox.h"
#include "archive/ident.h"
#include "archive/ingest.h"
#include "base/crypt.h"
#include "base/datetime.h"
#include "base/form.h"
#include "base/log.h"
#include "base/utf8.h"
#include "component/adhoc.h"
#include "store/pg.h"

#define DEVICES "devices"
#define TEST_PUSH "test-push"
#define REMOVE "remove"
#define LABEL_BYTES 256
#define NAME_SHOWN 80

static void owner_of(const struct commands *c, const struct adhoc_call *call,
                     uint8_t owner_out[OWNER_BYTES])
{
    ident_owner(ingest_ident(c->opts.ingest), call->account, owner_out);
}

/* No character is cut in two. */
static int shown(const char *text)
{
    return (int)utf8_cut(text, strlen(text), NAME_SHOWN);
}

static void add_device(struct stanza *field, const struct device_row *row)
{
    char id[UUID_TEXT_BYTES], label[LABEL_BYTES], since[DATETIME_BYTES], last[DATETIME_BYTES];
    uuid_format(row->device, id);
    datetime_format(row->registered_us, since);
    datetime_format(row->answered_us, last);
    const char *resource = row->resource[0] ? row->resource : "-";
    (void)snprintf(label, sizeof label, "%.*s, %.*s, since %.10s, last push %.16s",
                   shown(row->app), row->app, shown(resource), resource, since,
                   row->answered_us ? last : "never");
    form_add_option(field, label, id);
}

static void on_list(void *ctx, const struct device_row *rows, size_t n,
                    const struct pg_error *e)
{
    struct adhoc_call *call = ctx;
    if (e->failure) {
        commands_later(call);
        return;
    }
    if (n == 0) {
        adhoc_completed(call, ADHOC_INFO, "No device is registered.");
        return;
    }
    struct stanza *x = form_add(call->answer, "form", NULL);
    form_set_title(x, "My devices");
    struct stanza *field = form_add_field(x, REMOVE, "list-single", "");
    form_set_label(field, "Remove a device");
    form_add_option(field, "none", "");
    for (size_t i = 0; i < n; i++)
        add_device(field, &rows[i]);
    adhoc_executing(call);
}

static void on_removed(void *ctx, unsigned removed, const struct pg_error *e)
{
    struct adhoc_call *call = ctx;
    if (e->failure) {
        commands_later(call);
    } else if (removed == 0) {
        adhoc_error(call, "cancel", "item-not-found", "no such device is registered");
    } else {
        log_info("registration", "removed by its account");
        adhoc_completed(call, ADHOC_INFO, "The device is removed.");
    }
}

static void on_devices(void *ctx, struct adhoc_call *call)
{
    struct commands *c = ctx;
    uint8_t owner[OWNER_BYTES], device[UUID_BYTES];
    if (!c->ready) {
        commands_later(call);
        return;
    }
    owner_of(c, call, owner);
    if (!call->form) {
        devices_list(c->opts.devices, owner, on_list, call);
        return;
    }
    const char *id = form_value(call->form, REMOVE);
    if (!id || !*id)
        adhoc_completed(call, ADHOC_INFO, "Nothing was changed.");
    else if (!uuid_parse(id, device))
        adhoc_error(call, "modify", "bad-request", "that is no device of the list");
    else
        devices_remove(c->opts.devices, owner, device, on_removed, call);
}

struct test {
    struct commands *commands;
    struct adhoc_call *call;
};

static void on_tested(void *ctx, unsigned devices, const struct pg_error *e)
{
    struct test t = *(struct test *)ctx;
    char note[LABEL_BYTES];
    free(ctx);
    if (e->failure) {
        commands_later(t.call);
        return;
    }
    if (devices == 0) {
        adhoc_completed(t.call, ADHOC_WARN, "No device is registered.");
        return;
    }
    outbox_look(t.commands->opts.outbox);
    (void)snprintf(note, sizeof note, "A test is on its way to %u device%s.", devices,
                   devices == 1 ? "" : "s");
    adhoc_completed(t.call, ADHOC_INFO, note);
}

static void on_test_push(void *ctx, struct adhoc_call *call)
{
    struct commands *c = ctx;
    uint8_t owner[OWNER_BYTES];
    if (!c->ready) {
        commands_later(call);
        return;
    }
    struct test *t = malloc(sizeof *t);
    if (!t)
        abort();
    *t = (struct test){c, call};
    owner_of(c, call, owner);
    devices_test(c->opts.devices, owner, on_tested, t);
}

void commands_add_devices(struct service *s, struct commands *c)
{
    adhoc_add(s, DEVICES, "My devices", on_devices, c);
    adhoc_add(s, TEST_PUSH, "Send a test to my devices", on_test_push, c);
}
