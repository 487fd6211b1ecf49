// SPDX-License-Identifier: Apache-2.0
/* What the files of the ad-hoc commands share: commands.c for apps, the others for people. */
#ifndef SIDECAR_COMMANDS_INT_H
#define SIDECAR_COMMANDS_INT_H

#include <stdbool.h>

#include "base/event.h"
#include "sidecar/commands.h"

struct adhoc_call;
struct service;
struct stanza;
struct turns;

struct commands {
    struct commands_opts opts;
    bool ready;
    bool rooms;             /* there is something to be said of them */
    struct turns *settings; /* who changes them: one of an account at a time */
};

/* Ends the call: the database is not there, or too much is asked at a time. */
void commands_later(struct adhoc_call *call);

/* commands_devices.c */
void commands_add_devices(struct service *s, struct commands *c);
/* commands_settings.c */
void commands_add_settings(struct service *s, struct commands *c);
/* commands_rooms.c: what of rooms is pushed, as the field of a form, and read from one; false:
 * it is none of the options. */
void commands_add_notify(struct stanza *form, const char *label, const char *as_set,
                         enum event_notify notify);
bool commands_read_notify(const struct stanza *form, enum event_notify *notify);
void commands_add_rooms(struct service *s, struct commands *c);

#endif
