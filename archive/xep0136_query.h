// SPDX-License-Identifier: Apache-2.0
/*
 * What a request of XEP-0136 asks for, checked and made numbers.  Pure; the rule numbers in
 * the source are those of docs/archive.md.
 */
#ifndef ARCHIVE_XEP0136_QUERY_H
#define ARCHIVE_XEP0136_QUERY_H

#include <stdbool.h>
#include <stdint.h>

#include "base/jid.h"
#include "base/rsm.h"

struct stanza;

/* Whose collections.  They are kept under bare JIDs, so a resource makes no difference, but
 * where it has to match exactly. */
enum xep0136_match {
    MATCH_ALL,
    MATCH_BARE,   /* with.bare */
    MATCH_DOMAIN, /* with.bare is a domain: its users', and its own */
    MATCH_NOBODY,
};

struct xep0136_query {
    enum xep0136_match match;
    struct jid with;
    bool has_start;
    bool has_end;
    int64_t start_us; /* INT64_MIN when not given; inclusive */
    int64_t end_us;   /* INT64_MAX when not given; exclusive */
    bool open;        /* only what is being recorded */
    struct rsm rsm;
};

/* Of an error. */
struct xep0136_refusal {
    const char *type;
    const char *condition;
    const char *text;
};

/* Each is false with the refusal filled when the request has to be refused. */
bool xep0136_read_list(struct xep0136_query *out, const struct stanza *list,
                       struct xep0136_refusal *why);
/* with and start name one: match is MATCH_BARE. */
bool xep0136_read_retrieve(struct xep0136_query *out, const struct stanza *retrieve,
                           struct xep0136_refusal *why);
bool xep0136_read_modified(struct xep0136_query *out, const struct stanza *modified,
                           struct xep0136_refusal *why);
bool xep0136_read_remove(struct xep0136_query *out, const struct stanza *remove,
                         struct xep0136_refusal *why);
/* The name of its one <chat/>, which is MATCH_BARE. */
bool xep0136_read_save(struct xep0136_query *out, const struct stanza *save,
                       struct xep0136_refusal *why);

/* "true" and "1" are true (XML Schema); NULL and everything else are not. */
bool xep0136_is_true(const char *value);

#endif
