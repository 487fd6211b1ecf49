// SPDX-License-Identifier: Apache-2.0
#include "base/xml_frame.h"

#include <string.h>

enum state {
    TEXT,     /* -> OPENED */
    OPENED,   /* after '<' -> START, END, BANG, DECL */
    START,    /* in a start tag -> DOUBLE, SINGLE, SLASH, TEXT */
    DOUBLE,   /* in a value in double quotes -> START */
    SINGLE,   /* in a value in single quotes -> START */
    SLASH,    /* after the '/' of an empty element's tag -> TEXT */
    END,      /* in an end tag -> TEXT */
    BANG,     /* after "<!" -> CDATA */
    CDATA,    /* -> TEXT */
    XML_DECL, /* after "<?" at the very beginning -> TEXT */
};

void xml_frame_init(struct xml_frame *f, size_t depth_max, size_t attrs_max)
{
    *f = (struct xml_frame){.depth_max = depth_max, .attrs_max = attrs_max, .state = TEXT};
}

static enum xml_frame_event bad(struct xml_frame *f, const char *why)
{
    f->why = why;
    return XML_FRAME_BAD;
}

static enum xml_frame_event limit(struct xml_frame *f, const char *why)
{
    if (f->limited)
        return XML_FRAME_MORE;
    f->limited = true;
    f->why = why;
    return XML_FRAME_LIMIT;
}

/* A tag has ended and left f->depth elements open. */
static enum xml_frame_event piece(struct xml_frame *f, bool root_started)
{
    f->state = TEXT;
    if (!root_started && f->depth > 1)
        return XML_FRAME_MORE;
    f->limited = false;
    if (root_started) {
        f->root_seen = true;
        return XML_FRAME_ROOT;
    }
    return f->depth == 1 ? XML_FRAME_STANZA : XML_FRAME_ROOT_END;
}

static enum xml_frame_event opened(struct xml_frame *f, uint8_t c)
{
    if (c == '/') {
        f->state = END;
        return f->depth == 0 ? bad(f, "not well-formed: end tag without a start")
                             : XML_FRAME_MORE;
    }
    if (c == '!') {
        f->state = BANG;
        f->matched = 0;
        return XML_FRAME_MORE;
    }
    if (c == '?') {
        if (f->root_seen)
            return bad(f, "restricted-xml: processing instruction");
        f->state = XML_DECL;
        f->matched = 0;
        return XML_FRAME_MORE;
    }
    if (c == '>' || c == '<' || c == ' ' || c == '\t' || c == '\r' || c == '\n')
        return bad(f, "not well-formed: tag without a name");
    f->state = START;
    f->attrs = 0;
    return f->depth > f->depth_max ? limit(f, "depth") : XML_FRAME_MORE;
}

static bool ends_run(uint8_t c)
{
    return c == '>' || c == '"' || c == '\'' || c == '/' || c == '<';
}

static enum xml_frame_event in_start(struct xml_frame *f, uint8_t c)
{
    switch (c) {
    case '"':
    case '\'':
        f->state = c == '"' ? DOUBLE : SINGLE;
        f->attrs++;
        return f->attrs > f->attrs_max ? limit(f, "attributes") : XML_FRAME_MORE;
    case '/':
        f->state = SLASH;
        return XML_FRAME_MORE;
    case '>':
        f->depth++;
        if (f->depth == 1)
            return piece(f, true);
        f->state = TEXT;
        return XML_FRAME_MORE;
    }
    return bad(f, "not well-formed: '<' in a tag");
}

/* An empty element leaves as many open as there were; an empty root is a root whose end the
 * caller hears of from expat. */
static enum xml_frame_event after_slash(struct xml_frame *f, uint8_t c)
{
    if (c != '>')
        return bad(f, "not well-formed: '/' in a tag");
    return piece(f, f->depth == 0);
}

static enum xml_frame_event after_bang(struct xml_frame *f, uint8_t c)
{
    static const char cdata[] = "[CDATA[";
    if (f->matched == 0 && c == '-')
        return bad(f, "restricted-xml: comment");
    if (f->matched == 0 && c == 'D')
        return bad(f, "restricted-xml: document type");
    if (c != (uint8_t)cdata[f->matched] || f->depth <= 1)
        return bad(f, "not well-formed: markup declaration");
    if (cdata[++f->matched] == '\0') {
        f->state = CDATA;
        f->matched = 0;
    }
    return XML_FRAME_MORE;
}

static void in_cdata(struct xml_frame *f, uint8_t c)
{
    if (c == ']')
        f->matched = f->matched < 2 ? f->matched + 1 : 2;
    else if (c == '>' && f->matched == 2)
        f->state = TEXT;
    else
        f->matched = 0;
}

static enum xml_frame_event in_decl(struct xml_frame *f, uint8_t c)
{
    if (c == '>' && f->matched == 1) {
        f->state = TEXT;
        return XML_FRAME_DECL;
    }
    f->matched = c == '?' ? 1 : 0;
    return XML_FRAME_MORE;
}

/* One byte that matters in the state we are in. */
static enum xml_frame_event step(struct xml_frame *f, uint8_t c)
{
    switch ((enum state)f->state) {
    case TEXT:
        f->state = OPENED;
        return XML_FRAME_MORE;
    case OPENED:
        return opened(f, c);
    case START:
        return in_start(f, c);
    case DOUBLE:
    case SINGLE:
        f->state = START;
        return XML_FRAME_MORE;
    case SLASH:
        return after_slash(f, c);
    case END:
        if (c == '<')
            return bad(f, "not well-formed: '<' in a tag");
        f->depth--;
        return piece(f, false);
    case BANG:
        return after_bang(f, c);
    case CDATA:
        in_cdata(f, c);
        return XML_FRAME_MORE;
    case XML_DECL:
        return in_decl(f, c);
    }
    return bad(f, "not well-formed");
}

static const uint8_t *find(const uint8_t *at, const uint8_t *end, int c)
{
    const uint8_t *hit = memchr(at, c, (size_t)(end - at));
    return hit ? hit : end;
}

/* Passes over the bytes that cannot matter in this state. */
static const uint8_t *skip_run(const struct xml_frame *f, const uint8_t *at,
                               const uint8_t *end)
{
    switch ((enum state)f->state) {
    case TEXT:
        return find(at, end, '<');
    case DOUBLE:
        return find(at, end, '"');
    case SINGLE:
        return find(at, end, '\'');
    case START:
        while (at < end && !ends_run(*at))
            at++;
        return at;
    case END:
        while (at < end && *at != '>' && *at != '<')
            at++;
        return at;
    case CDATA:
        return f->matched == 0 ? find(at, end, ']') : at;
    case OPENED:
    case SLASH:
    case BANG:
    case XML_DECL:
        return at;
    }
    return at;
}

enum xml_frame_event xml_frame_scan(struct xml_frame *f, const uint8_t *data, size_t len,
                                    size_t *used_out)
{
    const uint8_t *at = data, *end = data + len;
    enum xml_frame_event ev = XML_FRAME_MORE;
    while (ev == XML_FRAME_MORE && (at = skip_run(f, at, end)) < end)
        ev = step(f, *at++);
    *used_out = (size_t)(at - data);
    return ev;
}
