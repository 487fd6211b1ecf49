// SPDX-License-Identifier: Apache-2.0
#include "archive/lookup.h"

#include <assert.h>
#include <stdlib.h>

#include <event2/event.h>

#include "archive/ident.h"
#include "archive/ingest.h"
#include "base/clock.h"

#define OPEN_MAX 1000            /* more are told to come again */
#define CAUGHT_UP_WITHIN_MS 1000 /* "send, then ask" must find the message */
#define ALIVE_WITHIN_MS 480      /* else PostgreSQL is silent: refused within a second */

#define LOOKUP_MAGIC 0x6c6f6f6bu

static const struct pg_statement are_you_there = {"archive_alive", "SELECT 1"};

struct lookups {
    struct pg_pool *pool;
    struct ingest *ingest;
    struct lookup *first;
    unsigned open;
    struct event *tick; /* while there are lookups, or an answer to are_you_there is due */
    bool asked;         /* are_you_there is not answered */
    bool silent;        /* and has not been for too long */
};

static void on_tick(evutil_socket_t fd, short what, void *ctx);

struct lookups *lookups_new(struct event_base *base, struct pg_pool *pool,
                            struct ingest *ingest)
{
    struct lookups *all = calloc(1, sizeof *all);
    if (!all)
        abort();
    *all = (struct lookups){.pool = pool, .ingest = ingest};
    all->tick = evtimer_new(base, on_tick, all);
    if (!all->tick)
        abort();
    return all;
}

void lookups_free(struct lookups **all)
{
    if (!*all)
        return;
    assert((*all)->open == 0 && !(*all)->asked);
    event_free((*all)->tick);
    free(*all);
    *all = NULL;
}

struct ident *lookups_ident(struct lookups *all)
{
    return ingest_ident(all->ingest);
}

/* --- ending ----------------------------------------------------------------------------- */

static void forget(struct lookup *l)
{
    struct lookups *all = l->all;
    *(l->prev ? &l->prev->next : &all->first) = l->next;
    if (l->next)
        l->next->prev = l->prev;
    all->open--;
    l->magic = 0;
    l->kind->free(l);
}

static struct archive_answer end(struct lookup *l)
{
    assert(l->magic == LOOKUP_MAGIC && !l->ended);
    struct archive_answer answer = l->answer;
    l->ended = true;
    if (l->waits_for == 0)
        forget(l);
    return answer;
}

void lookup_done(struct lookup *l, struct stanza *payload)
{
    struct archive_answer answer = end(l);
    answer.done(answer.ctx, payload);
}

void lookup_refuse(struct lookup *l, const char *type, const char *condition, const char *text)
{
    struct archive_answer answer = end(l);
    answer.error(answer.ctx, type, condition, text);
}

static void refuse_for_now(struct lookup *l)
{
    lookup_refuse(l, "wait", "internal-server-error", "the archive is not reachable now");
}

/* Something that it waited for has come: true when that is of no use any more. */
static bool has_come(struct lookup *l)
{
    assert(l->magic == LOOKUP_MAGIC && l->waits_for > 0);
    l->waits_for--;
    if (!l->ended)
        return false;
    if (l->waits_for == 0)
        forget(l);
    return true;
}

bool lookup_is_over(struct lookup *l, const struct pg_error *e)
{
    if (has_come(l))
        return true;
    if (e->failure)
        refuse_for_now(l);
    return e->failure != PG_OK;
}

/* --- is PostgreSQL there? ---------------------------------------------------------------- */

/* A server that is there and does nothing (stopped, a disk that hangs, a broken network) ends
 * no connection, and a question may take longer than a second in good health.  So while
 * lookups are open, PostgreSQL is asked now and then whether it still answers. */

static void arm(struct lookups *all)
{
    event_add(all->tick, &(struct timeval){0, ALIVE_WITHIN_MS * 1000});
}

static void on_alive(void *ctx, const struct pg_result *r, const struct pg_error *e)
{
    struct lookups *all = ctx;
    (void)r, (void)e; /* a lost connection is told to the lookups themselves */
    all->asked = all->silent = false;
}

static void refuse_all(struct lookups *all)
{
    for (struct lookup *l = all->first, *next; l; l = next) {
        next = l->next;
        if (!l->ended)
            refuse_for_now(l);
    }
}

static void on_tick(evutil_socket_t fd, short what, void *ctx)
{
    struct lookups *all = ctx;
    (void)fd, (void)what;
    if (all->asked) {
        all->silent = true; /* until it answers: nothing is sent after what it has */
        refuse_all(all);
    } else if (all->first) {
        all->asked = true;
        pg_pool_send(all->pool, &are_you_there, NULL, on_alive, all);
        arm(all);
    }
}

/* --- beginning --------------------------------------------------------------------------- */

bool lookup_begin(struct lookups *all, struct lookup *l, const struct lookup_kind *kind,
                  const struct archive_request *r, const struct archive_answer *answer)
{
    *l = (struct lookup){.magic = LOOKUP_MAGIC,
                         .kind = kind,
                         .all = all,
                         .next = all->first,
                         .request = *r,
                         .answer = *answer};
    if (l->next)
        l->next->prev = l;
    all->first = l;
    all->open++;
    struct ident *ident = ingest_ident(all->ingest);
    if (all->open > OPEN_MAX) {
        lookup_refuse(l, "wait", "resource-constraint", NULL);
        return false;
    }
    if (!ident) {
        refuse_for_now(l);
        return false;
    }
    ident_owner(ident, r->account, l->owner);
    return true;
}

static void on_caught_up(void *ctx, bool done)
{
    struct lookup *l = ctx;
    if (has_come(l))
        return;
    l->stable = done;
    l->kind->read(l);
}

void lookup_wait(struct lookup *l)
{
    struct lookups *all = l->all;
    if (!pg_pool_is_up(all->pool) || all->silent) {
        refuse_for_now(l);
        return;
    }
    if (!event_pending(all->tick, EV_TIMEOUT, NULL))
        arm(all);
    l->waits_for++;
    ingest_wait(all->ingest, l->request.account, clock_mono_ms() + CAUGHT_UP_WITHIN_MS,
                on_caught_up, l);
}

void lookup_send(struct lookup *l, const struct pg_statement *st,
                 const struct pg_params *params, pg_result_fn cb, void *ctx)
{
    l->waits_for++;
    pg_pool_send(l->all->pool, st, params, cb, ctx);
}
