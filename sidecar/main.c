// SPDX-License-Identifier: Apache-2.0
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sysexits.h>

#include "config/config.h"
#include "sidecar/cli.h"

struct command {
    const char *name;
    int (*run)(const struct cli *c);
    const char *help; /* NULL: not for people */
    bool arguments;   /* it reads what follows its name, and refuses what it does not know */
};

static const struct command commands[] = {
    {"run", cli_run, "the service, in the foreground", false},
    {"check", cli_check, "read and check the settings", false},
    {"migrate", cli_migrate, "create or upgrade the database schema", false},
    {"status", cli_status, "link, spool, database, gateways, queues [--json]", true},
    {"unread", cli_unread, "JID: what is unread and why [--json], or read it all [--mark]",
     true},
    {"devices", cli_devices, "JID: its devices, and what they were told [--json]", true},
    {"history", cli_history,
     "JID: its newest messages [--last N] [--with JID] [--bodies] [--json]", true},
    {"explain", cli_explain, "JID ID: why a message was pushed or not [--json]", true},
    {"recount", cli_recount,
     "[JID]: numbers that differ from the messages; puts them right [--repair] [--json]",
     true},
    {"queue", cli_queue, "pushes that wait or are parked: list, retry, drop", true},
    {"quarantine", cli_quarantine, "stanzas put aside: list, show, retry, drop", true},
    {"worker", cli_worker, NULL, true},
};

#define COMMANDS_N (sizeof commands / sizeof *commands)

static void usage(FILE *out)
{
    (void)fprintf(out, "usage: xmpp-sidecar [-c FILE] COMMAND\n\n"
                       "  -c FILE     settings, default " CONFIG_DEFAULT_FILE "\n"
                       "  --version   of the program and its libraries\n"
                       "  --help      this text\n\ncommands:\n");
    for (size_t i = 0; i < COMMANDS_N; i++) {
        if (commands[i].help)
            (void)fprintf(out, "  %-10s  %s\n", commands[i].name, commands[i].help);
    }
}

static int run_command(const char *name, const struct cli *c)
{
    for (size_t i = 0; i < COMMANDS_N; i++) {
        if (strcmp(commands[i].name, name) != 0)
            continue;
        if (c->argc == 0 || commands[i].arguments)
            return commands[i].run(c);
        (void)fprintf(stderr, "xmpp-sidecar: unknown argument \"%s\"; see --help\n",
                      c->argv[0]);
        return EX_USAGE;
    }
    (void)fprintf(stderr, "xmpp-sidecar: unknown command \"%s\"; see --help\n", name);
    return EX_USAGE;
}

int main(int argc, char **argv)
{
    struct cli c = {.config_file = CONFIG_DEFAULT_FILE};
    int i = 1;
    (void)signal(SIGPIPE, SIG_IGN);
    for (; i < argc && argv[i][0] == '-'; i++) {
        if (strcmp(argv[i], "-c") == 0 && i + 1 < argc) {
            c.config_file = argv[++i];
        } else if (strcmp(argv[i], "--version") == 0) {
            return cli_version();
        } else if (strcmp(argv[i], "--help") == 0) {
            usage(stdout);
            return EX_OK;
        } else {
            (void)fprintf(stderr, "xmpp-sidecar: unknown option \"%s\"; see --help\n",
                          argv[i]);
            return EX_USAGE;
        }
    }
    if (i == argc) {
        usage(stderr);
        return EX_USAGE;
    }
    c.argc = argc - i - 1;
    c.argv = argv + i + 1;
    return run_command(argv[i], &c);
}
