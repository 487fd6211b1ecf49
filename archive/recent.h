// SPDX-License-Identifier: Apache-2.0
/*
 * What this worker has stored lately, as a filter: it may take a new message for a stored one,
 * never the other way round, so that most new messages need not be looked for in the database.
 * It says "new" only where it knows everything that could be a copy: rows above the id from
 * which on it has seen all of a lane.  Others who write to a lane raise its last id, and that
 * is how their rows are noticed.  It knows no database.
 */
#ifndef ARCHIVE_RECENT_H
#define ARCHIVE_RECENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct recent;
struct write;

/* bytes_max: 16 MiB reach back an hour at 2,200 rows a second; beyond that rows are looked
 * for. Little is used for little. */
struct recent *recent_new(unsigned lanes, size_t bytes_max);
void recent_free(struct recent **r);

/* No copy of this row is stored with an id from that one on, if the lane's last id is still
 * the one we know. */
bool recent_is_new(const struct recent *r, unsigned lane, const struct write *w, int64_t from);
/* The lane's last id, read under its lock.  False when it is not the one we know: what
 * recent_is_new has said of this lane until now is void. */
bool recent_meet(struct recent *r, unsigned lane, int64_t last_id);
/* A row that will be stored with this id; before its transaction can be committed. */
void recent_put(struct recent *r, unsigned lane, const struct write *w, int64_t id);
/* The lane's last id is ours. */
void recent_committed(struct recent *r, unsigned lane, int64_t last_id);

#endif
