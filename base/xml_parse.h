// SPDX-License-Identifier: Apache-2.0
/*
 * Bytes of an XML stream to stanzas: the children of the root element, one tree each.
 * It refuses what RFC 6120 section 11.1 forbids (DTD, processing instructions, comments,
 * entities beyond the five) and what passes its limits; it knows no sockets.
 */
#ifndef BASE_XML_PARSE_H
#define BASE_XML_PARSE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/stanza.h"

struct xml_parse_opts {
    size_t stanza_bytes_max; /* one stanza as it came over the wire */
    unsigned depth_max;      /* elements inside each other, the stanza itself being 1 */
    unsigned attrs_max;      /* of one element */
};

/* Defaults: 1 MiB, 64 and 64. */
extern const struct xml_parse_opts xml_parse_defaults;

struct xml_parse;

/* The stanza's arena is handed over with it: free it with arena_free(&s->arena) (the pointer
 * lives in the arena; copy it out first) or stanza_free below.  end = number of bytes of the
 * input consumed since xml_parse_new up to the end of this stanza.  The callback must not free
 * the parser. */
typedef void (*xml_parse_stanza_fn)(void *ctx, struct stanza *s, uint64_t end);
/* A stanza that passed a limit was skipped up to its end; the stream goes on.  name is its
 * element name, why says which limit. */
typedef void (*xml_parse_skipped_fn)(void *ctx, const char *name, const char *why,
                                     uint64_t begin, uint64_t end);

struct xml_parse_events {
    /* The root's start tag: attributes in root->attrs; borrowed for the call. */
    void (*root)(void *ctx, const struct stanza *root);
    /* A whole stanza within the limits is there, as it came, and nobody has looked into it
     * yet; false: pass over it, and neither stanza nor skipped is called. */
    bool (*found)(void *ctx, const uint8_t *bytes, size_t len, uint64_t end);
    xml_parse_stanza_fn stanza;
    xml_parse_skipped_fn skipped;
    void (*root_end)(void *ctx);
    void *ctx;
};

/* Callbacks may be NULL. */
struct xml_parse *xml_parse_new(const struct xml_parse_opts *opts,
                                const struct xml_parse_events *events);
void xml_parse_free(struct xml_parse **p);

/* Feeds bytes; cut them anywhere.  Calls back before returning.  PEER when the stream is not
 * well-formed or has something forbidden; the parser is then dead. */
MUST_CHECK enum err_kind xml_parse_input(struct xml_parse *p, const uint8_t *data, size_t len,
                                         struct err *e);
/* From inside a callback: stop after it; xml_parse_input returns ERR_NONE and *_consumed says
 * how many bytes of that call were used. */
void xml_parse_stop(struct xml_parse *p);
size_t xml_parse_consumed(const struct xml_parse *p);

void stanza_free(struct stanza **s);

/* A whole element from memory (tests, stored stanzas): a tree in its own arena, NULL with e
 * filled (REJECT) when it is not exactly one well-formed element. */
struct stanza *xml_parse_element(const char *text, size_t len, struct err *e);

#endif
