// SPDX-License-Identifier: Apache-2.0
/*
 * What a message says of a call (XEP-0353, Jingle Message Initiation), as changes for those
 * who are called: a pure function of the event.
 */
#ifndef ARCHIVE_CALL_H
#define ARCHIVE_CALL_H

#include <stdbool.h>
#include <stddef.h>

struct event;
struct ident;
struct write;

#define CALL_SESSION_MAX 128 /* bytes of a session's id; with more it is none of ours */

/* At most two, whose strings are the event's or constants; 0 when there is no word of a call
 * of voice or video (a file is none).  mine, theirs: the sender's and the recipient's accounts
 * are ours, and not the same. */
size_t call_writes(struct ident *ident, const struct event *ev, bool mine, bool theirs,
                   struct write *out);

#endif
