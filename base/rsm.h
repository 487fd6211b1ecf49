// SPDX-License-Identifier: Apache-2.0
/* Result set management (XEP-0059): the request as numbers and anchors, and the answer. */
#ifndef BASE_RSM_H
#define BASE_RSM_H

#include <stdbool.h>
#include <stdint.h>

#include "base/stanza.h"

#define NS_RSM "http://jabber.org/protocol/rsm"

struct rsm {
    bool present;
    bool has_max;
    uint32_t max;       /* as asked; values over 2^31 - 1 are that; valid when has_max */
    const char *after;  /* NULL when absent or empty (rule R6) */
    const char *before; /* NULL when absent or empty */
    bool last_page;     /* an empty <before/> */
    bool has_index;     /* <index/> was sent: we refuse it */
};

/* Reads the <set> child of parent.  A max that is no number >= 0 counts as absent (R12).
 * Strings live in the stanza's arena. */
void rsm_read(struct rsm *out, const struct stanza *parent);

struct rsm_answer {
    const char *first; /* NULL when the page is empty; then last too */
    const char *last;
    bool has_index; /* of first */
    int64_t index;
    bool has_count;
    int64_t count;
};

/* Adds <set> below parent; an empty page without count gives <set/>. */
void rsm_write(struct stanza *parent, const struct rsm_answer *a);

#endif
