// SPDX-License-Identifier: Apache-2.0
/*
 * Whether copies are missing, as far as the times on those that come tell.  Openfire keeps
 * copies in a queue of a fixed size that is emptied every 5 s; once it is full, what passes
 * until the next time is lost, and nobody is told.  Under steady load that looks like this:
 * copies as dense as ever from one emptying on, then none, and 5 s after the first of them as
 * dense again.  It promises nothing: it suspects.  It knows no stanza and no clock of ours.
 */
#ifndef COMPONENT_COPY_FLOW_H
#define COMPONENT_COPY_FLOW_H

#include <stdbool.h>
#include <stdint.h>

#define COPY_FLOW_PERIOD_US INT64_C(5000000)
/* Each message takes four entries of 10,000 and more, each session that gets it two. */
#define COPY_FLOW_MANY 1500 /* in one period: not far from the limit */

/* Copies one after the other without a hole. */
struct copy_run {
    int64_t first_us;
    int64_t last_us;
    unsigned count;
};

/* All zero: nothing has been seen. */
struct copy_flow {
    struct copy_run run;
    struct copy_run before; /* the run before a hole that may be a loss; count 0: none */
    int64_t period_us;      /* the period that is being counted begins here, */
    unsigned in_period;
    unsigned busiest;     /* copies in one period */
    unsigned losses;      /* holes that look like lost copies */
    int64_t lost_from_us; /* the last of them */
    int64_t lost_to_us;
};

/* A copy whose server's time is that.  True when one more loss is suspected. */
bool copy_flow_add(struct copy_flow *f, int64_t at_us);
/* Another connection: what came before says nothing of what comes; counts stay. */
void copy_flow_restart(struct copy_flow *f);

#endif
