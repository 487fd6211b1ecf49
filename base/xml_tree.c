// SPDX-License-Identifier: Apache-2.0
#include "base/xml_tree.h"

#include <stdlib.h>
#include <string.h>

#include "base/arena.h"

/* A text buffer that one big stanza made bigger than this is given back. */
#define KEEP_BYTES ((size_t)64 * 1024)

void xml_tree_init(struct xml_tree *t, size_t attrs_max, size_t text_max, size_t arena_max)
{
    *t = (struct xml_tree){.attrs_max = attrs_max, .arena_max = arena_max};
    t->value_lens = calloc(attrs_max ? attrs_max : 1, sizeof(size_t));
    if (!t->value_lens)
        abort();
    buf_init(&t->text, text_max);
    xml_intern_init(&t->intern);
}

void xml_tree_deinit(struct xml_tree *t)
{
    xml_tree_drop(t);
    buf_deinit(&t->text);
    free(t->value_lens);
    t->value_lens = NULL;
}

static bool put_text(struct xml_tree *t)
{
    size_t len = buf_len(&t->text);
    if (len == 0)
        return true;
    struct stanza *run = arena_alloc(t->arena, sizeof *run + len + 1);
    if (!run)
        return false;
    char *copy = (char *)(run + 1);
    memcpy(copy, buf_data(&t->text), len);
    copy[len] = '\0';
    *run =
        (struct stanza){.text = copy, .text_len = len, .parent = t->open, .arena = t->arena};
    if (t->open->last)
        t->open->last->next = run;
    else
        t->open->first = run;
    t->open->last = run;
    buf_reset(&t->text);
    return true;
}

static const char *keep(struct xml_tree *t, const char *text, size_t len)
{
    const char *known = xml_intern_find(&t->intern, text, len);
    return known ? known : arena_strndup(t->arena, text, len);
}

/* "namespace XML_TREE_SEPARATOR name" of an attribute; xml:* stays one name. */
static bool set_attr_name(struct xml_tree *t, struct stanza_attr *attr, const char *qname)
{
    const char *sep = strchr(qname, XML_TREE_SEPARATOR);
    attr->ns = NULL;
    if (!sep) {
        attr->name = keep(t, qname, strlen(qname));
        return attr->name != NULL;
    }
    size_t ns_len = (size_t)(sep - qname);
    if (ns_len == sizeof NS_XML - 1 && memcmp(qname, NS_XML, ns_len) == 0) {
        if (strcmp(sep + 1, "lang") == 0) {
            attr->name = "xml:lang";
            return true;
        }
        size_t len = strlen(sep + 1);
        char *name = arena_alloc(t->arena, len + sizeof "xml:");
        if (!name)
            return false;
        memcpy(stpcpy(name, "xml:"), sep + 1, len + 1);
        attr->name = name;
        return true;
    }
    attr->ns = keep(t, qname, ns_len);
    attr->name = keep(t, sep + 1, strlen(sep + 1));
    return attr->ns && attr->name;
}

static bool set_name(struct xml_tree *t, struct stanza *el, const char *qname)
{
    const char *sep = strchr(qname, XML_TREE_SEPARATOR);
    if (!sep) {
        el->ns = "";
        el->name = keep(t, qname, strlen(qname));
        return el->name != NULL;
    }
    size_t len = (size_t)(sep - qname);
    const char *outer = t->open ? t->open->ns : "";
    bool same = strncmp(outer, qname, len) == 0 && outer[len] == '\0';
    el->ns = same ? outer : keep(t, qname, len);
    el->name = keep(t, sep + 1, strlen(sep + 1));
    return el->ns && el->name;
}

/* The element, its attributes and their values are one piece of memory. */
static struct stanza *make_element(struct xml_tree *t, const char *qname, const char **atts)
{
    size_t count = 0, values = 0;
    for (; atts[2 * count]; count++) {
        if (count == t->attrs_max)
            return NULL; /* the frame counts them too, so this is not reached */
        t->value_lens[count] = strlen(atts[2 * count + 1]) + 1;
        values += t->value_lens[count];
    }
    struct stanza *el =
        arena_alloc(t->arena, sizeof *el + count * sizeof(struct stanza_attr) + values);
    if (!el)
        return NULL;
    struct stanza_attr *attrs = (struct stanza_attr *)(el + 1);
    char *value = (char *)(attrs + count);
    *el = (struct stanza){.arena = t->arena, .parent = t->open, .attrs = count ? attrs : NULL};
    if (!set_name(t, el, qname))
        return NULL;
    for (size_t i = 0; i < count; i++) {
        memcpy(value, atts[2 * i + 1], t->value_lens[i]);
        attrs[i].value = value;
        attrs[i].next = i + 1 < count ? attrs + i + 1 : NULL;
        value += t->value_lens[i];
        if (!set_attr_name(t, &attrs[i], atts[2 * i]))
            return NULL;
    }
    return el;
}

void xml_tree_start(struct xml_tree *t, const char *qname, const char **atts)
{
    if (t->full)
        return;
    if (!t->arena)
        t->arena = arena_new(t->arena_max);
    struct stanza *el = NULL;
    if (!t->open || put_text(t))
        el = make_element(t, qname, atts);
    if (!el) {
        t->full = true;
        return;
    }
    if (!t->open)
        t->top = el;
    else if (t->open->last)
        t->open->last->next = el;
    else
        t->open->first = el;
    if (t->open)
        t->open->last = el;
    t->open = el;
}

void xml_tree_text(struct xml_tree *t, const char *text, size_t len)
{
    if (t->open && !t->full)
        buf_add(&t->text, text, len);
}

void xml_tree_end(struct xml_tree *t)
{
    if (t->full || !t->open)
        return;
    if (!put_text(t))
        t->full = true;
    t->open = t->open->parent;
}

static void begin_again(struct xml_tree *t)
{
    t->arena = NULL;
    t->top = t->open = NULL;
    t->full = false;
    if (t->text.cap > KEEP_BYTES)
        buf_deinit(&t->text);
    buf_reset(&t->text);
}

struct stanza *xml_tree_take(struct xml_tree *t)
{
    struct stanza *top = t->top;
    begin_again(t);
    return top;
}

void xml_tree_drop(struct xml_tree *t)
{
    if (t->arena)
        arena_free(&t->arena);
    begin_again(t);
}
