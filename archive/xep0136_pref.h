// SPDX-License-Identifier: Apache-2.0
/*
 * Archiving preferences as XEP-0136 words them: the same that XEP-0441 reads and writes, so
 * that whoever sets them, in whatever protocol, all see the same.  What only clients heed (OTR
 * modes, methods) is told as it has to be, and not kept.
 */
#ifndef ARCHIVE_XEP0136_PREF_H
#define ARCHIVE_XEP0136_PREF_H

#include <stdbool.h>

struct archive_answer;
struct archive_request;
struct prefs_store;

/* <pref/>, <auto/> and <itemremove/> are for here; the rest for xep0136_ask. */
bool xep0136_is_pref(const struct archive_request *r);
/* answer may be called before this returns. */
void xep0136_pref_ask(struct prefs_store *s, const struct archive_request *r,
                      const struct archive_answer *answer);

#endif
