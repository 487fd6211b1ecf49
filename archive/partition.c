// SPDX-License-Identifier: Apache-2.0
#include "archive/partition.h"

#include <stdlib.h>

#include <event2/event.h>

#include "base/log.h"
#include "store/pg.h"

#define PREFIX "partition"
#define AHEAD 2
#define AGAIN_S (6 * 3600)
#define AFTER_FAILURE_S 60 /* two quarters are left: there is time */

struct partition {
    struct pg_pool *pool;
    struct event *timer;
};

static const struct pg_statement ensure = {"partition_ensure",
                                           "SELECT xs.ensure_partitions($1::int)"};

static void on_made(void *ctx, const struct pg_result *r, const struct pg_error *e)
{
    struct partition *p = ctx;
    int64_t made = r ? pg_i64(r, 0, 0) : 0;
    if (!r && e->failure != PG_LOST)
        log_error(PREFIX, "cannot make partitions ahead of time sqlstate=%s why=\"%s\"",
                  e->sqlstate, e->text);
    if (made > 0)
        log_info(PREFIX, "made n=%lld", (long long)made);
    event_add(p->timer, &(struct timeval){r ? AGAIN_S : AFTER_FAILURE_S, 0});
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what;
    struct partition *p = arg;
    struct pg_params params;
    pg_params_init(&params);
    pg_add_i32(&params, AHEAD);
    pg_pool_send(p->pool, &ensure, &params, on_made, p);
}

struct partition *partition_new(struct event_base *base, struct pg_pool *pool)
{
    struct partition *p = calloc(1, sizeof *p);
    if (!p || !(p->timer = evtimer_new(base, on_timer, p)))
        abort();
    p->pool = pool;
    event_active(p->timer, EV_TIMEOUT, 0);
    return p;
}

void partition_free(struct partition **p)
{
    if (!*p)
        return;
    event_free((*p)->timer);
    free(*p);
    *p = NULL;
}
