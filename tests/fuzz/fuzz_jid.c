// SPDX-License-Identifier: Apache-2.0
/* An address that was accepted is accepted again as it was written, and means the same. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/jid.h"
#include "tests/fuzz/text.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct jid j, again;
    static char full[3 * JID_PART_MAX + 4], local[JID_PART_MAX + 1];
    char *text = fuzz_text(data, size);
    if (jid_parse(&j, text)) {
        jid_full(&j, full);
        if (!jid_parse(&again, full) || !jid_same(&j, &again) ||
            j.local_len != again.local_len)
            abort();
        jid_local(&j, local);
        if (strlen(local) != j.local_len || strchr(jid_domain(&j), '@') ||
            strchr(j.bare, '/') || jid_domain(&j)[0] == '\0')
            abort();
    }
    free(text);
    return 0;
}
