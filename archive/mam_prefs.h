// SPDX-License-Identifier: Apache-2.0
/* <prefs/> of XEP-0441, read and written, as a request to an account's archive. */
#ifndef ARCHIVE_MAM_PREFS_H
#define ARCHIVE_MAM_PREFS_H

#include <stdbool.h>

struct archive_answer;
struct archive_request;
struct prefs_store;
struct stanza;

/* r->payload is a <prefs/>, and the answer is in its namespace.  rosters: the server lets us
 * read them; without, default='roster' is not on offer. */
void mam_prefs_ask(struct prefs_store *s, const struct archive_request *r, bool rosters,
                   const struct archive_answer *answer);

#endif
