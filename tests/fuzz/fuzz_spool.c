// SPDX-License-Identifier: Apache-2.0
/*
 * The bytes are a segment file (its checksums made right when the first byte says so) that a
 * cursor reads: it must end, and every place must follow the one before.
 */
#include <assert.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/stanza.h"
#include "base/xml_parse.h"
#include "component/cursor.h"
#include "component/record.h"
#include "component/segments.h"
#include "component/spool.h"

static char dir[] = "/tmp/fuzz-spool-XXXXXX";

static void remove_dir(void)
{
    char path[64], name[SEGMENT_NAME_BYTES];
    segment_name(SPOOL_FIRST, name);
    snprintf(path, sizeof path, "%s/%s", dir, name);
    unlink(path);
    rmdir(dir);
}

static void on_stanza(void *ctx, struct stanza *s, const struct place *place, int64_t us,
                      uint64_t epoch)
{
    (void)us;
    (void)epoch;
    uint64_t *end = ctx;
    assert(place->begin < place->end && place->begin >= *end);
    *end = place->end;
    stanza_free(&s);
}

/* Records with right checksums: each 4 bytes of input give kind, epoch and length. */
static size_t make_records(const uint8_t *data, size_t len, uint8_t *out, size_t cap)
{
    size_t at = 0;
    while (len >= 4) {
        struct record r = {.kind = (enum record_kind)(RECORD_OPEN + data[0] % 4),
                           .epoch = data[1] % 4,
                           .len = (uint32_t)data[2] + data[3] * 16u,
                           .position = SPOOL_FIRST + at};
        data += 4;
        len -= 4;
        if (r.len > len)
            r.len = (uint32_t)len;
        if (at + record_size(&r) > cap)
            break;
        record_pack(&r, data, out + at);
        memcpy(out + at + RECORD_HEADER_BYTES, data, r.len);
        at += record_size(&r);
        data += r.len;
        len -= r.len;
    }
    return at;
}

static void write_segment(const uint8_t *data, size_t len)
{
    char path[64], name[SEGMENT_NAME_BYTES];
    segment_name(SPOOL_FIRST, name);
    snprintf(path, sizeof path, "%s/%s", dir, name);
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    if (fd < 0 || write(fd, data, len) != (ssize_t)len)
        abort();
    close(fd);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    static bool ready;
    static uint8_t records[1 << 20];
    if (!ready) {
        if (!mkdtemp(dir))
            abort();
        atexit(remove_dir);
        ready = true;
    }
    if (len < 2)
        return 0;
    bool right = data[0] & 1;
    uint64_t position = data[1] ? SPOOL_FIRST + data[1] * 4u : 0;
    data += 2;
    len -= 2;
    size_t size = len;
    if (right)
        size = make_records(data, len, records, sizeof records);
    write_segment(right ? records : data, size);
    uint64_t end = 0;
    struct cursor_events events = {.stanza = on_stanza, .ctx = &end};
    struct xml_parse_opts limits = {
        .stanza_bytes_max = 4096, .depth_max = 16, .attrs_max = 16};
    struct cursor *c = cursor_new(dir, 0, position, &limits, &events);
    unsigned turns = 0;
    while (cursor_pump(c, SPOOL_FIRST + size, 100))
        assert(turns++ < 1000000);
    cursor_free(&c);
    return 0;
}
