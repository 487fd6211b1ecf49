// SPDX-License-Identifier: Apache-2.0
/* loadgen: plays an XMPP server for the sidecar and measures it; --help says how. */
#include <signal.h>
#include <sysexits.h>

#include "base/log.h"
#include "tests/bench/loadgen/run.h"

int main(int argc, char **argv)
{
    struct options o;
    switch (options_read(&o, argc, argv)) {
    case OPTIONS_HELPED:
        return EX_OK;
    case OPTIONS_WRONG:
        return EX_USAGE;
    case OPTIONS_RUN:
        break;
    }
    signal(SIGPIPE, SIG_IGN);
    log_init(&(struct log_opts){.level = LOG_WARN}, "loadgen");
    return run(&o);
}
