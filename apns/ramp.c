// SPDX-License-Identifier: Apache-2.0
#include "apns/ramp.h"

#include <assert.h>

#define SECOND_MS 1000

void ramp_init(struct ramp *r, const struct ramp_opts *opts)
{
    assert(opts->full == 0 ||
           (opts->start > 0 && opts->start <= opts->full && opts->rise_s > 0));
    *r = (struct ramp){.opts = *opts, .second_ms = -1, .allowed = opts->start};
}

static unsigned step(const struct ramp *r)
{
    unsigned n = (r->opts.full - r->opts.start) / r->opts.rise_s;
    return n > 0 ? n : 1;
}

static void raise_limit(struct ramp *r)
{
    unsigned room = r->opts.full - r->allowed;
    r->allowed += step(r) < room ? step(r) : room;
}

static void lower_limit(struct ramp *r, int64_t seconds)
{
    unsigned room = r->allowed - r->opts.start;
    r->allowed =
        seconds < room / step(r) ? r->allowed - (unsigned)seconds * step(r) : r->opts.start;
}

static void pass_time(struct ramp *r, int64_t now_ms)
{
    int64_t seconds = (now_ms - r->second_ms) / SECOND_MS;
    if (r->second_ms < 0) {
        r->second_ms = now_ms;
        return;
    }
    if (seconds <= 0)
        return;
    if (r->used >= r->allowed / 2 + 1)
        raise_limit(r);
    else
        lower_limit(r, 1);
    if (seconds > 1)
        lower_limit(r, seconds - 1);
    r->second_ms += seconds * SECOND_MS;
    r->used = 0;
}

bool ramp_take(struct ramp *r, int64_t now_ms)
{
    if (r->opts.full == 0)
        return true;
    pass_time(r, now_ms);
    if (r->used >= r->allowed)
        return false;
    r->used++;
    return true;
}

int64_t ramp_next_ms(const struct ramp *r)
{
    bool spent = r->opts.full > 0 && r->second_ms >= 0 && r->used >= r->allowed;
    return spent ? r->second_ms + SECOND_MS : INT64_MIN;
}

void ramp_restart(struct ramp *r)
{
    r->allowed = r->opts.start;
}
