// SPDX-License-Identifier: Apache-2.0
#include "base/crypt.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const char *hex_of(const uint8_t *raw, size_t len)
{
    static char out[256];
    for (size_t i = 0; i < len; i++)
        snprintf(out + 2 * i, 3, "%02x", raw[i]);
    return out;
}

static void test_sha1_of_the_handshake_is_known(void **state)
{
    (void)state;
    char out[SHA1_HEX_BYTES];
    /* FIPS 180 "abc", in two pieces; and XEP-0114's shape. */
    crypt_sha1_hex("a", "bc", out);
    assert_string_equal(out, "a9993e364706816aba3e25717850c26c9cd0d89d");
    crypt_sha1_hex("", "", out);
    assert_string_equal(out, "da39a3ee5e6b4b0d3255bfef95601890afd80709");
}

static void test_sha256_is_known(void **state)
{
    (void)state;
    uint8_t out[SHA256_BYTES];
    crypt_sha256("abc", 3, out);
    assert_string_equal(hex_of(out, 32),
                        "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    crypt_sha256("", 0, out);
    assert_string_equal(hex_of(out, 32),
                        "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
}

static void test_hmac_sha256_is_that_of_rfc_4231(void **state)
{
    (void)state;
    uint8_t out[SHA256_BYTES];
    uint8_t key[131];
    memset(key, 0x0b, 20);
    crypt_hmac_sha256(key, 20, "Hi There", 8, out);
    assert_string_equal(hex_of(out, 32),
                        "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7");
    crypt_hmac_sha256((const uint8_t *)"Jefe", 4, "what do ya want for nothing?", 28, out);
    assert_string_equal(hex_of(out, 32),
                        "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
    memset(key, 0xaa, sizeof key);
    const char *text = "Test Using Larger Than Block-Size Key - Hash Key First";
    crypt_hmac_sha256(key, sizeof key, text, strlen(text), out);
    assert_string_equal(hex_of(out, 32),
                        "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54");
    crypt_hmac_sha256(key, 0, "", 0, out);
    assert_string_equal(hex_of(out, 32),
                        "b613679a0814d9ec772f95d778c35fc5ff1697c493715653c6c712144292c5ad");
}

static void test_a_kept_hmac_key_gives_the_same_each_time(void **state)
{
    (void)state;
    uint8_t key[32], want[SHA256_BYTES], got[SHA256_BYTES];
    memset(key, 0xaa, sizeof key);
    struct crypt_hmac *h = crypt_hmac_new(key, sizeof key);
    static const char *const texts[] = {"a", "", "what do ya want for nothing?", "a"};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        crypt_hmac_sha256(key, sizeof key, texts[i], strlen(texts[i]), want);
        crypt_hmac(h, texts[i], strlen(texts[i]), got);
        assert_memory_equal(got, want, sizeof want);
    }
    crypt_hmac_free(&h);
    assert_null(h);
}

static void test_siphash_is_that_of_its_reference(void **state)
{
    (void)state;
    /* The first and some later lines of vectors_sip64: key 00..0f, input 00, 01, ... */
    static const struct {
        size_t len;
        uint64_t want;
    } cases[] = {
        {0, UINT64_C(0x726fdb47dd0e0e31)},  {1, UINT64_C(0x74f839c593dc67fd)},
        {2, UINT64_C(0x0d6c8009d9a94f5a)},  {3, UINT64_C(0x85676696d7fb7e2d)},
        {7, UINT64_C(0xab0200f58b01d137)},  {8, UINT64_C(0x93f5f5799a932462)},
        {15, UINT64_C(0xa129ca6149be45e5)}, {63, UINT64_C(0x958a324ceb064572)},
    };
    uint8_t key[16], in[64];
    for (uint8_t i = 0; i < 16; i++)
        key[i] = i;
    for (uint8_t i = 0; i < 64; i++)
        in[i] = i;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        assert_true(crypt_siphash(key, in, cases[i].len) == cases[i].want);
}

static void test_aes_is_that_of_fips_197_and_goes_back(void **state)
{
    (void)state;
    uint8_t key[16], in[16], out[16], back[16];
    for (uint8_t i = 0; i < 16; i++) {
        key[i] = i;
        in[i] = (uint8_t)(i << 4 | i);
    }
    struct crypt_aes *c = crypt_aes_new(key);
    for (int i = 0; i < 3; i++) {
        crypt_aes_encrypt(c, in, out);
        assert_string_equal(hex_of(out, 16), "69c4e0d86a7b0430d8cdb78070b4c55a");
        crypt_aes_decrypt(c, out, back);
        assert_memory_equal(back, in, 16);
    }
    crypt_aes_free(&c);
    assert_null(c);
    crypt_aes_free(&c);
}

static void test_same_means_same_bytes_and_same_length(void **state)
{
    (void)state;
    assert_true(crypt_same("abc", 3, "abc", 3));
    assert_false(crypt_same("abc", 3, "abd", 3));
    assert_false(crypt_same("abc", 3, "abcd", 4));
    assert_true(crypt_same("", 0, "", 0));
}

static void test_uuids_are_written_and_read(void **state)
{
    (void)state;
    uint8_t raw[UUID_BYTES], back[UUID_BYTES];
    char text[UUID_TEXT_BYTES];
    for (uint8_t i = 0; i < 16; i++)
        raw[i] = (uint8_t)(i * 17);
    uuid_format(raw, text);
    assert_string_equal(text, "00112233-4455-6677-8899-aabbccddeeff");
    assert_true(uuid_parse(text, back));
    assert_memory_equal(raw, back, 16);
    assert_true(uuid_parse("00112233-4455-6677-8899-AABBCCDDEEFF", back));
    static const char *const bad[] = {
        "",
        "00112233",
        "00112233-4455-6677-8899-aabbccddeef",
        "00112233-4455-6677-8899-aabbccddeeff0",
        "00112233445566778899aabbccddeeff",
        "0011223-34455-6677-8899-aabbccddeeff",
        "00112233-4455-6677-8899-aabbccddeegg",
        "{0112233-4455-6677-8899-aabbccddeeff",
        "00112233-4455-6677-8899-",
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        memset(back, 7, sizeof back);
        assert_false(uuid_parse(bad[i], back));
        assert_int_equal(back[0], 7);
    }
    assert_false(uuid_parse(NULL, back));
}

static void test_random_uuids_are_version_4_and_differ(void **state)
{
    (void)state;
    uint8_t a[UUID_BYTES], b[UUID_BYTES];
    uuid_random(a);
    uuid_random(b);
    assert_memory_not_equal(a, b, 16);
    assert_int_equal(a[6] >> 4, 4);
    assert_int_equal(a[8] >> 6, 2);
    assert_true(crypt_random_u64() != crypt_random_u64());
}

static void test_base64_is_that_of_rfc_4648(void **state)
{
    (void)state;
    static const struct {
        const char *in, *plain, *url;
    } cases[] = {
        {"", "", ""},
        {"f", "Zg==", "Zg"},
        {"fo", "Zm8=", "Zm8"},
        {"foo", "Zm9v", "Zm9v"},
        {"foob", "Zm9vYg==", "Zm9vYg"},
        {"fooba", "Zm9vYmE=", "Zm9vYmE"},
        {"foobar", "Zm9vYmFy", "Zm9vYmFy"},
        {"\xfb\xff\xfe", "+//+", "-__-"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char out[16];
        crypt_base64(cases[i].in, strlen(cases[i].in), out);
        assert_string_equal(out, cases[i].plain);
        crypt_base64url(cases[i].in, strlen(cases[i].in), out);
        assert_string_equal(out, cases[i].url);
        uint8_t raw[16];
        size_t len = strlen(cases[i].in);
        assert_true(crypt_base64url_decode(cases[i].url, raw, len));
        assert_memory_equal(raw, cases[i].in, len);
        assert_false(crypt_base64url_decode(cases[i].url, raw, len + 1));
        assert_false(len > 0 && crypt_base64url_decode(cases[i].url, raw, len - 1));
    }
    static const char *const wrong[] = {"Z",
                                        "Zg==",
                                        "Zg=",
                                        "Zm9v ",
                                        " Zm9v",
                                        "+//+",
                                        "Zm9vY",
                                        "Zm9\n",
                                        "Zm\xff"
                                        "v"};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++)
        for (size_t size = 0; size < 5; size++) {
            uint8_t raw[8];
            assert_false(crypt_base64url_decode(wrong[i], raw, size));
        }
}

static void a_seal_shows_nothing_and_breaks_with_any_bit(void **state)
{
    (void)state;
    static const uint8_t key[32] = {1, 2, 3}, other[32] = {1, 2, 4};
    static const char text[] = "what nobody may read";
    uint8_t sealed[sizeof text + CRYPT_SEAL_BYTES], again[sizeof sealed];
    char out[sizeof text];
    crypt_seal(key, text, sizeof text, sealed);
    crypt_seal(key, text, sizeof text, again);
    assert_memory_not_equal(sealed, again, sizeof sealed);
    assert_null(memmem(sealed, sizeof sealed, "nobody", 6));
    assert_true(crypt_unseal(key, sealed, sizeof sealed, out));
    assert_string_equal(out, text);
    assert_false(crypt_unseal(other, sealed, sizeof sealed, out));
    for (size_t i = 0; i < sizeof sealed; i++) {
        sealed[i] ^= 1;
        assert_false(crypt_unseal(key, sealed, sizeof sealed, out));
        sealed[i] ^= 1;
    }
    crypt_seal(key, "", 0, sealed);
    assert_true(crypt_unseal(key, sealed, CRYPT_SEAL_BYTES, out));
}

static void what_is_sealed_opens_only_beside_what_it_is_bound_to(void **state)
{
    (void)state;
    static const uint8_t key[32] = {1, 2, 3};
    static const char text[] = "what nobody may read";
    struct crypt_sealer *s = crypt_sealer_new(key), *same = crypt_sealer_new(key);
    uint8_t sealed[sizeof text + CRYPT_SEAL_BYTES], again[sizeof sealed];
    char out[sizeof text];
    crypt_sealer_seal(s, "here", 4, text, sizeof text, sealed);
    crypt_sealer_seal(s, "here", 4, text, sizeof text, again);
    assert_memory_not_equal(sealed, again, sizeof sealed);
    for (int i = 0; i < 3; i++) { /* one failure leaves nothing behind */
        assert_true(crypt_sealer_open(same, "here", 4, sealed, sizeof sealed, out));
        assert_string_equal(out, text);
        assert_false(crypt_sealer_open(same, "there", 5, sealed, sizeof sealed, out));
        assert_false(crypt_sealer_open(same, NULL, 0, sealed, sizeof sealed, out));
    }
    for (size_t i = 0; i < sizeof sealed; i++) {
        sealed[i] ^= 1;
        assert_false(crypt_sealer_open(same, "here", 4, sealed, sizeof sealed, out));
        sealed[i] ^= 1;
    }
    crypt_sealer_free(&s);
    crypt_sealer_free(&same);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sha1_of_the_handshake_is_known),
        cmocka_unit_test(test_sha256_is_known),
        cmocka_unit_test(test_hmac_sha256_is_that_of_rfc_4231),
        cmocka_unit_test(test_a_kept_hmac_key_gives_the_same_each_time),
        cmocka_unit_test(test_siphash_is_that_of_its_reference),
        cmocka_unit_test(test_aes_is_that_of_fips_197_and_goes_back),
        cmocka_unit_test(test_same_means_same_bytes_and_same_length),
        cmocka_unit_test(test_uuids_are_written_and_read),
        cmocka_unit_test(test_random_uuids_are_version_4_and_differ),
        cmocka_unit_test(test_base64_is_that_of_rfc_4648),
        cmocka_unit_test(a_seal_shows_nothing_and_breaks_with_any_bit),
        cmocka_unit_test(what_is_sealed_opens_only_beside_what_it_is_bound_to),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
