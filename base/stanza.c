// SPDX-License-Identifier: Apache-2.0
#include "base/stanza.h"

#include <assert.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "base/arena.h"
#include "base/buf.h"
#include "base/utf8.h"

static struct stanza *node_new(struct arena *a)
{
    struct stanza *el = arena_alloc(a, sizeof *el);
    if (el)
        *el = (struct stanza){.arena = a};
    return el;
}

static void link_last(struct stanza *parent, struct stanza *child)
{
    child->parent = parent;
    child->next = NULL;
    if (parent->last)
        parent->last->next = child;
    else
        parent->first = child;
    parent->last = child;
}

struct stanza *stanza_new(struct arena *a, const char *name, const char *ns)
{
    struct stanza *el = node_new(a);
    if (!el)
        return NULL;
    el->name = arena_strdup(a, name);
    el->ns = ns ? arena_strdup(a, ns) : "";
    return el->name && el->ns ? el : NULL;
}

struct stanza *stanza_add(struct stanza *parent, const char *name, const char *ns)
{
    if (!parent)
        return NULL;
    struct stanza *el = node_new(parent->arena);
    if (!el)
        return NULL;
    el->name = arena_strdup(parent->arena, name);
    bool same = !ns || strcmp(ns, parent->ns) == 0;
    el->ns = same ? parent->ns : arena_strdup(parent->arena, ns);
    if (!el->name || !el->ns)
        return NULL;
    link_last(parent, el);
    return el;
}

void stanza_add_text(struct stanza *parent, const char *text, size_t len)
{
    if (!parent || len == 0)
        return;
    struct stanza *run = node_new(parent->arena);
    if (!run)
        return;
    run->text = arena_strndup(parent->arena, text, len);
    run->text_len = len;
    if (run->text)
        link_last(parent, run);
}

struct stanza *stanza_add_leaf(struct stanza *parent, const char *name, const char *ns,
                               const char *text)
{
    struct stanza *el = stanza_add(parent, name, ns);
    if (el && text)
        stanza_add_text(el, text, strlen(text));
    return el;
}

void stanza_set(struct stanza *el, const char *attr, const char *value)
{
    if (!el)
        return;
    /* Namespaces belong to the element; an attribute would declare it twice. */
    assert(strcmp(attr, "xmlns") != 0);
    struct stanza_attr **at = &el->attrs;
    while (*at && ((*at)->ns || strcmp((*at)->name, attr) != 0))
        at = &(*at)->next;
    if (!value) {
        if (*at)
            *at = (*at)->next;
        return;
    }
    const char *copy = arena_strdup(el->arena, value);
    if (!copy)
        return;
    if (*at) {
        (*at)->value = copy;
        return;
    }
    struct stanza_attr *fresh = arena_alloc(el->arena, sizeof *fresh);
    const char *name = arena_strdup(el->arena, attr);
    if (!fresh || !name)
        return;
    *fresh = (struct stanza_attr){.name = name, .value = copy};
    *at = fresh;
}

void stanza_append(struct stanza *parent, struct stanza *child)
{
    if (!parent || !child)
        return;
    assert(parent->arena == child->arena);
    stanza_remove(child);
    link_last(parent, child);
}

void stanza_remove(struct stanza *child)
{
    if (!child || !child->parent)
        return;
    struct stanza *parent = child->parent;
    struct stanza *before = NULL;
    for (struct stanza *c = parent->first; c != child; c = c->next)
        before = c;
    if (before)
        before->next = child->next;
    else
        parent->first = child->next;
    if (parent->last == child)
        parent->last = before;
    child->parent = child->next = NULL;
}

static bool copy_attrs(struct arena *a, struct stanza *to, const struct stanza *from)
{
    struct stanza_attr **tail = &to->attrs;
    for (const struct stanza_attr *f = from->attrs; f; f = f->next) {
        struct stanza_attr *t = arena_alloc(a, sizeof *t);
        if (!t)
            return false;
        t->name = arena_strdup(a, f->name);
        t->ns = f->ns ? arena_strdup(a, f->ns) : NULL;
        t->value = arena_strdup(a, f->value);
        t->next = NULL;
        if (!t->name || !t->value || (f->ns && !t->ns))
            return false;
        *tail = t;
        tail = &t->next;
    }
    return true;
}

