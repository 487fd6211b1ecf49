// SPDX-License-Identifier: Apache-2.0
/* One account's names and a connection, for the commands that are about one account. */
#ifndef SIDECAR_CLI_ACCOUNT_H
#define SIDECAR_CLI_ACCOUNT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "archive/ident.h"
#include "base/jid.h"
#include "sidecar/cli_db.h"

/* "--flag", or "--name VALUE" where value is not NULL. */
struct cli_option {
    const char *name;
    bool *flag;
    const char **value;
};

/* Options in any place, and from words_min to words_max other words; false, after telling what
 * is wrong, when they are not that.  options end with a NULL name; words that are missing are
 * NULL. */
bool cli_arguments(const struct cli *c, const struct cli_option *options, size_t words_min,
                   size_t words_max, const char **words);

struct cli_account {
    struct cli_db *db;
    struct ident *ident;
    struct jid jid;
    uint8_t owner[OWNER_BYTES];
};

/* Opens the database and reads the keys.  With a jid (NULL: none is meant) the account must be
 * known to the archive.  EX_OK, or the exit status after telling why not; close it either
 * way. */
int cli_account_open(const struct cli *c, const char *jid, struct cli_account *out);
void cli_account_close(struct cli_account *a);

#endif
