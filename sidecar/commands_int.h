// SPDX-License-Identifier: Apache-2.0
/* What the files of the ad-hoc commands share: commands.c for apps, the others for people. */
#ifndef SIDECAR_COMMANDS_INT_H
#define SIDECAR_COMMANDS_INT_H

#include <stdbool.h>

#include "sidecar/commands.h"

struct adhoc_call;
struct service;

struct commands {
    struct commands_opts opts;
    bool ready;
};

/* Ends the call: the database is not there. */
void commands_later(struct adhoc_call *call);

/* commands_devices.c */
void commands_add_devices(struct service *s, struct commands *c);
/* commands_settings.c */
void commands_add_settings(struct service *s, struct commands *c);

#endif
