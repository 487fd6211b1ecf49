// SPDX-License-Identifier: Apache-2.0
/*
 * Events to committed rows and right counts: each exactly once per owner, whatever happens to
 * the connection in between.  Events are copied into the queue of their owner's lane; two
 * lanes at a time are written, each by one transaction that also advances the stored place in
 * the spool.  It knows no server, no push and no query.
 */
#ifndef ARCHIVE_INGEST_H
#define ARCHIVE_INGEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/event.h"

struct archive_opts;
struct event_base;
struct ident;
struct ingest;
struct pg;
struct prefs;

#define INGEST_RAW_BYTES 65536
#define INGEST_SAMPLE 256

/* A stanza as it came, of which so many bytes are kept. */
struct ingest_raw {
    const uint8_t *bytes;
    size_t bytes_n;
    bool cut;              /* there are more */
    const uint8_t *header; /* of its stream */
    size_t header_n;
};

struct ingest_hooks {
    /* Inside the open transaction of one batch, after rows and counters were sent: pg_send
     * what belongs to the same transaction, without pg_flush or pg_sync; it is committed
     * next.  Counts read by such a statement are the new ones.  changes: one for each
     * conversation whose count of unread changed, sorted by owner; behind them what happened
     * to calls, in the order in which it came.  Not called for none.
     * The same batch may be sent again when the first try failed: committed(false) comes in
     * between. */
    void (*batch)(void *ctx, struct pg *conn, const struct unread_change *changes, size_t n);
    /* The outcome of the last batch on conn, called once after each batch call.  When the
     * connection died in COMMIT this comes only after the database has told the truth. */
    void (*committed)(void *ctx, struct pg *conn, bool ok);
    /* One row in INGEST_SAMPLE was committed, whichever it is, or one was taken back: somebody
     * may want to look after its owner. */
    void (*sample)(void *ctx, const uint8_t owner[OWNER_BYTES]);
    /* Rooms have told of messages, or members have read: there may be something in
     * xs.room_due, and badges in the outbox. */
    void (*rooms)(void *ctx);
    /* Places were committed, or there is room again after INGEST_FULL. */
    void (*progress)(void *ctx);
    /* The bytes of a stanza that is being put aside, borrowed until the next call; false when
     * they cannot be read. */
    bool (*raw)(void *ctx, const struct place *place, struct ingest_raw *out);
    /* The roster of this account decides what is archived, and is not known or no longer
     * fresh: ingest_set_roster.  Said again after a minute when a message needs it. */
    void (*roster)(void *ctx, const char *owner_jid);
    /* PostgreSQL has lost what it had committed, as a standby has that was behind: a stored
     * place is before the one that it confirmed.  Nothing is written any more, and INGEST_FULL
     * is all that is answered: whoever reads begins anew, with another ingest, at the places
     * that are stored.  Called once. */
    void (*lost)(void *ctx);
    /* PostgreSQL takes rows, or it does not and why; called at every change of either. */
    void (*state)(void *ctx, bool up, const char *why);
    void *ctx;
};

struct ingest_opts {
    const char *url;                    /* libpq's; copied */
    const struct archive_opts *archive; /* borrowed until ingest_free */
    unsigned spools;
    const uint8_t (*spool_ids)[16]; /* one for each spool; copied */
    size_t queue_bytes_max;
    size_t queue_rows_max;
    struct ingest_hooks hooks; /* any may be NULL */
};

enum ingest_answer {
    INGEST_TAKEN,
    INGEST_FULL, /* nothing of it was taken: offer it again after progress() */
};

/* Starts connecting.  Never NULL. */
struct ingest *ingest_new(struct event_base *base, const struct ingest_opts *opts);
/* What is queued is forgotten (the spool has it); waiting callbacks hear false. */
void ingest_free(struct ingest **ing);

/* Keys and positions are known, so events can be taken.  Stays true when PostgreSQL goes away
 * later: events are queued until the queue is full. */
bool ingest_ready(const struct ingest *ing);
/* NULL until ready, then the same until ingest_free. */
struct ident *ingest_ident(struct ingest *ing);

/* Once ready: reading a spool must start here (or at its oldest byte, when that is later).  0
 * after hooks.lost: the next ingest knows it. */
uint64_t ingest_start_position(const struct ingest *ing, unsigned spool);

/* Copies what it needs.  Events of one spool come in order of place.  Always FULL until ready.
 */
enum ingest_answer ingest_event(struct ingest *ing, const struct event *ev);
/* A spool's stream ended or began, which is when nothing could be read between the two: kept
 * in xs.gap, each once.  Offered in order of place, among the events. */
