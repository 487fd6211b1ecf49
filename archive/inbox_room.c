// SPDX-License-Identifier: Apache-2.0
#include "archive/inbox_room.h"

#include "archive/rows.h"
#include "base/buf.h"
#include "base/err.h"
#include "base/stanza.h"
#include "base/xml_parse.h"

/* Servers name the sender in what they add: the account whose archive has it, too. */
struct stanza *inbox_room_message(const void *xml, size_t len, const char *room,
                                  const char *member)
{
    struct err e;
    struct stanza *m = xml_parse_element(xml, len, &e);
    if (!m)
        return NULL;
    stanza_set(m, "from", room);
    stanza_set(m, "to", member);
    for (struct stanza *el = m->first, *next; el; el = next) {
        next = el->next;
        if (el->name && rows_is_added_by_servers(el))
            stanza_remove(el);
    }
    return m;
}

void inbox_room_write(struct buf *out, const void *xml, size_t len, const char *room,
                      const char *member)
{
    struct stanza *m = inbox_room_message(xml, len, room, member);
    if (!m)
        return;
    stanza_write(out, m, NULL);
    stanza_free(&m);
}
