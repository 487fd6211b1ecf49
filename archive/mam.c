// SPDX-License-Identifier: Apache-2.0
#include "archive/mam.h"

#include <stdlib.h>
#include <string.h>

#include "archive/mam_int.h"
#include "archive/mam_sql.h"
#include "base/stanza.h"

struct mam *mam_new(const struct archive_opts *opts, struct lookups *lookups,
                    struct search *search)
{
    struct mam *m = calloc(1, sizeof *m);
    if (!m)
        abort();
    *m =
        (struct mam){.opts = opts, .lookups = lookups, .search = search, .sql = mam_sql_new()};
    return m;
}

void mam_free(struct mam **m)
{
    if (!*m)
        return;
    mam_sql_free(&(*m)->sql);
    free(*m);
    *m = NULL;
}

static void answer_form(const struct mam *m, const struct archive_request *r,
                        const struct archive_answer *answer)
{
    struct stanza *query = stanza_new(r->payload->arena, "query", r->payload->ns);
    mam_query_form(query, m->search != NULL);
    answer->done(answer->ctx, query);
}

void mam_ask(struct mam *m, const struct archive_request *r,
             const struct archive_answer *answer)
{
    const struct stanza *asked = r->payload;
    const char *node = stanza_get(asked, "node");
    if (node && *node) /* XEP-0442: that is another archive, not the account's */
        answer->error(answer->ctx, "cancel", "feature-not-implemented",
                      "nodes have no archive here");
    else if (strcmp(asked->name, "query") == 0 && r->is_set)
        mam_page_ask(m, r, answer);
    else if (strcmp(asked->name, "query") == 0)
        answer_form(m, r, answer);
    else if (stanza_is(asked, "metadata", NS_MAM) && !r->is_set)
        mam_metadata_ask(m, r, answer);
    else
        answer->error(answer->ctx, "cancel", "feature-not-implemented", NULL);
}
