// SPDX-License-Identifier: Apache-2.0
#include "store/pg.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <event2/event.h>
#include <libpq-fe.h>

#include "base/backoff.h"
#include "base/clock.h"
#include "base/crypt.h"
#include "base/log.h"
#include "base/map.h"
#include "base/utf8.h"

#define PG_MAGIC 0x70677067u
#define CONNECT_TIMEOUT_S 10
#define BACKOFF_MIN_MS 200
#define BACKOFF_MAX_MS 10000
#define IDLE_IN_TRANSACTION_MS 10000

enum conn_state {
    CONN_WAITING,    /* -> CONNECTING at the timer */
    CONN_CONNECTING, /* -> SETTING_UP, WAITING */
    CONN_SETTING_UP, /* -> UP, WAITING */
    CONN_UP,         /* -> WAITING */
    CONN_CLOSED,     /* for good, from any */
};

enum op_kind { OP_STATEMENT, OP_PREPARE, OP_SYNC, OP_SETUP };

/* What was sent and is not answered; the order is the server's. */
struct op {
    struct op *next;
    enum op_kind kind;
    bool after_parse; /* the op before is the PREPARE of this statement */
    const char *name; /* OP_PREPARE: of the statement */
    pg_result_fn cb;
    void *ctx;
};

struct op_list {
    struct op *first;
    struct op *last;
    size_t n;
};

struct pg {
    uint32_t magic;
    struct event_base *base;
    char *url;
    char name[64];
    char prefix[96];
    int64_t statement_timeout_ms;
    enum pg_plans plans;
    void (*up)(void *ctx);
    void (*down)(void *ctx, const struct pg_error *why);
    void *ctx;

    enum conn_state state;
    PGconn *conn;
    struct event *io;      /* connecting: what PQconnectPoll waits for; then reading */
    struct event *writing; /* only while libpq has bytes that the socket did not take */
    struct event *timer;   /* connecting takes too long; or the next try is due */
    struct event *turn;    /* something is to be answered, not from inside the asker's call */
    struct backoff backoff;
    int64_t up_since_ms;
    struct map *prepared;

    struct op_list sent;
    struct op_list lost; /* to be answered with why */
    struct pg_error why;
    bool broken; /* seen dead inside a caller's call; the turn takes it down */
    bool complained;
    bool in_callback;
    struct pg_error unit_error;  /* first failure since the last sync */
    struct pg_error parse_error; /* of the PREPARE just answered */
};

static void on_io(evutil_socket_t fd, short what, void *arg);
static void on_writable(evutil_socket_t fd, short what, void *arg);

/* --- lists and errors ------------------------------------------------------------------ */

static void list_push(struct op_list *l, struct op *op)
{
    op->next = NULL;
    if (l->last)
        l->last->next = op;
    else
        l->first = op;
    l->last = op;
    l->n++;
}

static struct op *list_pop(struct op_list *l)
{
    struct op *op = l->first;
    if (!op)
        return NULL;
    l->first = op->next;
    if (!l->first)
        l->last = NULL;
    l->n--;
    return op;
}

static void set_error(struct pg_error *e, enum pg_failure f, const char *sqlstate,
                      const char *text)
{
    e->failure = f;
    snprintf(e->sqlstate, sizeof e->sqlstate, "%s", sqlstate ? sqlstate : "");
    if (!text || !*text)
        text = "no reason given";
    size_t n = utf8_cut(text, strlen(text), sizeof e->text - 1);
    snprintf(e->text, sizeof e->text, "%.*s", (int)n, text);
    for (char *c = e->text; *c; c++)
        if (*c == '\n')
            *c = c[1] ? ' ' : '\0';
}

static void set_state(struct pg *pg, enum conn_state to)
{
    switch (to) {
    case CONN_WAITING:
        assert(pg->state != CONN_CLOSED);
        break;
    case CONN_CONNECTING:
        assert(pg->state == CONN_WAITING);
        break;
    case CONN_SETTING_UP:
        assert(pg->state == CONN_CONNECTING);
        break;
    case CONN_UP:
        assert(pg->state == CONN_SETTING_UP);
        break;
    case CONN_CLOSED:
        break;
    }
    pg->state = to;
}

static struct pg *checked(void *arg)
{
    struct pg *pg = arg;
    assert(pg->magic == PG_MAGIC);
    return pg;
}

