// SPDX-License-Identifier: Apache-2.0
#include "base/utf8.h"

#include <stdbool.h>
#include <stdint.h>

static bool continues(uint8_t c)
{
    return (c & 0xC0) == 0x80;
}

/* The table of well-formed sequences is Unicode's 3-7: only the second byte's range depends
 * on the first. */
size_t utf8_char(const char *text, size_t len)
{
    const uint8_t *s = (const uint8_t *)text;
    if (len == 0)
        return 0;
    if (s[0] < 0x80)
        return 1;
    if (s[0] < 0xC2 || s[0] > 0xF4 || len < 2)
        return 0;
    if (s[0] < 0xE0)
        return continues(s[1]) ? 2 : 0;
    uint8_t low = s[0] == 0xE0 ? 0xA0 : s[0] == 0xF0 ? 0x90 : 0x80;
    uint8_t high = s[0] == 0xED ? 0x9F : s[0] == 0xF4 ? 0x8F : 0xBF;
    if (s[1] < low || s[1] > high || len < 3 || !continues(s[2]))
        return 0;
    if (s[0] < 0xF0)
        return 3;
    return len >= 4 && continues(s[3]) ? 4 : 0;
}

uint32_t utf8_code(const char *text, size_t size)
{
    const uint8_t *s = (const uint8_t *)text;
    if (size == 1)
        return s[0];
    if (size == 2)
        return (s[0] & 0x1fu) << 6 | (s[1] & 0x3fu);
    if (size == 3)
        return (s[0] & 0xfu) << 12 | (s[1] & 0x3fu) << 6 | (s[2] & 0x3fu);
    return (s[0] & 7u) << 18 | (s[1] & 0x3fu) << 12 | (s[2] & 0x3fu) << 6 | (s[3] & 0x3fu);
}

size_t utf8_cut(const char *text, size_t len, size_t max)
{
    if (len <= max)
        return len;
    size_t cut = max;
    while (cut > 0 && continues((uint8_t)text[cut]))
        cut--;
    return cut;
}
