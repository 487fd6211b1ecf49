// SPDX-License-Identifier: Apache-2.0
/*
 * What a MAM query asks for: its data form and result set, checked and made numbers where
 * that needs no keys.  Pure; the rule numbers in the source are those of docs/archive.md.
 */
#ifndef ARCHIVE_MAM_QUERY_H
#define ARCHIVE_MAM_QUERY_H

#include <stdbool.h>
#include <stdint.h>

#include "base/jid.h"
#include "base/rsm.h"

struct stanza;

struct mam_query {
    const char *ns;      /* of the protocol's version asked */
    const char *queryid; /* NULL when none was given */
    bool has_with;
    struct jid with;
    int64_t start_us; /* 0 and INT64_MAX when not given; both inclusive */
    int64_t end_us;
    const char *after_id; /* NULL when not given; both exclusive */
    const char *before_id;
    const struct stanza *ids; /* the field, NULL when it names none: see mam_query_next_id */
    const char *fulltext;     /* words, NULL when not given (XEP-0431) */
    bool flip_page;
    struct rsm rsm;
};

struct mam_refusal {
    const char *type;
    const char *condition;
    const char *text;
};

/* False with the refusal filled when the query has to be refused.  Strings live as long as
 * query does. */
bool mam_query_read(struct mam_query *out, const struct stanza *query,
                    struct mam_refusal *why);
/* Walks the field's ids; *at starts as NULL.  NULL at the end. */
const char *mam_query_next_id(const struct mam_query *q, const struct stanza **at);

/* The form that <query/> of type get is answered with, below parent; search: with the field
 * for full text. */
void mam_query_form(struct stanza *parent, bool search);

#endif
