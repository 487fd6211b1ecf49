// SPDX-License-Identifier: Apache-2.0
/*
 * The rosters of accounts whose preferences say that the roster decides what is archived:
 * asked of the server when the archive wants one, and given to it.
 */
#ifndef SIDECAR_ROSTERS_H
#define SIDECAR_ROSTERS_H

#include <stdbool.h>

struct ingest;
struct service;

struct rosters {
    struct service *service; /* both borrowed */
    struct ingest *ingest;
    bool complained;
};

/* Nothing happens where the server does not let us, or does not answer. */
void rosters_want(struct rosters *r, const char *account);

#endif
