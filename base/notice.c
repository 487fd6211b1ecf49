// SPDX-License-Identifier: Apache-2.0
#include "base/notice.h"

#include <string.h>

#include "base/jid.h"
#include "base/stanza.h"

#define NS_EVENT "http://jabber.org/protocol/pubsub#event" /* XEP-0060 section 7.1.2.1 */

static const struct stanza *items_of(const struct stanza *message)
{
    return stanza_child(stanza_child(message, "event", NS_EVENT), "items", NS_EVENT);
}

static const struct stanza *item_of(const struct stanza *message)
{
    return stanza_child(items_of(message), "item", NS_EVENT);
}

static bool is_node(const struct notice_opts *o, const struct stanza *message)
{
    if (!stanza_child(message, "event", NS_EVENT))
        return !o->node;
    const char *node = stanza_get(items_of(message), "node");
    if (!o->node || !node || !item_of(message))
        return false;
    return o->below ? strncmp(node, o->node, strlen(o->node)) == 0
                    : strcmp(node, o->node) == 0;
}

const struct notice_opts *notice_find(const struct notice_list *list, const char *from,
                                      const char *from_resource, const struct stanza *message)
{
    if (*from_resource)
        return NULL;
    for (size_t i = 0; i < list->n; i++)
        if (strcmp(list->of[i].from, from) == 0 && is_node(&list->of[i], message))
            return &list->of[i];
    return NULL;
}

const struct notice_opts *notice_find_plain(const struct notice_list *list, const char *from)
{
    for (size_t i = 0; i < list->n; i++)
        if (strcmp(list->of[i].from, from) == 0 && !list->of[i].node)
            return &list->of[i];
    return NULL;
}

bool notice_is_by(const struct stanza *message, const char *bare)
{
    struct jid by;
    const char *publisher = stanza_get(item_of(message), "publisher");
    return publisher && jid_parse(&by, publisher) && strcmp(by.bare, bare) == 0;
}

bool notice_template_is_good(const char *text)
{
    for (text += strcspn(text, "{}"); *text; text += strcspn(text, "{}")) {
        size_t len = strcspn(text + 1, "{} ");
        if (*text != '{' || text[1 + len] != '}' || len == 0 || len > NOTICE_NAME_MAX)
            return false;
        text += len + 2;
    }
    return true;
}

static bool is_name(const char *local, const char *name, size_t len)
{
    return strlen(local) == len && memcmp(local, name, len) == 0;
}

static const char *field_at(const struct stanza *el, const char *name, size_t len)
{
    if (is_name(el->name, name, len))
        return stanza_text(el);
    for (const struct stanza_attr *at = el->attrs; at; at = at->next)
        if (is_name(at->name, name, len))
            return at->value;
    return NULL;
}

/* The element after el in the order of the document, NULL after the last below root. */
static const struct stanza *after(const struct stanza *el, const struct stanza *root)
{
    const struct stanza *next = stanza_child(el, NULL, NULL);
    while (!next && el != root) {
        next = stanza_sibling(el, NULL, NULL);
        el = el->parent;
    }
    return next;
}

static const char *field(const struct stanza *message, const char *name, size_t len)
{
    const struct stanza *root = item_of(message) ? item_of(message) : message;
    unsigned seen = 0;
    for (const struct stanza *el = root; el && seen < NOTICE_ELEMENTS_MAX; seen++) {
        const char *text = field_at(el, name, len);
        if (text)
            return text;
        el = after(el, root);
    }
    return "";
}

/* At most max bytes, and no part of a character (UTF-8: what follows its first byte). */
static size_t cut(const char *text, size_t len, size_t max)
{
    if (len <= max)
        return len;
    while (max > 0 && ((unsigned char)text[max] & 0xC0) == 0x80)
        max--;
    return max;
}

void notice_render(const char *text, const struct stanza *message, char out[NOTICE_TEXT_MAX])
{
    size_t used = 0;
    while (*text) {
        const char *piece = text;
        size_t len = strcspn(text, "{"), max = NOTICE_TEXT_MAX - 1 - used;
        text += len;
        if (len == 0) {
            size_t name_len = strcspn(text + 1, "}");
            piece = field(message, text + 1, name_len);
            len = cut(piece, strlen(piece), NOTICE_FIELD_MAX);
            text += name_len + 1;
            text += *text == '}';
        }
        size_t fits = cut(piece, len, max);
        memcpy(out + used, piece, fits);
        used += fits;
        if (fits < len)
            break;
    }
    out[used] = '\0';
}
