// SPDX-License-Identifier: Apache-2.0
#include "sidecar/spawn.h"

#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sysexits.h>
#include <unistd.h>

#include "base/failpoint.h"

/* Until exec a handler of ours would tell the parent's loop, through the pipe that both have,
 * of a signal that was meant for the child alone: it would be the parent that stops. */
static void forget_handlers(void)
{
    for (int number = 1; number < NSIG; number++) {
        struct sigaction now;
        if (sigaction(number, NULL, &now) != 0 || now.sa_handler == SIG_IGN ||
            now.sa_handler == SIG_DFL)
            continue;
        now = (struct sigaction){.sa_handler = SIG_DFL};
        sigaction(number, &now, NULL);
    }
}

/* Only async-signal-safe calls between fork and exec; all signals are blocked. */
static void become_worker(const char *program_path, const char *config_path, int fd,
                          pid_t parent)
{
    char number[16];
    char config[PATH_MAX], program[PATH_MAX];
    char dash_c[] = "-c", worker[] = "worker", channel[] = "--channel-fd";
    snprintf(program, sizeof program, "%s", program_path);
    snprintf(config, sizeof config, "%s", config_path);
    snprintf(number, sizeof number, "%d", fd);
    char *argv[] = {program, dash_c, config, worker, channel, number, NULL};
    sigset_t none;
    sigemptyset(&none);
    forget_handlers();
    sigprocmask(SIG_SETMASK, &none, NULL);
    /* A worker without its link could only do harm. */
    if (prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) != 0 || getppid() != parent)
        _exit(EX_OSERR);
    fcntl(fd, F_SETFD, 0);
    FAILPOINT("supervisor-forked");
    execv(program, argv);
    execv("/proc/self/exe", argv); /* in the middle of an upgrade */
    _exit(EX_OSFILE);
}

pid_t spawn_worker(const char *program, const char *config_path, int channel_fd)
{
    pid_t parent = getpid();
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    pid_t pid = fork();
    if (pid == 0)
        become_worker(program, config_path, channel_fd, parent);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return pid;
}
