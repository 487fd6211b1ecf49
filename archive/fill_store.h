// SPDX-License-Identifier: Apache-2.0
/*
 * The times of which messages may be missing (xs.fill), and whose archives are to be asked for
 * them.  How far that is stands in the database: whoever comes next goes on there.  It asks
 * nobody itself.
 */
#ifndef ARCHIVE_FILL_STORE_H
#define ARCHIVE_FILL_STORE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/event.h"

struct pg_error;
struct pg_pool;
struct pg_result;

#define FILL_ACCOUNTS 8 /* at a time */

struct fill_task {
    char why[8];     /* "gap", "lost", "check"; "" when there is nothing to do */
    int64_t from_us; /* by the server's clock */
    int64_t to_us;
    bool begun; /* everybody up to owner was asked */
    uint8_t owner[OWNER_BYTES];
    int64_t tasks; /* with this one */
};

/* What the answers of the functions below mean, for their callbacks: r is NULL after a
 * failure.
 */
typedef void (*fill_store_fn)(void *ctx, const struct pg_result *r, const struct pg_error *e);

/* Plans what is to be planned; copies come since that time, and all that has passed is looked
 * at every so often (0: never). */
void fill_store_next(struct pg_pool *pool, int64_t since_us, int64_t every_us,
                     fill_store_fn fn, void *ctx);
void fill_store_read_task(const struct pg_result *r, struct fill_task *out);

/* The next FILL_ACCOUNTS that have shown something of their own, by owner. */
void fill_store_accounts(struct pg_pool *pool, const struct fill_task *t, fill_store_fn fn,
                         void *ctx);
int fill_store_accounts_n(const struct pg_result *r);
/* jid is borrowed from r. */
const char *fill_store_account(const struct pg_result *r, int i, uint8_t owner[OWNER_BYTES]);

struct fill_progress {
    unsigned accounts;
    unsigned failed;
    uint64_t messages;
    bool done;
};
/* t->owner and t->begun are the new ones. */
void fill_store_save(struct pg_pool *pool, const struct fill_task *t,
                     const struct fill_progress *p, fill_store_fn fn, void *ctx);
/* False: somebody has changed the task. */
bool fill_store_saved(const struct pg_result *r);

void fill_store_add(struct pg_pool *pool, const char *why, int64_t from_us, int64_t to_us,
                    fill_store_fn fn, void *ctx);

#endif
