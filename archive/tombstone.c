// SPDX-License-Identifier: Apache-2.0
#include "archive/tombstone.h"

#include <string.h>

#include "base/buf.h"
#include "base/datetime.h"
#include "base/stanza.h"

void tombstone_retracted(struct buf *out, const char *by, int64_t at_us)
{
    char stamp[DATETIME_BYTES];
    datetime_format(at_us, stamp);
    buf_add_str(out, "<retracted xmlns=\"" NS_RETRACT "\" stamp=\"");
    buf_add_str(out, stamp);
    if (by) {
        buf_add_str(out, "\" id=\"");
        xml_escape_str(out, by);
    }
    buf_add_str(out, "\"/>");
}

/* No value of an attribute has a bare ">": that is escaped. */
void tombstone_write(struct buf *out, const uint8_t *stanza, size_t len, const char *by,
                     int64_t at_us)
{
    const uint8_t *end = memchr(stanza, '>', len);
    size_t tag = end ? (size_t)(end - stanza) : 0;
    if (tag > 0 && stanza[tag - 1] == '/')
        tag--;
    buf_add(out, stanza, tag);
    buf_add_char(out, '>');
    tombstone_retracted(out, by, at_us);
    buf_add_str(out, "</message>");
}
