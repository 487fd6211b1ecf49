// SPDX-License-Identifier: Apache-2.0
/*
 * What a MAM query asks for: its data form and result set, checked and made numbers.  Pure;
 * the rule numbers in the source are those of docs/archive.md.
 */
#ifndef ARCHIVE_MAM_QUERY_H
#define ARCHIVE_MAM_QUERY_H

#include <stdbool.h>
#include <stdint.h>

#include "base/jid.h"
#include "base/rsm.h"

struct stanza;

struct mam_query {
    const char *queryid; /* NULL when none was given */
    bool has_with;
    struct jid with;
    int64_t start_us; /* 0 and INT64_MAX when not given; both inclusive */
    int64_t end_us;
    struct rsm rsm;
};

struct mam_refusal {
    const char *type;
    const char *condition;
    const char *text;
};

/* False with the refusal filled when the query has to be refused. */
bool mam_query_read(struct mam_query *out, const struct stanza *query,
                    struct mam_refusal *why);

/* The form that <query/> of type get is answered with, below parent. */
void mam_query_form(struct stanza *parent);

#endif
