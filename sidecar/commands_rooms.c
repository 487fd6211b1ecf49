// SPDX-License-Identifier: Apache-2.0
/* The ad-hoc command by which people say what of one room they want to be told. */
#include "sidecar/commands_int.h"

#include <string.h>

#include "apns/outbox.h"
#include "apns/settings.h"
#include "archive/ident.h"
#include "archive/ingest.h"
#include "base/arena.h"
#include "base/form.h"
#include "component/adhoc.h"
#include "component/service.h"
#include "store/pg.h"

#define ROOM_NOTIFICATIONS "room-notifications"
#define ROOM "room"
#define NOTIFY "rooms"

/* In the order of enum event_notify. */
static const struct {
    const char *name;
    const char *label;
} levels[] = {{"default", NULL},
              {"always", "everything"},
              {"mention", "what names me"},
              {"never", "nothing"}};
#define LEVELS_N (sizeof levels / sizeof *levels)

void commands_add_notify(struct stanza *form, const char *label, const char *as_set,
                         enum event_notify notify)
{
    struct stanza *field = form_add_field(form, NOTIFY, "list-single", levels[notify].name);
    form_set_label(field, label);
    for (size_t i = 0; i < LEVELS_N; i++)
        form_add_option(field, levels[i].label ? levels[i].label : as_set, levels[i].name);
}

bool commands_read_notify(const struct stanza *form, enum event_notify *notify)
{
    const char *text = form_value(form, NOTIFY);
    if (!text)
        return true;
    for (size_t i = 0; i < LEVELS_N; i++)
        if (strcmp(levels[i].name, *text ? text : levels[0].name) == 0) {
            *notify = (enum event_notify)i;
            return true;
        }
    return false;
}

struct wish {
    struct commands *commands;
    struct adhoc_call *call;
};

static void on_set(void *ctx, const struct pg_error *e)
{
    struct wish *w = ctx;
    if (e->failure) {
        commands_later(w->call);
        return;
    }
    outbox_look(w->commands->opts.outbox); /* for icons that count otherwise now */
    adhoc_completed(w->call, ADHOC_INFO, "The setting is kept.");
}

static void submit(struct commands *c, struct adhoc_call *call)
{
    struct jid room;
    enum event_notify notify = NOTIFY_AS_SET;
    if (!jid_parse(&room, form_value(call->form, ROOM)) || !jid_is_bare(&room) ||
        room.local_len == 0) {
        adhoc_error(call, "modify", "bad-request",
                    "a room is an address like room@rooms.server");
        return;
    }
    if (!form_value(call->form, NOTIFY) || !commands_read_notify(call->form, &notify)) {
        adhoc_error(call, "modify", "bad-request",
                    "rooms is default, always, mention or never");
        return;
    }
    struct ident *ident = ingest_ident(c->opts.ingest);
    struct wish *w = arena_alloc(call->arena, sizeof *w);
    uint8_t owner[OWNER_BYTES];
    if (!w) {
        commands_later(call);
        return;
    }
    *w = (struct wish){c, call};
    ident_owner(ident, call->account, owner);
    settings_set_room(c->opts.pool, owner, ident_peer(ident, owner, room.bare), notify, on_set,
                      w);
}

static void on_room_notifications(void *ctx, struct adhoc_call *call)
{
    struct commands *c = ctx;
    if (!c->ready) {
        commands_later(call);
        return;
    }
    if (call->form) {
        submit(c, call);
        return;
    }
    struct stanza *x = form_add(call->answer, "form", NULL);
    form_set_title(x, "Notifications of a room");
    form_set_label(form_add_field(x, ROOM, "jid-single", ""), "The room");
    commands_add_notify(x, "What of it is a notification", "as for all my rooms",
                        NOTIFY_AS_SET);
    adhoc_executing(call);
}

void commands_add_rooms(struct service *s, struct commands *c)
{
    adhoc_add(s, ROOM_NOTIFICATIONS, "Notifications of a room", on_room_notifications, c);
}
