// SPDX-License-Identifier: Apache-2.0
/* A proxy's answer means the same however it is cut: what opens the way or refuses it does so
 * once it is all there, and never before. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "apns/proxy.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char why[64];
    for (size_t n = 0; n <= size && n <= PROXY_ANSWER_MAX; n++) {
        uint8_t *copy = malloc(n ? n : 1); /* so that one byte too far is noticed */
        if (!copy)
            abort();
        memcpy(copy, data, n);
        memset(why, 'x', sizeof why);
        enum proxy_answer a = proxy_read(copy, n, why, sizeof why);
        free(copy);
        const uint8_t *end = memmem(data, n, "\r\n\r\n", 4);
        if ((a == PROXY_MORE) != (!end && n < PROXY_ANSWER_MAX))
            abort();
        if (a == PROXY_REFUSED && (!memchr(why, '\0', sizeof why) || strchr(why, '\n')))
            abort();
        if (a == PROXY_OPEN && (size_t)(end - data) + 4 != n)
            abort();
    }
    return 0;
}
