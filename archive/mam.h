// SPDX-License-Identifier: Apache-2.0
/*
 * Archive queries (XEP-0313) of an account's own archive: pages by anchor, at the speed of one
 * index scan, never missing or repeating a message; the form; the archive's two ends.  One
 * engine for both versions of the protocol in use, each answered in its own namespace.  A
 * request it cannot serve now is answered "wait", see archive/lookup.h.
 */
#ifndef ARCHIVE_MAM_H
#define ARCHIVE_MAM_H

#define NS_MAM "urn:xmpp:mam:2"
#define NS_MAM_EXTENDED "urn:xmpp:mam:2#extended"
#define NS_MAM_1 "urn:xmpp:mam:1" /* the same without what is called extended */

#define NS_FULLTEXT "urn:xmpp:fulltext:0"
#define NS_FULLTEXT_FIELD "{urn:xmpp:fulltext:0}fulltext"

struct archive_answer;
struct archive_opts;
struct archive_request;
struct lookups;
struct mam;
struct search;

/* Borrows all until mam_free; search is NULL when it is not offered. */
struct mam *mam_new(const struct archive_opts *opts, struct lookups *lookups,
                    struct search *search);
void mam_free(struct mam **m);

/* answer may be called before this returns. */
void mam_ask(struct mam *m, const struct archive_request *r,
             const struct archive_answer *answer);

#endif
