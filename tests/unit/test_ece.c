// SPDX-License-Identifier: Apache-2.0
#include "apns/ece.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>
#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/evp.h>
#include <openssl/kdf.h>
#include <openssl/param_build.h>

#include "apns/ece_int.h"
#include "tests/unit/base64url.h"

/* RFC 8291, appendix A. */
#define PLAIN "When I grow up, I want to be a watermelon"
#define OURS_PUBLIC                                                                           \
    "BP4z9KsN6nGRTbVYI_c7VJSPQTBtkgcy27mlmlMoZIIgDll6e3vCYLocInmYWAmS6TlzAC8wEqKK6PBru3jl7A8"
#define OURS_PRIVATE "yfWPiYE-n46HLnH0KqZOF1fJJU3MYrct3AELtAQ-oRw"
#define THEIRS_PUBLIC                                                                         \
    "BCVxsr7N_eNgVRqvHtD0zTZsEc6-VV-JvLexhqUzORcxaOzi6-AYWXvTBHm4bjyPjs7Vd8pZGH6SRpkNtoIAiw4"
#define THEIRS_PRIVATE "q1dXpw3UpT5VOmu_cf_v6ih07Aems3njxI-JWgLcM94"
#define AUTH "BTBZMqHH6r4Tts7J_aSIgg"
#define SALT "DGv6ra1nlYgDCS1FRnbzlw"
#define BODY                                                                                  \
    "DGv6ra1nlYgDCS1FRnbzlwAAEABBBP4z9KsN6nGRTbVYI_"                                          \
    "c7VJSPQTBtkgcy27mlmlMoZIIgDll6e3vCYLocInmY"                                              \
    "WAmS6TlzAC8wEqKK6PBru3jl7A_"                                                             \
    "yl95bQpu6cVPTpK4Mqgkf1CXztLVBSt2Ks3oZwbuwXPXLWyouBWLVWGNWQexS"                           \
    "gSxsj_Qulcy4a-fN"

static size_t decode(const char *text, uint8_t *out)
{
    return base64url_decode(text, strlen(text), out);
}

static EVP_PKEY *key_pair(const char *public_text, const char *private_text)
{
    uint8_t public[ECE_PUBLIC_BYTES], secret[32];
    EVP_PKEY *key = NULL;
    assert_int_equal(decode(public_text, public), sizeof public);
    assert_int_equal(decode(private_text, secret), sizeof secret);
    BIGNUM *n = BN_bin2bn(secret, sizeof secret, NULL);
    OSSL_PARAM_BLD *b = OSSL_PARAM_BLD_new();
    OSSL_PARAM_BLD_push_utf8_string(b, OSSL_PKEY_PARAM_GROUP_NAME, "P-256", 0);
    OSSL_PARAM_BLD_push_octet_string(b, OSSL_PKEY_PARAM_PUB_KEY, public, sizeof public);
    OSSL_PARAM_BLD_push_BN(b, OSSL_PKEY_PARAM_PRIV_KEY, n);
    OSSL_PARAM *params = OSSL_PARAM_BLD_to_param(b);
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_name(NULL, "EC", NULL);
    assert_int_equal(EVP_PKEY_fromdata_init(ctx), 1);
    assert_int_equal(EVP_PKEY_fromdata(ctx, &key, EVP_PKEY_KEYPAIR, params), 1);
    EVP_PKEY_CTX_free(ctx);
    OSSL_PARAM_free(params);
    OSSL_PARAM_BLD_free(b);
    BN_free(n);
    return key;
}

static struct ece_keys theirs(void)
{
    struct ece_keys to;
    assert_int_equal(decode(THEIRS_PUBLIC, to.public), sizeof to.public);
    assert_int_equal(decode(AUTH, to.auth), sizeof to.auth);
    return to;
}

static void the_vector_of_rfc_8291_comes_out(void **state)
{
    (void)state;
    const struct ece_keys to = theirs();
    uint8_t salt[ECE_SALT_BYTES], expected[ECE_BODY_MAX], body[ECE_BODY_MAX];
    assert_int_equal(decode(SALT, salt), sizeof salt);
    size_t len = decode(BODY, expected);
    EVP_PKEY *own = key_pair(OURS_PUBLIC, OURS_PRIVATE);
    size_t n =
        ece_encrypt_with(own, salt, &to, (const uint8_t *)PLAIN, strlen(PLAIN), 1, body);
    assert_int_equal(n, len);
    assert_memory_equal(body, expected, len);
    EVP_PKEY_free(own);
}

/* What a browser does, by OpenSSL's HKDF; returns the length of the plain text. */
static void kdf(const uint8_t *salt, size_t salt_len, const uint8_t *key, const void *info,
                size_t info_len, uint8_t *out, size_t out_len)
{
    EVP_KDF *f = EVP_KDF_fetch(NULL, "HKDF", NULL);
    EVP_KDF_CTX *ctx = EVP_KDF_CTX_new(f);
    char digest[] = "SHA256";
    const OSSL_PARAM params[] = {
        OSSL_PARAM_construct_utf8_string(OSSL_KDF_PARAM_DIGEST, digest, 0),
        OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_KEY, (void *)(uintptr_t)key, 32),
        OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_SALT, (void *)(uintptr_t)salt,
                                          salt_len),
        OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_INFO, (void *)(uintptr_t)info,
                                          info_len),
        OSSL_PARAM_construct_end()};
    assert_int_equal(EVP_KDF_derive(ctx, out, out_len, params), 1);
    EVP_KDF_CTX_free(ctx);
    EVP_KDF_free(f);
}

