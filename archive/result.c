// SPDX-License-Identifier: Apache-2.0
#include "archive/result.h"

#include <string.h>

#include "base/buf.h"
#include "base/datetime.h"
#include "base/stanza.h"

/* A start tag is written so that no value in it has a bare ">". */
void archive_message_write(struct buf *out, const void *xml, size_t len, size_t max)
{
    const char *text = xml, *end = max && len > max ? memchr(text, '>', len) : NULL;
    buf_add(out, text, end ? (size_t)(end - text) + 1 : len);
    if (end)
        buf_add_str(out, "<body>(This message is too long for the archive to send.)</body>"
                         "</message>");
}

void archive_result_write(const struct archive_result *r, struct buf *out)
{
    char stamp[DATETIME_BYTES];
    datetime_format(r->at_us, stamp);
    buf_add_str(out, "<result xmlns=\"");
    buf_add_str(out, r->ns);
    buf_add_str(out, "\" id=\"");
    buf_add_str(out, r->id);
    if (r->queryid) {
        buf_add_str(out, "\" queryid=\"");
        xml_escape_str(out, r->queryid);
    }
    buf_add_str(out, "\"><forwarded xmlns=\"urn:xmpp:forward:0\">"
                     "<delay xmlns=\"urn:xmpp:delay\" stamp=\"");
    buf_add_str(out, stamp);
    buf_add_str(out, "\"/>");
    archive_message_write(out, r->xml, r->xml_len, r->xml_max);
    buf_add_str(out, "</forwarded></result>");
}
