// SPDX-License-Identifier: Apache-2.0
#include "apns/pool.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/backoff.h"
#include "base/crypt.h"
#include "base/log.h"

#define MEMBERS_MAX 16 /* with those that drain */

struct pool_member {
    struct conn *conn;
    bool retiring;
    bool goaway;
    bool gave_back; /* a push without an answer */
    int64_t opened_ms;
    int64_t used_ms;
    int64_t drain_until_ms; /* retiring */
};

struct pool {
    struct pool_opts opts;
    struct pool_member *members[MEMBERS_MAX]; /* the oldest first: it is filled first */
    size_t n;
    struct backoff backoff;
    bool unreachable;     /* the last attempt failed and nothing is up */
    int64_t next_open_ms; /* not before */
    int64_t blocked_ms;   /* since when everything is full; -1 = it is not */
    size_t waiting;
    bool wants_one;  /* a connection, when there is none */
    int64_t used_ms; /* last submit; -1 = never */
    char error[160];
};

struct pool *pool_new(const struct pool_opts *opts)
{
    struct pool *p = calloc(1, sizeof *p);
    if (!p)
        abort();
    p->opts = *opts;
    assert(opts->members_max > 0 && opts->members_max < MEMBERS_MAX);
    backoff_init(&p->backoff, opts->backoff_min_ms, opts->backoff_max_ms);
    p->blocked_ms = -1;
    p->next_open_ms = INT64_MIN;
    p->used_ms = -1;
    return p;
}

static bool is_up(const struct pool_member *m)
{
    return conn_get_state(m->conn) == CONN_UP;
}

static bool is_dead(const struct pool_member *m)
{
    return conn_get_state(m->conn) == CONN_DEAD;
}

/* Takes pushes, or will when it is up. */
static bool is_usable(const struct pool_member *m)
{
    return !m->retiring && !is_dead(m);
}

static unsigned count_usable(const struct pool *p, unsigned *up_out)
{
    unsigned usable = 0, up = 0;
    for (size_t i = 0; i < p->n; i++) {
        usable += is_usable(p->members[i]);
        up += is_usable(p->members[i]) && is_up(p->members[i]);
    }
    *up_out = up;
    return usable;
}

static void member_free(struct pool_member *m)
{
    conn_free(&m->conn);
    free(m);
}

void pool_free(struct pool **p)
{
    if (!*p)
        return;
    for (size_t i = 0; i < (*p)->n; i++)
        member_free((*p)->members[i]);
    free(*p);
    *p = NULL;
}

enum pool_state pool_get_state(const struct pool *p)
{
    unsigned up;
    unsigned usable = count_usable(p, &up);
    if (up > 0)
        return POOL_UP;
    if (p->unreachable)
        return POOL_BACKOFF;
    return usable > 0 ? POOL_CONNECTING : POOL_IDLE;
}

const char *pool_error(const struct pool *p)
{
    return p->error;
}

unsigned pool_up_count(const struct pool *p)
{
    unsigned n = 0;
    for (size_t i = 0; i < p->n; i++)
        n += is_up(p->members[i]);
    return n;
}

unsigned pool_limit(const struct pool *p)
{
    unsigned n = 0;
    for (size_t i = 0; i < p->n; i++)
        if (is_usable(p->members[i]))
            n += h2_limit(conn_h2(p->members[i]->conn));
    return n;
}

static void take_goaway(struct pool *p, struct pool_member *m, const char *reason)
{
    m->goaway = true;
    log_info(p->opts.log_prefix, "the service closes a connection: %s", reason);
}

bool pool_next_push(struct pool *p, struct h2_push **push_out, struct pool_member **from_out)
{
    struct h2_event ev;
    for (size_t i = 0; i < p->n; i++) {
        while (conn_next_event(p->members[i]->conn, &ev)) {
            switch (ev.kind) {
            case H2_EV_READY:
                p->unreachable = false;
                log_info(p->opts.log_prefix, "connected");
                break;
            case H2_EV_GOAWAY:
                take_goaway(p, p->members[i], ev.reason);
                break;
            case H2_EV_PUSH:
                p->members[i]->gave_back |= ev.push->outcome != H2_ANSWERED;
                *push_out = ev.push;
                *from_out = p->members[i];
                return true;
            }
        }
    }
    return false;
}

