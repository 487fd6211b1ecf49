// SPDX-License-Identifier: Apache-2.0
/* The commands of the program; each returns an exit status of sysexits.h. */
#ifndef SIDECAR_CLI_H
#define SIDECAR_CLI_H

#include <stdbool.h>

struct config;

struct cli {
    const char *config_file;
    int argc; /* what follows the command */
    char **argv;
};

int cli_run(const struct cli *c);    /* the service: links, spool, and a worker as child */
int cli_worker(const struct cli *c); /* started by run, never by hand */
int cli_check(const struct cli *c);
int cli_migrate(const struct cli *c);
int cli_status(const struct cli *c);
int cli_quarantine(const struct cli *c);
int cli_unread(const struct cli *c);
int cli_devices(const struct cli *c);
int cli_history(const struct cli *c);
int cli_explain(const struct cli *c);
int cli_recount(const struct cli *c);
int cli_queue(const struct cli *c);
int cli_version(void);

/* The settings, or NULL after telling every complaint on standard error. */
struct config *cli_load(const struct cli *c);
/* The same with the apps' keys tried as well. */
struct config *cli_load_checked(const struct cli *c);

/* True when the only argument is "--json"; tells on standard error what is wrong otherwise. */
bool cli_json_option(const struct cli *c, bool *json_out);

#endif
