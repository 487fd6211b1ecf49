// SPDX-License-Identifier: Apache-2.0
/*
 * Start tags, text and end tags, as expat reports them, to one tree in its own arena.  It
 * keeps within its arena's maximum; when that is reached it is marked full and ignores the
 * rest.  It does not know expat nor where the tags come from.
 */
#ifndef BASE_XML_TREE_H
#define BASE_XML_TREE_H

#include <stdbool.h>
#include <stddef.h>

#include "base/buf.h"
#include "base/stanza.h"
#include "base/xml_intern.h"

/* Between namespace and name, as expat joins them; no byte of UTF-8 can be this one. */
#define XML_TREE_SEPARATOR 0xFF

struct xml_tree {
    size_t attrs_max;
    size_t arena_max;
    struct xml_intern intern;
    size_t *value_lens;  /* attrs_max, scratch of one element */
    struct arena *arena; /* of the tree in hand, NULL before its first tag */
    struct stanza *top;
    struct stanza *open; /* innermost open element */
    struct buf text;     /* run of text not yet in the tree */
    bool full;
};

void xml_tree_init(struct xml_tree *t, size_t attrs_max, size_t text_max, size_t arena_max);
void xml_tree_deinit(struct xml_tree *t);

void xml_tree_start(struct xml_tree *t, const char *qname, const char **atts);
void xml_tree_text(struct xml_tree *t, const char *text, size_t len);
void xml_tree_end(struct xml_tree *t);

/* The tree, now the caller's with its arena. */
struct stanza *xml_tree_take(struct xml_tree *t);
/* Frees the tree in hand, ready for the next. */
void xml_tree_drop(struct xml_tree *t);

#endif
