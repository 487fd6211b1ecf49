// SPDX-License-Identifier: Apache-2.0
#include "archive/mam_sql.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#include "archive/rows.h"
#include "base/buf.h"
#include "store/pg_array.h"

#define NAME_BYTES 24
#define TEXT_BYTES 4096

struct mam_sql {
    struct pg_statement statements[MAM_READS][MAM_FILTERS];
    char names[MAM_READS][MAM_FILTERS][NAME_BYTES];
    struct buf texts[MAM_READS][MAM_FILTERS];
};

/* $1 to $4 are owner, low, high, limit; the filters' parameters follow in the order of their
 * bits. */
#define WANTED                                                                                \
    "owner = $1::uuid AND id > $2::bigint AND id < $3::bigint"                                \
    " AND " ROW_SHOWN

static void add_parameter(struct buf *text, int number, const char *type)
{
    char parameter[32];
    (void)snprintf(parameter, sizeof parameter, "$%d::%s", number, type);
    buf_add_str(text, parameter);
}

/* The planner must not read all of an owner's rows to find a few ids among them: so each is
 * looked up by itself. */
static void add_each_of_ids(struct buf *text, int parameter)
{
    buf_add_str(text, "unnest(");
    add_parameter(text, parameter, "bigint[]");
    buf_add_str(text, ") AS wanted CROSS JOIN LATERAL (SELECT * FROM xs.message"
                      " WHERE owner = $1::uuid AND id = wanted LIMIT 1) AS message");
}

/* What is too much for a page is cut off before it is anywhere in memory. */
#define NOT_LARGE                                                                             \
    "SELECT id, CASE WHEN octet_length(stanza) <= %d THEN stanza END FROM (SELECT id, stanza" \
    " FROM "
#define ADDED_UP                                                                              \
    "SELECT id, CASE WHEN sum(octet_length(stanza)) OVER (ROWS UNBOUNDED PRECEDING)"          \
    " - octet_length(stanza) < %d THEN stanza END FROM (SELECT id, stanza FROM "

static void build(struct buf *text, enum mam_read read, unsigned filters)
{
    static const char *const order[] = {[MAM_UP] = " ORDER BY id",
                                        [MAM_DOWN] = " ORDER BY id DESC",
                                        [MAM_LARGE_UP] = " ORDER BY id",
                                        [MAM_LARGE_DOWN] = " ORDER BY id DESC",
                                        [MAM_COUNT] = ""};
    int parameter = 4;
    int peer = filters & MAM_BY_PEER ? ++parameter : 0;
    int ids = filters & MAM_BY_IDS ? ++parameter : 0;
    if (read == MAM_COUNT)
        buf_add_str(text, "SELECT count(*) FROM (SELECT 1 FROM ");
    else if (read == MAM_UP || read == MAM_DOWN)
        buf_addf(text, NOT_LARGE, MAM_LARGE_BYTES);
    else
        buf_addf(text, ADDED_UP, MAM_PAGE_BYTES);
    if (ids)
        add_each_of_ids(text, ids);
    else
        buf_add_str(text, "xs.message");
    buf_add_str(text, " WHERE " WANTED);
    if (peer) {
        buf_add_str(text, " AND peer = ");
        add_parameter(text, peer, "bigint");
    }
    buf_add_str(text, order[read]);
    buf_add_str(text, " LIMIT $4::int) AS page");
}

struct mam_sql *mam_sql_new(void)
{
    static const char *const what[] = {[MAM_UP] = "up",
                                       [MAM_DOWN] = "down",
                                       [MAM_LARGE_UP] = "large_up",
                                       [MAM_LARGE_DOWN] = "large_down",
                                       [MAM_COUNT] = "count"};
    struct mam_sql *s = calloc(1, sizeof *s);
    if (!s)
        abort();
    for (unsigned read = 0; read < MAM_READS; read++)
        for (unsigned filters = 0; filters < MAM_FILTERS; filters++) {
            struct buf *text = &s->texts[read][filters];
            char *name = s->names[read][filters];
            buf_init(text, TEXT_BYTES);
            build(text, (enum mam_read)read, filters);
            (void)snprintf(name, NAME_BYTES, "mam_%s_%u", what[read], filters);
            s->statements[read][filters] = (struct pg_statement){name, buf_cstr(text)};
        }
    return s;
}

void mam_sql_free(struct mam_sql **s)
{
    if (!*s)
        return;
    for (unsigned read = 0; read < MAM_READS; read++)
        for (unsigned filters = 0; filters < MAM_FILTERS; filters++)
            buf_deinit(&(*s)->texts[read][filters]);
    free(*s);
    *s = NULL;
}

const struct pg_statement *mam_sql(const struct mam_sql *s, enum mam_read read,
                                   const struct mam_selection *what,
                                   struct pg_params *params_out)
{
    assert(what->filters < MAM_FILTERS);
    pg_params_init(params_out);
    pg_add_uuid(params_out, what->owner);
    pg_add_i64(params_out, what->low);
    pg_add_i64(params_out, what->high);
    pg_add_i32(params_out, what->limit);
    if (what->filters & MAM_BY_PEER)
        pg_add_i64(params_out, what->peer);
    if (what->filters & MAM_BY_IDS)
        pg_add_array(params_out, what->ids);
    return &s->statements[read][what->filters];
}
