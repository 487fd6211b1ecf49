// SPDX-License-Identifier: Apache-2.0
#include "store/pg.h"

#include <string.h>

struct row {
    const char *prefix; /* a whole SQLSTATE or its first two characters */
    enum pg_failure failure;
};

/* The first row that matches decides, so whole states stand before their class. */
static const struct row table[] = {
    {"25P02", PG_ABORTED},
    {"25P03", PG_LOST}, /* idle in transaction for too long: the session was ended */
    /* Read-only: a standby, or a primary that was made one.  Only a new connection finds
     * out where, or that, it may write again. */
    {"25006", PG_LOST},
    {"26000", PG_CONFLICT}, /* a prepared statement is gone: it is prepared anew */
    {"40001", PG_CONFLICT},
    {"40P01", PG_CONFLICT},
    {"40002", PG_DATA},
    {"40", PG_CONFLICT},
    {"55P03", PG_CONFLICT},
    {"57014", PG_CONFLICT}, /* statement timeout, or cancelled by a person */
    {"22", PG_DATA},
    {"23", PG_DATA},
    {"54", PG_DATA},
    {"08", PG_RESOURCE},
    {"53", PG_RESOURCE},
    {"57", PG_RESOURCE},
    {"58", PG_RESOURCE},
    {"0A", PG_SCHEMA},
    {"28", PG_SCHEMA},
    {"3D", PG_SCHEMA},
    {"3F", PG_SCHEMA},
    {"42", PG_SCHEMA},
};

enum pg_failure pg_failure_of(const char *sqlstate)
{
    if (!sqlstate || !*sqlstate)
        return PG_LOST; /* libpq's own words: there was no answer of the server */
    for (size_t i = 0; i < sizeof table / sizeof *table; i++)
        if (strncmp(sqlstate, table[i].prefix, strlen(table[i].prefix)) == 0)
            return table[i].failure;
    return PG_OTHER;
}

const char *pg_failure_name(enum pg_failure f)
{
    switch (f) {
    case PG_OK:
        return "ok";
    case PG_LOST:
        return "lost";
    case PG_ABORTED:
        return "aborted";
    case PG_DATA:
        return "data";
    case PG_CONFLICT:
        return "conflict";
    case PG_RESOURCE:
        return "resource";
    case PG_GUARD:
        return "guard";
    case PG_SCHEMA:
        return "schema";
    case PG_OTHER:
        return "other";
    }
    return "?";
}
