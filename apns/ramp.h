// SPDX-License-Identifier: Apache-2.0
/*
 * How fast a service may be addressed: little at first, more from second to second while it
 * is used up, less again while it is not.  Google asks for at least a minute from nothing to
 * the full rate.  Time is an argument; a clock that stands still lets nothing more through.
 */
#ifndef APNS_RAMP_H
#define APNS_RAMP_H

#include <stdbool.h>
#include <stdint.h>

struct ramp_opts {
    unsigned start;  /* pushes a second after a pause */
    unsigned full;   /* at most; 0: no limit at all */
    unsigned rise_s; /* from start to full */
};

struct ramp {
    struct ramp_opts opts;
    int64_t second_ms; /* when the present second began; -1: never used */
    unsigned allowed;  /* in a second */
    unsigned used;     /* in this one */
};

void ramp_init(struct ramp *r, const struct ramp_opts *opts);
/* Whether one more may be sent now; counts it. */
bool ramp_take(struct ramp *r, int64_t now_ms);
/* When ramp_take may say yes again; INT64_MIN when it would now. */
int64_t ramp_next_ms(const struct ramp *r);
/* From the beginning: the service said that it was too much. */
void ramp_restart(struct ramp *r);

#endif
