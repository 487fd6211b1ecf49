// SPDX-License-Identifier: Apache-2.0
/*
 * What the records of a spool tell its next writer of the last stream in it.  Reads only, but
 * makes what a killed writer left in the kernel's memory durable.
 */
#ifndef COMPONENT_SPOOL_FOUND_H
#define COMPONENT_SPOOL_FOUND_H

#include <stddef.h>
#include <stdint.h>

struct spool_found {
    uint64_t epoch;    /* 0: there was none */
    int64_t last_us;   /* receive time of the last record */
    uint64_t streamed; /* bytes of the last stream, its handshake's too */
    uint64_t end;      /* of the last record of the newest segment, or its base */
    uint8_t *header;   /* of the last stream, malloced; NULL: it is over, or not known */
    size_t header_len;
};

/* Segments at these offsets, ascending.  Looks at the newest that has a record, and no further
 * back: each begins with what is to be known. */
void spool_found_read(const char *dir, const uint64_t *bases, size_t n,
                      struct spool_found *out);

#endif
