// SPDX-License-Identifier: Apache-2.0
#include "store/migrate.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <libpq-fe.h>

#include "base/crypt.h"
#include "base/log.h"
#include "store/pg.h"

/* Whoever migrates this schema holds this advisory lock; the number only has to be ours. */
#define LOCK "SELECT pg_advisory_lock(7853000113632849)"
#define KEY_BYTES_MAX 32

int migrate_latest(void)
{
    return migrations[migrations_n - 1].number;
}

static void ignore_notice(void *arg, const PGresult *r)
{
    (void)arg, (void)r;
}

/* What the failure asks of the caller: a person for schema and rights, patience otherwise. */
static enum err_kind explain(const PGresult *r, const char *doing, struct err *e)
{
    const char *state = PQresultErrorField(r, PG_DIAG_SQLSTATE);
    const char *text = PQresultErrorField(r, PG_DIAG_MESSAGE_PRIMARY);
    enum err_kind kind = ERR_RETRY;
    switch (pg_failure_of(state)) {
    case PG_DATA:
    case PG_SCHEMA:
        kind = ERR_CONFIG;
        break;
    case PG_OK:
    case PG_LOST:
    case PG_ABORTED:
    case PG_CONFLICT:
    case PG_RESOURCE:
    case PG_GUARD:
    case PG_OTHER:
        break;
    }
    return err_set(e, kind, "%s: %s (SQLSTATE %s)", doing,
                   text ? text : PQresultErrorMessage(r), state ? state : "none");
}

/* Runs one or more statements without results of interest. */
static enum err_kind run(PGconn *c, const char *sql, const char *doing, struct err *e)
{
    PGresult *r = PQexec(c, sql);
    ExecStatusType status = PQresultStatus(r);
    enum err_kind kind = ERR_NONE;
    if (status != PGRES_COMMAND_OK && status != PGRES_TUPLES_OK)
        kind = explain(r, doing, e);
    PQclear(r);
    return kind;
}

static enum err_kind ask_int(PGconn *c, const char *sql, int *out, struct err *e)
{
    PGresult *r = PQexec(c, sql);
    enum err_kind kind = ERR_NONE;
    if (PQresultStatus(r) != PGRES_TUPLES_OK)
        kind = explain(r, "looking at the schema", e);
    else
        *out = PQntuples(r) ? (int)strtol(PQgetvalue(r, 0, 0), NULL, 10) : 0;
    PQclear(r);
    return kind;
}

/* The schema may have been made by somebody with more rights than we have. */
static enum err_kind make_version_table(PGconn *c, struct err *e)
{
    return run(c,
               "DO $$ BEGIN"
               " IF to_regnamespace('xs') IS NULL THEN CREATE SCHEMA xs; END IF;"
               " IF to_regclass('xs.schema_version') IS NULL THEN"
               "  CREATE TABLE xs.schema_version (number int PRIMARY KEY, name text NOT NULL,"
               "   applied_at timestamptz NOT NULL DEFAULT now());"
               " END IF; END $$",
               "making the schema xs", e);
}

static enum err_kind insert_setting(PGconn *c, const char *name, const char *value,
                                    struct err *e)
{
    const char *values[] = {name, value};
    PGresult *r = PQexecParams(c,
                               "INSERT INTO xs.setting (name, value) VALUES ($1, $2)"
                               " ON CONFLICT (name) DO NOTHING",
                               2, NULL, values, NULL, NULL, 0);
    enum err_kind kind = ERR_NONE;
    if (PQresultStatus(r) != PGRES_COMMAND_OK)
        kind = explain(r, "storing the keys", e);
    PQclear(r);
    return kind;
}

/* The secrets behind owners, hashes and archive ids.  Made once: with other keys every row
 * would belong to nobody. */
static enum err_kind insert_keys(PGconn *c, struct err *e)
{
    static const struct {
        const char *name;
        size_t bytes;
    } keys[] = {{"key.owner", 32}, {"key.hash", 16}, {"key.archive", 16}};
    enum err_kind kind = ERR_NONE;
    for (size_t i = 0; i < sizeof keys / sizeof *keys && kind == ERR_NONE; i++) {
        uint8_t raw[KEY_BYTES_MAX];
        char hex[2 * KEY_BYTES_MAX + 1];
        crypt_random(raw, keys[i].bytes);
        for (size_t b = 0; b < keys[i].bytes; b++)
            snprintf(hex + 2 * b, 3, "%02x", raw[b]);
        kind = insert_setting(c, keys[i].name, hex, e);
    }
    return kind;
}

