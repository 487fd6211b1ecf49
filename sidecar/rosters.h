// SPDX-License-Identifier: Apache-2.0
/*
 * The rosters of accounts, asked of a server that lets us read them: for preferences that say
 * that the roster decides what is archived, and for whoever else wants one.
 */
#ifndef SIDECAR_ROSTERS_H
#define SIDECAR_ROSTERS_H

#include <stdbool.h>

struct ingest;
struct service;
struct stanza;

/* query is NULL when the server did not tell; both are borrowed for the call. */
typedef void (*rosters_read_fn)(void *ctx, const char *account, const struct stanza *query);
/* False when the server does not let us; else fn is called exactly once, before the service is
 * gone. */
bool rosters_read(struct service *service, const char *account, rosters_read_fn fn, void *ctx);

struct rosters {
    struct service *service; /* both borrowed */
    struct ingest *ingest;
    bool complained;
};

/* The archive wants it.  Nothing happens where the server does not let us, or does not answer.
 */
void rosters_want(struct rosters *r, const char *account);

#endif
