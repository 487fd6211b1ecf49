// SPDX-License-Identifier: Apache-2.0
#include "component/spool_found.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "component/record.h"
#include "component/segments.h"

static void keep_header(struct spool_found *f, const uint8_t *header, size_t len)
{
    free(f->header);
    f->header = malloc(len ? len : 1);
    if (!f->header)
        abort();
    memcpy(f->header, header, len);
    f->header_len = len;
}

static void learn(struct spool_found *f, const struct record *r, const uint8_t *payload)
{
    f->epoch = r->epoch > f->epoch ? r->epoch : f->epoch;
    f->last_us = r->received_us;
    f->streamed = r->stream;
    switch (r->kind) {
    case RECORD_OPEN:
    case RECORD_AGAIN:
        keep_header(f, payload, r->len);
        break;
    case RECORD_DATA:
        f->streamed += r->len;
        break;
    case RECORD_CLOSE:
        free(f->header);
        f->header = NULL;
        break;
    }
}

/* The end of its last record, or its base when it has none. */
static uint64_t learn_from(struct spool_found *f, const char *dir, uint64_t base)
{
    struct segment_reader reader;
    uint64_t end = base;
    segment_reader_init(&reader);
    if (!segment_reader_open(&reader, dir, base))
        return end;
    for (;;) {
        struct record r;
        const uint8_t *payload;
        enum segment_read got = segment_reader_next(&reader, UINT64_MAX, &r, &payload);
        if (got == SEGMENT_DAMAGED)
            continue;
        if (got != SEGMENT_RECORD)
            break;
        learn(f, &r, payload);
        end = r.position + record_size(&r);
    }
    (void)fdatasync(reader.fd);
    segment_reader_deinit(&reader);
    return end;
}

void spool_found_read(const char *dir, const uint64_t *bases, size_t n,
                      struct spool_found *out)
{
    *out = (struct spool_found){.epoch = 0};
    for (size_t i = n; i > 0; i--) {
        uint64_t end = learn_from(out, dir, bases[i - 1]);
        if (i == n)
            out->end = end;
        if (end > bases[i - 1])
            break;
    }
}
