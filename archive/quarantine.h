// SPDX-License-Identifier: Apache-2.0
/*
 * What was put aside (xs.quarantine), beside the ingest that puts it there: how much of it
 * there is, and the rows that a person wants to be tried again.  A retried stanza goes through
 * the ingest like any other, which knows what is archived already, and its row goes only when
 * that is committed: a crash anywhere in between has it tried once more and stored once.  It
 * knows no XML and no server.
 */
#ifndef ARCHIVE_QUARANTINE_H
#define ARCHIVE_QUARANTINE_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/event.h"

struct event_base;
struct ingest;
struct pg_pool;
struct quarantine;

struct quarantine_stanza {
    const uint8_t *bytes;
    size_t bytes_n;
    const uint8_t *header; /* of the stream it came in; none: the usual namespace */
    size_t header_n;
    int64_t received_us;
};

typedef void (*quarantine_event_fn)(void *ctx, const struct event *ev);

struct quarantine_opts {
    struct pg_pool *pool;  /* borrowed until quarantine_free, as is ingest */
    struct ingest *ingest; /* ready */
    /* Gives the stanza's events, before it returns; REJECT when it cannot be understood. */
    enum err_kind (*read)(void *ctx, const struct quarantine_stanza *s,
                          quarantine_event_fn event, void *event_ctx, struct err *e);
    void *ctx;
};

struct quarantine *quarantine_new(struct event_base *base, const struct quarantine_opts *opts);
/* After its pool and ingest, which answer what is open when they go. */
void quarantine_free(struct quarantine **q);

struct quarantine_status {
    uint64_t rows;
    uint64_t bytes;
    uint64_t total;   /* ever put aside */
    uint64_t evicted; /* of these, given up to make room */
    uint64_t waiting; /* to be tried again */
};
/* As of some seconds ago; all zero until it was read once. */
void quarantine_get_status(const struct quarantine *q, struct quarantine_status *out);

#endif