struct ingest_stream {
    bool opened;
    uint64_t epoch; /* of the stream */
    int64_t at_us;
    const char *server; /* the link's, for people */
    const char *why;    /* of the end */
    struct place place; /* of the record in the spool */
};
enum ingest_answer ingest_stream(struct ingest *ing, const struct ingest_stream *st);
/* Puts a stanza aside for a person, in xs.quarantine: offered like an event, in its place. */
struct ingest_aside {
    struct place place;
    const char *why;
    uint64_t length;
    int64_t received_us;
    bool with_bytes; /* it is somebody's message: keep its beginning, see hooks.raw */
};
enum ingest_answer ingest_put_aside(struct ingest *ing, const struct ingest_aside *a);
/* An event out of quarantine, whose row there has this key; its own place means nothing.  What
 * is in the archive already is not stored twice.  When PostgreSQL refuses it once more, that
 * row says so.  One stanza at a time: ingest_wait for its owners before the next. */
struct ingest_again {
    uint8_t spool[16];
    int64_t pos;
};
enum ingest_answer ingest_again(struct ingest *ing, const struct event *ev,
                                const struct ingest_again *key);
/* All events of bytes below end were taken, or there were none.  Must be called after the
 * last event of a stanza: the stored position never passes this. */
void ingest_passed(struct ingest *ing, unsigned spool, uint64_t end);
/* What lies below is committed or was nothing for the archive; the stored place follows later
 * (ingest_start_position). */
uint64_t ingest_committed(const struct ingest *ing, unsigned spool);

typedef void (*ingest_done_fn)(void *ctx, bool done);
/* done(true) when everything taken for this owner up to now is committed, done(false) at the
 * deadline.  Never before this returned. */
void ingest_wait(struct ingest *ing, const char *owner_jid, int64_t deadline_mono_ms,
                 ingest_done_fn done, void *ctx);
/* The same when everything before this place is committed: what was read there by who follows
 * the stream may still have to be offered. */
void ingest_wait_before(struct ingest *ing, const char *owner_jid, const struct place *at,
                        int64_t deadline_mono_ms, ingest_done_fn done, void *ctx);
/* Nothing more of this spool is offered before somebody has been answered: whoever waits for
 * that is told done(false) on the next turn. */
void ingest_wait_no_more(struct ingest *ing, unsigned spool);
/* Whether more may be asked of it: what comes from no spool is not kept for later. */
bool ingest_has_room(const struct ingest *ing);
/* Reads everything up to now of one conversation, or of all (peer_jid NULL).  The caller has
 * seen that there is room.  After done(false) it still happens once PostgreSQL is back, except
 * when not ready or after ingest_free. */
void ingest_mark_read(struct ingest *ing, const char *owner_jid, const char *peer_jid,
                      int64_t deadline_mono_ms, ingest_done_fn done, void *ctx);

/* Counts a message that only its server's publish has told of, until its text comes.  id makes
 * it the same message when it is said again.  Nothing happens when there is no room. */
struct ingest_provisional {
    const char *owner_jid;
    const char *peer_jid; /* bare */
    const uint8_t *id;    /* 16 bytes */
    const char *body;     /* for the push; of those that are not archived it is not kept */
    bool encrypted;
    int64_t at_us;
};
void ingest_provisional(struct ingest *ing, const struct ingest_provisional *p,
                        int64_t deadline_mono_ms, ingest_done_fn done, void *ctx);
/* A stored one whose text will not come any more: ref is that of its row. */
void ingest_forget_provisional(struct ingest *ing, const char *owner_jid, uint64_t peer,
                               uint64_t ref);

/* What the owner wants archived, from here on: what was taken before goes by the old rules.
 * Replaces mode and lists; see ingest_mark_read for done(false).  Nothing happens when the
 * queue is full. */
void ingest_set_prefs(struct ingest *ing, const char *owner_jid, const struct prefs *p,
                      int64_t deadline_mono_ms, ingest_done_fn done, void *ctx);
/* The owner's roster changes: hooks.roster asks for it again when it decides anything. */
void ingest_roster_changed(struct ingest *ing, const char *owner_jid);
/* The owner's contacts, bare JIDs one to a line. */
void ingest_set_roster(struct ingest *ing, const char *owner_jid, const char *contacts);

struct ingest_stats {
    bool up;
    uint64_t rows;       /* stored since the start */
    uint64_t batches;    /* committed */
    uint64_t late;       /* of these, delivered later than they were sent */
    uint64_t duplicates; /* copies of what was stored already */
    uint64_t quarantined;
    uint64_t retries; /* batches that failed and were tried again */
    size_t queue_rows;
    size_t queue_bytes;
    int64_t oldest_queued_us; /* receive time of the oldest queued event, 0 when none */
    char last_error[256];     /* "" when there was none since the last good batch */
};
void ingest_get_stats(const struct ingest *ing, struct ingest_stats *out);

#endif
