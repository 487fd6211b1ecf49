// SPDX-License-Identifier: Apache-2.0
/* A worker as a child process that dies with its parent. */
#ifndef SIDECAR_SPAWN_H
#define SIDECAR_SPAWN_H

#include <sys/types.h>

/* program -c config_path worker --channel-fd N, where N is this descriptor, and the only one
 * it inherits.  -1 with errno: there is no child. */
pid_t spawn_worker(const char *program, const char *config_path, int channel_fd);

#endif
