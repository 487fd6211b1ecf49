// SPDX-License-Identifier: Apache-2.0
#include "archive/mam_query.h"

#include <string.h>

#include "archive/mam.h"
#include "base/datetime.h"
#include "base/form.h"
#include "base/stanza.h"

#define NS_VALIDATE "http://jabber.org/protocol/xdata-validate"

static bool refuse(struct mam_refusal *why, const char *condition, const char *text)
{
    bool unknown = strcmp(condition, "feature-not-implemented") == 0;
    *why = (struct mam_refusal){unknown ? "cancel" : "modify", condition, text};
    return false;
}

/* --- fields ------------------------------------------------------------------------------ */

/* A field's first value is never empty when its reader is called: an empty field is as good as
 * none. */
typedef bool (*field_fn)(struct mam_query *q, const struct stanza *field, const char *value,
                         struct mam_refusal *why);

static bool read_date(const char *value, int64_t *out, struct mam_refusal *why)
{
    if (datetime_parse(value, out))
        return true;
    return refuse(why, "bad-request", "start and end must be XEP-0082 dates");
}

static bool read_start(struct mam_query *q, const struct stanza *field, const char *value,
                       struct mam_refusal *why)
{
    (void)field;
    return read_date(value, &q->start_us, why);
}

static bool read_end(struct mam_query *q, const struct stanza *field, const char *value,
                     struct mam_refusal *why)
{
    (void)field;
    return read_date(value, &q->end_us, why);
}

static bool read_with(struct mam_query *q, const struct stanza *field, const char *value,
                      struct mam_refusal *why)
{
    (void)field;
    q->has_with = jid_parse(&q->with, value);
    return q->has_with || refuse(why, "jid-malformed", "with is not a JID");
}

static bool read_after_id(struct mam_query *q, const struct stanza *field, const char *value,
                          struct mam_refusal *why)
{
    (void)field, (void)why;
    q->after_id = value;
    return true;
}

static bool read_before_id(struct mam_query *q, const struct stanza *field, const char *value,
                           struct mam_refusal *why)
{
    (void)field, (void)why;
    q->before_id = value;
    return true;
}

static bool read_ids(struct mam_query *q, const struct stanza *field, const char *value,
                     struct mam_refusal *why)
{
    (void)value, (void)why;
    q->ids = field;
    return true;
}

static bool read_fulltext(struct mam_query *q, const struct stanza *field, const char *value,
                          struct mam_refusal *why)
{
    (void)field, (void)why;
    q->fulltext = value;
    return true;
}

/* The fields we know, in the order of the form.  One without a type is taken and not shown:
 * another name of a field that is. */
static const struct field {
    const char *var;
    const char *type;
    field_fn read;
    bool extended; /* not of the protocol's first version */
} fields[] = {
    {"with", "jid-single", read_with, false},
    {"start", "text-single", read_start, false},
    {"end", "text-single", read_end, false},
    {"before-id", "text-single", read_before_id, true},
    {"after-id", "text-single", read_after_id, true},
    {"ids", "list-multi", read_ids, true},
    {NS_FULLTEXT_FIELD, "text-single", read_fulltext, false},
    {"withtext", NULL, read_fulltext, false}, /* what other servers call it */
    {"full-text-search", NULL, read_fulltext, false},
    {"search", NULL, read_fulltext, false},
};

#define FIELDS (sizeof fields / sizeof *fields)

/* Known fields only: a filter that is ignored would give wrong results (M4). */
static bool read_field(struct mam_query *q, const struct stanza *field, const char *var,
                       struct mam_refusal *why)
{
    const char *value = stanza_child_text(field, "value", NS_DATA_FORMS);
    if (!value)
        value = "";
    if (strcmp(var, "FORM_TYPE") == 0) {
        if (strcmp(value, q->ns) != 0)
            return refuse(why, "bad-request", "the form is not of this protocol");
        return true;
    }
    for (size_t i = 0; i < FIELDS; i++)
        if (strcmp(var, fields[i].var) == 0)
            return !*value || fields[i].read(q, field, value, why);
    return refuse(why, "feature-not-implemented", "unknown field in the form");
}

static bool read_form(struct mam_query *q, const struct stanza *x, struct mam_refusal *why)
{
    if (strcmp(form_type(x), "submit") != 0)
        return refuse(why, "bad-request", "the form must be of type submit");
    for (const struct stanza *f = stanza_child(x, "field", NS_DATA_FORMS); f;
         f = stanza_sibling(f, "field", NS_DATA_FORMS)) {
        const char *var = stanza_get(f, "var");
        if (!var)
            return refuse(why, "bad-request", "a field without a name");
        if (!read_field(q, f, var, why))
            return false;
    }
    return true;
}

bool mam_query_read(struct mam_query *out, const struct stanza *query, struct mam_refusal *why)
{
    out->ns = query->ns;
    out->queryid = stanza_get(query, "queryid");
    out->has_with = false;
    out->start_us = 0;
    out->end_us = INT64_MAX;
    out->after_id = out->before_id = NULL;
    out->ids = NULL;
    out->fulltext = NULL;
    out->flip_page = stanza_child(query, "flip-page", query->ns) != NULL;
    rsm_read(&out->rsm, query);
    if (out->rsm.has_index)
        return refuse(why, "feature-not-implemented", "paging by index is not offered");
    const struct stanza *x = form_find(query);
    return !x || read_form(out, x, why);
}

const char *mam_query_next_id(const struct mam_query *q, const struct stanza **at)
{
    const char *id = "";
    while (id && !*id) { /* an empty value names nothing */
        *at = *at ? stanza_sibling(*at, "value", NS_DATA_FORMS)
                  : stanza_child(q->ids, "value", NS_DATA_FORMS);
        id = *at ? stanza_text(*at) : NULL;
    }
    return id;
}

/* --- the empty form ---------------------------------------------------------------------- */

/* Any value: so that no list of options has to be sent (M3, XEP-0122). */
static void let_be_open(struct stanza *field)
{
    struct stanza *validate = stanza_add(field, "validate", NS_VALIDATE);
    stanza_set(validate, "datatype", "xs:string");
    stanza_add(validate, "open", NS_VALIDATE);
}

void mam_query_form(struct stanza *parent, bool search)
{
    bool all = strcmp(parent->ns, NS_MAM) == 0;
    struct stanza *x = form_add(parent, "form", parent->ns);
    for (size_t i = 0; i < FIELDS; i++) {
        const struct field *f = &fields[i];
        bool hidden = f->read == read_fulltext && !search;
        if (!f->type || (f->extended && !all) || hidden)
            continue;
        struct stanza *field = form_add_field(x, f->var, f->type, NULL);
        if (strcmp(f->type, "list-multi") == 0)
            let_be_open(field);
    }
}