bool pool_submit(struct pool *p, struct h2_push *push, int64_t now_ms)
{
    for (size_t i = 0; i < p->n; i++) {
        struct pool_member *m = p->members[i];
        struct h2 *h2 = conn_h2(m->conn);
        if (!is_usable(m) || !is_up(m) || !h2_can_take(h2, push->payload_len) ||
            !h2_submit(h2, push, now_ms))
            continue;
        m->used_ms = p->used_ms = now_ms;
        return true;
    }
    return false;
}

void pool_retire(struct pool *p, struct pool_member *m, int64_t now_ms, const char *why)
{
    if (m->retiring || is_dead(m))
        return;
    log_debug(p->opts.log_prefix, "a connection is retired: %s", why);
    m->retiring = true;
    m->drain_until_ms = now_ms + p->opts.drain_ms;
}

void pool_retire_all(struct pool *p, int64_t now_ms, const char *why)
{
    for (size_t i = 0; i < p->n; i++)
        pool_retire(p, p->members[i], now_ms, why);
}

int64_t pool_member_age_ms(const struct pool_member *m, int64_t now_ms)
{
    return now_ms - m->opened_ms;
}

void pool_kill(struct pool *p, const char *why)
{
    for (size_t i = 0; i < p->n; i++)
        if (h2_open_count(conn_h2(p->members[i]->conn)) > 0)
            conn_kill(p->members[i]->conn, why);
}

static void open_member(struct pool *p, int64_t now_ms)
{
    if (p->n == MEMBERS_MAX)
        return;
    struct pool_member *m = calloc(1, sizeof *m);
    if (!m)
        abort();
    m->opened_ms = m->used_ms = now_ms;
    m->conn = conn_new(&p->opts.conn, now_ms);
    p->members[p->n++] = m;
    p->blocked_ms = -1;
}

/* Everything that is up is full, and has shown what it can take: a new connection counts as
 * having one stream until its first answer, which says nothing about load.  One that allows
 * none shows that at once. */
static bool everything_full(const struct pool *p)
{
    for (size_t i = 0; i < p->n; i++) {
        struct pool_member *m = p->members[i];
        if (!is_usable(m))
            continue;
        struct h2 *h2 = conn_h2(m->conn);
        if (!is_up(m) || (h2_answered(h2) == 0 && h2_limit(h2) > 0) || h2_can_take(h2, 1))
            return false;
    }
    return true;
}

/* One connection is kept warm while there was work lately.  While the service is away we keep
 * asking, so that the owner hears of its return. */
static bool wants_one(const struct pool *p, int64_t now_ms, bool keep_warm)
{
    if (p->waiting > 0 || !keep_warm)
        return p->waiting > 0;
    return p->unreachable || (p->used_ms >= 0 && now_ms < p->used_ms + p->opts.calm_ms);
}

/* What a failed attempt means for the next one is known when it is buried. */
static bool has_dead(const struct pool *p)
{
    for (size_t i = 0; i < p->n; i++)
        if (is_dead(p->members[i]))
            return true;
    return false;
}

static void open_if_needed(struct pool *p, int64_t now_ms)
{
    unsigned up;
    unsigned usable = count_usable(p, &up);
    if (has_dead(p))
        return;
    if (usable == 0) {
        p->blocked_ms = -1;
        if (p->wants_one && now_ms >= p->next_open_ms)
            open_member(p, now_ms);
        return;
    }
    if (p->waiting == 0 || !everything_full(p)) {
        p->blocked_ms = -1;
        return;
    }
    if (p->blocked_ms < 0)
        p->blocked_ms = now_ms;
    if (usable < p->opts.members_max && now_ms >= p->blocked_ms + p->opts.grow_after_ms &&
        now_ms >= p->next_open_ms)
        open_member(p, now_ms);
}

static void retire_if_calm(struct pool *p, int64_t now_ms)
{
    unsigned up;
    if (count_usable(p, &up) < 2)
        return;
    struct pool_member *last = p->members[p->n - 1];
    if (is_usable(last) && is_up(last) && h2_open_count(conn_h2(last->conn)) == 0 &&
        now_ms >= last->used_ms + p->opts.calm_ms)
        pool_retire(p, last, now_ms, "not needed any more");
}

