// SPDX-License-Identifier: Apache-2.0
#include "apns/vapid.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cjson/cJSON.h>
#include <cmocka.h>
#include <openssl/ec.h>
#include <openssl/evp.h>
#include <openssl/pem.h>

#include "tests/unit/base64url.h"

#define NOW_S INT64_C(1760000000)
#define SUBJECT "mailto:admin@example.org"

static char key_pem[1024];

static void write_pem(EVP_PKEY *key, char out[1024])
{
    BIO *bio = BIO_new(BIO_s_mem());
    assert_int_equal(PEM_write_bio_PrivateKey(bio, key, NULL, NULL, 0, NULL, NULL), 1);
    int n = BIO_read(bio, out, 1023);
    assert_true(n > 0);
    out[n] = '\0';
    BIO_free(bio);
    EVP_PKEY_free(key);
}

static int make_key(void **state)
{
    (void)state;
    write_pem(EVP_EC_gen("P-256"), key_pem);
    return 0;
}

static struct vapid *new_vapid(void)
{
    struct vapid *v = NULL;
    struct err e;
    assert_int_equal(vapid_new(key_pem, SUBJECT, &v, &e), ERR_NONE);
    return v;
}

/* The public key as a push service gets it. */
static EVP_PKEY *given_key(const char *text)
{
    uint8_t raw[65];
    assert_int_equal(base64url_decode(text, strlen(text), raw), sizeof raw);
    EVP_PKEY *key = EVP_EC_gen("P-256");
    assert_int_equal(EVP_PKEY_set1_encoded_public_key(key, raw, sizeof raw), 1);
    return key;
}

static bool is_signed(const char *text, size_t len, const uint8_t raw[64],
                      const char *key_text)
{
    EVP_PKEY *key = given_key(key_text);
    ECDSA_SIG *sig = ECDSA_SIG_new();
    ECDSA_SIG_set0(sig, BN_bin2bn(raw, 32, NULL), BN_bin2bn(raw + 32, 32, NULL));
    uint8_t *der = NULL;
    int der_len = i2d_ECDSA_SIG(sig, &der);
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    assert_int_equal(EVP_DigestVerifyInit(ctx, NULL, EVP_sha256(), NULL, key), 1);
    bool good = EVP_DigestVerify(ctx, der, (size_t)der_len, (const uint8_t *)text, len) == 1;
    EVP_MD_CTX_free(ctx);
    OPENSSL_free(der);
    ECDSA_SIG_free(sig);
    EVP_PKEY_free(key);
    return good;
}

static cJSON *part(const char *text, size_t len)
{
    uint8_t raw[1024];
    cJSON *json = cJSON_ParseWithLength((char *)raw, base64url_decode(text, len, raw));
    assert_non_null(json);
    return json;
}

static const char *text_of(const cJSON *json, const char *name)
{
    return cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(json, name));
}

static void a_token_says_what_rfc_8292_asks_for(void **state)
{
    (void)state;
    struct vapid *v = new_vapid();
    char text[VAPID_AUTHORIZATION_BYTES];
    uint8_t raw[64];
    vapid_authorization(v, "https://push.example.net:8443", NOW_S, text);
    assert_memory_equal(text, "vapid t=", 8);
    char *jwt = text + 8, *k = strstr(jwt, ", k=");
    assert_non_null(k);
    assert_string_equal(k + 4, vapid_public(v));
    *k = '\0';
    char *claims = strchr(jwt, '.') + 1, *sig = strchr(claims, '.') + 1;
    cJSON *head = part(jwt, (size_t)(claims - 1 - jwt));
    assert_string_equal(text_of(head, "alg"), "ES256");
    assert_string_equal(text_of(head, "typ"), "JWT");
    cJSON *body = part(claims, (size_t)(sig - 1 - claims));
    assert_string_equal(text_of(body, "aud"), "https://push.example.net:8443");
    assert_string_equal(text_of(body, "sub"), SUBJECT);
    double exp = cJSON_GetNumberValue(cJSON_GetObjectItemCaseSensitive(body, "exp"));
    assert_true(exp == (double)(NOW_S + 12 * 3600)); /* at most a day */
    assert_int_equal(base64url_decode(sig, strlen(sig), raw), sizeof raw);
    assert_true(is_signed(jwt, (size_t)(sig - 1 - jwt), raw, k + 4));
    raw[0] ^= 1;
    assert_false(is_signed(jwt, (size_t)(sig - 1 - jwt), raw, k + 4));
    cJSON_Delete(head);
    cJSON_Delete(body);
    vapid_free(&v);
}

static void the_longest_texts_fit(void **state)
{
    (void)state;
    char subject[256] = "mailto:a@", origin[VAPID_ORIGIN_MAX + 1] = "https://";
    char text[VAPID_AUTHORIZATION_BYTES];
    memset(subject + 9, 'b', 255 - 9);
    memset(origin + 8, 'c', VAPID_ORIGIN_MAX - 8);
    struct vapid *v = NULL;
    struct err e;
    assert_int_equal(vapid_new(key_pem, subject, &v, &e), ERR_NONE);
    vapid_authorization(v, origin, NOW_S, text);
    assert_string_equal(strstr(text, ", k=") + 4, vapid_public(v));
    vapid_free(&v);
}

static void a_key_or_a_subject_that_is_none_is_refused(void **state)
{
    (void)state;
    static char too_long[300] = "mailto:a@", p384[1024];
    memset(too_long + 9, 'b', 256 - 9);
    write_pem(EVP_EC_gen("P-384"), p384);
    const struct {
        const char *key, *subject, *why;
    } cases[] = {
        {NULL, SUBJECT, "private_key_file is missing"},
        {"x", SUBJECT, "no readable PEM private key"},
        {p384, SUBJECT, "must hold a P-256 private key"},
        {key_pem, NULL, "subject must be"},
        {key_pem, "", "subject must be"},
        {key_pem, "admin@example.org", "subject must be"},
        {key_pem, "mailto:", "subject must be"},
        {key_pem, "mailto:admin", "subject must be"},
        {key_pem, "mailto:@example.org", "subject must be"},
        {key_pem, "https://", "subject must be"},
        {key_pem, "http://example.org", "subject must be"},
        {key_pem, "mailto:\"a\"@example.org", "subject must be"},
        {key_pem, "mailto:a b@example.org", "subject must be"},
        {key_pem, "mailto:a@example.org\\", "subject must be"},
        {key_pem, too_long, "subject must be"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct vapid *v = NULL;
        struct err e = {0};
        if (vapid_new(cases[i].key, cases[i].subject, &v, &e) != ERR_CONFIG)
            fail_msg("case %zu is accepted", i);
        assert_non_null(strstr(e.text, cases[i].why));
        assert_null(v);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_token_says_what_rfc_8292_asks_for),
        cmocka_unit_test(the_longest_texts_fit),
        cmocka_unit_test(a_key_or_a_subject_that_is_none_is_refused),
    };
    return cmocka_run_group_tests(tests, make_key, NULL);
}
