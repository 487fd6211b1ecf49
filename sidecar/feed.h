// SPDX-License-Identifier: Apache-2.0
/*
 * Reads one link's spool for the worker, with two cursors.  The live cursor runs at the end:
 * requests, presence, discovery; it never waits for PostgreSQL.  While the archive keeps up it
 * is given events in the same pass; when its queue is full (PostgreSQL away or slow) it falls
 * behind, and a second cursor reads the spool again from there until both have met.
 *
 * A stanza that is over a limit, that nobody can understand or that is poison (sidecar/hand.h)
 * is passed over by both; when it is a copy of somebody's message, or poison, the archive puts
 * it aside.
 */
#ifndef SIDECAR_FEED_H
#define SIDECAR_FEED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/event.h"
#include "component/service.h"

struct feed;
struct hand;
struct ingest;

struct feed_opts {
    unsigned link;
    const char *directory; /* of this link's spool; copied */
    const char *server;    /* of the link, for people; copied */
    uint64_t live_from;    /* where the live cursor starts */
    uint64_t replay_until; /* what the worker before us had passed: no answers below it */
    size_t stanza_bytes_max;
    struct service *service; /* borrowed until feed_free */
    struct hand *hand;       /* likewise */
    /* The live cursor has passed this place: the next worker need not. */
    void (*passed)(void *ctx, unsigned link, const struct place *p);
    /* A request at this place is ours and not answered yet. */
    bool (*is_open)(void *ctx, const struct place *p);
    /* The stream cannot be understood any more: a new connection is needed. */
    void (*reconnect)(void *ctx, unsigned link, uint64_t epoch, const char *why);
    void *ctx;
};

/* Nothing is read, called back or said to the service before feed_pump. */
struct feed *feed_new(const struct feed_opts *opts);
void feed_free(struct feed **f);

/* From service_events.event, for events of this link. */
void feed_event(struct feed *f, const struct event *e);
/* The archive takes events, for the first time or again after it was full. */
void feed_archive_open(struct feed *f, struct ingest *ingest);

/* Reads on to limit, a bounded amount; true when there is more to do at once. */
bool feed_pump(struct feed *f, uint64_t limit);

uint64_t feed_live_position(const struct feed *f);
/* Below this place neither this feed nor the archive of the next one reads again. */
uint64_t feed_keeps_from(const struct feed *f);
/* How far the archive is behind what was received, in microseconds; 0 at the spool's end. */
int64_t feed_behind_us(const struct feed *f, int64_t now_us);

#endif