void pool_tick(struct pool *p, int64_t now_ms, size_t waiting, bool keep_warm)
{
    p->waiting = waiting;
    p->wants_one = wants_one(p, now_ms, keep_warm);
    for (size_t i = 0; i < p->n; i++) {
        struct pool_member *m = p->members[i];
        conn_tick(m->conn, now_ms);
        if (!m->retiring && is_up(m) && !h2_accepting(conn_h2(m->conn)))
            pool_retire(p, m, now_ms, "goaway");
    }
    open_if_needed(p, now_ms);
    retire_if_calm(p, now_ms);
}

void pool_flush(struct pool *p)
{
    for (size_t i = 0; i < p->n; i++)
        conn_flush(p->members[i]->conn);
}

/* Whether an end says that the service is in trouble: it never let us in, or it let us in
 * and cut us off soon.  An end that was announced after work was done does not. */
static bool is_failure(const struct pool *p, const struct pool_member *m, int64_t now_ms)
{
    uint64_t answered = h2_answered(conn_h2(m->conn));
    if (!h2_ready(conn_h2(m->conn)))
        return true;
    if (m->goaway)
        return answered == 0;
    if (m->retiring)
        return false;
    return answered == 0 || now_ms - m->opened_ms < p->opts.proven_ms;
}

static void bury(struct pool *p, struct pool_member *m, int64_t now_ms)
{
    unsigned up;
    if (!is_failure(p, m, now_ms)) {
        backoff_reset(&p->backoff);
        return;
    }
    /* One that answered and was cut off soon is no reason for ever longer pauses. */
    if (h2_answered(conn_h2(m->conn)) > 0)
        backoff_reset(&p->backoff);
    int64_t wait_ms = backoff_next_ms(&p->backoff, crypt_random_u64());
    p->next_open_ms = now_ms + wait_ms;
    (void)count_usable(p, &up);
    p->unreachable =
        up == 0 && (p->waiting > 0 || m->gave_back || !h2_ready(conn_h2(m->conn)));
    strcpy(p->error, conn_error(m->conn));
    log_warn(p->opts.log_prefix, "connection failed: %s retry_ms=%lld", p->error,
             (long long)wait_ms);
}

static bool is_finished(struct pool_member *m, int64_t now_ms)
{
    if (!m->retiring || is_dead(m))
        return is_dead(m);
    if (!is_up(m) || h2_open_count(conn_h2(m->conn)) == 0)
        return true;
    if (now_ms >= m->drain_until_ms)
        conn_kill(m->conn, "did not drain in time");
    return is_dead(m);
}

static void remove_member(struct pool *p, size_t at)
{
    p->n--;
    for (; at < p->n; at++)
        p->members[at] = p->members[at + 1];
}

bool pool_reap(struct pool *p, int64_t now_ms)
{
    bool more = false;
    for (size_t i = 0; i < p->n;) {
        struct pool_member *m = p->members[i];
        struct h2_event ev;
        bool finished = is_finished(m, now_ms);
        /* Its pushes go back first; the owner comes again. */
        bool has_done = h2_has_done(conn_h2(m->conn));
        if (!finished || has_done) {
            more = more || has_done;
            i++;
            continue;
        }
        while (conn_next_event(m->conn, &ev))
            m->goaway = m->goaway || ev.kind == H2_EV_GOAWAY;
        if (is_dead(m))
            bury(p, m, now_ms);
        remove_member(p, i);
        member_free(m);
        more = true;
    }
    return more;
}

static int64_t earlier(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

int64_t pool_deadline(const struct pool *p)
{
    unsigned up;
    int64_t at = INT64_MAX;
    unsigned usable = count_usable(p, &up);
    for (size_t i = 0; i < p->n; i++) {
        const struct pool_member *m = p->members[i];
        at = earlier(at, conn_deadline(m->conn));
        if (m->retiring)
            at = earlier(at, m->drain_until_ms);
    }
    const bool place = p->n < MEMBERS_MAX; /* else one must have drained first */
    if (place && usable == 0 && p->wants_one)
        at = earlier(at, p->next_open_ms);
    if (place && p->blocked_ms >= 0 && usable < p->opts.members_max) {
        int64_t grow_ms = p->blocked_ms + p->opts.grow_after_ms;
        at = earlier(at, grow_ms > p->next_open_ms ? grow_ms : p->next_open_ms);
    }
    const struct pool_member *last = p->n > 1 ? p->members[p->n - 1] : NULL;
    if (usable > 1 && last && is_usable(last) && is_up(last) &&
        h2_open_count(conn_h2(last->conn)) == 0)
        at = earlier(at, last->used_ms + p->opts.calm_ms);
    return at;
}
