// SPDX-License-Identifier: Apache-2.0
/* The command line of loadgen. */
#ifndef TESTS_BENCH_LOADGEN_OPTIONS_H
#define TESTS_BENCH_LOADGEN_OPTIONS_H

#include <stdbool.h>
#include <stdint.h>

#include "tests/bench/loadgen/traffic.h"

#define OPTIONS_SECONDS_MAX 3600
#define OPTIONS_RATE_MAX 100000

struct options {
    const char *spool;
    const char *written; /* a file; NULL: none */
    const char *component;
    const char *domain;
    const char *secret;
    uint16_t port;
    double rate; /* messages a second */
    double mam;  /* queries a second; so with iqs */
    double iqs;
    unsigned seconds;
    uint64_t count; /* messages at most */
    uint32_t accounts;
    uint32_t sessions; /* accounts looked at when the component asks who is online */
    uint64_t seed;
    unsigned window; /* seconds */
    unsigned wait;   /* seconds for the component to come up */
    unsigned drain;  /* seconds for the rest to be committed and answered */
    struct traffic_mix mix;
};

enum options_answer { OPTIONS_RUN, OPTIONS_HELPED, OPTIONS_WRONG };

/* The texts are argv's.  Has said what is wrong, or the help. */
enum options_answer options_read(struct options *o, int argc, char **argv);

#endif
