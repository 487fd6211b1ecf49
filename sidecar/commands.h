// SPDX-License-Identifier: Apache-2.0
/*
 * The component's ad-hoc commands: registration of devices in every dialect, "mark all
 * read", and for people their devices, a test and what they want to be told of.  It joins
 * forms, dialects and registry; until PostgreSQL is there each is answered "wait".
 */
#ifndef SIDECAR_COMMANDS_H
#define SIDECAR_COMMANDS_H

#include <stdbool.h>

struct commands;
struct contact_names;
struct devices;
struct ingest;
struct outbox;
struct pg_pool;
struct push_opts;
struct service;

/* Announces the commands, with rooms those that are about rooms.  Never NULL; free it after
 * the service. */
struct commands *commands_new(struct service *service, bool rooms);
void commands_free(struct commands **c);

struct commands_opts {
    const struct push_opts *push; /* all borrowed */
    const char *component;
    struct ingest *ingest;
    struct devices *devices;
    struct outbox *outbox;
    struct contact_names *names; /* NULL: none are kept */
    struct pg_pool *pool;
};
/* From now on they are carried out. */
void commands_ready(struct commands *c, const struct commands_opts *opts);

#endif
