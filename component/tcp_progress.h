// SPDX-License-Identifier: Apache-2.0
/*
 * How far a TCP connection is, as the kernel counts it.  The counts outlive the process that
 * made them whenever somebody else holds the descriptor, which is what makes it possible to go
 * on with a dead process's connection to the byte.
 */
#ifndef COMPONENT_TCP_PROGRESS_H
#define COMPONENT_TCP_PROGRESS_H

#include <stdbool.h>
#include <stdint.h>

struct tcp_progress {
    uint64_t consumed; /* bytes that were read and taken */
    uint64_t waiting;  /* bytes received that can be read now */
    uint64_t written;  /* bytes given to the kernel, acknowledged or not */
    bool reset;        /* the connection is over: consumed may be one too many */
};

/* Of a connection that this machine began.  False when the kernel does not tell. */
bool tcp_progress_get(int fd, struct tcp_progress *out);

#endif
