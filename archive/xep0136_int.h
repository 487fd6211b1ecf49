// SPDX-License-Identifier: Apache-2.0
/* Between the files that answer XEP-0136: the door (xep0136.c) and a file for each kind. */
#ifndef ARCHIVE_XEP0136_INT_H
#define ARCHIVE_XEP0136_INT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "archive/lookup.h"
#include "archive/opts.h"
#include "archive/xep0136.h"
#include "archive/xep0136_query.h"

struct pg_result;

struct xep0136 {
    const struct archive_opts *opts;
    struct lookups *lookups;
};

/* One request under way. */
struct xep0136_ask {
    struct lookup lookup; /* first */
    struct xep0136 *x;
    struct xep0136_query query;
    uint64_t peer; /* of query.with */
    size_t want;   /* of a page */
    void (*gathered)(struct xep0136_ask *a);
    void *more; /* whatever a kind needs besides, from malloc */
};

struct ident *xep0136_ident(const struct xep0136_ask *a);
void xep0136_not_found(struct xep0136_ask *a);

/* Attributes by which all elements name a collection. */
void xep0136_set_name(struct stanza *el, const char *jid, int64_t start_us);
void xep0136_set_version(struct stanza *el, int64_t version);
/* Those of a <chat/>, from columns jid, start_us, thread, subject, version at col and after.
 */
void xep0136_set_chat(struct stanza *chat, const struct pg_result *r, int row, int col);

/* What each kind does once messages are gathered; each ends a. */
void xep0136_list(struct xep0136_ask *a);
void xep0136_modified(struct xep0136_ask *a);
void xep0136_retrieve(struct xep0136_ask *a);
void xep0136_save(struct xep0136_ask *a);
void xep0136_remove(struct xep0136_ask *a);

#endif
