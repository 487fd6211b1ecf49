// SPDX-License-Identifier: Apache-2.0
/*
 * The copies that need not be looked at: what we sent ourselves, by an id that only we can
 * make, and what has just been seen, byte for byte.  A server that shows a message when it is
 * sent and again when it is received shows the same bytes twice; the second time there is
 * nothing to learn, and parsing it would be half of the work.  It promises to call a copy
 * known only when it is ours, or when every byte of its message was seen within
 * COPIES_WITHIN_US before, which the rules of identity would call a duplicate, too; what it
 * has forgotten is only looked at once more.  Other copies (presence above all) may mean
 * something each time and are never known.
 */
#ifndef COMPONENT_COPIES_H
#define COMPONENT_COPIES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct adapter;
struct copies;

/* Less than the time in which equal messages without ids are one. */
#define COPIES_WITHIN_US INT64_C(2000000)
#define COPIES_KEPT 1024
#define COPIES_BYTES_MAX ((size_t)2048) /* of one that is remembered */

/* Borrows a.  To be used for one reading of one stream: a reader that goes back must begin
 * with a new one, or it would miss what it goes back for. */
struct copies *copies_new(const struct adapter *a);
void copies_free(struct copies **c);

/* raw is a whole stanza as it came.  False remembers it, when it is a copy of a message of
 * somebody else. */
bool copies_known(struct copies *c, const uint8_t *raw, size_t len, int64_t received_us);

#endif
