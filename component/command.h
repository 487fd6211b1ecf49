// SPDX-License-Identifier: Apache-2.0
/*
 * Runs somebody else's ad-hoc command (XEP-0050) of two stages: execute, then submit the form
 * that came.  A second stage that fails is cancelled, so that the other side keeps no session
 * of ours for ever.  It knows no server and decides nothing about trying again.
 */
#ifndef COMPONENT_COMMAND_H
#define COMPONENT_COMMAND_H

#include <stdint.h>

struct service;
struct stanza;

#define COMMAND_SESSION_MAX 256 /* bytes of a session id that we keep */

/* A field of the form; values end with NULL. */
struct command_field {
    const char *var;
    const char *const *values;
};

/* Constants: borrowed until the end. */
struct command {
    const char *node;
    const char *form_type;
    const struct command_field *fields; /* end with a NULL var */
    int64_t within_ms;                  /* for each stage */
};

enum command_end {
    COMMAND_COMPLETED,
    COMMAND_REFUSED, /* an error: condition says which */
    COMMAND_SILENT,  /* no answer in time, or the link was lost */
    COMMAND_ODD,     /* an answer that is none: no session, no form, another status */
};

/* Called exactly once.  condition: of REFUSED, else NULL; borrowed for the call. */
typedef void (*command_fn)(void *ctx, enum command_end end, const char *condition);

/* host is borrowed until the end.  May call back before it returns. */
void command_run(struct service *s, unsigned link, const char *host, const struct command *c,
                 command_fn fn, void *ctx);

#endif
