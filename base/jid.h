// SPDX-License-Identifier: Apache-2.0
/*
 * Addresses (RFC 7622 grammar, RFC 6122 stringprep as libidn does it and the servers we sit
 * beside do).  A struct jid is always prepared: comparing is strcmp.
 */
#ifndef BASE_JID_H
#define BASE_JID_H

#include <stdbool.h>
#include <stddef.h>

#define JID_PART_MAX 1023 /* bytes of one part after preparation */

struct jid {
    char bare[2 * JID_PART_MAX + 2]; /* "local@domain" or "domain" */
    char resource[JID_PART_MAX + 1]; /* "" when there is none */
    size_t local_len;                /* 0 when there is none */
};

/* False when text (NULL included) is not a JID.  ASCII that needs no preparation takes a
 * fast way without libidn. */
bool jid_parse(struct jid *out, const char *text);

/* The domain part, inside bare. */
const char *jid_domain(const struct jid *j);
/* The local part, copied to out (JID_PART_MAX + 1 bytes); "" when there is none. */
void jid_local(const struct jid *j, char *out);
bool jid_is_bare(const struct jid *j);
/* Writes "bare/resource" or "bare"; at least 3 * JID_PART_MAX + 4 bytes. */
void jid_full(const struct jid *j, char *out);
bool jid_same_bare(const struct jid *a, const struct jid *b);
bool jid_same(const struct jid *a, const struct jid *b);

#endif
