// SPDX-License-Identifier: Apache-2.0
#include "archive/mam_query.h"

#include <string.h>

#include "archive/mam.h"
#include "base/datetime.h"
#include "base/form.h"
#include "base/stanza.h"

static bool refuse(struct mam_refusal *why, const char *condition, const char *text)
{
    bool unknown = strcmp(condition, "feature-not-implemented") == 0;
    *why = (struct mam_refusal){unknown ? "cancel" : "modify", condition, text};
    return false;
}

static bool read_date(const char *value, int64_t *out, struct mam_refusal *why)
{
    if (value[0] == '\0' || datetime_parse(value, out))
        return true; /* an empty field is as good as none */
    return refuse(why, "bad-request", "start and end must be XEP-0082 dates");
}

/* Known fields only: a filter that is ignored would give wrong results. */
static bool read_field(struct mam_query *q, const char *var, const char *value,
                       struct mam_refusal *why)
{
    if (strcmp(var, "FORM_TYPE") == 0) {
        if (strcmp(value, NS_MAM) != 0)
            return refuse(why, "bad-request", "the form is not of this protocol");
        return true;
    }
    if (strcmp(var, "start") == 0)
        return read_date(value, &q->start_us, why);
    if (strcmp(var, "end") == 0)
        return read_date(value, &q->end_us, why);
    if (strcmp(var, "with") != 0)
        return refuse(why, "feature-not-implemented", "unknown field in the form");
    if (value[0] == '\0')
        return true;
    if (!jid_parse(&q->with, value))
        return refuse(why, "jid-malformed", "with is not a JID");
    q->has_with = true;
    return true;
}

static bool read_form(struct mam_query *q, const struct stanza *x, struct mam_refusal *why)
{
    if (strcmp(form_type(x), "submit") != 0)
        return refuse(why, "bad-request", "the form must be of type submit");
    for (const struct stanza *f = stanza_child(x, "field", NS_DATA_FORMS); f;
         f = stanza_sibling(f, "field", NS_DATA_FORMS)) {
        const char *var = stanza_get(f, "var");
        const char *value = stanza_child_text(f, "value", NS_DATA_FORMS);
        if (!var)
            return refuse(why, "bad-request", "a field without a name");
        if (!read_field(q, var, value ? value : "", why))
            return false;
    }
    return true;
}

bool mam_query_read(struct mam_query *out, const struct stanza *query, struct mam_refusal *why)
{
    out->queryid = stanza_get(query, "queryid");
    out->has_with = false;
    out->start_us = 0;
    out->end_us = INT64_MAX;
    rsm_read(&out->rsm, query);
    if (out->rsm.has_index)
        return refuse(why, "feature-not-implemented", "paging by index is not offered");
    const struct stanza *x = form_find(query);
    return !x || read_form(out, x, why);
}

void mam_query_form(struct stanza *parent)
{
    struct stanza *x = form_add(parent, "form", NS_MAM);
    form_add_field(x, "with", "jid-single", NULL);
    form_add_field(x, "start", "text-single", NULL);
    form_add_field(x, "end", "text-single", NULL);
}