static void answer(struct pg *pg, struct op *op, const PGresult *r, const struct pg_error *e)
{
    if (!op->cb)
        return;
    pg->in_callback = true;
    op->cb(op->ctx, e->failure == PG_OK ? r : NULL, e);
    pg->in_callback = false;
}

/* --- losing the connection -------------------------------------------------------------- */

/* Answers what was lost before this call; what a callback sends meanwhile waits for the next
 * turn, so that one who always tries again cannot hold us here. */
static void answer_lost(struct pg *pg)
{
    struct op_list now = pg->lost;
    pg->lost = (struct op_list){0};
    for (struct op *op; (op = list_pop(&now));) {
        answer(pg, op, NULL, &pg->why);
        free(op);
    }
    if (pg->lost.first)
        event_active(pg->turn, EV_TIMEOUT, 0);
}

static void drop_connection(struct pg *pg)
{
    if (pg->io)
        event_free(pg->io);
    if (pg->writing)
        event_free(pg->writing);
    pg->io = pg->writing = NULL;
    event_del(pg->timer);
    PQfinish(pg->conn);
    pg->conn = NULL;
    map_free(&pg->prepared);
    pg->prepared = map_new();
    for (struct op *op; (op = list_pop(&pg->sent));) {
        if (op->kind == OP_STATEMENT)
            list_push(&pg->lost, op);
        else
            free(op);
    }
    pg->broken = false;
    pg->unit_error.failure = pg->parse_error.failure = PG_OK;
}

/* Called from the loop only, never from inside a caller's call. */
static void lose(struct pg *pg, const char *why)
{
    bool was_up = pg->state == CONN_UP;
    /* A server that lets us in and then fails is not asked five times a second. */
    if (was_up && clock_mono_ms() - pg->up_since_ms >= BACKOFF_MAX_MS)
        backoff_reset(&pg->backoff);
    set_error(&pg->why, PG_LOST, NULL, why);
    drop_connection(pg);
    set_state(pg, CONN_WAITING);
    int64_t wait_ms = backoff_next_ms(&pg->backoff, crypt_random_u64());
    if (was_up || !pg->complained)
        log_warn(pg->prefix, "%s why=\"%s\"", was_up ? "connection lost" : "cannot connect",
                 pg->why.text);
    else
        log_debug(pg->prefix, "still not connected why=\"%s\"", pg->why.text);
    pg->complained = true;
    struct timeval tv = {wait_ms / 1000, (wait_ms % 1000) * 1000};
    event_add(pg->timer, &tv);
    answer_lost(pg);
    if (pg->down)
        pg->down(pg->ctx, &pg->why);
}

/* The connection turned out dead while somebody else's call is on the stack. */
static void lose_later(struct pg *pg)
{
    pg->broken = true;
    event_active(pg->turn, EV_TIMEOUT, 0);
}

static void on_turn(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what;
    struct pg *pg = checked(arg);
    if (pg->broken)
        lose(pg, PQerrorMessage(pg->conn));
    else
        answer_lost(pg);
}

/* --- connecting ------------------------------------------------------------------------- */

static void watch(struct pg *pg, short what)
{
    if (pg->io)
        event_free(pg->io);
    pg->io = event_new(pg->base, PQsocket(pg->conn), what, on_io, pg);
    if (!pg->io || event_add(pg->io, NULL) != 0)
        abort();
}

static void ignore_notice(void *arg, const PGresult *r)
{
    (void)arg, (void)r;
}

static void connect_start(struct pg *pg)
{
    char app[96];
    snprintf(app, sizeof app, "xmpp-sidecar %s", pg->name);
    /* What stands before the URL is a default: a server that vanished is noticed within a
     * minute, while the system's own limits are hours. */
    const char *keys[] = {
        "keepalives_idle", "keepalives_interval", "keepalives_count", "tcp_user_timeout",
        "dbname",          "application_name",    "client_encoding",  NULL};
    const char *values[] = {"30", "10", "3", "60000", pg->url, app, "UTF8", NULL};
    set_state(pg, CONN_CONNECTING);
    pg->conn = PQconnectStartParams(keys, values, 1);
    if (!pg->conn)
        abort();
    PQsetNoticeReceiver(pg->conn, ignore_notice, NULL);
    if (PQstatus(pg->conn) == CONNECTION_BAD) {
        lose(pg, PQerrorMessage(pg->conn));
        return;
    }
    event_add(pg->timer, &(struct timeval){CONNECT_TIMEOUT_S, 0});
    watch(pg, EV_WRITE);
}

