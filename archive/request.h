// SPDX-License-Identifier: Apache-2.0
/*
 * A question to an account's archive and how its answer travels, whatever the protocol.  Who
 * asks is allowed to: the caller has seen to it that the asker owns the account.
 */
#ifndef ARCHIVE_REQUEST_H
#define ARCHIVE_REQUEST_H

#include <stdbool.h>
#include <stddef.h>

#include "base/event.h"

struct stanza;

struct archive_request {
    const struct stanza *payload; /* lives until done or error was called */
    bool is_set;
    const char *account; /* prepared bare JID of the owner; lives as long */
    const char *id;      /* of the question; likewise */
    struct place at;     /* where it stands: what its asker has sent stands before it */
};

/* Any number of results, then exactly one of done and error. */
struct archive_answer {
    /* The children of one message, as XML in the namespace jabber:client; false: do not send
     * more. */
    bool (*result)(void *ctx, const void *xml, size_t len);
    void (*done)(void *ctx, struct stanza *payload);
    void (*error)(void *ctx, const char *type, const char *condition, const char *text);
    void *ctx;
    /* False when the asker has left, or was told "wait" meanwhile: it need not be read.  NULL:
     * it always is. */
    bool (*wanted)(void *ctx);
};

#endif
