// SPDX-License-Identifier: Apache-2.0
/*
 * The segment files of a spool directory, as its writer and its readers name, find and read
 * them.  Reading goes record by record and finds its way over damaged bytes; it never writes.
 */
#ifndef COMPONENT_SEGMENTS_H
#define COMPONENT_SEGMENTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "component/record.h"

#define SEGMENT_NAME_BYTES 24

/* The name of the segment whose first byte has this spool offset. */
void segment_name(uint64_t base, char out[SEGMENT_NAME_BYTES]);

/* Offsets of the segments in the directory, ascending; *bases_out is malloced, NULL when there
 * are none.  False with errno when the directory cannot be read. */
bool segment_list(const char *dir, uint64_t **bases_out, size_t *n_out);

/* One segment being read. */
struct segment_reader {
    int fd; /* -1: none */
    uint64_t base;
    uint64_t at; /* spool offset of the next record */
    uint8_t *buf;
    size_t cap;
    size_t len;
    uint64_t buf_at; /* spool offset of buf[0] */
};

enum segment_read {
    SEGMENT_RECORD,
    SEGMENT_END,     /* no more bytes now */
    SEGMENT_TORN,    /* the last record is not whole; nothing was passed over */
    SEGMENT_DAMAGED, /* passed over bytes that are no records, up to r->at */
    SEGMENT_ERROR,   /* errno; the disk */
};

void segment_reader_init(struct segment_reader *r);
void segment_reader_deinit(struct segment_reader *r);
/* Opens the segment at its first record; false with errno. */
bool segment_reader_open(struct segment_reader *r, const char *dir, uint64_t base);
void segment_reader_close(struct segment_reader *r);
/* The next record, which must end at or below limit; the payload stays valid until the next
 * call.  Leaves r->at behind the record. */
enum segment_read segment_reader_next(struct segment_reader *r, uint64_t limit,
                                      struct record *out, const uint8_t **payload_out);
/* The spool offset of the file's present end. */
uint64_t segment_reader_end(const struct segment_reader *r);
/* Gives up the rest of the file: moves r->at to its present end. */
void segment_reader_skip(struct segment_reader *r);

#endif
