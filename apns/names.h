// SPDX-License-Identifier: Apache-2.0
/*
 * What accounts call their contacts, kept for notifications while the account has a device.
 * Each call is one transaction; what is not stored is asked for again with a later push, so
 * that nobody waits for an answer.
 */
#ifndef APNS_NAMES_H
#define APNS_NAMES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/event.h"

struct pg_pool;

#define NAMES_MAX 1000 /* of an account; the first of its roster */

struct names;

/* Collects the names of one roster. */
struct names *names_new(void);
void names_free(struct names **n);
/* False when it is no name, or one too many. */
bool names_add(struct names *n, uint64_t peer, const char *name);

/* In place of all that were known.  NULL: what is known stays, as the server did not tell. */
void names_store(struct pg_pool *pool, const uint8_t owner[OWNER_BYTES],
                 const struct names *n);

/* The roster has changed.  Called once, not before the function returned: whether any names
 * were known, and are to be asked for again. */
typedef void (*names_changed_fn)(void *ctx, bool known);
void names_changed(struct pg_pool *pool, const uint8_t owner[OWNER_BYTES], names_changed_fn fn,
                   void *ctx);

#endif
