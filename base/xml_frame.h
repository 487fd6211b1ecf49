// SPDX-License-Identifier: Apache-2.0
/*
 * Finds where the pieces of an XML stream end (the root's start tag, each stanza, the root's
 * end tag) without keeping any of it: a few bytes of state, whatever the input.  It is how the
 * parser can show expat whole stanzas only, and pass over one that is too big.  It trusts
 * nothing it lets through to be well-formed; that is for expat to say.
 */
#ifndef BASE_XML_FRAME_H
#define BASE_XML_FRAME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum xml_frame_event {
    XML_FRAME_MORE,     /* all bytes used, the piece goes on */
    XML_FRAME_DECL,     /* <?xml ...?> before the root has ended */
    XML_FRAME_ROOT,     /* the root's start tag has ended */
    XML_FRAME_STANZA,   /* a child of the root has ended */
    XML_FRAME_ROOT_END, /* the root has ended */
    XML_FRAME_LIMIT,    /* this piece passes the limit in why; said once, go on to its end */
    XML_FRAME_BAD,      /* forbidden or not XML: why; nothing after it can be framed */
};

struct xml_frame {
    size_t depth_max; /* elements inside each other, the stanza being 1 */
    size_t attrs_max; /* of one element, namespace declarations counted */
    int state;
    size_t depth; /* open elements, the root included */
    size_t attrs;
    unsigned matched; /* characters of "[CDATA[" or "]]>" or "?>" seen so far */
    bool root_seen;
    bool limited; /* LIMIT was said for this piece */
    const char *why;
};

void xml_frame_init(struct xml_frame *f, size_t depth_max, size_t attrs_max);

/* Reads on, at most to the end of a piece; used_out says how far. */
enum xml_frame_event xml_frame_scan(struct xml_frame *f, const uint8_t *data, size_t len,
                                    size_t *used_out);

#endif
