// SPDX-License-Identifier: Apache-2.0
/* What a page looks like on the wire. */
#include "archive/mam_int.h"

#include "archive/ident.h"
#include "archive/opts.h"
#include "archive/result.h"
#include "base/stanza.h"

#define RESULT_BYTES_MAX (24 << 20)

static void write_result(const struct mam_page *p, const struct mam_row *row, struct buf *out)
{
    char id[ARCHIVE_ID_BYTES];
    ident_archive_id(lookups_ident(p->mam->lookups), p->lookup.owner, row->id, id);
    const struct archive_result result = {.ns = p->query.ns,
                                          .queryid = p->query.queryid,
                                          .id = id,
                                          .at_us = ident_us_from_id(row->id),
                                          .xml = buf_data(&p->bytes) + row->at,
                                          .xml_len = row->len,
                                          .xml_max = p->mam->opts->message_bytes_max};
    archive_result_write(&result, out);
}

static void send_results(struct mam_page *p)
{
    struct buf xml;
    buf_init(&xml, RESULT_BYTES_MAX);
    bool sending = true;
    /* Chronological, also in a page that was read from its end (M23, M30), unless the client
     * wants it the other way round (M29). */
    bool reversed = p->backward != p->query.flip_page;
    for (size_t i = 0; i < p->rows_n && sending; i++) {
        const struct mam_row *row = &p->rows[reversed ? p->rows_n - 1 - i : i];
        buf_reset(&xml);
        write_result(p, row, &xml);
        sending = !buf_failed(&xml) &&
                  p->lookup.answer.result(p->lookup.answer.ctx, buf_data(&xml), buf_len(&xml));
    }
    buf_deinit(&xml);
}

static struct stanza *new_fin(const struct mam_page *p, const struct rsm_answer *set)
{
    struct stanza *fin = stanza_new(p->lookup.request.payload->arena, "fin", p->query.ns);
    if (!p->more)
        stanza_set(fin, "complete", "true");
    if (!p->lookup.stable)
        stanza_set(fin, "stable", "false");
    rsm_write(fin, set);
    return fin;
}

void mam_page_answer(struct mam_page *p)
{
    char first[ARCHIVE_ID_BYTES], last[ARCHIVE_ID_BYTES];
    struct rsm_answer set = {0};
    if (p->rows_n > 0) {
        struct ident *ident = lookups_ident(p->mam->lookups);
        size_t oldest = p->backward ? p->rows_n - 1 : 0;
        ident_archive_id(ident, p->lookup.owner, p->rows[oldest].id, first);
        ident_archive_id(ident, p->lookup.owner, p->rows[p->rows_n - 1 - oldest].id, last);
        set.first = first;
        set.last = last;
    }
    /* The whole set in one page: its size costs nothing.  Otherwise only when it was counted,
     * and never an index: together they end slixmpp's backward paging after one page. */
    bool whole = !p->more && !p->anchored;
    set.has_count = whole || p->has_count;
    set.count = whole ? (int64_t)p->rows_n : p->count;
    send_results(p);
    lookup_done(&p->lookup, new_fin(p, &set));
}
