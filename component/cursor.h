// SPDX-License-Identifier: Apache-2.0
/*
 * A reader of one link's spool: from a position, record by record, to stanzas with their
 * places.  It promises that reading again from the end of any stanza gives the same stanzas
 * with the same places, and that damage costs the stanzas it touches and no more: it is told,
 * and reading goes on at the next boundary that can be trusted.  It never writes, waits or
 * asks the time.
 *
 * A place is [end of the stanza before, end of this stanza): white space and the headers of
 * records in between belong to the stanza that follows.
 */
#ifndef COMPONENT_CURSOR_H
#define COMPONENT_CURSOR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/event.h"

struct stanza;
struct buf;
struct xml_parse_opts;

struct cursor_opened {
    uint64_t epoch;
    const char *id;      /* of the stream header, "" when it has none */
    const char *from;    /* likewise */
    int64_t received_us; /* when this part of the stream was first seen by us */
    bool resumed;        /* we came in later than at its beginning */
    struct place place;  /* of the record that says so */
};

struct cursor_closed {
    uint64_t epoch;
    /* Nothing that came later can have been read: when the link closed the stream; without a
     * word of the link, or when half a stanza was left, when the last bytes came. */
    int64_t last_us;
    bool half_stanza; /* bytes of a stanza that never ended were dropped */
    const char *why;  /* "" when the link had no time to say it */
    struct place place;
};

/* A stanza of which no tree is made. */
struct cursor_piece {
    uint64_t epoch;
    struct place place;
    int64_t received_us;
    const uint8_t *raw; /* the stanza as it came, NULL when it was not kept */
    uint64_t bytes;     /* of the stanza alone */
    const char *name;   /* of its element, "" while it is not known */
    const char *why;    /* which limit it passes */
};

/* All may call cursor_stop and no other function of this cursor.  found may be NULL. */
struct cursor_events {
    /* The stanza is handed over: stanza_free it.  place is borrowed. */
    void (*stanza)(void *ctx, struct stanza *s, const struct place *place, int64_t received_us,
                   uint64_t epoch);
    void (*opened)(void *ctx, const struct cursor_opened *o);
    void (*closed)(void *ctx, const struct cursor_closed *o);
    /* A whole stanza is there, and nobody has looked into it yet; false: pass over it. */
    bool (*found)(void *ctx, const struct cursor_piece *p);
    /* One stanza was over a limit; the stream goes on. */
    void (*skipped)(void *ctx, const struct cursor_piece *p);
    /* Bytes [begin, end) of the spool cannot be read.  When streaming is set they are of the
     * stream being read, whose next boundary may be known only when it ends: ask the link to
     * reconnect if it is the present one.  Of a stream without a header the first bytes stand
     * for all. */
    void (*lost)(void *ctx, uint64_t epoch, uint64_t begin, uint64_t end, bool streaming,
                 const char *why);
    /* The stream is not XML that we accept: the rest of the epoch is passed over. */
    void (*broken)(void *ctx, uint64_t epoch, const char *why);
    void *ctx;
};

struct cursor;

/* dir and limits (NULL: defaults) are copied; position 0 means from the beginning.  Touches no
 * file yet. */
struct cursor *cursor_new(const char *dir, unsigned spool, uint64_t position,
                          const struct xml_parse_opts *limits,
                          const struct cursor_events *events);
void cursor_free(struct cursor **c);

/* Reads on to `limit` or until max_bytes of payload are done or a callback stopped it.  True
 * when there is more to do at once.  limit is a published end of the spool and nothing else: a
 * record that goes beyond it is taken for damaged. */
bool cursor_pump(struct cursor *c, uint64_t limit, size_t max_bytes);
/* The same, but not beyond where `ahead` has read, which may be inside a record. */
bool cursor_follow(struct cursor *c, const struct cursor *ahead, uint64_t limit,
                   size_t max_bytes);
void cursor_stop(struct cursor *c);

/* Where a new cursor would go on without missing or repeating a stanza. */
uint64_t cursor_position(const struct cursor *c);
/* Bytes were lost, and where it goes on may be beyond its position. */
bool cursor_is_searching(const struct cursor *c);
/* How far bytes were read: equal to the limit when nothing is left. */
uint64_t cursor_read_position(const struct cursor *c);
/* Of the stream being read, 0 when between streams. */
uint64_t cursor_epoch(const struct cursor *c);

/* The bytes of a stanza as they came, white space before it included, for quarantine: so many
 * as fit into out, and the header of its stream into header (may be NULL).  RETRY when they
 * cannot be read, REJECT when they are gone. */
MUST_CHECK enum err_kind cursor_bytes(const char *dir, const struct place *place,
                                      struct buf *out, struct buf *header, struct err *e);

#endif
