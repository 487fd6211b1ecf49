// SPDX-License-Identifier: Apache-2.0
/*
 * The process behind "run": owns the connections to the servers, their spools and the shared
 * page, and keeps one worker alive as its child.  It promises that no crash of the worker and
 * no trouble behind it closes a stream, and that two supervisors never share a spool.  It does
 * not know PostgreSQL, gateways or configuration files.
 *
 * The worker is started as: program -c config_path worker --channel-fd N
 */
#ifndef SIDECAR_SUPERVISOR_H
#define SIDECAR_SUPERVISOR_H

#include <stdbool.h>

struct component_opts;
struct spool_opts;
struct link_timing;

struct supervisor_opts {
    const struct component_opts *component;
    const struct spool_opts *spool;
    const char *program; /* a path, so that a respawned worker is what is installed now */
    const char *config_path;
    const struct link_timing *timing; /* NULL: defaults */
    /* SIGHUP: reads the settings again.  May set component and spool to new ones (the old ones
     * must stay valid until the return of the next call); the number of hosts and the
     * directory stay what they are.  False: they could not be read, and it was said; nothing
     * changes. */
    bool (*reload)(void *ctx, struct supervisor_opts *opts);
    void *ctx;
};

/* Runs until SIGTERM or SIGINT; SIGUSR2 replaces the worker, and when the next one is ready
 * this process by opts.program, on the same streams (an upgrade).  Returns the exit code: 0,
 * 75 (another one runs, or the disk is full), 78 (the spool cannot be used, or the first
 * worker said so). */
int supervisor_run(const struct supervisor_opts *opts);

/* For both processes: their memory holds what users wrote, and no core file may. */
void supervisor_forbid_core(void);

#endif
