// SPDX-License-Identifier: Apache-2.0
/*
 * Whom a message of a room addresses by more than its text: a reference of type mention
 * (XEP-0372), and whose message it answers (XEP-0461).  Pure; it does not know who is in the
 * room.
 */
#ifndef ARCHIVE_ROOM_NAMED_H
#define ARCHIVE_ROOM_NAMED_H

#include <stdbool.h>

#include "base/jid.h"

struct stanza;

#define ROOM_NAMED_MAX 32 /* of one message; more are passed over */

struct room_named {
    const struct stanza *at;
    unsigned n;
};

/* Borrows message until the last next. */
void room_named_begin(struct room_named *n, const struct stanza *message);
/* False when there is nobody more. */
bool room_named_next(struct room_named *n, struct jid *out);

#endif
