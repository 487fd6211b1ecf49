// SPDX-License-Identifier: Apache-2.0
/*
 * What an account wants archived (XEP-0441), as rules: who is meant by a list, and what the
 * lists say of one message.  It knows no database and no stanza.
 */
#ifndef ARCHIVE_PREFS_H
#define ARCHIVE_PREFS_H

#include <stdbool.h>
#include <stddef.h>

#include "base/jid.h"

struct buf;

/* In the order of the words of archive.default. */
enum prefs_mode { PREFS_ALWAYS, PREFS_NEVER, PREFS_ROSTER };

/* A list is prepared JIDs, bare or full, one to a line: no JID holds a line feed. */
struct prefs {
    bool stored; /* the account has set them; else they are the operator's */
    enum prefs_mode mode;
    const char *always;
    const char *never;
};

#define PREFS_LIST_BYTES ((size_t)65536) /* of each list; a longer one is refused */
#define PREFS_JID_BYTES (3 * JID_PART_MAX + 4)

const char *prefs_mode_name(enum prefs_mode mode);
bool prefs_mode_read(const char *name, enum prefs_mode *out);

/* Appends text, prepared, to a list; false when it is no JID.  A list that gets too long is
 * for the caller to see, in buf_failed. */
bool prefs_list_add(struct buf *list, const char *text);
/* Walks a list: the next JID, and *list behind it; false at the end. */
bool prefs_list_next(const char **list, char jid[PREFS_JID_BYTES]);

/* A message from or to that peer is to be archived.  An entry with a resource means exactly
 * that address and beats one without; of two alike, never beats always. */
bool prefs_want(const struct prefs *p, bool in_roster, const char *bare, const char *resource);

#endif
