// SPDX-License-Identifier: Apache-2.0
/* The first byte chooses how deep to look.  Each element of a head is the only child of the
 * one before, and a head reads back as itself. */
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/xml_head.h"
#include "base/xml_parse.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void write(struct buf *out, const uint8_t *data, size_t size, unsigned depth)
{
    struct stanza *s = xml_head(data, size, depth);
    unsigned levels = 0;
    for (const struct stanza *el = s; el; el = el->first, levels++)
        if (!el->name || el->next)
            abort();
    if (levels > depth)
        abort();
    if (s)
        stanza_write(out, s, NULL);
    stanza_free(&s);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    struct buf one, two;
    unsigned depth = 1 + data[0] % XML_HEAD_DEPTH_MAX;
    buf_init(&one, 1 << 22);
    buf_init(&two, 1 << 22);
    write(&one, data + 1, size - 1, depth);
    if (buf_len(&one) > 0) {
        write(&two, buf_data(&one), buf_len(&one), depth);
        if (buf_len(&one) != buf_len(&two) ||
            memcmp(buf_data(&one), buf_data(&two), buf_len(&one)) != 0)
            abort();
    }
    buf_deinit(&one);
    buf_deinit(&two);
    return 0;
}
