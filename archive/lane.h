// SPDX-License-Identifier: Apache-2.0
/*
 * One batch of one lane as one transaction on one connection: lock the lane, guard the place,
 * look for copies and read what is stored; then write rows, conversations, accounts and flags,
 * let others add their statements, commit.  It tells how that ended and decides nothing.
 */
#ifndef ARCHIVE_LANE_H
#define ARCHIVE_LANE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "archive/ingest.h"
#include "store/pg.h"

struct known;
struct lane_writer;
struct op;
struct prefs_cache;
struct recent;
struct early;

struct lane_job {
    unsigned lane;
    struct op *ops;
    size_t n; /* 0: only the place moves */
    /* For each spool: what is stored, and what shall be when the job is committed. */
    const uint64_t *from;
    const uint64_t *to;
    bool quarantine; /* keep the one stanza of ops for a person instead of archiving it */
    const char *why; /* of quarantine */
    const struct ingest_again *again; /* of ops that come out of quarantine */
    bool without_hook;
};

struct lane_outcome {
    enum pg_failure failure; /* PG_OK: committed.  PG_LOST: maybe committed */
    struct pg_error error;
    bool hooked;  /* hooks->batch was called: it must hear how it ended */
    bool by_hook; /* none of our own statements failed */
    size_t rows;
    size_t late; /* of these */
    size_t duplicates;
    size_t aside; /* stanzas put aside, that of quarantine not counted */
    /* The lane's once it is committed; one that moves no place leaves one that no other batch
     * does.  0: it has written nothing yet. */
    int64_t last_id;
};

/* Called once for each lane_write, never before it returned. */
typedef void (*lane_done_fn)(void *ctx, const struct lane_outcome *o);

struct lane_writer_opts {
    struct pg *pg;
    unsigned spools;
    const uint8_t (*spool_ids)[16];
    struct known *known;
    struct recent *recent;
    struct early *early;
    struct prefs_cache *prefs;
    const struct ingest_hooks *hooks;
    lane_done_fn done;
    void *ctx;
};

/* Copies opts; borrows what they point to. */
struct lane_writer *lane_writer_new(const struct lane_writer_opts *opts);
void lane_writer_free(struct lane_writer **w); /* after its pg */

/* One at a time.  The job's ops and positions must stay until done. */
void lane_write(struct lane_writer *w, const struct lane_job *job);

#endif
