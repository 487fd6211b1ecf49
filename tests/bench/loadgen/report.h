// SPDX-License-Identifier: Apache-2.0
/* The result of a run as one JSON object. */
#ifndef TESTS_BENCH_LOADGEN_REPORT_H
#define TESTS_BENCH_LOADGEN_REPORT_H

#include <stdint.h>

#include "tests/bench/loadgen/measure.h"
#include "tests/bench/loadgen/server.h"
#include "tests/bench/loadgen/traffic.h"

struct report {
    const struct measure *measure;
    const struct traffic_counts *traffic;
    struct server_blocked blocked;
    uint64_t bytes;
    uint64_t results; /* messages that the component sent to users */
    double seconds;   /* from the first message to the last one's commit */
    double sending;   /* to the last message */
    double cpu_s;     /* our own */
};

void report_print(const struct report *r);

#endif
