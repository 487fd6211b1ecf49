// SPDX-License-Identifier: Apache-2.0
#include "archive/lookup.h"

#include <assert.h>
#include <stddef.h>
#include <stdlib.h>

#include <event2/event.h>

#include "archive/ident.h"
#include "archive/ingest.h"
#include "base/clock.h"

#define OPEN_MAX 1000            /* more are told to come again */
#define CAUGHT_UP_WITHIN_MS 1000 /* "send, then ask" must find the message */
#define PROBE_AFTER_MS 100       /* most lookups are over by then */
#define PROBE_EVERY_MS 500
#define ALIVE_WITHIN_MS 850 /* else PostgreSQL is silent: refused within a second */
#define ROOM_EVERY_MS 20    /* looks whether results were sent */

#define LOOKUP_MAGIC 0x6c6f6f6bu

static const struct pg_statement are_you_there = {"archive_alive", "SELECT 1"};

/* Enough at once to keep the connections busy.  Two of one account: it reads its answer while
 * the next is made.  A scan is many statements, so several share one connection fairly. */
static const struct turn_limits limits[TURN_WEIGHTS] = {
    [TURN_PAGE] = {.running_max = 16, .running_each = 2, .waiting_each = 100},
    [TURN_SCAN] = {.running_max = 4, .running_each = 1, .waiting_each = 20},
};

struct lookups {
    struct lookups_opts opts;
    struct turns *turns;
    struct lookup *first;
    unsigned open;
    struct event *tick; /* while there are lookups, or an answer to are_you_there is due */
    bool asked;         /* are_you_there is not answered */
    bool silent;        /* and has not been for too long */
    bool stopped;
    struct event *room; /* while turns are held, until results were sent */
};

static void on_tick(evutil_socket_t fd, short what, void *ctx);
static void on_room(evutil_socket_t fd, short what, void *ctx);

struct lookups *lookups_new(struct event_base *base, const struct lookups_opts *opts)
{
    struct lookups *all = calloc(1, sizeof *all);
    if (!all)
        abort();
    *all = (struct lookups){.opts = *opts, .turns = turns_new(limits)};
    all->tick = evtimer_new(base, on_tick, all);
    all->room = evtimer_new(base, on_room, all);
    if (!all->tick || !all->room)
        abort();
    return all;
}

void lookups_free(struct lookups **all)
{
    if (!*all)
        return;
    assert((*all)->open == 0 && !(*all)->asked);
    event_free((*all)->tick);
    event_free((*all)->room);
    turns_free(&(*all)->turns);
    free(*all);
    *all = NULL;
}

struct ident *lookups_ident(struct lookups *all)
{
    return ingest_ident(all->opts.ingest);
}

/* --- ending ----------------------------------------------------------------------------- */

static void forget(struct lookup *l)
{
    struct lookups *all = l->all;
    *(l->prev ? &l->prev->next : &all->first) = l->next;
    if (l->next)
        l->next->prev = l->prev;
    all->open--;
    turns_give_back(all->turns, &l->turn);
    l->magic = 0;
    l->kind->free(l);
}

/* One whose results are still to come keeps its turn: the database is busy with it. */
static struct archive_answer end(struct lookup *l)
{
    assert(l->magic == LOOKUP_MAGIC && !l->ended);
    struct archive_answer answer = l->answer;
    l->ended = true;
    if (l->turn.state == TURN_WAITING) {
        turns_give_back(l->all->turns, &l->turn);
        l->waits_for--;
    }
    if (l->waits_for == 0)
        forget(l);
    return answer;
}

static bool is_full(const struct lookups *all)
{
    return all->opts.unsent && all->opts.unsent(all->opts.ctx) > LOOKUP_UNSENT_MAX;
}

static void hold_while_full(struct lookups *all)
{
    bool full = is_full(all);
    if (full)
        event_add(all->room, &(struct timeval){0, ROOM_EVERY_MS * 1000});
    if (full != turns_are_held(all->turns))
        turns_hold(all->turns, full);
}

static void on_room(evutil_socket_t fd, short what, void *ctx)
{
    (void)fd, (void)what;
    hold_while_full(ctx);
}

