// SPDX-License-Identifier: Apache-2.0
/*
 * The schema by numbered migrations, which travel inside the program.  Each runs in one
 * transaction; several that start at once wait for each other.
 */
#ifndef STORE_MIGRATE_H
#define STORE_MIGRATE_H

#include <stddef.h>

#include "base/err.h"

struct pg_error;
struct pg_result;
struct pg_statement;

struct migration {
    int number;
    const char *name;
    const char *sql;
};

/* Made from store/schema/NNN_name.sql at build time, in order of number. */
extern const struct migration migrations[];
extern const size_t migrations_n;

int migrate_latest(void);

/* Blocks until the schema is the latest.  CONFIG when the database refuses us or has a newer
 * schema, RETRY when it cannot be reached.  from_out and to_out may be NULL. */
MUST_CHECK enum err_kind migrate_run(const char *url, int *from_out, int *to_out,
                                     struct err *e);

enum migrate_state {
    MIGRATE_OK,
    MIGRATE_NONE,    /* no schema of ours */
    MIGRATE_OLDER,   /* `xmpp-sidecar migrate` is needed */
    MIGRATE_NEWER,   /* a newer program has been here */
    MIGRATE_UNKNOWN, /* could not be asked */
};
/* Ask with this (no parameters); pass the answer on. */
extern const struct pg_statement migrate_check_statement;
enum migrate_state migrate_check(const struct pg_result *r, const struct pg_error *e,
                                 int *stored_out);
/* What to tell a person, "" for MIGRATE_OK. */
const char *migrate_advice(enum migrate_state s);

#endif