static void flush(struct pg *pg)
{
    int left = PQflush(pg->conn);
    if (left < 0)
        lose_later(pg);
    else if (left > 0)
        event_add(pg->writing, NULL);
}

/* Sent before anything else on every connection.  Names without a schema find nothing but
 * PostgreSQL's own, and a commit that is answered is on disk, whatever the defaults say.  No
 * statement of ours is worth compiling, but one that cannot do without what is turned off here
 * looks as if it were: that took a second, each time. */
static void send_setup(struct pg *pg)
{
    static const char sql[] =
        "SELECT set_config('search_path', '', false), set_config('TimeZone', 'UTC', false),"
        " set_config('jit', 'off', false), set_config('statement_timeout', $1, false),"
        " set_config('idle_in_transaction_session_timeout', $2, false),"
        " set_config('plan_cache_mode', $3, false),"
        " CASE WHEN $4::boolean THEN set_config('enable_seqscan', 'off', false)"
        " || set_config('enable_bitmapscan', 'off', false)"
        " || set_config('enable_sort', 'off', false) END,"
        " CASE WHEN current_setting('synchronous_commit') = 'off'"
        " THEN set_config('synchronous_commit', 'on', false) END";
    char statement_ms[24], idle_ms[24];
    snprintf(statement_ms, sizeof statement_ms, "%lld", (long long)pg->statement_timeout_ms);
    snprintf(idle_ms, sizeof idle_ms, "%d", IDLE_IN_TRANSACTION_MS);
    const char *values[] = {statement_ms, idle_ms,
                            pg->plans == PG_PLANS_AUTO ? "auto" : "force_generic_plan",
                            pg->plans == PG_PLANS_IN_INDEX_ORDER ? "true" : "false"};
    struct op *op = calloc(1, sizeof *op), *sync = calloc(1, sizeof *sync);
    if (!op || !sync)
        abort();
    op->kind = OP_SETUP;
    sync->kind = OP_SYNC;
    list_push(&pg->sent, op);
    list_push(&pg->sent, sync);
    if (!PQsendQueryParams(pg->conn, sql, 4, NULL, values, NULL, NULL, 0) ||
        !PQpipelineSync(pg->conn))
        lose_later(pg);
    else
        flush(pg);
}

static void connected(struct pg *pg)
{
    set_state(pg, CONN_SETTING_UP);
    pg->writing = event_new(pg->base, PQsocket(pg->conn), EV_WRITE, on_writable, pg);
    if (!pg->writing || PQsetnonblocking(pg->conn, 1) != 0 || !PQenterPipelineMode(pg->conn))
        abort();
    watch(pg, EV_READ | EV_PERSIST);
    send_setup(pg);
}

static void connect_poll(struct pg *pg)
{
    switch (PQconnectPoll(pg->conn)) {
    case PGRES_POLLING_READING:
        watch(pg, EV_READ);
        break;
    case PGRES_POLLING_WRITING:
        watch(pg, EV_WRITE);
        break;
    case PGRES_POLLING_OK:
        connected(pg);
        break;
    case PGRES_POLLING_FAILED:
    case PGRES_POLLING_ACTIVE: /* "unused; keep for backwards compatibility" */
        lose(pg, PQerrorMessage(pg->conn));
        break;
    }
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what;
    struct pg *pg = checked(arg);
    if (pg->state == CONN_WAITING)
        connect_start(pg);
    else
        lose(pg, "no answer to the connection in time");
}

static void set_up_done(struct pg *pg)
{
    set_state(pg, CONN_UP);
    event_del(pg->timer);
    pg->up_since_ms = clock_mono_ms();
    log_info(pg->prefix, "connected server=%d", PQserverVersion(pg->conn));
    pg->complained = false;
    if (pg->up)
        pg->up(pg->ctx);
}

/* --- results ---------------------------------------------------------------------------- */

/* True when r says that the server is ending the session. */
static bool is_fatal(const PGresult *r)
{
    const char *severity = PQresultErrorField(r, PG_DIAG_SEVERITY_NONLOCALIZED);
    return severity && (strcmp(severity, "FATAL") == 0 || strcmp(severity, "PANIC") == 0);
}

