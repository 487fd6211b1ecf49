// SPDX-License-Identifier: Apache-2.0
/* PostgreSQL for the commands of the command line: one connection, one question at a time. */
#ifndef SIDECAR_CLI_DB_H
#define SIDECAR_CLI_DB_H

#include <stdbool.h>

#include "sidecar/cli.h"
#include "store/pg.h"

struct cli_db;

/* Connected, and the schema is the program's own; else NULL after telling why on standard
 * error, with the exit status. */
struct cli_db *cli_db_open(const struct cli *c, int *status_out);
void cli_db_close(struct cli_db **db);

typedef void (*cli_rows_fn)(void *ctx, const struct pg_result *r);
/* Asks, and shows the answer to rows (may be NULL) before it returns.  False, after telling
 * why, when there was none. */
bool cli_db_ask(struct cli_db *db, const struct pg_statement *st, const struct pg_params *p,
                cli_rows_fn rows, void *ctx);

#endif
