// SPDX-License-Identifier: Apache-2.0
/*
 * One record of the spool as bytes: a header of fixed size and a payload, under one CRC-32C.
 * It knows no files.  The magic holds bytes that UTF-8 never has, so that nothing a user can
 * write looks like a record, and the position is part of it, so that a record is good only in
 * its own place.
 *
 *   0 magic  4 crc of all that follows  8 payload length  12 kind  16 epoch  24 received_us
 *   32 position of the header in the spool  40 bytes of the stream before the payload;
 * integers are big-endian.
 */
#ifndef COMPONENT_RECORD_H
#define COMPONENT_RECORD_H

#include <stddef.h>
#include <stdint.h>

#define RECORD_HEADER_BYTES 48
#define RECORD_PAYLOAD_MAX (1024 * 1024)

enum record_kind {
    RECORD_OPEN = 1, /* a stream begins; payload: the server's stream header */
    RECORD_AGAIN,    /* the same header at the head of a later segment of this epoch */
    RECORD_DATA,     /* bytes of the stream as they were read */
    RECORD_CLOSE,    /* the stream has ended; payload: why, as text */
};

struct record {
    enum record_kind kind;
    uint32_t len; /* of the payload */
    uint64_t epoch;
    int64_t received_us;
    uint64_t position;
    uint64_t
        stream; /* bytes that had come on the connection before these, its handshake's too */
};

enum record_check {
    RECORD_GOOD,
    RECORD_SHORT, /* good so far, but more bytes are needed: record_size says how many */
    RECORD_BAD,
};

void record_pack(const struct record *r, const void *payload,
                 uint8_t header_out[RECORD_HEADER_BYTES]);

/* Reads the record at the head of data, which stands at `position` of the spool. */
enum record_check record_unpack(const uint8_t *data, size_t len, uint64_t position,
                                struct record *out);

/* Offset of the first place at or after `from` where a record may begin (a prefix of the
 * magic at the end of data counts), len when there is none. */
size_t record_find(const uint8_t *data, size_t len, size_t from);

static inline size_t record_size(const struct record *r)
{
    return RECORD_HEADER_BYTES + (size_t)r->len;
}

#endif
