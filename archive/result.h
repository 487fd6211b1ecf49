// SPDX-License-Identifier: Apache-2.0
/* A message of the archive as it travels: MAM's <result/> (XEP-0313, section 4.2). */
#ifndef ARCHIVE_RESULT_H
#define ARCHIVE_RESULT_H

#include <stddef.h>
#include <stdint.h>

struct buf;

struct archive_result {
    const char *ns;      /* of MAM's version */
    const char *queryid; /* NULL: none */
    const char *id;      /* the archive id */
    int64_t at_us;       /* when it was archived */
    const void *xml;     /* the message, in the namespace jabber:client */
    size_t xml_len;
    size_t xml_max; /* archive_opts.message_bytes_max */
};

void archive_result_write(const struct archive_result *r, struct buf *out);
/* The stored message alone; of one that is longer than max (0: any may be) who wrote it to
 * whom, and that it is too long: a client that pages finds every message that it was told of.
 */
void archive_message_write(struct buf *out, const void *xml, size_t len, size_t max);

#endif
