// SPDX-License-Identifier: Apache-2.0
/*
 * The worker process: reads the spools, serves requests, writes the archive, sends pushes.  It
 * may die at any moment: what it was doing is in the spool, the shared page and PostgreSQL,
 * and the next one goes on from there.  It owns no connection to the XMPP server.
 */
#ifndef SIDECAR_WORKER_H
#define SIDECAR_WORKER_H

struct config;

/* channel_fd is one end of a socket pair with the link process.  Returns the exit status. */
int worker_run(const struct config *config, const char *config_file, int channel_fd);

#endif
