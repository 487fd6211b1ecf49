// SPDX-License-Identifier: Apache-2.0
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/log.h"
#include "config/config.h"
#include "sidecar/cli.h"
#include "sidecar/supervisor.h"
#include "sidecar/worker.h"

#define NAMES_BYTES 4096

/* SIGHUP.  The link keeps the settings it started with; a new worker reads the file itself, so
 * here it only has to be proven good. */
static bool on_reload(void *ctx, struct supervisor_opts *opts)
{
    const struct config *running = ctx;
    struct cli c = {.config_file = opts->config_path};
    struct config *fresh = cli_load_checked(&c);
    if (!fresh) {
        log_error("reload", "the settings are broken: the old ones stay in force");
        return false;
    }
    struct buf names;
    buf_init(&names, NAMES_BYTES);
    config_restart_needed(running, fresh, &names);
    char *save = NULL, *text = strdup(buf_cstr(&names));
    if (!text)
        abort();
    for (char *name = strtok_r(text, "\n", &save); name; name = strtok_r(NULL, "\n", &save))
        log_warn("reload", "%s has changed: it needs a restart", name);
    free(text);
    buf_deinit(&names);
    log_init(&fresh->log, "link");
    config_free(&fresh);
    log_info("reload", "a new worker takes the new settings");
    return true;
}

/* Where this program is, so that after an upgrade a new worker is the new program. */
static const char *own_path(char path[PATH_MAX])
{
    ssize_t n = readlink("/proc/self/exe", path, PATH_MAX - 1);
    path[n > 0 ? n : 0] = '\0';
    return n > 0 ? path : "/proc/self/exe";
}

int cli_run(const struct cli *c)
{
    struct config *config = cli_load_checked(c);
    if (!config)
        return EX_CONFIG;
    char path[PATH_MAX];
    log_init(&config->log, "link");
    struct supervisor_opts opts = {
        .component = &config->component,
        .spool = &config->spool,
        .program = own_path(path),
        .config_path = c->config_file,
        .reload = on_reload,
        .ctx = config,
    };
    int status = supervisor_run(&opts);
    config_free(&config);
    return status;
}

int cli_worker(const struct cli *c)
{
    char *end = NULL;
    long fd = c->argc == 2 && strcmp(c->argv[0], "--channel-fd") == 0
                  ? strtol(c->argv[1], &end, 10)
                  : -1;
    if (fd < 0 || fd > INT_MAX || *end) {
        (void)fprintf(stderr, "xmpp-sidecar: \"worker\" is started by \"run\"\n");
        return EX_USAGE;
    }
    struct config *config = cli_load(c);
    if (!config)
        return EX_CONFIG;
    supervisor_forbid_core();
    log_init(&config->log, "worker");
    int status = worker_run(config, c->config_file, (int)fd);
    config_free(&config);
    return status;
}
