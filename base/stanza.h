// SPDX-License-Identifier: Apache-2.0
/*
 * A stanza as a tree in one arena.  Every element knows its own namespace, so handlers match
 * (name, namespace) and never prefixes; the writer declares namespaces where they change.
 * It knows no sockets and no XEP.
 */
#ifndef BASE_STANZA_H
#define BASE_STANZA_H

#include <stdbool.h>
#include <stddef.h>

struct arena;
struct buf;

/* The one namespace that has its prefix for ever and may not be made the default. */
#define NS_XML "http://www.w3.org/XML/1998/namespace"

struct stanza_attr {
    const char *name; /* local name; "xml:lang" keeps its prefix as part of the name */
    const char *ns;   /* NULL for an attribute without a prefix, and for xml:* */
    const char *value;
    struct stanza_attr *next;
};

/* An element (name set) or a run of text (name NULL, text set). */
struct stanza {
    const char *name;
    const char *ns; /* of an element never NULL; "" is no namespace */
    const char *text;
    size_t text_len;
    struct stanza_attr *attrs;
    struct stanza *parent;
    struct stanza *first; /* children in document order */
    struct stanza *last;
    struct stanza *next; /* sibling */
    struct arena *arena; /* the tree's; owned by whoever made it */
};

/* Building.  Strings are copied into the arena.  NULL when the arena is full; every function
 * here takes a NULL element and does nothing, so that a builder checks only its root, or the
 * arena, at the end.  A NULL ns is the parent's, for stanza_new none. */
struct stanza *stanza_new(struct arena *a, const char *name, const char *ns);
struct stanza *stanza_add(struct stanza *parent, const char *name, const char *ns);
void stanza_add_text(struct stanza *parent, const char *text, size_t len);
void stanza_set(struct stanza *el, const char *attr, const char *value); /* NULL removes */
void stanza_append(struct stanza *parent, struct stanza *child);         /* same arena */
void stanza_remove(struct stanza *child);                                /* from its parent */
struct stanza *stanza_copy(struct arena *a, const struct stanza *el);    /* deep */
/* <name xmlns=ns>text</name> below parent, the common case. */
struct stanza *stanza_add_leaf(struct stanza *parent, const char *name, const char *ns,
                               const char *text);

/* Reading. */
const char *stanza_get(const struct stanza *el, const char *attr); /* NULL when absent */
bool stanza_is(const struct stanza *el, const char *name, const char *ns);
/* First child element of that name; name or ns NULL matches any. */
struct stanza *stanza_child(const struct stanza *el, const char *name, const char *ns);
/* Next sibling element after el of that name. */
struct stanza *stanza_sibling(const struct stanza *el, const char *name, const char *ns);
/* All direct text of el joined, copied into its arena; "" when there is none. */
const char *stanza_text(const struct stanza *el);
/* Text of the first such child, NULL when there is no such child. */
const char *stanza_child_text(const struct stanza *el, const char *name, const char *ns);

/* Writing: canonical XML, double quotes, no white space added.  outer_ns is the namespace in
 * force where it will be put (NULL: none), so that it is declared only when it differs. */
void stanza_write(struct buf *out, const struct stanza *el, const char *outer_ns);
/* Escapes for text and for attribute values in double or single quotes alike. */
void xml_escape(struct buf *out, const char *text, size_t len);
void xml_escape_str(struct buf *out, const char *text);

/* xs:boolean (XML Schema, part 2, section 3.2.2); false when text is none. */
bool xml_boolean(const char *text, bool *out);

#endif