static size_t decrypt(EVP_PKEY *own, const struct ece_keys *keys, const uint8_t *body,
                      size_t len, uint8_t *plain)
{
    uint8_t info[144] = "WebPush: info", secret[32], ikm[32], key[16], nonce[12];
    size_t secret_len = sizeof secret;
    int n = 0, last = 0;
    assert_int_equal(body[20], ECE_PUBLIC_BYTES);
    assert_memory_equal(body + 16, "\0\0\x10\0", 4);
    EVP_PKEY *peer = EVP_PKEY_new();
    assert_int_equal(EVP_PKEY_copy_parameters(peer, own), 1);
    assert_int_equal(EVP_PKEY_set1_encoded_public_key(peer, body + 21, ECE_PUBLIC_BYTES), 1);
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new(own, NULL);
    assert_int_equal(EVP_PKEY_derive_init(ctx), 1);
    assert_int_equal(EVP_PKEY_derive_set_peer(ctx, peer), 1);
    assert_int_equal(EVP_PKEY_derive(ctx, secret, &secret_len), 1);
    EVP_PKEY_CTX_free(ctx);
    EVP_PKEY_free(peer);
    memcpy(info + 14, keys->public, ECE_PUBLIC_BYTES);
    memcpy(info + 14 + ECE_PUBLIC_BYTES, body + 21, ECE_PUBLIC_BYTES);
    kdf(keys->auth, ECE_AUTH_BYTES, secret, info, sizeof info, ikm, sizeof ikm);
    kdf(body, 16, ikm, "Content-Encoding: aes128gcm", 28, key, sizeof key);
    kdf(body, 16, ikm, "Content-Encoding: nonce", 24, nonce, sizeof nonce);
    EVP_CIPHER_CTX *c = EVP_CIPHER_CTX_new();
    size_t sealed = len - 86 - 16;
    uint8_t tag[16];
    memcpy(tag, body + len - 16, sizeof tag);
    assert_int_equal(EVP_DecryptInit_ex(c, EVP_aes_128_gcm(), NULL, key, nonce), 1);
    assert_int_equal(EVP_DecryptUpdate(c, plain, &n, body + 86, (int)sealed), 1);
    assert_int_equal(EVP_CIPHER_CTX_ctrl(c, EVP_CTRL_GCM_SET_TAG, 16, tag), 1);
    assert_int_equal(EVP_DecryptFinal_ex(c, plain + n, &last), 1);
    EVP_CIPHER_CTX_free(c);
    size_t end = sealed;
    while (end > 0 && plain[end - 1] == 0)
        end--;
    assert_true(end > 0 && plain[end - 1] == 2);
    return end - 1;
}

static void every_length_can_be_read_by_the_subscription_alone(void **state)
{
    (void)state;
    const struct ece_keys to = theirs();
    EVP_PKEY *own = key_pair(THEIRS_PUBLIC, THEIRS_PRIVATE);
    static const size_t lengths[] = {
        1, 2, 255, 256, 257, 1000, ECE_PLAIN_MAX - 1, ECE_PLAIN_MAX};
    uint8_t text[ECE_PLAIN_MAX], body[ECE_BODY_MAX], plain[ECE_BODY_MAX];
    for (size_t i = 0; i < sizeof text; i++)
        text[i] = (uint8_t)(i * 7 + 1);
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
        size_t n = ece_encrypt(&to, text, lengths[i], 256, body);
        assert_true(n <= ECE_BODY_MAX);
        assert_int_equal(decrypt(own, &to, body, n, plain), lengths[i]);
        assert_memory_equal(plain, text, lengths[i]);
    }
    EVP_PKEY_free(own);
}

static void the_length_of_a_body_says_little(void **state)
{
    (void)state;
    const struct ece_keys to = theirs();
    uint8_t text[ECE_PLAIN_MAX] = {1}, body[ECE_BODY_MAX];
    size_t first = ece_encrypt(&to, text, 1, 256, body);
    assert_int_equal(first, 86 + 256 + 1 + 16);
    assert_int_equal(ece_encrypt(&to, text, 256, 256, body), first);
    assert_int_equal(ece_encrypt(&to, text, 257, 256, body), first + 256);
    assert_int_equal(ece_encrypt(&to, text, 3900, 256, body), ECE_BODY_MAX);
}

static void no_two_messages_have_a_key_in_common(void **state)
{
    (void)state;
    const struct ece_keys to = theirs();
    uint8_t one[ECE_BODY_MAX], two[ECE_BODY_MAX];
    (void)ece_encrypt(&to, (const uint8_t *)"x", 1, 1, one);
    (void)ece_encrypt(&to, (const uint8_t *)"x", 1, 1, two);
    assert_memory_not_equal(one, two, 16);           /* the salt */
    assert_memory_not_equal(one + 21, two + 21, 65); /* the public key */
}

static void what_is_no_point_is_refused(void **state)
{
    (void)state;
    struct ece_keys to = theirs();
    assert_true(ece_is_point(to.public));
    to.public[64] ^= 1;
    assert_false(ece_is_point(to.public)); /* not on the curve */
    to = theirs();
    to.public[0] = 2;
    assert_false(ece_is_point(to.public)); /* compressed */
    to.public[0] = 6;
    assert_false(ece_is_point(to.public)); /* hybrid */
    memset(to.public, 0, sizeof to.public);
    assert_false(ece_is_point(to.public)); /* infinity */
    to.public[0] = 4;
    assert_false(ece_is_point(to.public));
    memset(to.public + 1, 0xff, sizeof to.public - 1);
    assert_false(ece_is_point(to.public)); /* beyond the field */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_vector_of_rfc_8291_comes_out),
        cmocka_unit_test(every_length_can_be_read_by_the_subscription_alone),
        cmocka_unit_test(the_length_of_a_body_says_little),
        cmocka_unit_test(no_two_messages_have_a_key_in_common),
        cmocka_unit_test(what_is_no_point_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
