// SPDX-License-Identifier: Apache-2.0
#include "base/hex.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static void a_digit_is_one_of_twenty_two(void **state)
{
    (void)state;
    static const char digits[] = "0123456789abcdefABCDEF";
    for (int c = -128; c < 128; c++) {
        const char *at = c ? memchr(digits, c, sizeof digits - 1) : NULL;
        int want = !at                       ? -1
                   : (int)(at - digits) < 16 ? (int)(at - digits)
                                             : (int)(at - digits) - 6;
        assert_int_equal(hex_digit((char)c), want);
    }
}

static void bytes_are_two_small_digits_each(void **state)
{
    (void)state;
    char out[7] = "......";
    hex_text((const uint8_t[]){0x00, 0x9a, 0xff}, 3, out);
    assert_string_equal(out, "009aff");
    hex_text(NULL, 0, out);
    assert_string_equal(out, "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_digit_is_one_of_twenty_two),
        cmocka_unit_test(bytes_are_two_small_digits_each),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
