// SPDX-License-Identifier: Apache-2.0
/*
 * What can be said of a stanza that is passed over: its first start tags, each the first child
 * of the one before, without text.  It reads no further than these tags, never recurses, and
 * shows an XML parser only what fits its limits.
 */
#ifndef BASE_XML_HEAD_H
#define BASE_XML_HEAD_H

#include <stddef.h>
#include <stdint.h>

#include "base/stanza.h"

#define XML_HEAD_DEPTH_MAX 8

/* bytes: the beginning of the stanza, white space before it allowed.  At most depth elements;
 * fewer when the bytes or the children end before, or when a tag is too large or not
 * well-formed.  NULL when there is none; else free it with stanza_free of base/xml_parse.h. */
struct stanza *xml_head(const uint8_t *bytes, size_t len, unsigned depth);

#endif
