// SPDX-License-Identifier: Apache-2.0
#include "archive/inbox.h"

#include <inttypes.h>
#include <string.h>

#include "archive/inbox_list.h"
#include "archive/mam.h"
#include "archive/result.h"
#include "base/buf.h"
#include "base/stanza.h"

static void write_entry(const struct archive_request *r, const struct inbox_entry *e,
                        struct buf *out)
{
    buf_add_str(out, "<entry xmlns=\"" NS_INBOX "\" jid=\"");
    xml_escape_str(out, e->jid);
    buf_addf(out, "\" unread=\"%" PRId64 "\" id=\"%s\"/>", e->unread, e->id);
    if (!e->xml)
        return;
    const struct archive_result result = {.ns = NS_MAM,
                                          .queryid = r->id,
                                          .id = e->id,
                                          .at_us = e->at_us,
                                          .xml = e->xml,
                                          .xml_len = e->xml_len};
    archive_result_write(&result, out);
}

static struct stanza *new_fin(const struct archive_request *r, const struct inbox_query *q,
                              const struct inbox_totals *totals)
{
    (void)q;
    struct stanza *fin = stanza_new(r->payload->arena, "fin", NS_INBOX);
    inbox_set_number(fin, "total", totals->conversations);
    inbox_set_number(fin, "unread", totals->with_unread);
    inbox_set_number(fin, "all-unread", totals->unread);
    return fin;
}

/* False when the attribute is there and is none. */
static bool read_boolean(const struct stanza *el, const char *name, bool *value)
{
    const char *text = stanza_get(el, name);
    return !text || xml_boolean(text, value);
}

void inbox_ask(struct lookups *lookups, const struct archive_opts *opts,
               const struct archive_request *r, const struct archive_answer *answer)
{
    static const struct inbox_protocol protocol = {.entry = write_entry, .fin = new_fin};
    struct inbox_query q = {.with_messages = true, .box = INBOX_ANY_BOX, .end_us = INT64_MAX};
    if (r->is_set || strcmp(r->payload->name, "inbox") != 0) {
        answer->error(answer->ctx, "cancel", "feature-not-implemented", NULL);
        return;
    }
    if (!read_boolean(r->payload, "unread-only", &q.unread_only) ||
        !read_boolean(r->payload, "messages", &q.with_messages)) {
        answer->error(answer->ctx, "modify", "bad-request", "true or false");
        return;
    }
    rsm_read(&q.rsm, r->payload);
    inbox_list(lookups, opts, &protocol, &q, r, answer);
}
