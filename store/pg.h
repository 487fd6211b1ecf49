// SPDX-License-Identifier: Apache-2.0
/*
 * One connection to PostgreSQL in pipeline mode, driven by the event loop: statements are sent
 * without waiting, each gets exactly one answer, in order.  It reconnects by itself with
 * back-off; what was unanswered when a connection died is answered with PG_LOST.  It knows no
 * table.
 */
#ifndef STORE_PG_H
#define STORE_PG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

struct event_base;
struct pg;
struct pg_result;

/* Which sort of failure, from the SQLSTATE: what may be tried again, and how. */
enum pg_failure {
    PG_OK = 0,
    PG_LOST,     /* not connected, lost before the answer (outcome unknown), or read-only */
    PG_ABORTED,  /* an earlier statement of the same unit failed; text and state are its */
    PG_DATA,     /* classes 22, 23, 54: this data never will go in */
    PG_CONFLICT, /* 40001, 40P01, 55P03, 57014: the same again may work */
    PG_RESOURCE, /* 53, 57P0x, 58: the server is in trouble */
    PG_GUARD,    /* another worker has moved the position; found by the caller */
    PG_SCHEMA,   /* 42, 3F, 28: not our schema, or not allowed */
    PG_OTHER,    /* an unknown SQLSTATE */
};

struct pg_error {
    enum pg_failure failure;
    char sqlstate[6];
    char text[ERR_TEXT_BYTES]; /* primary message only: details may quote users' data */
};

/* The sort of an SQLSTATE; unknown ones are PG_OTHER. */
enum pg_failure pg_failure_of(const char *sqlstate);
const char *pg_failure_name(enum pg_failure f);

/* r is NULL when e->failure != PG_OK; both are borrowed for the call.  Never called before the
 * function that took it has returned. */
typedef void (*pg_result_fn)(void *ctx, const struct pg_result *r, const struct pg_error *e);

enum pg_plans {
    PG_PLANS_AUTO,
    PG_PLANS_GENERIC, /* the writer's: made once */
    /* For pages: made once, they read rows in the order of an index, and neither gather nor
     * sort all of them first, whatever the statistics say of the average owner. */
    PG_PLANS_IN_INDEX_ORDER,
};

struct pg_opts {
    const char *url;  /* anything libpq takes */
    const char *name; /* for logs and application_name: "lane-1", "reader-2" */
    int64_t statement_timeout_ms;
    enum pg_plans plans;
    void (*up)(void *ctx); /* connected and set up; may be NULL */
    void (*down)(void *ctx, const struct pg_error *why); /* lost or not reached; may be NULL */
    void *ctx;
};

/* Starts connecting at once.  Never NULL. */
struct pg *pg_new(struct event_base *base, const struct pg_opts *opts);
void pg_free(struct pg **pg); /* answers what is open with PG_LOST first */
bool pg_is_up(const struct pg *pg);
size_t pg_in_flight(const struct pg *pg);

/* A statement is prepared on a connection the first time it is used there.  Parameters' types
 * come from casts in the SQL ($1::bigint); results come in binary. */
struct pg_statement {
    const char *name; /* unique, short */
    const char *sql;
};

#define PG_PARAMS_MAX 24

/* Parameters; the add functions copy scalars and borrow everything else until pg_send returns.
 */
struct pg_params {
    int n;
    const char *values[PG_PARAMS_MAX];
    int lengths[PG_PARAMS_MAX];
    int formats[PG_PARAMS_MAX];
    uint8_t scratch[PG_PARAMS_MAX][16];
};

void pg_params_init(struct pg_params *p);
void pg_add_null(struct pg_params *p);
void pg_add_i64(struct pg_params *p, int64_t v); /* for $n::bigint */
void pg_add_i32(struct pg_params *p, int32_t v); /* for $n::int */
void pg_add_bool(struct pg_params *p, bool v);
void pg_add_text(struct pg_params *p, const char *v);              /* NULL allowed */
void pg_add_bytes(struct pg_params *p, const void *v, size_t len); /* bytea */
void pg_add_uuid(struct pg_params *p, const uint8_t v[16]);        /* borrowed like bytes */
/* A finished array, see store/pg_array.h. */
struct pg_array;
void pg_add_array(struct pg_params *p, const struct pg_array *a);

/* Queues one statement; cb (may be NULL) is called exactly once. */
void pg_send(struct pg *pg, const struct pg_statement *st, const struct pg_params *params,
             pg_result_fn cb, void *ctx);
/* Plain statements without parameters: BEGIN, COMMIT, SET LOCAL. */
void pg_send_plain(struct pg *pg, const char *sql, pg_result_fn cb, void *ctx);
/* Asks for the results of what was sent so far, without ending the unit. */
void pg_flush(struct pg *pg);
/* Ends a unit: after an error, statements up to here are PG_ABORTED, those after it run.
 * A unit without BEGIN is one implicit transaction. */
void pg_sync(struct pg *pg);

/* Reading a result: row from 0, column from 0; types must be what the SQL gives. */
int pg_rows(const struct pg_result *r);
int64_t pg_affected(const struct pg_result *r);
bool pg_is_null(const struct pg_result *r, int row, int col);
int64_t pg_i64(const struct pg_result *r, int row, int col); /* int2, int4, int8; 0 for NULL */
bool pg_bool(const struct pg_result *r, int row, int col);
const char *pg_text(const struct pg_result *r, int row, int col); /* "" for NULL */
const uint8_t *pg_bytes(const struct pg_result *r, int row, int col, size_t *len_out);
void pg_uuid(const struct pg_result *r, int row, int col, uint8_t out[16]);
/* timestamptz as microseconds since 1970 UTC; 0 for NULL. */
int64_t pg_time_us(const struct pg_result *r, int row, int col);

/* A few connections for single statements, each its own transaction: the least busy one that
 * is up takes it; with none up the answer is PG_LOST on the next loop turn. */
struct pg_pool;
struct pg_pool *pg_pool_new(struct event_base *base, const struct pg_opts *opts, unsigned n);
void pg_pool_free(struct pg_pool **pool);
bool pg_pool_is_up(const struct pg_pool *pool);
void pg_pool_send(struct pg_pool *pool, const struct pg_statement *st,
                  const struct pg_params *params, pg_result_fn cb, void *ctx);

#endif
