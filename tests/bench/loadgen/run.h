// SPDX-License-Identifier: Apache-2.0
/*
 * One run from the component's connection to the result: greet it as ejabberd does, wait until
 * what was said is committed, send on schedule, wait for the rest.  The schedule never waits
 * for an answer; time and number of messages are bounded.
 */
#ifndef TESTS_BENCH_LOADGEN_RUN_H
#define TESTS_BENCH_LOADGEN_RUN_H

#include "tests/bench/loadgen/options.h"

/* Prints the result to standard output, what went wrong to standard error; the exit status. */
int run(const struct options *o);

#endif