/* One node without its children, put below to_parent when there is one. */
static struct stanza *copy_node(struct arena *a, struct stanza *to_parent,
                                const struct stanza *from)
{
    struct stanza *to = node_new(a);
    if (!to)
        return NULL;
    if (from->name) {
        to->name = arena_strdup(a, from->name);
        bool same = to_parent && strcmp(to_parent->ns, from->ns) == 0;
        to->ns = same ? to_parent->ns : arena_strdup(a, from->ns);
        if (!to->name || !to->ns || !copy_attrs(a, to, from))
            return NULL;
    } else {
        to->text = arena_strndup(a, from->text, from->text_len);
        to->text_len = from->text_len;
        if (!to->text)
            return NULL;
    }
    if (to_parent)
        link_last(to_parent, to);
    return to;
}

/* Neither copying nor writing recurses: how deep a tree is may be somebody else's choice. */
struct stanza *stanza_copy(struct arena *a, const struct stanza *el)
{
    if (!el)
        return NULL;
    struct stanza *root = copy_node(a, NULL, el);
    if (!root || !el->name)
        return root;
    struct stanza *into = root;
    for (const struct stanza *from = el->first; from; from = from->next) {
        struct stanza *to = copy_node(a, into, from);
        if (!to)
            return NULL;
        while (from->name && from->first) {
            into = to;
            from = from->first;
            to = copy_node(a, into, from);
            if (!to)
                return NULL;
        }
        while (!from->next && from->parent != el) {
            from = from->parent;
            into = into->parent;
            assert(into);
        }
    }
    return root;
}

const char *stanza_get(const struct stanza *el, const char *attr)
{
    if (!el)
        return NULL;
    for (const struct stanza_attr *a = el->attrs; a; a = a->next)
        if (!a->ns && strcmp(a->name, attr) == 0)
            return a->value;
    return NULL;
}

static bool matches(const struct stanza *el, const char *name, const char *ns)
{
    return el->name && (!name || strcmp(el->name, name) == 0) &&
           (!ns || strcmp(el->ns, ns) == 0);
}

bool stanza_is(const struct stanza *el, const char *name, const char *ns)
{
    return el && matches(el, name, ns);
}

static struct stanza *first_match(struct stanza *el, const char *name, const char *ns)
{
    while (el && !matches(el, name, ns))
        el = el->next;
    return el;
}

struct stanza *stanza_child(const struct stanza *el, const char *name, const char *ns)
{
    return el ? first_match(el->first, name, ns) : NULL;
}

struct stanza *stanza_sibling(const struct stanza *el, const char *name, const char *ns)
{
    return el ? first_match(el->next, name, ns) : NULL;
}

const char *stanza_text(const struct stanza *el)
{
    if (!el)
        return "";
    const struct stanza *only = NULL;
    size_t runs = 0, len = 0;
    for (const struct stanza *c = el->first; c; c = c->next) {
        if (c->name)
            continue;
        only = c;
        runs++;
        len += c->text_len;
    }
    if (runs == 0)
        return "";
    if (runs == 1)
        return only->text; /* which ends in a NUL and lives in the arena already */
    char *joined = arena_alloc(el->arena, len + 1);
    if (!joined)
        return "";
    char *at = joined;
    for (const struct stanza *c = el->first; c; c = c->next) {
        if (c->name)
            continue;
        memcpy(at, c->text, c->text_len);
        at += c->text_len;
    }
    *at = '\0';
    return joined;
}

const char *stanza_child_text(const struct stanza *el, const char *name, const char *ns)
{
    const struct stanza *child = stanza_child(el, name, ns);
    return child ? stanza_text(child) : NULL;
}

/* What a byte needs.  A control, or U+FFFE and U+FFFF, is not a character of XML at all: one
 * of them in what we send would end the stream for everybody. */
enum need {
    AS_IS = 0,
    IN_ATTRIBUTE = 1, /* escaped in attribute values only */
    ALWAYS = 2,
    CHECKED = 3, /* begins something that is not ASCII */
};

static const uint8_t needs[256] = {
    2, 2, 2, 2, 2, 2, 2, 2, 2, 1, 1, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2,
    2, 2, 2, 0, 0, 1, 0, 0, 0, 2, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
    0, 0, 2, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
    0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
    0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3,
    3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3,
    3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3,
    3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3,
    3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3,
};

static const char *replacement(unsigned char c)
{
    switch (c) {
    case '&':
        return "&amp;";
    case '<':
        return "&lt;";
    case '>':
        return "&gt;";
    case '"':
        return "&quot;";
    case '\'':
        return "&apos;";
    case '\t':
        return "&#9;";
    case '\n':
        return "&#10;";
    case '\r':
        return "&#13;";
    }
    return "\xEF\xBF\xBD";
}

/* Length of the good character here, 0 when U+FFFD has to stand in for one byte. */
static size_t xml_char(const char *s, size_t len)
{
    size_t n = utf8_char(s, len);
    bool noncharacter = n == 3 && memcmp(s, "\xEF\xBF", 2) == 0 && (unsigned char)s[2] >= 0xBE;
    return noncharacter ? 0 : n;
}

