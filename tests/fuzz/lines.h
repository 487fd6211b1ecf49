// SPDX-License-Identifier: Apache-2.0
/*
 * Stanzas as lines that a fuzzer can shuffle, and that are XML whatever it does to them: its
 * time goes to what stanzas mean, not to where angle brackets stand.  One line each:
 *
 *   <name namespace    an element, below the one that is open; its parent's namespace if none
 *   @name=value        an attribute of the element that has just begun
 *   "text              text
 *   >                  the end of the element; the outermost one's ends the stanza
 *
 * Any other line is the caller's, and so is what $ and % in a value or text stand for.
 */
#ifndef TESTS_FUZZ_LINES_H
#define TESTS_FUZZ_LINES_H

#include <stdbool.h>
#include <stddef.h>
#include <string.h>

#include "base/buf.h"
#include "base/stanza.h"
#include "base/utf8.h"

#define LINES_DEPTH_MAX 40

struct lines {
    const char *at;
    size_t len;
    struct buf xml;
    struct {
        const char *text;
        size_t len;
    } open[LINES_DEPTH_MAX];
    unsigned depth;
    bool in_tag;
    const char *outer_ns; /* of a stanza that names none */
    const char *dollar;   /* what these stand for */
    const char *percent;
};

enum lines_kind { LINES_STANZA, LINES_OTHER, LINES_END };

/* Only characters that XML has. */
static void lines_text(struct lines *l, const char *text, size_t len)
{
    for (size_t i = 0; i < len;) {
        size_t n = utf8_char(text + i, len - i);
        if (n == 1 && (text[i] == '$' || text[i] == '%'))
            xml_escape_str(&l->xml, text[i] == '$' ? l->dollar : l->percent);
        else if (n > 1 || (n == 1 && (unsigned char)text[i] >= ' '))
            xml_escape(&l->xml, text + i, n);
        i += n ? n : 1;
    }
}

static void lines_close_tag(struct lines *l)
{
    if (l->in_tag)
        buf_add_char(&l->xml, '>');
    l->in_tag = false;
}

static void lines_open(struct lines *l, const char *text, size_t len)
{
    const char *space = memchr(text, ' ', len);
    size_t name_len = space ? (size_t)(space - text) : len;
    if (l->depth == LINES_DEPTH_MAX || name_len == 0)
        return;
    lines_close_tag(l);
    l->open[l->depth].text = text;
    l->open[l->depth].len = name_len;
    buf_add_char(&l->xml, '<');
    lines_text(l, text, name_len);
    if (space || l->depth == 0) {
        buf_add_str(&l->xml, " xmlns='");
        if (space)
            lines_text(l, space + 1, len - name_len - 1);
        else
            xml_escape_str(&l->xml, l->outer_ns);
        buf_add_char(&l->xml, '\'');
    }
    l->in_tag = true;
    l->depth++;
}

static void lines_attribute(struct lines *l, const char *text, size_t len)
{
    const char *is = memchr(text, '=', len);
    if (!l->in_tag || !is || is == text)
        return;
    buf_add_char(&l->xml, ' ');
    lines_text(l, text, (size_t)(is - text));
    buf_add_str(&l->xml, "='");
    lines_text(l, is + 1, (size_t)(text + len - is - 1));
    buf_add_char(&l->xml, '\'');
}

/* True when the stanza is whole. */
static bool lines_end(struct lines *l)
{
    if (l->depth == 0)
        return false;
    lines_close_tag(l);
    l->depth--;
    buf_add_str(&l->xml, "</");
    lines_text(l, l->open[l->depth].text, l->open[l->depth].len);
    buf_add_char(&l->xml, '>');
    return l->depth == 0;
}

static void lines_begin(struct lines *l, const char *text, size_t len, const char *outer_ns)
{
    *l = (struct lines){
        .at = text, .len = len, .outer_ns = outer_ns, .dollar = "", .percent = ""};
    buf_init(&l->xml, 1 << 22);
}

static void lines_done(struct lines *l)
{
    buf_deinit(&l->xml);
}

/* STANZA: the next one is in l->xml, and whether a parser takes it is another matter.  OTHER:
 * a line of the caller's.  A stanza that the input does not end is ended. */
static enum lines_kind lines_next(struct lines *l, const char **line, size_t *line_len)
{
    if (l->depth == 0)
        buf_reset(&l->xml);
    while (l->len > 0) {
        const char *text = l->at, *end = memchr(text, '\n', l->len);
        size_t len = end ? (size_t)(end - text) : l->len, used = end ? len + 1 : len;
        l->at += used;
        l->len -= used;
        char first = len > 0 ? *text : ' ';
        if (first == '<')
            lines_open(l, text + 1, len - 1);
        else if (first == '@')
            lines_attribute(l, text + 1, len - 1);
        else if (first == '"' && l->depth > 0) {
            lines_close_tag(l);
            lines_text(l, text + 1, len - 1);
        } else if (first == '>') {
            if (lines_end(l))
                return LINES_STANZA;
        } else if (l->depth == 0) {
            *line = text;
            *line_len = len;
            return LINES_OTHER;
        }
    }
    if (l->depth == 0)
        return LINES_END;
    while (!lines_end(l))
        ;
    return LINES_STANZA;
}

#endif
