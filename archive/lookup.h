// SPDX-License-Identifier: Apache-2.0
/*
 * What every question that reads the archive has in common: it waits until what its asker has
 * sent is committed (1 s at most) and for its turn (archive/turns.h), reads, and ends exactly
 * once, refused "wait" when that takes longer than clients have patience.  With the database
 * away it is refused at once, with one that is there and silent within a second.  It does not
 * know what is read.
 */
#ifndef ARCHIVE_LOOKUP_H
#define ARCHIVE_LOOKUP_H

#include <stdbool.h>
#include <stdint.h>

#include "archive/request.h"
#include "archive/turns.h"
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
    enum turn_weight weight;
    struct turn turn;
    int64_t deadline_ms;
};

/* Results of so many bytes wait for the server to read them: nobody begins until it has. */
#define LOOKUP_UNSENT_MAX ((size_t)16 << 20)
#define LOOKUP_WITHIN_MS 8000 /* clients wait for 10 s and longer */

/* Everything is borrowed until lookups_free. */
struct lookups_opts {
    struct pg_pool *pages; /* for TURN_PAGE */
    struct pg_pool *scans; /* for TURN_SCAN, so that no page is behind one */
    struct pg_pool *probe; /* asked whether PostgreSQL is there: for short statements only */
    struct ingest *ingest;
    int64_t within_ms;           /* what takes longer is refused */
    size_t (*unsent)(void *ctx); /* bytes of answers not read by the server yet, or NULL */
    void *ctx;
};

struct lookups *lookups_new(struct event_base *base, const struct lookups_opts *opts);
/* Before the pools and ingest go: refuses what is open, and what still comes. */
void lookups_stop(struct lookups *all);
/* After pools and ingest have answered what was open. */
void lookups_free(struct lookups **all);
struct ident *lookups_ident(struct lookups *all); /* NULL until the keys are known */

/* Makes l one of the open ones, and owner known.  False: it has been refused, and freed. */
bool lookup_begin(struct lookups *all, struct lookup *l, const struct lookup_kind *kind,
                  const struct archive_request *r, const struct archive_answer *answer);
/* kind->read is called when it may read, never before this returned; or l is refused. */
void lookup_wait(struct lookup *l, enum turn_weight weight);

/* Sends to the pool for its weight. */
void lookup_send(struct lookup *l, const struct pg_statement *st,
                 const struct pg_params *params, pg_result_fn cb, void *ctx);
/* Something else will call back, once, and then asks lookup_is_over. */
void lookup_expect(struct lookup *l);
/* First thing when a result has come: true when it is of no use, because the lookup has ended,
 * or ends now because of e; then l may be gone. */
bool lookup_is_over(struct lookup *l, const struct pg_error *e);

/* Between two statements of many: it should end with what it has, for more than half of its
 * time is over, or nobody waits for it any more. */
bool lookup_should_end(const struct lookup *l);

/* The end: answers, and frees as soon as nothing more can come. */
void lookup_done(struct lookup *l, struct stanza *payload);
void lookup_refuse(struct lookup *l, const char *type, const char *condition,
                   const char *text);

#endif
