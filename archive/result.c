// SPDX-License-Identifier: Apache-2.0
#include "archive/result.h"

#include "base/buf.h"
#include "base/datetime.h"
#include "base/stanza.h"

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
    buf_add(out, r->xml, r->xml_len);
    buf_add_str(out, "</forwarded></result>");
}
