// SPDX-License-Identifier: Apache-2.0
/*
 * Message archiving (XEP-0136, urn:xmpp:archive) over an account's own archive: its messages
 * as collections, each with one peer and without a long silence inside; what clients save,
 * remove and replicate.  A request it cannot serve now is answered "wait", see
 * archive/lookup.h.
 */
#ifndef ARCHIVE_XEP0136_H
#define ARCHIVE_XEP0136_H

#define NS_ARCHIVE "urn:xmpp:archive"

struct archive_answer;
struct archive_opts;
struct archive_request;
struct lookups;
struct xep0136;

/* Borrows both until xep0136_free. */
struct xep0136 *xep0136_new(const struct archive_opts *opts, struct lookups *lookups);
void xep0136_free(struct xep0136 **x);

/* answer may be called before this returns. */
void xep0136_ask(struct xep0136 *x, const struct archive_request *r,
                 const struct archive_answer *answer);

#endif
