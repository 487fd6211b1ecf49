// SPDX-License-Identifier: Apache-2.0
/* For tests that need PostgreSQL: a blocking connection beside the one that is tested. */
#ifndef TESTS_UNIT_DATABASE_H
#define TESTS_UNIT_DATABASE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include <event2/event.h>
#include <libpq-fe.h>

#include "base/log.h"
#include "store/migrate.h"

static PGconn *db;

static inline const char *db_url(void)
{
    return getenv("SIDECAR_TEST_DATABASE");
}

static inline void db_quiet(void *ctx, const PGresult *r)
{
    (void)ctx, (void)r;
}

static inline void db_silent(void *ctx, enum log_level level, const char *line)
{
    (void)ctx, (void)level, (void)line;
}

/* The first value of the first row, NULL when there is none; good until the next call. */
static inline const char *db_ask(const char *sql)
{
    static char value[4096];
    PGresult *r = PQexec(db, sql);
    ExecStatusType status = PQresultStatus(r);
    if (status != PGRES_TUPLES_OK && status != PGRES_COMMAND_OK)
        fail_msg("%s: %s", sql, PQerrorMessage(db));
    bool has = status == PGRES_TUPLES_OK && PQntuples(r) > 0 && !PQgetisnull(r, 0, 0);
    if (has)
        snprintf(value, sizeof value, "%s", PQgetvalue(r, 0, 0));
    PQclear(r);
    return has ? value : NULL;
}

static inline void db_do(const char *sql)
{
    (void)db_ask(sql);
}

static inline long long db_int(const char *sql)
{
    const char *value = db_ask(sql);
    return value ? strtoll(value, NULL, 10) : 0;
}

/* Leaves the database for that one of the same cluster. */
static inline bool db_connect(const char *name)
{
    const char *const keys[] = {"dbname", "dbname", NULL}, *values[] = {db_url(), name, NULL};
    PQfinish(db);
    db = PQconnectdbParams(keys, values, true);
    PQsetNoticeReceiver(db, db_quiet, NULL);
    if (PQstatus(db) != CONNECTION_OK)
        return false;
    /* Whoever holds the lock cannot go on while the test waits for it: fail rather than hang.
     */
    db_do("SET lock_timeout = '60s'");
    return true;
}

/* A group's set-up: without a database the whole program is skipped, and says so. */
static inline int db_open(void **state)
{
    (void)state;
    if (!db_url()) {
        fprintf(stderr, "SIDECAR_TEST_DATABASE is not set: run it with tests/unit/run.sh\n");
        return -1;
    }
    if (!getenv("SIDECAR_TEST_LOG"))
        log_set_sink(db_silent, NULL);
    return db_connect(NULL) ? 0 : -1;
}

static inline int db_close(void **state)
{
    (void)state;
    PQfinish(db);
    db = NULL;
    return 0;
}

static inline void db_drop(void)
{
    db_do("DROP SCHEMA IF EXISTS xs CASCADE");
}

/* As the migrations make it.  They run once for each program, and what they made is copied. */
static inline void db_fresh(void)
{
    static bool made;
    char name[64], made_name[80], sql[512];
    struct err e = {0};
    snprintf(name, sizeof name, "%s", PQdb(db));
    snprintf(made_name, sizeof made_name, "%s_made", name);
    if (!made) {
        db_drop();
        if (migrate_run(db_url(), NULL, NULL, &e) != ERR_NONE)
            fail_msg("migrate: %s", e.text);
    }
    const char *from = made ? made_name : name, *to = made ? name : made_name;
    if (!db_connect("postgres"))
        fail_msg("%s", PQerrorMessage(db));
    snprintf(sql, sizeof sql, "DROP DATABASE IF EXISTS \"%s\" WITH (FORCE)", to);
    db_do(sql);
    snprintf(sql, sizeof sql, "CREATE DATABASE \"%s\" TEMPLATE \"%s\" STRATEGY file_copy", to,
             from);
    db_do(sql);
    if (!db_connect(name))
        fail_msg("%s", PQerrorMessage(db));
    made = true;
}

/* Ends every other session of this database, as a failover would. */
static inline void db_end_sessions(void)
{
    db_do("SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
          " WHERE datname = current_database() AND pid <> pg_backend_pid()");
}

/* How many sessions of this database call themselves so, as LIKE has it. */
static inline long long db_sessions(const char *name)
{
    char sql[256];
    snprintf(sql, sizeof sql,
             "SELECT count(*) FROM pg_stat_activity"
             " WHERE datname = current_database() AND application_name LIKE '%s'",
             name);
    return db_int(sql);
}

static inline int64_t db_now_ms(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

/* Runs the loop until done(ctx), a minute at most. */
static inline void db_loop(struct event_base *base, bool (*done)(void *), void *ctx)
{
    int64_t end = db_now_ms() + 60000;
    struct timeval tick = {0, 20000};
    while (!done(ctx)) {
        if (db_now_ms() > end)
            fail_msg("it did not happen in time");
        event_base_loopexit(base, &tick);
        event_base_loop(base, EVLOOP_ONCE);
    }
}

/* Until nobody but the test has a session: what it did is then in the statistics. */
static inline void db_wait_sessions_gone(void)
{
    int64_t end = db_now_ms() + 60000;
    while (db_sessions("xmpp-sidecar%") > 0)
        assert_true(db_now_ms() < end);
}

#endif
