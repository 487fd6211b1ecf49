// SPDX-License-Identifier: Apache-2.0
/*
 * What every question that reads the archive has in common: it waits until what its asker has
 * sent is committed (1 s at most), reads, and ends exactly once.  With the database away it is
 * refused "wait" at once, with one that is there and silent within a second.  It does not know
 * what is read.
 */
#ifndef ARCHIVE_LOOKUP_H
#define ARCHIVE_LOOKUP_H

#include <stdbool.h>
#include <stdint.h>

#include "archive/request.h"
#include "base/event.h"
#include "store/pg.h"

struct event_base;
struct ident;
struct ingest;
struct lookup;
struct lookups;

struct lookup_kind {
    /* It may read now. */
    void (*read)(struct lookup *l);
    /* Frees the object that l is in; its answer has been given, or is about to be. */
    void (*free)(struct lookup *l);
};

/* Embedded in what it is about; filled by lookup_begin. */
struct lookup {
    unsigned magic;
    const struct lookup_kind *kind;
    struct lookups *all;
    struct lookup *next;
    struct lookup *prev;
    unsigned waits_for; /* results, and its turn */
    bool ended;         /* answered; the last of what it waits for frees it */
    bool stable;        /* the archive had caught up when it began to read */
    struct archive_request request;
    struct archive_answer answer;
    uint8_t owner[OWNER_BYTES];
};

/* Borrows everything until lookups_free. */
struct lookups *lookups_new(struct event_base *base, struct pg_pool *pool,
                            struct ingest *ingest);
/* After pool and ingest have answered what was open. */
void lookups_free(struct lookups **all);
struct ident *lookups_ident(struct lookups *all); /* NULL until the keys are known */

/* Makes l one of the open ones, and owner known.  False: it has been refused, and freed. */
bool lookup_begin(struct lookups *all, struct lookup *l, const struct lookup_kind *kind,
                  const struct archive_request *r, const struct archive_answer *answer);
/* kind->read is called when it may read, never before this returned; or l is refused. */
void lookup_wait(struct lookup *l);

void lookup_send(struct lookup *l, const struct pg_statement *st,
                 const struct pg_params *params, pg_result_fn cb, void *ctx);
/* First thing when a result has come: true when it is of no use, because the lookup has ended,
 * or ends now because of e; then l may be gone. */
bool lookup_is_over(struct lookup *l, const struct pg_error *e);

/* The end: answers, and frees as soon as nothing more can come. */
void lookup_done(struct lookup *l, struct stanza *payload);
void lookup_refuse(struct lookup *l, const char *type, const char *condition,
                   const char *text);

#endif
