// SPDX-License-Identifier: Apache-2.0
/*
 * A small file of memory that the supervisor, its worker and the status command share: state
 * and counters for people, and what must outlive a worker (the IQs still open, the place in
 * hand), and what must outlive a supervisor whose connections go on (how much of the output
 * was written).  It belongs to one run of the supervisor and is made anew by the next.  Every
 * field has one writer and is an atomic; texts have a version counter, so that a reader never
 * sees half of one.  It promises nothing over a power cut and holds nothing that a user wrote.
 */
#ifndef COMPONENT_PAGE_H
#define COMPONENT_PAGE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/event.h"

#define PAGE_LINKS_MAX 16
#define PAGE_IQS_MAX 4096
#define PAGE_POISON_MAX 32
#define PAGE_TEXT_WORDS 24
#define PAGE_TEXT_BYTES (8 * PAGE_TEXT_WORDS)

enum link_state {
    LINK_STOPPED,     /* -> CONNECTING; UP with a connection that was kept */
    LINK_CONNECTING,  /* -> HANDSHAKING, BACKOFF, STOPPED */
    LINK_HANDSHAKING, /* -> UP, BACKOFF, FULL, STOPPED */
    LINK_UP,          /* -> CLOSING, BACKOFF, FULL */
    LINK_CLOSING,     /* -> CONNECTING, BACKOFF, FULL, STOPPED */
    LINK_BACKOFF,     /* -> CONNECTING, FULL, STOPPED */
    LINK_FULL,        /* disconnected, the disk is full; -> CONNECTING, STOPPED */
};

struct page_text {
    atomic_uint version; /* odd while it is being written */
    _Atomic uint64_t words[PAGE_TEXT_WORDS];
};

struct page_place {
    atomic_uint spool; /* index + 1, 0: none */
    _Atomic uint64_t begin;
    _Atomic uint64_t end;
};

struct page_link {
    /* Written by the link. */
    atomic_int state;
    _Atomic uint64_t epoch; /* of the present connection, 0: none */
    _Atomic uint64_t spool_begin;
    _Atomic uint64_t spool_end; /* readers go no further */
    _Atomic uint64_t spool_bytes;
    _Atomic uint64_t size_max;
    atomic_int level; /* enum spool_level */
    _Atomic int64_t connected_us;
    _Atomic uint64_t connects;
    _Atomic uint64_t disconnects;
    _Atomic uint64_t gaps;       /* times that copies may have been missed */
    _Atomic int64_t gap_from_us; /* of the last one that has ended */
    _Atomic int64_t gap_to_us;
    _Atomic int64_t down_since_us; /* 0 while it is up */
    _Atomic uint64_t bytes_read;
    _Atomic uint64_t bytes_written;
    _Atomic uint64_t frames_written;
    _Atomic uint64_t frames_dropped; /* for an epoch that was dead */
    /* What a link needs to go on with the connection of a dead one.  Both are counts of bytes
     * written on it since it began, and both end on a stanza. */
    _Atomic uint64_t out_queued; /* with all that is queued, before any of it is written */
    _Atomic uint64_t out_whole;  /* when the queue was last empty */
    /* Frames with stanzas that were read from workers, and those of them that were done with
     * when the queue was last empty. */
    _Atomic uint64_t frames_taken;
    _Atomic uint64_t frames_done;
    struct page_text host;
    struct page_text error; /* the last one, "" when none since the last connect */
    /* Written by the worker. */
    _Atomic uint64_t live_pos;
    _Atomic uint64_t archive_pos; /* committed */
    _Atomic uint64_t offered_pos; /* the archive was given what lies before */
    _Atomic uint64_t snapshot_pos;
};

struct page_iq {
    _Atomic uint64_t begin; /* of its place, plus 1; 0: the slot is free */
    _Atomic uint64_t end;
    _Atomic uint64_t answer; /* the link's frame that has it, counting from 1; 0: none yet */
    _Atomic int64_t opened_us;
    atomic_uint spool;
};

/* A stanza that no worker may look into: it has killed two.  Kept until nobody will read that
 * part of the spool again. */
struct page_poison {
    struct page_place place; /* none: the slot is free */
    atomic_uint deaths;
    struct page_text why;
};

struct page {
    uint32_t magic;
    uint32_t version;
    uint64_t size;
    uint32_t links_n;
    /* Written by the supervisor. */
    atomic_int supervisor_pid;
    _Atomic int64_t started_us;
    atomic_int worker_pid;
    _Atomic int64_t worker_started_us;
    _Atomic uint64_t worker_starts;
    _Atomic uint64_t worker_faults; /* deaths by a fault of its own */
    struct page_text worker_death;  /* the last one */
    atomic_uint faults_unclear;     /* the last ones in a row, with nothing in hand */
    /* Written by the supervisor at a death, taken away by the worker that drew its conclusion.
     */
    atomic_uint faults_in_row; /* with no long life between them */
    struct page_place fault;   /* what was in hand then; none: not clear */
    atomic_uint fault_times;   /* in a row with this same place, 0: no fault yet */
    struct page_text fault_why;
    /* Written by the worker. */
    _Atomic int64_t worker_heartbeat_ms; /* monotonic */
    struct page_place in_hand;
    struct page_poison poison[PAGE_POISON_MAX];
    _Atomic int64_t poison_hour_us; /* begin of the hour in which the next are counted */
    atomic_uint poison_hour_n;
    struct page_link links[PAGE_LINKS_MAX];
    struct page_iq iqs[PAGE_IQS_MAX];
};

/* A new page in place of an old one; those who still map the old one keep it.  CONFIG. */
MUST_CHECK enum err_kind page_create(const char *path, unsigned links_n, struct page **out,
                                     struct err *e);
/* The same, but it goes on with the links, open IQs and poison of `before` (NULL: none), if
 * that has as many links: in one step, so that whoever dies while it starts loses none of it.
 */
MUST_CHECK enum err_kind page_create_from(const char *path, unsigned links_n,
                                          const struct page *before, struct page **out,
                                          struct err *e);
/* What was carried over for this link belongs to a spool that is no longer there. */
void page_forget_link(struct page *p, unsigned link);
/* CONFIG: no page, or of another version; nobody has it open for writing when it is stale. */
MUST_CHECK enum err_kind page_open(const char *path, bool writable, struct page **out,
                                   struct err *e);
void page_close(struct page **p);

/* Too long a text is cut. */
void page_text_set(struct page_text *t, const char *text);
void page_text_get(const struct page_text *t, char out[PAGE_TEXT_BYTES]);

/* NULL: none. */
void page_place_set(struct page_place *p, const struct place *place);
bool page_place_get(const struct page_place *p, struct place *out);

/* Open IQs; only the worker writes.  The slot, or -1 when all are taken. */
int page_iq_open(struct page *p, const struct place *place, int64_t now_us);
/* Its answer is in this frame to the link; it stays open until that is written. */
void page_iq_answered(struct page *p, int slot, uint64_t frame);
uint64_t page_iq_answer(const struct page *p, int slot);
void page_iq_done(struct page *p, int slot);
/* The next taken slot from *slot on (start at 0), which is moved past it; false at the end. */
bool page_iq_each(const struct page *p, int *slot, struct place *place_out,
                  int64_t *opened_us_out);

const char *link_state_name(enum link_state state);

#endif
