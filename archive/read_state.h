// SPDX-License-Identifier: Apache-2.0
/*
 * Unread of one conversation through one batch: unread is the number of counted rows behind
 * the read position, and because positions are ids, the order in which things came does not
 * matter.  Call moves first, then rows.  Arithmetic only; it knows no database.
 */
#ifndef ARCHIVE_READ_STATE_H
#define ARCHIVE_READ_STATE_H

#include <stdint.h>

struct read_state {
    int64_t stored_last; /* newest stored row */
    int64_t stored_read;
    int64_t stored_unread;
    int64_t read_id; /* as it is now */
    int64_t unread;
};

void read_state_init(struct read_state *s, int64_t last_id, int64_t read_id, int64_t unread);
/* Everything up to id is read.  Back is no way: an older id changes nothing.  counted is the
 * number of stored counted rows in (stored_read, id]; ignored when id >= stored_last. */
void read_state_move(struct read_state *s, int64_t id, int64_t counted);
/* A new row that counts; a stored row that counted until now. */
void read_state_count(struct read_state *s, int64_t id);
void read_state_uncount(struct read_state *s, int64_t id);

#endif
