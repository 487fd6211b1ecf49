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
struct stanza;
struct write;

#define CALL_SESSION_MAX 128 /* bytes of a session's id; with more it is none of ours */

enum call_word {
    CALL_NONE,
    CALL_PROPOSED, /* of voice or video: a file is no call */
    CALL_OVER,     /* retracted, answered, rejected or finished: it does not ring any more */
};

struct call_said {
    enum call_word word;
    const char *session; /* its id, borrowed from the message */
    const char *media;   /* of PROPOSED: "audio", "video" or "audio,video" */
    const char *ending;  /* of OVER: the word, a constant */
};

void call_read(const struct stanza *message, struct call_said *out);

/* At most two, whose strings are the event's or constants; 0 when there is no word of a call
 * of voice or video (a file is none).  mine, theirs: the sender's and the recipient's accounts
 * are ours, and not the same. */
size_t call_writes(struct ident *ident, const struct event *ev, bool mine, bool theirs,
                   struct write *out);

#endif
