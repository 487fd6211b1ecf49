// SPDX-License-Identifier: Apache-2.0
#include "sidecar/cli_db.h"

#include <stdio.h>
#include <stdlib.h>
#include <sysexits.h>

#include <event2/event.h>

#include "base/log.h"
#include "config/config.h"
#include "store/migrate.h"

#define STATEMENT_TIMEOUT_MS 15000

struct cli_db {
    struct event_base *base;
    struct pg *pg;
    bool answered;
    bool good;
    char why[ERR_TEXT_BYTES];
    cli_rows_fn rows;
    void *rows_ctx;
};

/* What the connection logs is told by us. */
static void silent(void *ctx, enum log_level level, const char *line)
{
    (void)ctx;
    (void)level;
    (void)line;
}

static void settle(struct cli_db *db, bool good, const char *why)
{
    db->answered = true;
    db->good = good;
    (void)snprintf(db->why, sizeof db->why, "%s", why);
    (void)event_base_loopbreak(db->base);
}

static void on_up(void *ctx)
{
    settle(ctx, true, "");
}

static void on_down(void *ctx, const struct pg_error *why)
{
    settle(ctx, false, why->text);
}

static void on_answer(void *ctx, const struct pg_result *r, const struct pg_error *e)
{
    struct cli_db *db = ctx;
    if (r && db->rows)
        db->rows(db->rows_ctx, r);
    settle(db, r != NULL, r ? "" : e->text);
}

static void on_version(void *ctx, const struct pg_result *r, const struct pg_error *e)
{
    settle(ctx, migrate_check(r, e, NULL) == MIGRATE_OK,
           migrate_advice(migrate_check(r, e, NULL)));
}

static bool wait_for_it(struct cli_db *db)
{
    while (!db->answered)
        if (event_base_loop(db->base, EVLOOP_ONCE) != 0)
            break;
    if (!db->good)
        (void)fprintf(stderr, "xmpp-sidecar: database: %s\n", db->why);
    return db->good;
}

struct cli_db *cli_db_open(const struct cli *c, int *status_out)
{
    struct config *config = cli_load(c);
    *status_out = EX_CONFIG;
    if (!config)
        return NULL;
    struct cli_db *db = calloc(1, sizeof *db);
    if (!db || !(db->base = event_base_new()))
        abort();
    log_set_sink(silent, NULL);
    const struct pg_opts opts = {.url = config->store.url,
                                 .name = "command",
                                 .statement_timeout_ms = STATEMENT_TIMEOUT_MS,
                                 .up = on_up,
                                 .down = on_down,
                                 .ctx = db};
    db->pg = pg_new(db->base, &opts);
    config_free(&config);
    *status_out = EX_TEMPFAIL;
    bool good = wait_for_it(db);
    if (good) {
        db->answered = false;
        pg_send(db->pg, &migrate_check_statement, NULL, on_version, db);
        pg_sync(db->pg);
        good = wait_for_it(db);
    }
    if (!good)
        cli_db_close(&db);
    return db;
}

void cli_db_close(struct cli_db **dbp)
{
    struct cli_db *db = *dbp;
    *dbp = NULL;
    if (!db)
        return;
    pg_free(&db->pg);
    event_base_free(db->base);
    free(db);
}

bool cli_db_ask(struct cli_db *db, const struct pg_statement *st, const struct pg_params *p,
                cli_rows_fn rows, void *ctx)
{
    db->answered = false;
    db->rows = rows;
    db->rows_ctx = ctx;
    pg_send(db->pg, st, p, on_answer, db);
    pg_sync(db->pg);
    return wait_for_it(db);
}
