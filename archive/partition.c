// SPDX-License-Identifier: Apache-2.0
#include "archive/partition.h"

#include <stdbool.h>
#include <stdlib.h>
#include <sys/time.h>

#include <event2/event.h>

#include "base/log.h"
#include "store/pg.h"

#define QUARTERS_AHEAD 2
#define EVERY_S (24 * 3600)
#define AGAIN_S 60 /* after a failure */

static const struct pg_statement ensure = {"partitions_ensure",
                                           "SELECT xs.ensure_partitions($1::int)"};

struct partitions {
    struct pg_pool *pool;
    struct event *timer;
    bool asking; /* the pool answers before it is freed */
    bool freed;
};

static void ask_in(struct partitions *p, long seconds)
{
    struct timeval tv = {seconds, 0};
    (void)event_add(p->timer, &tv);
}

static void on_ensured(void *ctx, const struct pg_result *r, const struct pg_error *e)
{
    struct partitions *p = ctx;
    p->asking = false;
    if (p->freed) {
        free(p);
        return;
    }
    if (e->failure && e->failure != PG_LOST)
        log_error("archive", "cannot make partitions: %s", e->text);
    else if (!e->failure && pg_i64(r, 0, 0) > 0)
        log_info("archive", "made partitions=%d", (int)pg_i64(r, 0, 0));
    ask_in(p, e->failure ? AGAIN_S : EVERY_S);
}

static void on_timer(evutil_socket_t fd, short what, void *ctx)
{
    struct partitions *p = ctx;
    (void)fd;
    (void)what;
    struct pg_params params;
    pg_params_init(&params);
    pg_add_i32(&params, QUARTERS_AHEAD);
    p->asking = true;
    pg_pool_send(p->pool, &ensure, &params, on_ensured, p);
}

struct partitions *partitions_new(struct event_base *base, struct pg_pool *pool)
{
    struct partitions *p = calloc(1, sizeof *p);
    if (!p)
        abort();
    p->pool = pool;
    p->timer = evtimer_new(base, on_timer, p);
    if (!p->timer)
        abort();
    ask_in(p, 0);
    return p;
}

void partitions_free(struct partitions **pp)
{
    struct partitions *p = *pp;
    *pp = NULL;
    if (!p)
        return;
    event_free(p->timer);
    p->freed = true;
    if (!p->asking)
        free(p);
}
