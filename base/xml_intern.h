// SPDX-License-Identifier: Apache-2.0
/*
 * The names and namespaces that nearly every stanza has, once for the whole program: a tree
 * points to them instead of copying.  Read-only; whatever is not in it the caller copies.
 */
#ifndef BASE_XML_INTERN_H
#define BASE_XML_INTERN_H

#include <stddef.h>
#include <stdint.h>

#define XML_INTERN_SLOTS 512

struct xml_intern {
    uint8_t slots[XML_INTERN_SLOTS]; /* 1 + place in the list, 0 is empty */
};

void xml_intern_init(struct xml_intern *t);

/* A string that lives for ever with these len bytes, NULL when we have none. */
const char *xml_intern_find(const struct xml_intern *t, const char *text, size_t len);

#endif
