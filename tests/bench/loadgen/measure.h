// SPDX-License-Identifier: Apache-2.0
/*
 * What is measured of a run: when each message was written and when its bytes were committed,
 * when each question was asked and answered.  It is told bytes and times and knows no sockets.
 */
#ifndef TESTS_BENCH_LOADGEN_MEASURE_H
#define TESTS_BENCH_LOADGEN_MEASURE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "tests/bench/loadgen/histogram.h"
#include "tests/bench/loadgen/traffic.h"

#define MEASURE_QUESTIONS 65536 /* open at once; older ones count as not answered */
#define MEASURE_KINDS 3         /* of enum traffic_question */
#define MEASURE_ID_BYTES 40

/* What was in the way at the worst, and the latencies, of the messages written in a time. */
struct measure_window {
    struct histogram commit;
    uint64_t behind_max; /* bytes of the spool */
};

struct measure {
    int64_t start_us;
    int64_t window_us;
    struct measure_window *windows;
    size_t windows_n;
    struct histogram commit;
    struct histogram answers[MEASURE_KINDS];
    uint64_t errors;
    uint64_t unanswered;
    uint64_t asked;
    uint64_t open; /* questions */
    uint64_t behind_max;
    FILE *log;       /* of the messages written; NULL: none */
    int64_t late_us; /* most that we were behind our own schedule */
    /* A queue: [first, written) are written and not committed, [written, n) not written. */
    struct mark {
        uint64_t end; /* bytes of the stream */
        int64_t written_us;
        uint64_t question; /* its number, 0: it is a message */
        uint32_t from, to;
    } * marks;
    size_t first, written, n, cap;
    struct question {
        uint64_t number; /* 0: the slot is free */
        enum traffic_question what;
        int64_t written_us; /* 0: not yet */
    } questions[MEASURE_QUESTIONS];
};

void measure_init(struct measure *m, unsigned seconds, unsigned window_s);
void measure_deinit(struct measure *m);

/* What ends at that byte of the stream: a message between these two, or a question. */
void measure_message(struct measure *m, uint64_t end, uint32_t from, uint32_t to);
void measure_question(struct measure *m, uint64_t end, uint64_t question);
/* A new question's number, and its id. */
uint64_t measure_ask(struct measure *m, enum traffic_question what, char id[MEASURE_ID_BYTES]);
/* All bytes below have been written to the socket; so with committed. */
void measure_written(struct measure *m, uint64_t bytes, int64_t now_us);
void measure_committed(struct measure *m, uint64_t bytes, int64_t now_us);
void measure_behind(struct measure *m, uint64_t spool_bytes, int64_t now_us);
/* False when the id is none of ours, or was answered. */
bool measure_answered(struct measure *m, const char *id, bool error, int64_t now_us);

uint64_t measure_uncommitted(const struct measure *m); /* messages */

#endif
