// SPDX-License-Identifier: Apache-2.0
/*
 * The preferences of accounts (XEP-0441, and what XEP-0136 says of the same): read and
 * written.  Writing goes through the owner's lane, so that what came before it is archived by
 * the old rules and what comes after it by the new ones; reading waits for that, at most a
 * second.  It trusts its caller that the asker owns the account.
 */
#ifndef ARCHIVE_PREFS_STORE_H
#define ARCHIVE_PREFS_STORE_H

#include "archive/prefs.h"

struct archive_opts;
struct ingest;
struct lookups;
struct prefs_store;

/* Borrows everything until prefs_store_free. */
struct prefs_store *prefs_store_new(const struct archive_opts *opts, struct lookups *lookups,
                                    struct ingest *ingest);
/* After the lookups and ingest have answered what was open. */
void prefs_store_free(struct prefs_store **s);

/* p: what is in force now, borrowed for the call; NULL: not now, say "wait".  Called once,
 * maybe before the function that took it has returned. */
typedef void (*prefs_fn)(void *ctx, const struct prefs *p);
void prefs_get(struct prefs_store *s, const char *account, prefs_fn fn, void *ctx);
/* Changes of one account are made one after the other, as they were asked for, for some go by
 * what was there before.  go is called when it is the turn of this one, at once or later; it
 * reads and sets what it wants, and prefs_change_end lets the next begin.  False: too many are
 * waiting. */
struct turn;
bool prefs_change_begin(struct prefs_store *s, const char *account, struct turn *t,
                        void (*go)(struct turn *t));
void prefs_change_end(struct prefs_store *s,
                      struct turn *t); /* nothing for one that has none */
/* Replaces mode and lists, which are copied.  After NULL they may be written all the same. */
void prefs_set(struct prefs_store *s, const char *account, const struct prefs *p, prefs_fn fn,
               void *ctx);

#endif
