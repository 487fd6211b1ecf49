// SPDX-License-Identifier: Apache-2.0
/*
 * Becoming another program without ending: the process, its place under the service manager
 * and its connections stay, everything else is as if it had been killed and started again.
 * The connections are handed on as a service manager does it (sd_listen_fds(3)), so that
 * whoever starts looks for them in one place (fd_store_read).
 */
#ifndef SIDECAR_REEXEC_H
#define SIDECAR_REEXEC_H

#include "sidecar/fd_store.h"

/* program -c config_path run.  Where that cannot be executed it is the running program again;
 * returns only when not even that can be.  Signals wait until reexec_done. */
void reexec(const char *program, const char *config_path, const struct fd_store *connections);

/* Handlers are there: signals that came in between are heard now. */
void reexec_done(void);

#endif
