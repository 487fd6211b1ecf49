// SPDX-License-Identifier: Apache-2.0
#include "base/xml_head.h"

#include <assert.h>
#include <stdbool.h>
#include <string.h>

#include "base/buf.h"
#include "base/xml_parse.h"

#define TAG_BYTES_MAX 16384 /* three addresses fit */

struct span {
    const uint8_t *at;
    size_t len;
};

static bool is_space(uint8_t c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

/* The start tag that begins at bytes; false when there is none, or it is cut or too long. */
static bool find_tag(const uint8_t *bytes, size_t len, struct span *tag, struct span *name)
{
    if (len < 3 || bytes[0] != '<' || strchr("/!?><", bytes[1]) || is_space(bytes[1]))
        return false;
    size_t at = 1;
    while (at < len && !is_space(bytes[at]) && bytes[at] != '/' && bytes[at] != '>')
        at++;
    *name = (struct span){bytes + 1, at - 1};
    uint8_t quote = 0;
    for (; at < len && at < TAG_BYTES_MAX; at++) {
        uint8_t c = bytes[at];
        if (quote) {
            quote = c == quote ? 0 : quote;
        } else if (c == '"' || c == '\'') {
            quote = c;
        } else if (c == '>') {
            *tag = (struct span){bytes, at + 1};
            return true;
        }
    }
    return false;
}

/* The first n tags as an element, NULL when that is not one we accept. */
static struct stanza *make(const struct span *tags, const struct span *names, unsigned n)
{
    struct buf head;
    buf_init(&head, (size_t)2 * XML_HEAD_DEPTH_MAX * TAG_BYTES_MAX);
    for (unsigned i = 0; i < n; i++)
        buf_add(&head, tags[i].at, tags[i].len);
    for (unsigned i = n; i-- > 0;) {
        if (tags[i].at[tags[i].len - 2] == '/')
            continue; /* only the last one can be empty */
        buf_add_str(&head, "</");
        buf_add(&head, names[i].at, names[i].len);
        buf_add_char(&head, '>');
    }
    struct stanza *s = NULL;
    if (!buf_failed(&head))
        s = xml_parse_element((const char *)buf_data(&head), buf_len(&head), NULL);
    buf_deinit(&head);
    return s;
}

struct stanza *xml_head(const uint8_t *bytes, size_t len, unsigned depth)
{
    struct span tags[XML_HEAD_DEPTH_MAX], names[XML_HEAD_DEPTH_MAX];
    unsigned n = 0;
    assert(depth <= XML_HEAD_DEPTH_MAX);
    size_t at = 0;
    while (at < len && is_space(bytes[at]))
        at++;
    while (n < depth && find_tag(bytes + at, len - at, &tags[n], &names[n])) {
        at += tags[n].len;
        bool empty = tags[n].at[tags[n].len - 2] == '/';
        n++;
        if (empty)
            break;
        const uint8_t *next = memchr(bytes + at, '<', len - at);
        at = next ? (size_t)(next - bytes) : len;
    }
    /* The tag for which the stanza is passed over may be among them. */
    struct stanza *s = NULL;
    for (; n > 0 && !s; n--)
        s = make(tags, names, n);
    return s;
}
