// SPDX-License-Identifier: Apache-2.0
#include "archive/inbox_esl.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "archive/inbox_esl_int.h"
#include "archive/inbox_list.h"
#include "base/buf.h"
#include "base/datetime.h"
#include "base/form.h"
#include "base/stanza.h"

/* --- properties of a conversation -------------------------------------------------------- */

void inbox_esl_mute_text(int64_t until_us, char out[DATETIME_BYTES])
{
    if (until_us == 0)
        strcpy(out, "0");
    else if (until_us == INT64_MAX)
        strcpy(out, "9999-12-31T23:59:59.000000Z");
    else
        datetime_format(until_us, out);
}

const char *inbox_esl_box_name(enum inbox_box box)
{
    return box == INBOX_ARCHIVED ? "archive" : "inbox";
}

bool inbox_esl_box_read(const char *text, enum inbox_box *out)
{
    if (strcmp(text, "inbox") == 0)
        *out = INBOX_ACTIVE;
    else if (strcmp(text, "archive") == 0)
        *out = INBOX_ARCHIVED;
    else
        return false;
    return true;
}

/* --- the list ---------------------------------------------------------------------------- */

static void write_entry(const struct archive_request *r, const struct inbox_entry *e,
                        struct buf *out)
{
    char stamp[DATETIME_BYTES], mute[DATETIME_BYTES];
    const char *queryid = stanza_get(r->payload, "queryid");
    datetime_format(e->at_us, stamp);
    inbox_esl_mute_text(e->muted_until_us, mute);
    buf_addf(out, "<result xmlns=\"" NS_INBOX_ESL "\" unread=\"%" PRId64 "\" queryid=\"",
             e->unread);
    xml_escape_str(out, queryid ? queryid : r->id ? r->id : "");
    buf_addf(out,
             "\"><forwarded xmlns=\"urn:xmpp:forward:0\">"
             "<delay xmlns=\"urn:xmpp:delay\" stamp=\"%s\"/>",
             stamp);
    buf_add(out, e->xml, e->xml_len);
    buf_addf(out, "</forwarded><box>%s</box><archive>%s</archive><mute>%s</mute></result>",
             inbox_esl_box_name(e->box), e->box == INBOX_ARCHIVED ? "true" : "false", mute);
}

static void add_number(struct stanza *parent, const char *name, int64_t value)
{
    char text[24];
    (void)snprintf(text, sizeof text, "%" PRId64, value);
    stanza_add_leaf(parent, name, NULL, text);
}

static struct stanza *new_fin(const struct archive_request *r, const struct inbox_query *q,
                              const struct inbox_totals *totals)
{
    struct stanza *fin = stanza_new(r->payload->arena, "fin", NS_INBOX_ESL);
    add_number(fin, "count", q->unread_only ? totals->with_unread : totals->conversations);
    add_number(fin, "unread-messages", totals->unread);
    add_number(fin, "active-conversations", totals->with_unread);
    return fin;
}

/* NULL: good, else what is wrong. */
static const char *read_form(const struct stanza *x, struct inbox_query *q)
{
    const char *value;
    bool archived;
    if ((value = form_value(x, "start")) && *value && !datetime_parse(value, &q->start_us))
        return "start is no time";
    if ((value = form_value(x, "end")) && *value && !datetime_parse(value, &q->end_us))
        return "end is no time";
    if ((value = form_value(x, "order")) && *value) {
        q->oldest_first = strcmp(value, "asc") == 0;
        if (!q->oldest_first && strcmp(value, "desc") != 0)
            return "order is asc or desc";
    }
    if ((value = form_value(x, "hidden_read")) && *value &&
        !xml_boolean(value, &q->unread_only))
        return "hidden_read is true or false";
    if ((value = form_value(x, "archive")) && *value) {
        if (!xml_boolean(value, &archived))
            return "archive is true or false";
        q->box = archived ? INBOX_ARCHIVED : INBOX_ACTIVE;
    }
    if ((value = form_value(x, "box")) && *value && strcmp(value, "all") != 0 &&
        !inbox_esl_box_read(value, &q->box))
        return "box is all, inbox or archive";
    return NULL;
}

static void list(struct lookups *lookups, const struct archive_opts *opts,
                 const struct archive_request *r, const struct archive_answer *answer)
{
    static const struct inbox_protocol protocol = {.entry = write_entry, .fin = new_fin};
    struct inbox_query q = {.with_messages = true, .box = INBOX_ANY_BOX, .end_us = INT64_MAX};
    const struct stanza *x = form_find(r->payload);
    const char *wrong = x ? read_form(x, &q) : NULL;
    rsm_read(&q.rsm, r->payload);
    if (wrong)
        answer->error(answer->ctx, "modify", "bad-request", wrong);
    else
        inbox_list(lookups, opts, &protocol, &q, r, answer);
}

static void add_options(struct stanza *field, const char *const *options)
{
    for (; *options; options++)
        form_add_option(field, *options, *options);
}

static void answer_form(const struct archive_request *r, const struct archive_answer *answer)
{
    static const char *const orders[] = {"asc", "desc", NULL};
    static const char *const boxes[] = {"all", "inbox", "archive", NULL};
    struct stanza *query = stanza_new(r->payload->arena, "query", NS_INBOX_ESL);
    struct stanza *x = form_add(query, "form", NS_INBOX_ESL);
    form_add_field(x, "start", "text-single", NULL);
    form_add_field(x, "end", "text-single", NULL);
    add_options(form_add_field(x, "order", "list-single", "desc"), orders);
    form_add_field(x, "hidden_read", "text-single", "false");
    add_options(form_add_field(x, "box", "list-single", "all"), boxes);
    form_add_field(x, "archive", "boolean", NULL);
    answer->done(answer->ctx, query);
}

void inbox_esl_ask(struct lookups *lookups, const struct archive_opts *opts,
                   const struct archive_request *r, const struct archive_answer *answer)
{
    if (r->is_set && strcmp(r->payload->name, "inbox") == 0)
        list(lookups, opts, r, answer);
    else if (!r->is_set && strcmp(r->payload->name, "query") == 0)
        answer_form(r, answer);
    else
        answer->error(answer->ctx, "cancel", "feature-not-implemented", NULL);
}
