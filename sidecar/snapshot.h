// SPDX-License-Identifier: Apache-2.0
/*
 * What a worker leaves to the next one on disk: how far each live cursor had read, and the
 * service's state at those places.  A snapshot that cannot be read is none.
 */
#ifndef SIDECAR_SNAPSHOT_H
#define SIDECAR_SNAPSHOT_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

struct buf;

#define SNAPSHOT_LINKS_MAX 16
#define SNAPSHOT_BYTES_MAX (256 << 20)

struct snapshot {
    unsigned links_n;
    uint8_t spool_ids[SNAPSHOT_LINKS_MAX][16];
    uint64_t live[SNAPSHOT_LINKS_MAX];
};

/* In place of the old one, in one step.  RETRY when the disk refuses. */
MUST_CHECK enum err_kind snapshot_write(const char *path, const struct snapshot *s,
                                        const struct buf *state, struct err *e);
/* False when there is none for these spools; state gets the service's bytes. */
bool snapshot_read(const char *path, struct snapshot *s, struct buf *state);

#endif
