// SPDX-License-Identifier: Apache-2.0
/*
 * XEP-0356: what one server host lets us do as its users, and the envelope in which a message
 * of theirs goes.  Both versions are in use; the one the server announces is the one it takes.
 */
#ifndef COMPONENT_PRIVILEGE_H
#define COMPONENT_PRIVILEGE_H

#include <stdbool.h>

struct buf;
struct stanza;

struct privilege {
    const char *ns; /* of the announcement, a constant; NULL before there was one */
    bool messages;  /* outgoing */
    bool presence;  /* of its users, unasked */
    bool rosters;   /* read */
};

/* The announcement of a message from exactly a server host; false when it has none. */
bool privilege_read(const struct stanza *message, struct privilege *out);

/* The constant for version 1 or 2 and back; NULL and 0 for anything else. */
const char *privilege_ns(int version);
int privilege_version(const char *ns);

/* What goes before and after <message xmlns='jabber:client' .../>; to is the host. */
void privilege_open(struct buf *out, const char *ns, const char *component, const char *host);
void privilege_close(struct buf *out);

#endif
