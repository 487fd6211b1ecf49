// SPDX-License-Identifier: Apache-2.0
#include "sidecar/reexec.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

#include "base/log.h"

#define PREFIX "reexec"
#define ABOVE (SD_LISTEN_FDS_START + FD_STORE_MAX) /* out of the way of those handed on */

static void set(const char *name, const char *value)
{
    if (setenv(name, value, 1) != 0)
        abort();
}

static void tell_environment(unsigned n, const char *names)
{
    char number[16];
    snprintf(number, sizeof number, "%u", n);
    set("LISTEN_FDS", number);
    snprintf(number, sizeof number, "%d", (int)getpid());
    set("LISTEN_PID", number);
    set("LISTEN_FDNAMES", names);
}

/* To the descriptors where they are looked for.  Whatever else had these numbers is closed,
 * and so is everything that is not handed on, by exec. */
static void hand_on(const struct fd_store *s)
{
    static char names[FD_STORE_MAX * FD_STORE_NAME_BYTES];
    int high[FD_STORE_MAX];
    size_t len = 0;
    unsigned n = 0;
    for (unsigned i = 0; i < s->n; i++) {
        char name[FD_STORE_NAME_BYTES];
        high[n] = fcntl(s->entries[i].fd, F_DUPFD_CLOEXEC, ABOVE);
        if (high[n] < 0) {
            log_error(PREFIX, "a connection cannot be handed on: %s", strerror(errno));
            continue;
        }
        fd_store_name(&s->entries[i].key, name);
        len += (size_t)snprintf(names + len, sizeof names - len, "%s%s", n ? ":" : "", name);
        n++;
    }
    for (unsigned i = 0; i < n; i++)
        if (dup2(high[i], SD_LISTEN_FDS_START + (int)i) < 0)
            abort();
    tell_environment(n, names);
}

void reexec(const char *program, const char *config_path, const struct fd_store *connections)
{
    char path[PATH_MAX], config[PATH_MAX];
    char dash_c[] = "-c", run[] = "run";
    char *argv[] = {path, dash_c, config, run, NULL};
    sigset_t all;
    snprintf(path, sizeof path, "%s", program);
    snprintf(config, sizeof config, "%s", config_path);
    sigfillset(&all);
    sigprocmask(SIG_SETMASK, &all, NULL);
    hand_on(connections);
    execv(path, argv);
    log_error(PREFIX, "%s cannot be executed: %s; going on as what is running", path,
              strerror(errno));
    execv("/proc/self/exe", argv);
    log_error(PREFIX, "the running program cannot be executed: %s", strerror(errno));
}

void reexec_done(void)
{
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
}
