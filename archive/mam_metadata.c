// SPDX-License-Identifier: Apache-2.0
/* <metadata/>: the oldest and the newest message of an archive (XEP-0313, rule M40). */
#include "archive/mam_int.h"

#include <stdlib.h>

#include "archive/ident.h"
#include "archive/rows.h"
#include "base/datetime.h"
#include "base/stanza.h"

/* Two rows, oldest first; one message twice; none. */
static const struct pg_statement both_ends = {
    "mam_metadata", "(SELECT id FROM xs.message WHERE owner = $1::uuid AND " ROW_SHOWN
                    " ORDER BY id LIMIT 1) UNION ALL"
                    " (SELECT id FROM xs.message WHERE owner = $1::uuid AND " ROW_SHOWN
                    " ORDER BY id DESC LIMIT 1)"};

struct metadata {
    struct lookup lookup; /* first */
    struct mam *mam;
};

static void add_end(const struct metadata *d, struct stanza *parent, const char *name,
                    int64_t id)
{
    char text[ARCHIVE_ID_BYTES], stamp[DATETIME_BYTES];
    ident_archive_id(lookups_ident(d->mam->lookups), d->lookup.owner, id, text);
    datetime_format(ident_us_from_id(id), stamp);
    struct stanza *end = stanza_add(parent, name, parent->ns);
    stanza_set(end, "id", text);
    stanza_set(end, "timestamp", stamp);
}

static void on_ends(void *ctx, const struct pg_result *r, const struct pg_error *e)
{
    struct metadata *d = ctx;
    if (lookup_is_over(&d->lookup, e))
        return;
    const struct stanza *asked = d->lookup.request.payload;
    struct stanza *metadata = stanza_new(asked->arena, "metadata", asked->ns);
    if (pg_rows(r) == 2) {
        add_end(d, metadata, "start", pg_i64(r, 0, 0));
        add_end(d, metadata, "end", pg_i64(r, 1, 0));
    }
    lookup_done(&d->lookup, metadata);
}

static void read_ends(struct lookup *l)
{
    struct pg_params params;
    pg_params_init(&params);
    pg_add_uuid(&params, l->owner);
    lookup_send(l, &both_ends, &params, on_ends, l);
}

static void metadata_free(struct lookup *l)
{
    free(l);
}

void mam_metadata_ask(struct mam *m, const struct archive_request *r,
                      const struct archive_answer *answer)
{
    static const struct lookup_kind kind = {.read = read_ends, .free = metadata_free};
    struct metadata *d = calloc(1, sizeof *d);
    if (!d)
        abort();
    d->mam = m;
    if (lookup_begin(m->lookups, &d->lookup, &kind, r, answer))
        lookup_wait(&d->lookup, TURN_PAGE);
}
