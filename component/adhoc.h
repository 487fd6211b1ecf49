// SPDX-License-Identifier: Apache-2.0
/*
 * Ad-hoc commands (XEP-0050) of the component for the users of our domains.  A command is one
 * handler, called for each stage; it ends each call exactly once, now or later.  Sessions and
 * calls per minute are bounded; a handler needs to know neither IQs nor sessions.
 */
#ifndef COMPONENT_ADHOC_H
#define COMPONENT_ADHOC_H

#include <stdbool.h>
#include <stdint.h>

#include "base/jid.h"

struct adapter;
struct arena;
struct iq_request;
struct service;
struct stanza;

#define ADHOC_SESSIONS_MAX 1000
#define ADHOC_SESSION_MS (5 * 60 * 1000)

struct adhoc_call {
    const char *account;    /* bare JID, prepared: a local user, or one of push.accept_from */
    const struct jid *from; /* full JID */
    const char *node;
    const struct stanza *form; /* what was submitted, NULL when nothing was */
    struct stanza *answer;     /* add the form of the answer to it, with form_add */
    struct arena *arena;       /* of answer, for anything else; dies with the call */
};

typedef void (*adhoc_fn)(void *ctx, struct adhoc_call *call);

/* node and title are borrowed for the service's life. */
void adhoc_add(struct service *s, const char *node, const char *title, adhoc_fn fn, void *ctx);

/* Accounts of push.accept_from may run it, too. */
void adhoc_welcome(struct service *s, const char *node);

enum adhoc_note { ADHOC_INFO, ADHOC_WARN, ADHOC_ERROR };

/* Each of these ends the call and frees it.  note: NULL or a sentence. */
void adhoc_completed(struct adhoc_call *call, enum adhoc_note kind, const char *note);
/* The form in answer is to be filled in: the next call brings it back submitted. */
void adhoc_executing(struct adhoc_call *call);
void adhoc_error(struct adhoc_call *call, const char *type, const char *condition,
                 const char *text);

/* What follows is between this file, disco.c and service.c. */

struct adhoc;

struct adhoc *adhoc_new(const struct adapter *adapter, unsigned per_minute);
void adhoc_free(struct adhoc **a);
void adhoc_register(struct adhoc *a, const char *node, const char *title, adhoc_fn fn,
                    void *ctx);
void adhoc_open(struct adhoc *a, const char *node);
/* A request with <command/>. */
void adhoc_request(struct adhoc *a, struct iq_request *r, int64_t now_ms);
/* Title of the command, NULL when there is none of that node. */
const char *adhoc_title(const struct adhoc *a, const char *node);
/* Adds <item/> for each command below query. */
void adhoc_items(const struct adhoc *a, struct stanza *query);

#endif
