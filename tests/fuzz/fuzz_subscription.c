// SPDX-License-Identifier: Apache-2.0
/* A subscription that was accepted is kept and read again as the same; what it leads to is
 * spelled in one way only. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "apns/opts.h"
#include "apns/subscription.h"
#include "tests/fuzz/text.h"

#define KEYS                                                                                  \
    "BCVxsr7N_eNgVRqvHtD0zTZsEc6-VV-JvLexhqUzORcxaOzi6-AYWXvTBHm4bjyPjs7Vd8pZGH6SRpkNtoIAiw4"
#define AUTH "BTBZMqHH6r4Tts7J_aSIgg"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(const struct subscription *s)
{
    static const uint16_t ports[] = {443};
    const struct webpush_opts opts = {.ports = ports, .ports_n = 1};
    struct subscription again;
    char token[SUBSCRIPTION_TOKEN_MAX + 1];
    subscription_write(s, token);
    size_t origin_len = strlen(s->origin);
    if (!subscription_parse(token, &again) || memcmp(s, &again, sizeof again) != 0 ||
        strncmp(s->endpoint, s->origin, origin_len) != 0 || s->endpoint[origin_len] != '/' ||
        strpbrk(s->host, "@/?#\\ ") || s->port == 0)
        abort();
    (void)subscription_refused(s, &opts);
}

/* An endpoint, or a whole token. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct subscription s;
    char *text = fuzz_text(data, size);
    if (!subscription_read(text, KEYS, AUTH, &s))
        check(&s);
    if (subscription_parse(text, &s))
        check(&s);
    free(text);
    return 0;
}
