// SPDX-License-Identifier: Apache-2.0
/*
 * Finds a stanza boundary in a stream that is entered in the middle, after bytes were lost.
 * It counts only depth: where the lowest depth is first reached, a child of the root has
 * ended. Nobody inside a stanza can write an end tag that has no start tag, so what looks like
 * a boundary inside a stanza is always given up when that stanza ends; the caller therefore
 * waits until a whole maximal stanza has passed without a deeper fall, or the stream has
 * ended. It relies on what servers write: no comments, no CDATA, no processing instructions.
 */
#ifndef COMPONENT_RESYNC_H
#define COMPONENT_RESYNC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum resync_state {
    RESYNC_BLIND, /* before the first '<' */
    RESYNC_TEXT,
    RESYNC_OPEN, /* after '<' */
    RESYNC_START_TAG,
    RESYNC_SINGLE_QUOTE, /* in a start tag's value */
    RESYNC_DOUBLE_QUOTE,
    RESYNC_SLASH, /* after a start tag's '/' */
    RESYNC_END_TAG,
    RESYNC_REFUSED, /* something a server does not write: no boundary can be trusted */
};

struct resync {
    enum resync_state state;
    int64_t depth; /* against where we came in */
    int64_t lowest;
    bool found;
    bool ended;        /* </stream:stream> was seen at the lowest depth */
    uint64_t boundary; /* spool offset, when found */
    uint64_t since;    /* bytes since then */
    char name[16];     /* of the end tag being read */
    size_t name_len;
};

void resync_init(struct resync *r);
/* Reads bytes that stand at this offset of the spool. */
void resync_input(struct resync *r, const uint8_t *data, size_t len, uint64_t offset);

#endif
