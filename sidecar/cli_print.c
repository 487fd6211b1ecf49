// SPDX-License-Identifier: Apache-2.0
#include "sidecar/cli_print.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cjson/cJSON.h>

#include "base/datetime.h"
#include "base/utf8.h"

void cli_print_bytes(const uint8_t *bytes, size_t len)
{
    for (size_t at = 0; at < len;) {
        size_t n = utf8_char((const char *)bytes + at, len - at);
        uint8_t c = bytes[at];
        bool c1 = n == 2 && c == 0xC2 && bytes[at + 1] < 0xA0;
        bool control = n == 1 && ((c < ' ' && c != '\n' && c != '\t') || c == 0x7F);
        if (n == 0 || c1 || control) {
            printf("\\x%02X", c);
            at++;
        } else {
            (void)fwrite(bytes + at, 1, n, stdout);
            at += n;
        }
    }
}

void cli_print_text(const char *text)
{
    cli_print_bytes((const uint8_t *)text, strlen(text));
}

void cli_print_json(cJSON *tree)
{
    char *text = cJSON_PrintUnformatted(tree);
    if (!text)
        abort();
    printf("%s\n", text);
    cJSON_free(text);
    cJSON_Delete(tree);
}

void cli_json_text(cJSON *object, const char *name, const char *text)
{
    if (text)
        (void)cJSON_AddStringToObject(object, name, text);
    else
        (void)cJSON_AddNullToObject(object, name);
}

void cli_print_time(int64_t us)
{
    char text[DATETIME_BYTES];
    datetime_format(us, text);
    if (us)
        printf("%.19sZ", text);
    else
        printf("-");
}

void cli_json_time(cJSON *object, const char *name, int64_t us)
{
    char text[DATETIME_BYTES];
    datetime_format(us, text);
    if (us)
        (void)cJSON_AddStringToObject(object, name, text);
    else
        (void)cJSON_AddNullToObject(object, name);
}
