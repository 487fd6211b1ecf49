// SPDX-License-Identifier: Apache-2.0
/*
 * XEP-0355: the namespaces that we serve on the users' addresses, how a server learns of them,
 * and the envelope of a delegated IQ.  Both versions are in use; we answer in the one asked.
 */
#ifndef COMPONENT_DELEGATION_H
#define COMPONENT_DELEGATION_H

#include <stdbool.h>
#include <stddef.h>

struct buf;
struct stanza;

#define DELEGATION_SERVED_MAX 8

/* What we serve; strings borrowed. */
struct delegation {
    const char *served[DELEGATION_SERVED_MAX];
    size_t served_n;
};

void delegation_serve(struct delegation *d, const char *ns);
/* Place in served, -1 when we do not serve it. */
int delegation_find(const struct delegation *d, const char *ns);

/* The <delegation/> of a stanza from exactly a server host, of either version. */
const struct stanza *delegation_element(const struct stanza *outer);
const char *delegation_ns(int version); /* a constant, NULL for an unknown version */
int delegation_version(const char *ns); /* 0 when it is none */

/* "urn:xmpp:delegation:1:bare:urn:xmpp:mam:2" and "urn:xmpp:delegation:1::urn:xmpp:mam:2", by
 * which a server asks what to show for a namespace.  The namespace, NULL when it is no such
 * node. */
const char *delegation_nested(const char *node);

/* What goes before and after the inner <iq xmlns='jabber:client' .../>: no white space, some
 * servers take it for an invalid answer. */
void delegation_open(struct buf *out, const char *ns);
void delegation_close(struct buf *out);

#endif
