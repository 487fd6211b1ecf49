// SPDX-License-Identifier: Apache-2.0
/* What was said in a room as a member may see it: who said it is not told, for its archive has
 * the real address, which the room may hide. */
#ifndef ARCHIVE_INBOX_ROOM_H
#define ARCHIVE_INBOX_ROOM_H

#include <stddef.h>

struct buf;
struct stanza;

/* A stored message from the room to its member; NULL when it cannot be read.  To be freed by
 * stanza_free. */
struct stanza *inbox_room_message(const void *xml, size_t len, const char *room,
                                  const char *member);
/* The same, written; nothing when it cannot be read. */
void inbox_room_write(struct buf *out, const void *xml, size_t len, const char *room,
                      const char *member);

#endif
