// SPDX-License-Identifier: Apache-2.0
/*
 * Notices of the system (push.notices): which of a service's messages are one, and what a
 * push says of it.  Pure functions of the settings and the stanza.
 */
#ifndef BASE_NOTICE_H
#define BASE_NOTICE_H

#include <stdbool.h>
#include <stddef.h>

struct stanza;

#define NOTICE_NAME_MAX 64       /* bytes of a field's name */
#define NOTICE_FIELD_MAX 1024    /* of one field's text; the rest is cut off */
#define NOTICE_TEXT_MAX 4096     /* of a title or a body, with its end */
#define NOTICE_ELEMENTS_MAX 1000 /* of a payload that are looked through for a field */

struct notice_opts {
    const char *from;  /* the service, a prepared domain */
    const char *node;  /* NULL: everything that is no event of a node */
    bool below;        /* node is a prefix */
    const char *title; /* templates; NULL: none */
    const char *body;
    bool count;
    bool push;
};

struct notice_list {
    const struct notice_opts *of;
    size_t n;
};

/* The first one that is meant by a message of exactly this address, NULL when none is.  An
 * event without an item is none. */
const struct notice_opts *notice_find(const struct notice_list *list, const char *from,
                                      const char *from_resource, const struct stanza *message);
/* The first one that is meant by a message of exactly this address that is no event, NULL when
 * none is. */
const struct notice_opts *notice_find_plain(const struct notice_list *list, const char *from);
/* The item's publisher, as the service tells, is this bare address. */
bool notice_is_by(const struct stanza *message, const char *bare);

/* Braces come in pairs around a name, as in "{name}". */
bool notice_template_is_good(const char *text);
/* {name} becomes the text of the first element of that local name in the event's item (of a
 * message without one: in the message), or the value of the first such attribute; of one that
 * is not there nothing.  Cut between two characters at the limits above. */
void notice_render(const char *text, const struct stanza *message, char out[NOTICE_TEXT_MAX]);

#endif
