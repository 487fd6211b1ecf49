// SPDX-License-Identifier: Apache-2.0
#include "archive/read_state.h"

void read_state_init(struct read_state *s, int64_t last_id, int64_t read_id, int64_t unread)
{
    *s = (struct read_state){.stored_last = last_id,
                             .stored_read = read_id,
                             .stored_unread = unread,
                             .read_id = read_id,
                             .unread = unread};
}

void read_state_move(struct read_state *s, int64_t id, int64_t counted)
{
    if (id <= s->read_id)
        return;
    s->read_id = id;
    s->unread = id >= s->stored_last ? 0 : s->stored_unread - counted;
}

void read_state_count(struct read_state *s, int64_t id)
{
    if (id > s->read_id)
        s->unread++;
}

/* A row at or before the position is among those that the move took off already. */
void read_state_uncount(struct read_state *s, int64_t id)
{
    if (id > s->read_id)
        s->unread--;
}
