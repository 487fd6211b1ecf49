// SPDX-License-Identifier: Apache-2.0
#include "component/resync.h"

#include <string.h>

#define STREAM_END "stream:stream"

void resync_init(struct resync *r)
{
    *r = (struct resync){.state = RESYNC_BLIND, .lowest = 1};
}

/* An element ended just before offset `after`. */
static void element_ended(struct resync *r, uint64_t after)
{
    if (r->depth >= r->lowest)
        return;
    r->lowest = r->depth;
    r->found = true;
    r->ended = false;
    r->boundary = after;
    r->since = 0;
}

static void end_tag(struct resync *r, uint64_t after)
{
    r->depth--;
    bool stream =
        r->name_len == strlen(STREAM_END) && memcmp(r->name, STREAM_END, r->name_len) == 0;
    /* The root's own end is no boundary between stanzas: what was found before stays, unless
     * something follows that cannot follow the root. */
    if (stream && r->found && !r->ended && r->depth == r->lowest - 1)
        r->ended = true;
    else
        element_ended(r, after);
}

static enum resync_state after_open(struct resync *r, uint8_t c)
{
    if (c == '!' || c == '?')
        return RESYNC_REFUSED;
    if (c != '/')
        return RESYNC_START_TAG;
    r->name_len = 0;
    return RESYNC_END_TAG;
}

static enum resync_state in_start_tag(struct resync *r, uint8_t c)
{
    switch (c) {
    case '<':
        return RESYNC_REFUSED;
    case '\'':
        return RESYNC_SINGLE_QUOTE;
    case '"':
        return RESYNC_DOUBLE_QUOTE;
    case '/':
        return RESYNC_SLASH;
    case '>':
        r->depth++;
        return RESYNC_TEXT;
    }
    return RESYNC_START_TAG;
}

static enum resync_state in_end_tag(struct resync *r, uint8_t c, uint64_t after)
{
    if (c == '<')
        return RESYNC_REFUSED;
    if (c == '>') {
        end_tag(r, after);
        return RESYNC_TEXT;
    }
    if (r->name_len < sizeof r->name)
        r->name[r->name_len++] = (char)c;
    return RESYNC_END_TAG;
}

static enum resync_state step(struct resync *r, uint8_t c, uint64_t after)
{
    switch (r->state) {
    case RESYNC_BLIND:
    case RESYNC_TEXT:
        return c == '<' ? RESYNC_OPEN : r->state;
    case RESYNC_OPEN:
        return after_open(r, c);
    case RESYNC_START_TAG:
        return in_start_tag(r, c);
    case RESYNC_SINGLE_QUOTE:
        return c == '\'' ? RESYNC_START_TAG : r->state;
    case RESYNC_DOUBLE_QUOTE:
        return c == '"' ? RESYNC_START_TAG : r->state;
    case RESYNC_SLASH:
        if (c != '>')
            return in_start_tag(r, c);
        element_ended(r, after);
        return RESYNC_TEXT;
    case RESYNC_END_TAG:
        return in_end_tag(r, c, after);
    case RESYNC_REFUSED:
        break;
    }
    return RESYNC_REFUSED;
}

void resync_input(struct resync *r, const uint8_t *data, size_t len, uint64_t offset)
{
    for (size_t i = 0; i < len && r->state != RESYNC_REFUSED; i++) {
        r->since++;
        r->state = step(r, data[i], offset + i + 1);
    }
    if (r->state == RESYNC_REFUSED)
        r->found = false;
}
