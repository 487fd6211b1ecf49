// SPDX-License-Identifier: Apache-2.0
#include "component/record.h"

#include <stdbool.h>
#include <string.h>

static const uint8_t MAGIC[4] = {0xFF, 'X', 'S', 0xFE};

/* CRC-32C (Castagnoli), four bytes at a time. */
static struct {
    bool ready;
    uint32_t t[4][256];
} table;

static void make_table(void)
{
    for (uint32_t i = 0; i < 256; i++) {
        uint32_t c = i;
        for (int bit = 0; bit < 8; bit++)
            c = (c >> 1) ^ (0x82F63B78u & (0u - (c & 1)));
        table.t[0][i] = c;
    }
    for (uint32_t i = 0; i < 256; i++)
        for (int k = 1; k < 4; k++)
            table.t[k][i] = (table.t[k - 1][i] >> 8) ^ table.t[0][table.t[k - 1][i] & 0xFF];
    table.ready = true;
}

static uint32_t crc32c(uint32_t crc, const uint8_t *p, size_t len)
{
    if (!table.ready)
        make_table();
    crc = ~crc;
    for (; len >= 4; len -= 4, p += 4) {
        crc ^=
            (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
        crc = table.t[3][crc & 0xFF] ^ table.t[2][crc >> 8 & 0xFF] ^
              table.t[1][crc >> 16 & 0xFF] ^ table.t[0][crc >> 24];
    }
    for (; len > 0; len--, p++)
        crc = (crc >> 8) ^ table.t[0][(crc ^ *p) & 0xFF];
    return ~crc;
}

static void put(uint8_t *at, uint64_t v, unsigned bytes)
{
    for (unsigned i = 0; i < bytes; i++)
        at[i] = (uint8_t)(v >> (8 * (bytes - 1 - i)));
}

static uint64_t get(const uint8_t *at, unsigned bytes)
{
    uint64_t v = 0;
    for (unsigned i = 0; i < bytes; i++)
        v = v << 8 | at[i];
    return v;
}

void record_pack(const struct record *r, const void *payload,
                 uint8_t header_out[RECORD_HEADER_BYTES])
{
    memset(header_out, 0, RECORD_HEADER_BYTES);
    memcpy(header_out, MAGIC, sizeof MAGIC);
    put(header_out + 8, r->len, 4);
    put(header_out + 12, (uint64_t)r->kind, 4);
    put(header_out + 16, r->epoch, 8);
    put(header_out + 24, (uint64_t)r->received_us, 8);
    put(header_out + 32, r->position, 8);
    put(header_out + 40, r->stream, 8);
    uint32_t crc = crc32c(0, header_out + 8, RECORD_HEADER_BYTES - 8);
    put(header_out + 4, crc32c(crc, payload, r->len), 4);
}

enum record_check record_unpack(const uint8_t *data, size_t len, uint64_t position,
                                struct record *out)
{
    *out = (struct record){.kind = RECORD_DATA};
    if (memcmp(data, MAGIC, len < sizeof MAGIC ? len : sizeof MAGIC) != 0)
        return RECORD_BAD;
    if (len < RECORD_HEADER_BYTES)
        return RECORD_SHORT;
    uint64_t size = get(data + 8, 4), kind = get(data + 12, 4);
    *out = (struct record){.epoch = get(data + 16, 8),
                           .received_us = (int64_t)get(data + 24, 8),
                           .position = get(data + 32, 8),
                           .stream = get(data + 40, 8)};
    if (size > RECORD_PAYLOAD_MAX || kind < RECORD_OPEN || kind > RECORD_CLOSE ||
        out->position != position)
        return RECORD_BAD;
    out->len = (uint32_t)size;
    out->kind = (enum record_kind)kind;
    if (len < record_size(out))
        return RECORD_SHORT;
    uint32_t crc = crc32c(0, data + 8, record_size(out) - 8);
    return crc == get(data + 4, 4) ? RECORD_GOOD : RECORD_BAD;
}

size_t record_find(const uint8_t *data, size_t len, size_t from)
{
    for (size_t i = from; i < len; i++) {
        const uint8_t *hit = memchr(data + i, MAGIC[0], len - i);
        if (!hit)
            return len;
        i = (size_t)(hit - data);
        size_t left = len - i < sizeof MAGIC ? len - i : sizeof MAGIC;
        if (memcmp(hit, MAGIC, left) == 0)
            return i;
    }
    return len;
}
