// SPDX-License-Identifier: Apache-2.0
#include "sidecar/schema_gate.h"

#include <assert.h>
#include <errno.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <event2/event.h>

#include "base/log.h"
#include "store/migrate.h"
#include "store/pg.h"

#define ASK_AGAIN_MS 500   /* while PostgreSQL is away: it is cheap to ask */
#define NOT_UP_AGAIN_MS 50 /* asking a pool that is not connected costs nothing */
#define REFUSED_AGAIN_S 10 /* after a person had to be told */
#define PREFIX "database"

extern char **environ;

struct schema_gate {
    struct schema_gate_opts opts;
    enum schema_state state;
    enum migrate_state found;
    struct event *again;
    struct event *child_event;
    pid_t child;
    bool asking; /* a question is at the pool, which answers before it is freed */
    bool freed;
};

static void ask(struct schema_gate *g);

static void ask_later(struct schema_gate *g, long ms)
{
    struct timeval tv = {ms / 1000, ms % 1000 * 1000};
    (void)event_add(g->again, &tv);
}

static void refuse(struct schema_gate *g, enum migrate_state found)
{
    if (g->state != SCHEMA_REFUSED || g->found != found)
        log_error(PREFIX, "%s; messages wait in the spool", migrate_advice(found));
    g->state = SCHEMA_REFUSED;
    g->found = found;
    ask_later(g, REFUSED_AGAIN_S * 1000);
}

static void start_migration(struct schema_gate *g)
{
    char program[] = "/proc/self/exe", dash_c[] = "-c", command[] = "migrate";
    char *file = strdup(g->opts.config_file);
    if (!file)
        abort();
    char *argv[] = {program, dash_c, file, command, NULL};
    int rc = posix_spawn(&g->child, program, NULL, NULL, argv, environ);
    free(file);
    if (rc != 0) {
        log_error(PREFIX, "cannot start the migration: %s", strerror(rc));
        g->child = 0;
        refuse(g, MIGRATE_OLDER);
        return;
    }
    log_info(PREFIX, "migrating the schema pid=%d", (int)g->child);
    g->state = SCHEMA_MIGRATING;
}

static void on_child(evutil_socket_t sig, short what, void *ctx)
{
    struct schema_gate *g = ctx;
    (void)sig;
    (void)what;
    int status;
    if (g->child == 0 || waitpid(g->child, &status, WNOHANG) != g->child)
        return;
    g->child = 0;
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
        log_info(PREFIX, "the schema is migrated");
    else
        log_error(PREFIX, "the migration failed status=%d", status);
    bool failed = !WIFEXITED(status) || WEXITSTATUS(status) != 0;
    ask_later(g, failed ? REFUSED_AGAIN_S * 1000 : 0);
}

static void on_answer(void *ctx, const struct pg_result *r, const struct pg_error *e)
{
    struct schema_gate *g = ctx;
    g->asking = false;
    if (g->freed) {
        free(g);
        return;
    }
    int stored = 0;
    enum migrate_state found = migrate_check(r, e, &stored);
    switch (found) {
    case MIGRATE_UNKNOWN:
        ask_later(g, pg_pool_is_up(g->opts.pool) ? ASK_AGAIN_MS : NOT_UP_AGAIN_MS);
        return;
    case MIGRATE_OK:
        g->state = SCHEMA_GOOD;
        log_info(PREFIX, "the schema is version %d", stored);
        g->opts.good(g->opts.ctx);
        return;
    case MIGRATE_NONE:
    case MIGRATE_OLDER:
        if (g->opts.migrate)
            start_migration(g);
        else
            refuse(g, found);
        return;
    case MIGRATE_NEWER:
        refuse(g, found);
        return;
    }
}

static void ask(struct schema_gate *g)
{
    struct pg_params none;
    pg_params_init(&none);
    g->asking = true;
    pg_pool_send(g->opts.pool, &migrate_check_statement, &none, on_answer, g);
}

static void on_again(evutil_socket_t fd, short what, void *ctx)
{
    (void)fd;
    (void)what;
    ask(ctx);
}

struct schema_gate *schema_gate_new(struct event_base *base,
                                    const struct schema_gate_opts *opts)
{
    struct schema_gate *g = calloc(1, sizeof *g);
    if (!g)
        abort();
    g->opts = *opts;
    g->again = evtimer_new(base, on_again, g);
    g->child_event = evsignal_new(base, SIGCHLD, on_child, g);
    if (!g->again || !g->child_event || event_add(g->child_event, NULL) != 0)
        abort();
    ask_later(g, 0);
    return g;
}

void schema_gate_free(struct schema_gate **gp)
{
    struct schema_gate *g = *gp;
    *gp = NULL;
    if (!g)
        return;
    event_free(g->again);
    event_free(g->child_event);
    g->freed = true;
    if (!g->asking)
        free(g);
}

enum schema_state schema_gate_state(const struct schema_gate *g)
{
    return g->state;
}

const char *schema_gate_advice(const struct schema_gate *g)
{
    return g->state == SCHEMA_REFUSED ? migrate_advice(g->found) : "";
}