void lookup_done(struct lookup *l, struct stanza *payload)
{
    hold_while_full(l->all); /* before its turn is another's */
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

static void arm(struct lookups *all, long ms)
{
    event_add(all->tick, &(struct timeval){0, ms * 1000});
}

static void on_alive(void *ctx, const struct pg_result *r, const struct pg_error *e)
{
    struct lookups *all = ctx;
    (void)r, (void)e; /* a lost connection is told to the lookups themselves */
    all->asked = all->silent = false;
    if (all->first && !all->stopped)
        arm(all, PROBE_EVERY_MS);
    else
        event_del(all->tick);
}

/* Nobody begins meanwhile: whose turn comes may end at once, and the walk must go on. */
static void refuse_older(struct lookups *all, int64_t deadline_ms)
{
    turns_hold(all->turns, true);
    for (struct lookup *l = all->first, *next; l; l = next) {
        next = l->next;
        if (!l->ended && l->deadline_ms <= deadline_ms)
            refuse_for_now(l);
    }
    if (!all->stopped)
        hold_while_full(all);
}

void lookups_stop(struct lookups *all)
{
    if (!all)
        return;
    all->stopped = true;
    refuse_older(all, INT64_MAX);
}

/* Its own connection is there for it, unless that was lost: a server that says nothing lets
 * nobody in either, and what cannot be sent says nothing about those who are. */
static struct pg_pool *probe_of(const struct lookups *all)
{
    return pg_pool_is_up(all->opts.probe) ? all->opts.probe : all->opts.pages;
}

static void on_tick(evutil_socket_t fd, short what, void *ctx)
{
    struct lookups *all = ctx;
    (void)fd, (void)what;
    if (all->asked) {
        all->silent = true; /* until it answers: nothing is sent after what it has */
        refuse_older(all, INT64_MAX);
        return;
    }
    refuse_older(all, clock_mono_ms());
    if (all->first && !all->stopped) {
        all->asked = true;
        pg_pool_send(probe_of(all), &are_you_there, NULL, on_alive, all);
        arm(all, ALIVE_WITHIN_MS);
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
                         .answer = *answer,
                         .deadline_ms = clock_mono_ms() + all->opts.within_ms};
    if (l->next)
        l->next->prev = l;
    all->first = l;
    all->open++;
    struct ident *ident = ingest_ident(all->opts.ingest);
    if (all->open > OPEN_MAX || all->stopped) {
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

static bool is_wanted(const struct lookup *l)
{
    return !l->answer.wanted || l->answer.wanted(l->answer.ctx);
}

static void on_turn(struct turn *t)
{
    struct lookup *l = (struct lookup *)((char *)t - offsetof(struct lookup, turn));
    if (has_come(l))
        return;
    if (is_wanted(l))
        l->kind->read(l);
    else
        lookup_refuse(l, "wait", "internal-server-error", "the asker has gone");
}

static void on_caught_up(void *ctx, bool done)
{
    struct lookup *l = ctx;
    struct lookups *all = l->all;
    if (has_come(l))
        return;
    l->stable = done;
    hold_while_full(all);
    l->waits_for++;
    if (!turns_take(all->turns, &l->turn, l->owner, l->weight, on_turn)) {
        l->waits_for--;
        lookup_refuse(l, "wait", "resource-constraint", "too many questions at once");
    }
}

void lookup_wait(struct lookup *l, enum turn_weight weight)
{
    struct lookups *all = l->all;
    l->weight = weight;
    if (!pg_pool_is_up(all->opts.pages) || all->silent) {
        refuse_for_now(l);
        return;
    }
    if (!event_pending(all->tick, EV_TIMEOUT, NULL))
        arm(all, PROBE_AFTER_MS);
    l->waits_for++;
    ingest_wait_before(all->opts.ingest, l->request.account, &l->request.at,
                       clock_mono_ms() + CAUGHT_UP_WITHIN_MS, on_caught_up, l);
}

static struct pg_pool *pool_of(const struct lookup *l)
{
    return l->weight == TURN_SCAN ? l->all->opts.scans : l->all->opts.pages;
}

void lookup_expect(struct lookup *l)
{
    l->waits_for++;
}

void lookup_send(struct lookup *l, const struct pg_statement *st,
                 const struct pg_params *params, pg_result_fn cb, void *ctx)
{
    lookup_expect(l);
    pg_pool_send(pool_of(l), st, params, cb, ctx);
}

bool lookup_should_end(const struct lookup *l)
{
    return clock_mono_ms() > l->deadline_ms - l->all->opts.within_ms / 2 || !is_wanted(l);
}
