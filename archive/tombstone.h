// SPDX-License-Identifier: Apache-2.0
/*
 * What stays of a message that its sender took back (XEP-0424 section 5.3): who, to whom, its
 * type and id, all in its start tag, and that it was retracted.
 */
#ifndef ARCHIVE_TOMBSTONE_H
#define ARCHIVE_TOMBSTONE_H

#include <stddef.h>
#include <stdint.h>

struct buf;

#define NS_RETRACT "urn:xmpp:message-retract:1"

/* Appends <retracted/>.  by: id of the retraction, NULL when it has none; at_us: when it came.
 */
void tombstone_retracted(struct buf *out, const char *by, int64_t at_us);
/* Appends the tombstone of a stanza as stanza_write writes it: its start tag is kept. */
void tombstone_write(struct buf *out, const uint8_t *stanza, size_t len, const char *by,
                     int64_t at_us);

#endif
