// SPDX-License-Identifier: Apache-2.0
/* A date that was read is written, and reads back as the same microsecond. */
#include <stdlib.h>
#include <string.h>

#include "base/datetime.h"
#include "tests/fuzz/text.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *text = fuzz_text(data, size);
    int64_t us, again;
    char written[DATETIME_BYTES];
    if (datetime_parse(text, &us)) {
        datetime_format(us, written);
        if (!datetime_parse(written, &again) || again != us)
            abort();
    }
    if (size >= sizeof us) {
        memcpy(&us, data, sizeof us);
        datetime_format(us, written);
        if (strlen(written) != 27 || !datetime_parse(written, &again))
            abort();
    }
    free(text);
    return 0;
}
