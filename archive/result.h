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
};

void archive_result_write(const struct archive_result *r, struct buf *out);

#endif