/* One transaction each: after a failure the schema is that of the migration before. */
static enum err_kind apply(PGconn *c, const struct migration *m, struct err *e)
{
    char doing[96], number[16];
    snprintf(doing, sizeof doing, "migration %d (%s)", m->number, m->name);
    snprintf(number, sizeof number, "%d", m->number);
    enum err_kind kind = run(c, "BEGIN", doing, e);
    if (kind == ERR_NONE)
        kind = run(c, m->sql, doing, e);
    if (kind == ERR_NONE && m->number == 1)
        kind = insert_keys(c, e);
    if (kind != ERR_NONE)
        return kind;
    const char *values[] = {number, m->name};
    PGresult *r =
        PQexecParams(c, "INSERT INTO xs.schema_version (number, name) VALUES ($1, $2)", 2,
                     NULL, values, NULL, NULL, 0);
    if (PQresultStatus(r) != PGRES_COMMAND_OK)
        kind = explain(r, doing, e);
    PQclear(r);
    if (kind == ERR_NONE)
        kind = run(c, "COMMIT", doing, e);
    if (kind == ERR_NONE)
        log_info("migrate", "applied number=%d name=%s", m->number, m->name);
    return kind;
}

static enum err_kind migrate_connected(PGconn *c, int *from_out, int *to_out, struct err *e)
{
    int stored = 0;
    enum err_kind kind = run(c, "SET search_path = ''; SET TimeZone = 'UTC'", "setting up", e);
    if (kind == ERR_NONE)
        kind = run(c, LOCK, "waiting for another migration", e);
    if (kind == ERR_NONE)
        kind = make_version_table(c, e);
    if (kind == ERR_NONE)
        kind =
            ask_int(c, "SELECT coalesce(max(number), 0) FROM xs.schema_version", &stored, e);
    if (kind != ERR_NONE)
        return kind;
    if (from_out)
        *from_out = stored;
    if (stored > migrate_latest())
        return err_set(e, ERR_CONFIG, "the schema has version %d, this program knows up to %d",
                       stored, migrate_latest());
    for (size_t i = 0; i < migrations_n && kind == ERR_NONE; i++)
        if (migrations[i].number > stored)
            kind = apply(c, &migrations[i], e);
    if (kind == ERR_NONE)
        kind = run(c, "SELECT xs.ensure_partitions(2)", "making partitions", e);
    if (kind == ERR_NONE && to_out)
        *to_out = migrate_latest();
    return kind;
}

enum err_kind migrate_run(const char *url, int *from_out, int *to_out, struct err *e)
{
    const char *keys[] = {"dbname", "application_name", "client_encoding", "connect_timeout",
                          NULL};
    const char *values[] = {url, "xmpp-sidecar migrate", "UTF8", "10", NULL};
    PGconn *c = PQconnectdbParams(keys, values, 1);
    if (!c)
        abort();
    enum err_kind kind;
    if (PQstatus(c) == CONNECTION_OK) {
        PQsetNoticeReceiver(c, ignore_notice, NULL);
        kind = migrate_connected(c, from_out, to_out, e);
    } else {
        kind = err_set(e, ERR_RETRY, "cannot connect: %s", PQerrorMessage(c));
        for (char *at = e ? e->text : NULL; at && *at; at++)
            if (*at == '\n')
                *at = at[1] ? ' ' : '\0';
    }
    PQfinish(c);
    return kind;
}

const struct pg_statement migrate_check_statement = {
    "migrate_check", "SELECT coalesce(max(number), 0)::int FROM xs.schema_version"};

enum migrate_state migrate_check(const struct pg_result *r, const struct pg_error *e,
                                 int *stored_out)
{
    if (stored_out)
        *stored_out = 0;
    if (!r) /* 42P01: no such table, 3F000: no such schema */
        return strcmp(e->sqlstate, "42P01") == 0 || strcmp(e->sqlstate, "3F000") == 0
                   ? MIGRATE_NONE
                   : MIGRATE_UNKNOWN;
    int stored = (int)pg_i64(r, 0, 0);
    if (stored_out)
        *stored_out = stored;
    if (stored == 0)
        return MIGRATE_NONE;
    if (stored < migrate_latest())
        return MIGRATE_OLDER;
    return stored > migrate_latest() ? MIGRATE_NEWER : MIGRATE_OK;
}

const char *migrate_advice(enum migrate_state s)
{
    switch (s) {
    case MIGRATE_OK:
        return "";
    case MIGRATE_NONE:
        return "the database has no schema yet: run `xmpp-sidecar migrate`, or set "
               "database.migrate: true";
    case MIGRATE_OLDER:
        return "the schema is older than this program: run `xmpp-sidecar migrate`, or set "
               "database.migrate: true";
    case MIGRATE_NEWER:
        return "the schema is newer than this program: install the newer xmpp-sidecar again";
    case MIGRATE_UNKNOWN:
        return "the schema's version could not be asked";
    }
    return "?";
}
