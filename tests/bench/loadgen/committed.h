// SPDX-License-Identifier: Apache-2.0
/*
 * How much of what was sent is committed, told by the sidecar's own files: the shared page has
 * the committed place in the spool, and the headers of the spool's records say which bytes of
 * the stream stand there.  Exact to the byte; read-only.
 */
#ifndef TESTS_BENCH_LOADGEN_COMMITTED_H
#define TESTS_BENCH_LOADGEN_COMMITTED_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

struct committed;

/* directory: spool.directory of a running sidecar whose first link has just connected.  RETRY:
 * it is not up yet; CONFIG: there is nothing of the kind. */
MUST_CHECK enum err_kind committed_open(const char *directory, struct committed **out,
                                        struct err *e);
void committed_close(struct committed **c);

/* Bytes of the stream after its header that are committed, in *bytes_out.  PEER: the spool is
 * not what it should be, or another connection has begun. */
MUST_CHECK enum err_kind committed_read(struct committed *c, uint64_t *bytes_out,
                                        struct err *e);
/* Bytes in the spool that are not committed, and bytes on disk. */
uint64_t committed_behind(const struct committed *c);
uint64_t committed_spool_bytes(const struct committed *c);

#endif