static void error_of(struct pg *pg, const PGresult *r, struct pg_error *e)
{
    switch (PQresultStatus(r)) {
    case PGRES_TUPLES_OK:
    case PGRES_COMMAND_OK:
    case PGRES_EMPTY_QUERY:
        e->failure = PG_OK;
        e->sqlstate[0] = e->text[0] = '\0';
        return;
    case PGRES_PIPELINE_ABORTED:
        *e = pg->unit_error;
        e->failure = PG_ABORTED;
        return;
    default: {
        const char *sqlstate = PQresultErrorField(r, PG_DIAG_SQLSTATE);
        const char *text = PQresultErrorField(r, PG_DIAG_MESSAGE_PRIMARY);
        set_error(e, is_fatal(r) ? PG_LOST : pg_failure_of(sqlstate), sqlstate,
                  text ? text : PQresultErrorMessage(r));
        if (pg->unit_error.failure == PG_OK)
            pg->unit_error = *e;
    }
    }
}

static void take_prepare(struct pg *pg, struct op *op, const struct pg_error *e)
{
    if (e->failure == PG_OK)
        return;
    map_take(pg->prepared, op->name, strlen(op->name));
    if (e->failure != PG_ABORTED)
        pg->parse_error = *e;
}

/* Gives the answer of the statement at the head.  It leaves the list before anybody is called:
 * a callback sends more. */
static void take_result(struct pg *pg, const PGresult *r)
{
    struct pg_error e;
    error_of(pg, r, &e);
    if (e.failure == PG_LOST || (e.failure != PG_OK && pg->sent.first->kind == OP_SETUP)) {
        lose(pg, e.text);
        return;
    }
    struct op *op = list_pop(&pg->sent);
    switch (op->kind) {
    case OP_PREPARE:
        take_prepare(pg, op, &e);
        break;
    case OP_SETUP:
        set_up_done(pg);
        break;
    case OP_STATEMENT:
        if (op->after_parse && pg->parse_error.failure != PG_OK) {
            e = pg->parse_error;
            pg->parse_error.failure = PG_OK;
        }
        answer(pg, op, r, &e);
        break;
    case OP_SYNC:
        break;
    }
    free(op);
}

static void take_sync(struct pg *pg)
{
    assert(pg->sent.first->kind == OP_SYNC);
    pg->unit_error.failure = PG_OK;
    free(list_pop(&pg->sent));
}

/* Each statement gives one result and a NULL behind it, a sync only its mark.  The NULL is
 * fetched at once (it never waits): libpq leaves it out when something is sent before. */
static void read_results(struct pg *pg)
{
    while (pg->state >= CONN_SETTING_UP && !pg->broken && pg->sent.first) {
        if (PQisBusy(pg->conn))
            return;
        PGresult *r = PQgetResult(pg->conn);
        if (!r) {
            lose(pg, "the server answers out of order");
            return;
        }
        if (PQresultStatus(r) == PGRES_PIPELINE_SYNC) {
            take_sync(pg);
        } else {
            PQclear(PQgetResult(pg->conn));
            take_result(pg, r);
        }
        PQclear(r);
    }
}

static void on_io(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what;
    struct pg *pg = checked(arg);
    if (pg->state == CONN_CONNECTING) {
        connect_poll(pg);
        return;
    }
    bool alive = PQconsumeInput(pg->conn) == 1;
    read_results(pg); /* what came before the end of the connection still counts */
    if (pg->state < CONN_SETTING_UP || pg->broken)
        return;
    if (!alive || PQstatus(pg->conn) == CONNECTION_BAD)
        lose(pg, PQerrorMessage(pg->conn));
    else if (!pg->sent.first)
        (void)PQisBusy(pg->conn); /* lets libpq take notices that came unasked */
}

static void on_writable(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what;
    flush(checked(arg));
}

/* --- the interface ---------------------------------------------------------------------- */

