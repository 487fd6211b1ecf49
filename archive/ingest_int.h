// SPDX-License-Identifier: Apache-2.0
/* What the two halves of ingest share: ingest.c takes and waits, ingest_run.c writes. */
#ifndef ARCHIVE_INGEST_INT_H
#define ARCHIVE_INGEST_INT_H

#include "archive/early.h"
#include "archive/early_told.h"
#include "archive/ident.h"
#include "archive/ingest.h"
#include "archive/lane.h"
#include "archive/op_queue.h"
#include "archive/rows.h"
#include "base/backoff.h"
#include "store/pg.h"

#define INGEST_MAGIC 0x696e6773u
#define INGEST_SLOTS 2 /* lanes that are written at once */

struct event;

/* How the front of the queue is tried next. */
enum lane_mode {
    MODE_NORMAL,
    MODE_WITHOUT_HOOK, /* one stanza, whose rows go in but not what the hook adds */
    MODE_QUARANTINE,   /* one stanza, which goes to xs.quarantine */
};

struct lane {
    unsigned number;
    struct op_queue *queue;
    uint64_t *stored; /* per spool, as the database has it */
    bool busy;        /* a slot has it */
    bool advance_due; /* the place shall move though there is nothing to write */
    uint64_t seq;     /* of the op taken last */
    size_t limit;     /* ops in the next batch */
    enum lane_mode mode;
    char why[160];         /* of MODE_QUARANTINE */
    int64_t not_before_ms; /* after a failure */
    struct backoff backoff;
    unsigned unknown_failures; /* in a row, of a sort that we have no rule for */
    unsigned quarantined;      /* in a row */
    bool partitions_made;      /* for this batch, after it found none */
};

enum slot_state {
    SLOT_DOWN,       /* -> LOADING, RELOADING, IDLE when connected */
    SLOT_LOADING,    /* keys and positions -> IDLE, DOWN */
    SLOT_IDLE,       /* -> WRITING, LOADING */
    SLOT_WRITING,    /* -> IDLE, RELOADING, PARTITIONS, DOWN */
    SLOT_RELOADING,  /* what became of the batch -> IDLE, DOWN */
    SLOT_PARTITIONS, /* -> IDLE, DOWN */
};

/* One connection, and the batch on it. */
struct slot {
    struct ingest *ing;
    enum slot_state state;
    struct pg *pg;
    struct lane_writer *writer;
    struct lane *lane; /* NULL when it has none; kept while the outcome is not known */
    size_t n;          /* ops of the batch */
    int64_t since_ms;  /* when it was begun */
    uint64_t *from;
    uint64_t *to;
    int64_t last_id;       /* what it leaves on its lane; of one whose end is not known */
    int64_t lane_last_id;  /* what is there */
    bool hooked;           /* hooks.committed is owed */
    int64_t ask_again_ms;  /* RELOADING or LOADING failed: when to ask again, else 0 */
    struct pg_error first; /* of a load or reload of several statements */
};

struct waiter {
    struct waiter *next;
    struct ingest *ing;
    struct lane *lane; /* NULL: not ready, so it is refused on the next turn */
    bool offered;      /* what it waits for was, up to seq of its lane; else: */
    unsigned spool;    /* it is when the reader of that spool has passed this place */
    uint64_t begin;
    uint64_t seq;
    ingest_done_fn done;
    void *ctx;
    struct event *timer;
};

#define INGEST_SAID 16384

struct ingest {
    uint32_t magic;
    struct event_base *base;
    struct ingest_hooks hooks;
    const struct archive_opts *archive;
    unsigned spools;
    uint8_t (*spool_ids)[16];
    size_t queue_bytes_max;
    size_t queue_rows_max;

    struct ident_keys keys;
    struct ident *ident; /* NULL until ready */
    struct rows *rows;
    struct known *known;
    struct recent *recent;
    struct early early; /* of all lanes: any connection may write the message */
    struct prefs_cache *prefs;
    struct lane *lanes;
    unsigned lanes_n;
    unsigned next_lane;
    uint64_t *reader;          /* per spool: everything below was offered */
    struct ingest_again again; /* of the ops that are marked so */
    struct slot slots[INGEST_SLOTS];
    struct waiter *waiters;
    unsigned unoffered;  /* of them */
    struct event *turn;  /* look for work once the caller is done */
    struct event *retry; /* the nearest end of a back-off */
    struct event *idle;  /* moves the place of idle lanes */

    bool up;
    bool told; /* hooks.state was called */
    bool lost; /* so was hooks.lost */
    struct ingest_stats stats;
    uint64_t *rooms_said; /* what rooms have said lately; NULL when that is of no use */
    struct early_told *early_told; /* likewise */
};

/* ingest_run.c */
void ingest_run_start(struct ingest *ing, const char *url);
void ingest_run_stop(struct ingest *ing);
/* Gives lanes with work to idle slots. */
void ingest_schedule(struct ingest *ing);

/* ingest_wait.c: done is said once what stands before the place `at` is committed (NULL: what
 * the lane has taken), with lane NULL that it is not, on the next turn. */
void ingest_wait_for(struct ingest *ing, struct lane *lane, const struct place *at,
                     int64_t deadline_mono_ms, ingest_done_fn done, void *ctx);
/* After the queue of a lane got shorter. */
void ingest_tell_waiters(struct ingest *ing, const struct lane *lane);
/* After the reader of a spool went on; it is in the middle of something, so they hear of it on
 * the next turn. */
void ingest_tell_offered(struct ingest *ing, unsigned spool);
void ingest_end_waiting(struct ingest *ing);

/* ingest.c */
static inline struct lane *ingest_lane_of(struct ingest *ing, const uint8_t owner[OWNER_BYTES])
{
    return &ing->lanes[ident_lane(ing->ident, owner)];
}
size_t ingest_queue_rows(const struct ingest *ing);
size_t ingest_queue_bytes(const struct ingest *ing);

#endif
