// SPDX-License-Identifier: Apache-2.0
/*
 * The descriptors that the service manager keeps for us over our death (systemd's file
 * descriptor store): one for each connection that another process could go on with.  Without
 * a manager that keeps them nothing is kept and none are found.
 */
#ifndef SIDECAR_FD_STORE_H
#define SIDECAR_FD_STORE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/crypt.h"

#define FD_STORE_MAX 64 /* more are closed; FileDescriptorStoreMax= of the unit is less */
#define FD_STORE_NAME_BYTES 128

/* What a connection is known by. */
struct fd_store_key {
    unsigned link;
    uint64_t epoch;
    uint8_t spool_id[UUID_BYTES];
    char settings[SHA1_HEX_BYTES]; /* a digest of what it was made with */
};

struct fd_store_entry {
    int fd; /* -1: taken */
    struct fd_store_key key;
};

struct fd_store {
    struct fd_store_entry entries[FD_STORE_MAX];
    unsigned n;
};

/* What was kept for us.  Once, at the start: the environment tells nothing afterwards.  What
 * is not ours is closed and no longer kept. */
void fd_store_read(struct fd_store *s);
/* Something was kept for this link of this spool. */
bool fd_store_has(const struct fd_store *s, unsigned link, const uint8_t id[UUID_BYTES]);
/* The rest: closed, and no longer kept. */
void fd_store_drop(struct fd_store *s);

/* The descriptor stays ours, too.  False: it could not be handed over. */
bool fd_store_keep(const struct fd_store_key *key, int fd);
void fd_store_discard(const struct fd_store_key *key);

void fd_store_name(const struct fd_store_key *key, char out[FD_STORE_NAME_BYTES]);
bool fd_store_parse(const char *name, struct fd_store_key *out);

#endif
