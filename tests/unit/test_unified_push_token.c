// SPDX-License-Identifier: Apache-2.0
#include "sidecar/unified_push_token.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "base/crypt.h"

#define JID "juliet@example.com/Conversations.r4nD"
/* The draft's example. */
#define INSTANCE "EtD/1XPLmoIph7W73CZ/uyv6FAnhEAXY1GySHX17vAw="

static const uint8_t key[32] = {1}, other[32] = {2};

static struct up_registration juliet(void)
{
    struct up_registration r = {.until_s = 1760000000, .jid = JID};
    assert_true(up_read_hash(INSTANCE, r.instance));
    memset(r.application, 7, sizeof r.application);
    return r;
}

static void what_was_sealed_is_opened(void **state)
{
    (void)state;
    struct up_registration r = juliet(), back;
    char token[UP_TOKEN_BYTES], again[UP_TOKEN_BYTES];
    up_seal(key, &r, token);
    assert_int_equal(strspn(token, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
                                   "0123456789-_"),
                     strlen(token));
    assert_true(up_open(key, token, &back));
    assert_int_equal(back.until_s, r.until_s);
    assert_string_equal(back.jid, JID);
    assert_memory_equal(back.application, r.application, sizeof r.application);
    assert_memory_equal(back.instance, r.instance, sizeof r.instance);
    up_seal(key, &r, again);
    assert_string_not_equal(token, again); /* nobody sees that they are one client's */
}

static void the_longest_address_has_room(void **state)
{
    (void)state;
    struct up_registration r = juliet(), back;
    char token[UP_TOKEN_BYTES];
    memset(r.jid, 'x', UP_JID_MAX);
    r.jid[UP_JID_MAX] = '\0';
    up_seal(key, &r, token);
    assert_true(strlen(token) < UP_TOKEN_BYTES);
    assert_true(up_open(key, token, &back));
    assert_string_equal(back.jid, r.jid);
}

static void nothing_else_is_opened(void **state)
{
    (void)state;
    struct up_registration r = juliet(), back;
    char token[UP_TOKEN_BYTES], changed[UP_TOKEN_BYTES + 8];
    up_seal(key, &r, token);
    assert_false(up_open(other, token, &back));
    size_t len = strlen(token);
    /* The last character may hold bits that mean nothing. */
    for (size_t i = 0; i + 1 < len; i++) {
        strcpy(changed, token);
        changed[i] = token[i] == 'A' ? 'B' : 'A';
        assert_false(up_open(key, changed, &back));
        strcpy(changed, token);
        changed[i] = '\0';
        assert_false(up_open(key, changed, &back));
    }
    static const char *const more[] = {"A", "AA", "AAA", "AAAA", "=", "?x", "/"};
    for (size_t i = 0; i < sizeof more / sizeof *more; i++) {
        strcpy(stpcpy(changed, token), more[i]);
        assert_false(up_open(key, changed, &back));
    }
    char longer[2000];
    memset(longer, 'A', sizeof longer - 1);
    longer[sizeof longer - 1] = '\0';
    assert_false(up_open(key, longer, &back));
    assert_false(up_open(key, "", &back));
}

static void hashes_are_32_bytes_in_base64(void **state)
{
    (void)state;
    uint8_t raw[UP_HASH_BYTES];
    char text[UP_HASH_TEXT_BYTES];
    assert_true(up_read_hash(INSTANCE, raw));
    crypt_base64(raw, sizeof raw, text);
    assert_string_equal(text, INSTANCE);
    static const char *const wrong[] = {
        NULL,
        "",
        "EtD/1XPLmoIph7W73CZ/uyv6FAnhEAXY1GySHX17vAw",
        "EtD_1XPLmoIph7W73CZ/uyv6FAnhEAXY1GySHX17vAw=",
        "EtD/1XPLmoIph7W73CZ/uyv6FAnhEAXY1GySHX17vA==",
        "EtD/1XPLmoIph7W73CZ/uyv6FAnhEAXY1GySHX17vAwA",
        "EtD/1XPLmoIph7W73CZ/uyv6FAnhEAXY1GySHX17vAw==",
        "EtD/1XPLmoIph7W73CZ/uyv6FAnhEAXY1GySHX17vA =",
        "EtD/1XPLmoIph7W73CZ/uyv6FAnhEAXY1GySHX17v\nw=",
    };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        assert_false(up_read_hash(wrong[i], raw));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_was_sealed_is_opened),
        cmocka_unit_test(the_longest_address_has_room),
        cmocka_unit_test(nothing_else_is_opened),
        cmocka_unit_test(hashes_are_32_bytes_in_base64),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
