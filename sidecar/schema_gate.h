// SPDX-License-Identifier: Apache-2.0
/*
 * Stands between the worker and PostgreSQL until the schema is the one this program was built
 * for: asks, migrates when the settings allow it (in a child process, so that nobody waits),
 * asks again.  It promises to keep trying and to tell a person what to do.
 */
#ifndef SIDECAR_SCHEMA_GATE_H
#define SIDECAR_SCHEMA_GATE_H

#include <stdbool.h>

struct event_base;
struct pg_pool;
struct schema_gate;

enum schema_state {
    SCHEMA_UNKNOWN, /* PostgreSQL has not answered yet */
    SCHEMA_MIGRATING,
    SCHEMA_REFUSED, /* none, older or newer: a person has to act */
    SCHEMA_GOOD,
};

struct schema_gate_opts {
    struct pg_pool *pool;    /* borrowed */
    bool migrate;            /* database.migrate */
    const char *config_file; /* for the child; borrowed */
    void (*good)(void *ctx); /* once */
    void *ctx;
};

/* Starts asking.  Never NULL. */
struct schema_gate *schema_gate_new(struct event_base *base,
                                    const struct schema_gate_opts *opts);
void schema_gate_free(struct schema_gate **g); /* before the pool */
enum schema_state schema_gate_state(const struct schema_gate *g);
/* What to tell a person; "" when all is well. */
const char *schema_gate_advice(const struct schema_gate *g);

#endif
