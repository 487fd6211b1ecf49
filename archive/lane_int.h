// SPDX-License-Identifier: Apache-2.0
/* What the two halves of the lane writer share: lane.c looks and decides, lane_write.c writes.
 */
#ifndef ARCHIVE_LANE_INT_H
#define ARCHIVE_LANE_INT_H

#include "archive/batch.h"
#include "archive/lane.h"
#include "base/buf.h"
#include "store/pg_array.h"

#define LANE_ARRAYS 9

enum lane_state {
    LANE_IDLE,
    LANE_LOOKING, /* -> WRITING, ROLLING_BACK, IDLE when lost */
    LANE_WRITING, /* -> IDLE, ROLLING_BACK */
    LANE_ROLLING_BACK,
};

struct lane_writer {
    struct lane_writer_opts opts;
    enum lane_state state;
    struct lane_job job;
    struct batch batch;
    struct pg_array arrays[LANE_ARRAYS];
    unsigned open; /* statements of ours that are not answered */
    struct lane_outcome outcome;
    int64_t stored_last; /* of the lane */
    int64_t max_us;
    int64_t ahead_us; /* by how much our clock is ahead of what ids may tell, as last seen */
    int64_t warned_ms;
    bool skipped;    /* rows were not looked for: they are new as far as we know */
    uint32_t *asked; /* which op, or conv, the n-th element of an array stands for */
    size_t asked_cap;
    uint32_t *targets; /* the same for rows that are meant by markers and the like */
    size_t targets_cap;
    uint32_t *named; /* and for rows that are meant by their own ids */
    size_t named_cap;
    uint32_t *provisional; /* and for conversations that may have rows of publishes */
    size_t provisional_cap;
    uint32_t *aliased; /* and for those meant by what a room calls them */
    size_t aliased_cap;
    uint32_t *prefs_asked; /* op whose owner the n-th element of the question was */
    size_t prefs_asked_cap;
    uint32_t *early_asked; /* and for rows that may have been taken back before they came */
    size_t early_asked_cap;
    struct arena *texts; /* of the answers to that; NULL when there are none */
    struct buf scratch;
    size_t aside;     /* stanzas that this batch puts aside */
    size_t unread_at; /* op behind the one whose read_unread was answered last */
};

/* The i-th array, empty and of that type. */
struct pg_array *lane_array(struct lane_writer *w, int i, enum pg_array_type type);
/* xs.message.ref_id: the first half of the owner, then the reference. */
void lane_add_ref(struct pg_array *a, const struct write *w);
void lane_send(struct lane_writer *w, const struct pg_statement *st, const struct pg_params *p,
               pg_result_fn cb);
/* The first n arrays are the parameters. */
void lane_send_arrays(struct lane_writer *w, const struct pg_statement *st, int n,
                      pg_result_fn cb);
void lane_send_plain(struct lane_writer *w, const char *sql);
/* Of statements whose result says nothing. */
void lane_on_plain(void *ctx, const struct pg_result *r, const struct pg_error *e);

/* Where the window of identity of op begins, once the database's time is known. */
int64_t lane_low(const struct lane_writer *w, const struct op *op);

/* at, or more room when n are not in cap; what was there may be lost. */
uint32_t *lane_room(uint32_t *at, size_t *cap, size_t n);

/* lane_targets.c: asks which rows are meant by what names one. */
void lane_ask_targets(struct lane_writer *w);

/* lane_provisional.c: asks which rows of publishes its late messages may replace. */
void lane_ask_provisional(struct lane_writer *w);

/* lane_early.c: asks which of its late messages were taken back before they came; keeps the
 * retractions whose messages have not come. */
void lane_ask_early(struct lane_writer *w);
void lane_send_early(struct lane_writer *w);

/* lane_prefs.c: asks what owners want archived, where that is not known; decides it for each
 * row; writes what changed. */
void lane_ask_prefs(struct lane_writer *w);
void lane_apply_prefs(struct lane_writer *w);
void lane_send_prefs(struct lane_writer *w);

/* lane_rooms.c: what rooms have told, who belongs to them and what they have read.  The rows
 * of the batch have been sent. */
void lane_send_rooms(struct lane_writer *w);

/* Everything from the lane's last id to COMMIT, of a resolved batch. */
void lane_send_writes(struct lane_writer *w);

#endif