struct pg *pg_new(struct event_base *base, const struct pg_opts *opts)
{
    struct pg *pg = calloc(1, sizeof *pg);
    if (!pg || !(pg->url = strdup(opts->url)))
        abort();
    pg->magic = PG_MAGIC;
    pg->base = base;
    snprintf(pg->name, sizeof pg->name, "%s", opts->name);
    snprintf(pg->prefix, sizeof pg->prefix, "postgres name=%s", opts->name);
    pg->statement_timeout_ms = opts->statement_timeout_ms;
    pg->plans = opts->plans;
    pg->up = opts->up;
    pg->down = opts->down;
    pg->ctx = opts->ctx;
    pg->state = CONN_WAITING;
    pg->prepared = map_new();
    backoff_init(&pg->backoff, BACKOFF_MIN_MS, BACKOFF_MAX_MS);
    set_error(&pg->why, PG_LOST, NULL, "not connected yet");
    pg->timer = evtimer_new(base, on_timer, pg);
    pg->turn = event_new(base, -1, 0, on_turn, pg);
    if (!pg->timer || !pg->turn)
        abort();
    event_active(pg->timer, EV_TIMEOUT, 0);
    return pg;
}

void pg_free(struct pg **pgp)
{
    struct pg *pg = *pgp;
    if (!pg)
        return;
    assert(!pg->in_callback);
    set_error(&pg->why, PG_LOST, NULL, "shutting down");
    drop_connection(pg);
    set_state(pg, CONN_CLOSED);
    while (pg->lost.first)
        answer_lost(pg);
    event_free(pg->timer);
    event_free(pg->turn);
    map_free(&pg->prepared);
    free(pg->url);
    pg->magic = 0;
    free(pg);
    *pgp = NULL;
}

bool pg_is_up(const struct pg *pg)
{
    return pg->state == CONN_UP && !pg->broken;
}

size_t pg_in_flight(const struct pg *pg)
{
    return pg->sent.n;
}

static struct op *op_new(enum op_kind kind, pg_result_fn cb, void *ctx)
{
    struct op *op = calloc(1, sizeof *op);
    if (!op)
        abort();
    op->kind = kind;
    op->cb = cb;
    op->ctx = ctx;
    return op;
}

static void not_sent(struct pg *pg, struct op *op)
{
    list_push(&pg->lost, op);
    event_active(pg->turn, EV_TIMEOUT, 0);
}

/* Parses the statement on the server unless this connection has it; true when it was sent. */
static bool prepare(struct pg *pg, const struct pg_statement *st)
{
    size_t len = strlen(st->name);
    if (map_get(pg->prepared, st->name, len))
        return false;
    struct op *op = op_new(OP_PREPARE, NULL, NULL);
    op->name = st->name;
    map_put(pg->prepared, st->name, len, pg);
    list_push(&pg->sent, op);
    if (!PQsendPrepare(pg->conn, st->name, st->sql, 0, NULL))
        lose_later(pg);
    return true;
}

void pg_send(struct pg *pg, const struct pg_statement *st, const struct pg_params *params,
             pg_result_fn cb, void *ctx)
{
    struct op *op = op_new(OP_STATEMENT, cb, ctx);
    if (!pg_is_up(pg)) {
        not_sent(pg, op);
        return;
    }
    op->after_parse = prepare(pg, st);
    list_push(&pg->sent, op);
    int n = params ? params->n : 0;
    if (!pg->broken &&
        !PQsendQueryPrepared(pg->conn, st->name, n, n ? params->values : NULL,
                             n ? params->lengths : NULL, n ? params->formats : NULL, 1))
        lose_later(pg);
}

void pg_send_plain(struct pg *pg, const char *sql, pg_result_fn cb, void *ctx)
{
    struct op *op = op_new(OP_STATEMENT, cb, ctx);
    if (!pg_is_up(pg)) {
        not_sent(pg, op);
        return;
    }
    list_push(&pg->sent, op);
    if (!PQsendQueryParams(pg->conn, sql, 0, NULL, NULL, NULL, NULL, 1))
        lose_later(pg);
}

void pg_flush(struct pg *pg)
{
    if (!pg_is_up(pg))
        return;
    if (!PQsendFlushRequest(pg->conn))
        lose_later(pg);
    else
        flush(pg);
}

void pg_sync(struct pg *pg)
{
    if (!pg_is_up(pg))
        return;
    list_push(&pg->sent, op_new(OP_SYNC, NULL, NULL));
    if (!PQpipelineSync(pg->conn))
        lose_later(pg);
    else
        flush(pg);
}
