// SPDX-License-Identifier: Apache-2.0
/*
 * What one transaction of a lane does, worked out in memory: which writes are copies of each
 * other, which conversations and accounts they touch, and, once the database has told what is
 * stored, every id, flag and count that is to be written.  It knows no SQL.
 */
#ifndef ARCHIVE_BATCH_H
#define ARCHIVE_BATCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "archive/early.h"
#include "archive/op_queue.h"
#include "archive/read_state.h"
#include "base/event.h"

#define BATCH_NO_CONV UINT32_MAX

struct batch_conv {
    const uint8_t *owner;
    const char *owner_jid;
    uint64_t peer;
    const char *jid; /* the peer's; NULL for one that is stored and was only found */
    bool stored;
    int64_t first_id; /* of the new rows, 0 when there are none */
    int64_t last_id;
    int64_t stored_last;
    struct read_state read;
    int64_t peer_read_id;
    bool has_pending; /* a marker waits for the row with this reference */
    uint64_t pending_ref;
    int64_t pending_us;
    bool own;             /* the owner sent one of the new rows */
    bool changed;         /* last_id, read position or unread */
    bool changed_markers; /* pending or peer_read_id */
    bool undelivered;     /* a stored row did not get through */
    unsigned counted;     /* new rows that are unread after all */
    int64_t newest_id;    /* of these */
    int64_t newest_us;    /* when it was received, or had passed */
};

struct batch_account {
    const uint8_t *owner;
    const char *jid;
    int64_t first_id; /* of its new rows, 0 when there are none */
    bool own;         /* something of its own is among them */
    int32_t unread;   /* to be added */
    int32_t conversations;
};

/* A stored row that gets other flags. */
struct batch_flags {
    const uint8_t *owner;
    int64_t id;
    int32_t set;
};

/* A stored row of a publish alone, which still counts. */
struct batch_provisional {
    uint32_t conv;
    int64_t id;
    bool replaced;
};

struct batch {
    struct op *ops;
    size_t n;
    uint32_t *sorted; /* indices of ops, by owner, then order */
    size_t rows;      /* WRITE_ROW that are not FATE_SAME */
    struct batch_conv *convs;
    size_t convs_n;
    struct batch_account *accounts;
    size_t accounts_n;
    struct batch_flags *flags;
    size_t flags_n;
    struct batch_provisional *provisional;
    size_t provisional_n;
    size_t provisional_new; /* of the batch itself */
    struct unread_change *changes;
    size_t changes_n;
    size_t confirms; /* WRITE_CONFIRM */
    size_t in_rooms; /* all that has to do with rooms */
    size_t duplicates;
    size_t stored; /* rows that go in */
    size_t late;   /* of these, with the server's delay */
    int64_t last_id;
    int64_t ahead_us; /* the furthest that a receive time was ahead of the database's clock */

    /* private */
    struct early *early;
    size_t cap;
    size_t convs_cap;
    size_t accounts_cap;
    size_t flags_cap;
    size_t changes_cap;
    size_t provisional_cap;
    uint32_t *refs; /* hash of (owner, ref): index of the first such row + 1 */
    uint32_t *keys; /* hash of (owner, peer): index of conv + 1 */
    size_t refs_n;
    size_t keys_n;
};

/* early: what was refused before it came, borrowed: of all batches. */
void batch_init(struct batch *b, struct early *early);
void batch_deinit(struct batch *b);

/* Takes ops until the next load: finds copies and conversations. */
void batch_load(struct batch *b, struct op *ops, size_t n);

/* What the database knows.  op and conv are indices. */
void batch_set_duplicate(struct batch *b, size_t op);
void batch_set_conv(struct batch *b, size_t conv, int64_t last_id, int64_t read_id,
                    int64_t unread, int64_t peer_read_id);
void batch_set_pending(struct batch *b, size_t conv, uint64_t ref, int64_t at_us);
void batch_set_target(struct batch *b, size_t op, int64_t id, int32_t flags, int64_t counted);
/* Whether this new row may be the text of a message that a publish has told of. */
bool batch_may_replace(const struct op *op);
void batch_add_provisional(struct batch *b, size_t conv, int64_t id);
/* Whether what came then may refuse or take back this row, which comes after it.  Some use an
 * id again: what was sent later is another message. */
bool batch_may_be_meant(const struct op *row, int64_t at_us);
/* A conversation with unread rows of the owner of a WRITE_READ for all. */
size_t batch_add_conv(struct batch *b, size_t op, uint64_t peer);

/* Mints ids above last_id and settles everything; max_us is the latest time an id may mean. */
void batch_resolve(struct batch *b, int64_t last_id, int64_t max_us);

#endif
