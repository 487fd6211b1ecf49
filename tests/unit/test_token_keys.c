// SPDX-License-Identifier: Apache-2.0
#include "apns/token_keys.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "apns/opts.h"

static const uint8_t phone[16] = {1}, other_phone[16] = {2};
static const uint8_t both[2][TOKEN_KEY_BYTES] = {{1, 2, 3}, {4, 5, 6}};

static struct token_keys *keys_of(const uint8_t (*keys)[TOKEN_KEY_BYTES], size_t n,
                                  bool in_clear)
{
    const struct token_key_opts opts = {.keys = keys, .n = n, .in_clear = in_clear};
    return token_keys_new(&opts);
}

static void a_token_of_any_length_comes_back(void **state)
{
    (void)state;
    struct token_keys *k = keys_of(both, 1, false);
    uint8_t sealed[TOKEN_SEALED_MAX];
    char token[DEVICE_TOKEN_MAX + 1], out[DEVICE_TOKEN_MAX + 1];
    for (size_t len = 0; len <= DEVICE_TOKEN_MAX; len += len < 100 ? 1 : 100) {
        memset(token, 'a', len);
        token[len] = '\0';
        size_t n = token_keys_seal(k, phone, token, sealed);
        assert_int_equal(n, len + CRYPT_SEAL_BYTES);
        assert_true(len < 8 || !memmem(sealed, n, "aaaaaaaa", 8));
        assert_true(token_keys_open(k, token_keys_current(k), phone, sealed, n, out));
        assert_string_equal(out, token);
    }
    token_keys_free(&k);
}

static void a_token_is_its_devices_alone(void **state)
{
    (void)state;
    struct token_keys *k = keys_of(both, 1, false);
    uint8_t sealed[TOKEN_SEALED_MAX + 1] = {0};
    char out[DEVICE_TOKEN_MAX + 1];
    size_t n = token_keys_seal(k, phone, "0123456789abcdef", sealed);
    int32_t id = token_keys_current(k);
    assert_false(token_keys_open(k, id, other_phone, sealed, n, out));
    assert_false(token_keys_open(k, id, phone, sealed, n - 1, out));
    assert_false(token_keys_open(k, id, phone, sealed, CRYPT_SEAL_BYTES - 1, out));
    assert_false(token_keys_open(k, id, phone, sealed, 0, out));
    assert_false(token_keys_open(k, id, phone, sealed, sizeof sealed, out));
    assert_true(token_keys_open(k, id, phone, sealed, n, out));
    token_keys_free(&k);
}

static void the_first_key_seals_and_all_open(void **state)
{
    (void)state;
    struct token_keys *old = keys_of(both + 1, 1, false), *k = keys_of(both, 2, false);
    uint8_t sealed[TOKEN_SEALED_MAX];
    char out[DEVICE_TOKEN_MAX + 1];
    size_t n = token_keys_seal(old, phone, "token", sealed);
    int32_t old_id = token_keys_current(old);
    assert_true(old_id > 0 && token_keys_current(k) > 0);
    assert_int_not_equal(token_keys_current(k), old_id);
    assert_true(token_keys_has(k, old_id));
    assert_false(token_keys_has(old, token_keys_current(k)));
    assert_true(token_keys_open(k, old_id, phone, sealed, n, out));
    assert_string_equal(out, "token");
    assert_false(token_keys_open(k, token_keys_current(k), phone, sealed, n, out));
    token_keys_free(&k);
    token_keys_free(&old);
}

static void without_a_key_that_seals_tokens_are_in_clear(void **state)
{
    (void)state;
    struct token_keys *none = token_keys_new(NULL), *back = keys_of(both, 2, true);
    assert_int_equal(token_keys_current(none), TOKEN_IN_CLEAR);
    assert_true(token_keys_has(none, TOKEN_IN_CLEAR));
    assert_false(token_keys_has(none, 5));
    assert_int_equal(token_keys_current(back), TOKEN_IN_CLEAR);
    struct token_keys *k = keys_of(both, 1, false);
    assert_true(token_keys_has(back, token_keys_current(k)));
    token_keys_free(&k);
    token_keys_free(&none);
    token_keys_free(&back);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_token_of_any_length_comes_back),
        cmocka_unit_test(a_token_is_its_devices_alone),
        cmocka_unit_test(the_first_key_seals_and_all_open),
        cmocka_unit_test(without_a_key_that_seals_tokens_are_in_clear),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