static void escape(struct buf *out, const char *text, size_t len, bool attribute)
{
    size_t from = 0, at = 0;
    while (at < len) {
        unsigned char c = (unsigned char)text[at];
        uint8_t need = needs[c];
        if (need == AS_IS || (need == IN_ATTRIBUTE && !attribute)) {
            at++;
            continue;
        }
        size_t good = need == CHECKED ? xml_char(text + at, len - at) : 0;
        if (good > 0) {
            at += good;
            continue;
        }
        /* One U+FFFD for all bytes of a noncharacter, one for each stray byte. */
        size_t bad = need == CHECKED ? utf8_char(text + at, len - at) : 1;
        buf_add(out, text + from, at - from);
        buf_add_str(out, replacement(c));
        at += bad ? bad : 1;
        from = at;
    }
    buf_add(out, text + from, at - from);
}

void xml_escape(struct buf *out, const char *text, size_t len)
{
    escape(out, text, len, true);
}

void xml_escape_str(struct buf *out, const char *text)
{
    escape(out, text, strlen(text), true);
}

bool xml_boolean(const char *text, bool *out)
{
    *out = strcmp(text, "true") == 0 || strcmp(text, "1") == 0;
    return *out || strcmp(text, "false") == 0 || strcmp(text, "0") == 0;
}

static void write_attr(struct buf *out, const char *name, const char *value)
{
    buf_add_char(out, ' ');
    buf_add_str(out, name);
    buf_add(out, "=\"", 2);
    escape(out, value, strlen(value), true);
    buf_add_char(out, '"');
}

#define PREFIXES_SHARED 16

/* Attributes of foreign namespaces get prefixes of our own, ns0 and so on, declared on the
 * element that has them.  Past a number of namespaces each attribute declares its own. */
static void write_attrs(struct buf *out, const struct stanza *el)
{
    const char *declared[PREFIXES_SHARED];
    unsigned prefixes = 0;
    for (const struct stanza_attr *a = el->attrs; a; a = a->next) {
        if (!a->ns) {
            write_attr(out, a->name, a->value);
            continue;
        }
        unsigned known = prefixes < PREFIXES_SHARED ? prefixes : PREFIXES_SHARED;
        unsigned n = 0;
        while (n < known && strcmp(declared[n], a->ns) != 0)
            n++;
        char name[32];
        if (n == known) {
            n = prefixes++;
            if (n < PREFIXES_SHARED)
                declared[n] = a->ns;
            (void)snprintf(name, sizeof name, "xmlns:ns%u", n);
            write_attr(out, name, a->ns);
        }
        buf_addf(out, " ns%u:%s=\"", n, a->name);
        escape(out, a->value, strlen(a->value), true);
        buf_add_char(out, '"');
    }
}

static bool in_xml_ns(const struct stanza *el)
{
    return el->ns[0] == 'h' && strcmp(el->ns, NS_XML) == 0;
}

/* The default namespace around el, which an element of the xml: namespace does not change. */
static const char *ns_around(const struct stanza *el, const struct stanza *root,
                             const char *outer_ns)
{
    while (el != root) {
        el = el->parent;
        if (!in_xml_ns(el))
            return el->ns;
    }
    return outer_ns ? outer_ns : "";
}

static void write_name(struct buf *out, const struct stanza *el)
{
    if (in_xml_ns(el))
        buf_add(out, "xml:", 4);
    buf_add_str(out, el->name);
}

static void write_start(struct buf *out, const struct stanza *el, const struct stanza *root,
                        const char *outer_ns)
{
    buf_add_char(out, '<');
    write_name(out, el);
    const char *around = ns_around(el, root, outer_ns);
    if (el->ns != around && !in_xml_ns(el) && strcmp(el->ns, around) != 0)
        write_attr(out, "xmlns", el->ns);
    write_attrs(out, el);
    if (el->first)
        buf_add_char(out, '>');
    else
        buf_add(out, "/>", 2);
}

static void write_end(struct buf *out, const struct stanza *el)
{
    buf_add(out, "</", 2);
    write_name(out, el);
    buf_add_char(out, '>');
}

void stanza_write(struct buf *out, const struct stanza *el, const char *outer_ns)
{
    if (!el)
        return;
    const struct stanza *at = el;
    for (;;) {
        if (at->name)
            write_start(out, at, el, outer_ns);
        else
            escape(out, at->text, at->text_len, false);
        if (at->first) {
            at = at->first;
            continue;
        }
        while (at != el && !at->next) {
            at = at->parent;
            write_end(out, at);
        }
        if (at == el)
            return;
        at = at->next;
    }
}
