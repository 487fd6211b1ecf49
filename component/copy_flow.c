// SPDX-License-Identifier: Apache-2.0
#include "component/copy_flow.h"

#include <stdlib.h>

#define RUN_MIN 200  /* copies that make a load */
#define AGAIN_MIN 50 /* and that show that it has gone on */
#define HOLE_MIN_US INT64_C(250000)
#define HOLE_TIMES 20  /* as long as the usual distance of two copies */
#define SLOWER_TIMES 4 /* the load may fall a little meanwhile */
#define PERIOD_SLACK_US INT64_C(500000)

static int64_t distance_us(const struct copy_run *r)
{
    return r->count > 1 ? (r->last_us - r->first_us) / (r->count - 1) : INT64_MAX;
}

static void count(struct copy_flow *f, int64_t at_us)
{
    if (at_us < f->period_us || at_us >= f->period_us + COPY_FLOW_PERIOD_US) {
        f->period_us = at_us;
        f->in_period = 0;
    }
    if (++f->in_period > f->busiest)
        f->busiest = f->in_period;
}

/* From the first copy behind an emptying to the first behind the next. */
static bool is_one_period(const struct copy_run *run, int64_t to_us)
{
    return llabs(to_us - run->first_us - COPY_FLOW_PERIOD_US) <= PERIOD_SLACK_US;
}

static void hole(struct copy_flow *f, int64_t at_us)
{
    bool load =
        f->run.count >= RUN_MIN && at_us - f->run.last_us >= HOLE_TIMES * distance_us(&f->run);
    bool suspect = load && is_one_period(&f->run, at_us);
    f->before = suspect ? f->run : (struct copy_run){.count = 0};
    f->run = (struct copy_run){.first_us = at_us, .last_us = at_us, .count = 1};
}

bool copy_flow_add(struct copy_flow *f, int64_t at_us)
{
    count(f, at_us);
    if (f->run.last_us - at_us > COPY_FLOW_PERIOD_US)
        copy_flow_restart(f); /* its clock was set back */
    if (f->run.count == 0 || at_us - f->run.last_us >= HOLE_MIN_US) {
        hole(f, at_us);
        return false;
    }
    /* Two batches that are written at once may mix. */
    if (at_us > f->run.last_us)
        f->run.last_us = at_us;
    f->run.count++;
    if (f->before.count == 0 || f->run.count != AGAIN_MIN)
        return false;
    bool went_on = distance_us(&f->run) <= SLOWER_TIMES * distance_us(&f->before);
    if (went_on) {
        f->losses++;
        f->lost_from_us = f->before.last_us;
        f->lost_to_us = f->run.first_us;
    }
    f->before.count = 0;
    return went_on;
}

void copy_flow_restart(struct copy_flow *f)
{
    f->run.count = f->before.count = 0;
}
