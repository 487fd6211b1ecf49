// SPDX-License-Identifier: Apache-2.0
#include "apns/jwt.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cjson/cJSON.h>
#include <cmocka.h>
#include <openssl/ec.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>

#include "tests/unit/base64url.h"

#define NOW_S INT64_C(1760000000)

static EVP_PKEY *key;
static char key_pem[1024];

static void write_pem(EVP_PKEY *k, char out[1024])
{
    BIO *bio = BIO_new(BIO_s_mem());
    assert_int_equal(PEM_write_bio_PrivateKey(bio, k, NULL, NULL, 0, NULL, NULL), 1);
    int n = BIO_read(bio, out, 1023);
    assert_true(n > 0);
    out[n] = '\0';
    BIO_free(bio);
}

static int make_key(void **state)
{
    (void)state;
    key = EVP_EC_gen("P-256");
    write_pem(key, key_pem);
    return 0;
}

static int free_key(void **state)
{
    (void)state;
    EVP_PKEY_free(key);
    return 0;
}

static struct jwt *new_jwt(void)
{
    struct jwt *j = NULL;
    struct err e;
    assert_int_equal(jwt_new(key_pem, "ABC123DEFG", "TEAM123456", &j, &e), ERR_NONE);
    return j;
}

static cJSON *part(const char *text, size_t len)
{
    uint8_t raw[256];
    size_t n = base64url_decode(text, len, raw);
    cJSON *json = cJSON_ParseWithLength((char *)raw, n);
    assert_non_null(json);
    return json;
}

static int64_t iat_of(const char *authorization)
{
    const char *claims = strchr(authorization, '.') + 1;
    cJSON *json = part(claims, strcspn(claims, "."));
    int64_t iat = (int64_t)cJSON_GetObjectItem(json, "iat")->valuedouble;
    cJSON_Delete(json);
    return iat;
}

static bool signature_fits(const char *jwt, const char *sig_text)
{
    uint8_t raw[256], der[128], *at = der;
    if (base64url_decode(sig_text, strlen(sig_text), raw) != 64)
        return false;
    ECDSA_SIG *sig = ECDSA_SIG_new();
    ECDSA_SIG_set0(sig, BN_bin2bn(raw, 32, NULL), BN_bin2bn(raw + 32, 32, NULL));
    int der_len = i2d_ECDSA_SIG(sig, &at);
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    EVP_DigestVerifyInit(ctx, NULL, EVP_sha256(), NULL, key);
    int ok = EVP_DigestVerify(ctx, der, (size_t)der_len, (const uint8_t *)jwt,
                              (size_t)(sig_text - 1 - jwt));
    EVP_MD_CTX_free(ctx);
    ECDSA_SIG_free(sig);
    return ok == 1;
}

static void a_token_has_the_header_and_claims_apple_asks_for(void **state)
{
    (void)state;
    struct jwt *j = new_jwt();
    size_t len;
    const char *text = jwt_authorization(j, NOW_S, 0, &len);
    assert_int_equal(len, strlen(text));
    assert_memory_equal(text, "bearer ", 7);
    cJSON *header = part(text + 7, strcspn(text + 7, "."));
    assert_string_equal(cJSON_GetObjectItem(header, "alg")->valuestring, "ES256");
    assert_string_equal(cJSON_GetObjectItem(header, "kid")->valuestring, "ABC123DEFG");
    cJSON_Delete(header);
    const char *claims_text = strchr(text, '.') + 1;
    cJSON *claims = part(claims_text, strcspn(claims_text, "."));
    assert_int_equal(cJSON_GetArraySize(claims), 2);
    assert_string_equal(cJSON_GetObjectItem(claims, "iss")->valuestring, "TEAM123456");
    assert_true(cJSON_IsNumber(cJSON_GetObjectItem(claims, "iat")));
    cJSON_Delete(claims);
    assert_int_equal(iat_of(text), NOW_S);
    jwt_free(&j);
}

static void the_signature_is_64_raw_bytes_that_openssl_verifies(void **state)
{
    (void)state;
    for (int i = 0; i < 50; i++) { /* r or s is short now and then */
        struct jwt *j = new_jwt();
        size_t len;
        const char *text = jwt_authorization(j, NOW_S + i, 0, &len);
        assert_true(signature_fits(text + 7, strrchr(text, '.') + 1));
        jwt_free(&j);
    }
}

static void a_token_is_kept_for_48_minutes_and_then_replaced(void **state)
{
    (void)state;
    struct jwt *j = new_jwt();
    size_t len;
    assert_int_equal(jwt_serial(j), 0);
    const char *first = jwt_authorization(j, NOW_S, 5000, &len);
    assert_int_equal(jwt_serial(j), 1);
    int64_t age = JWT_RENEW_S - 1;
    assert_ptr_equal(jwt_authorization(j, NOW_S + age, 5000 + age * 1000, &len), first);
    age = JWT_RENEW_S;
    const char *second = jwt_authorization(j, NOW_S + age, 5000 + age * 1000, &len);
    assert_int_equal(jwt_serial(j), 2);
    assert_int_equal(iat_of(second), NOW_S + age);
    assert_int_equal(iat_of(first), NOW_S); /* still readable for what is in flight */
    jwt_free(&j);
}

static void one_renewal_out_of_turn_is_allowed_in_20_minutes(void **state)
{
    (void)state;
    struct jwt *j = new_jwt();
    size_t len;
    (void)jwt_authorization(j, NOW_S, 0, &len);
    assert_true(jwt_renew(j, NOW_S + 60, 60000));
    assert_int_equal(jwt_serial(j), 2);
    assert_int_equal(iat_of(jwt_authorization(j, NOW_S + 60, 60000, &len)), NOW_S + 60);
    assert_false(jwt_renew(j, NOW_S + 61, 61000));
    assert_false(jwt_renew(j, NOW_S + 1259, 1259000));
    assert_int_equal(jwt_serial(j), 2);
    assert_int_equal(jwt_renewable_ms(j), 1260000);
    assert_true(jwt_renew(j, NOW_S + 1260, 1260000));
    assert_true(jwt_renew(j, NOW_S + 1270, 1270000)); /* the next one out of turn */
    assert_false(jwt_renew(j, NOW_S + 1280, 1280000));
    jwt_free(&j);
}

static void a_clock_set_by_hours_makes_a_new_token_whatever_was_before(void **state)
{
    (void)state;
    struct jwt *j = new_jwt();
    size_t len;
    (void)jwt_authorization(j, NOW_S, 0, &len);
    assert_int_equal(iat_of(jwt_authorization(j, NOW_S + 7200, 1000, &len)), NOW_S + 7200);
    assert_int_equal(iat_of(jwt_authorization(j, NOW_S, 2000, &len)), NOW_S);
    assert_int_equal(iat_of(jwt_authorization(j, NOW_S - 200, 3000, &len)), NOW_S);
    assert_int_equal(jwt_serial(j), 3);
    jwt_free(&j);
}

static void too_many_updates_go_back_to_the_token_before(void **state)
{
    (void)state;
    struct jwt *j = new_jwt();
    size_t len;
    assert_false(jwt_revert(j, NOW_S));
    (void)jwt_authorization(j, NOW_S, 0, &len);
    assert_false(jwt_revert(j, NOW_S));
    assert_true(jwt_renew(j, NOW_S + 600, 600000));
    assert_true(jwt_revert(j, NOW_S + 601));
    assert_int_equal(jwt_serial(j), 1);
    assert_int_equal(iat_of(jwt_authorization(j, NOW_S + 602, 602000, &len)), NOW_S);
    assert_false(jwt_revert(j, NOW_S + 603)); /* there is no further one */
    jwt_free(&j);
}

static void a_token_too_old_is_not_gone_back_to(void **state)
{
    (void)state;
    struct jwt *j = new_jwt();
    size_t len;
    (void)jwt_authorization(j, NOW_S, 0, &len);
    assert_true(jwt_renew(j, NOW_S + 3000, 3000000));
    assert_false(jwt_revert(j, NOW_S + 3595));
    assert_int_equal(jwt_serial(j), 2);
    jwt_free(&j);
}

static void a_text_outlives_the_next_renewal_also_after_going_back(void **state)
{
    (void)state;
    struct jwt *j = new_jwt();
    size_t len;
    (void)jwt_authorization(j, NOW_S, 0, &len);
    assert_true(jwt_renew(j, NOW_S + 10, 10000));
    const char *second = jwt_authorization(j, NOW_S + 10, 10000, &len);
    assert_true(jwt_revert(j, NOW_S + 11));
    assert_true(jwt_renew(j, NOW_S + 1300, 1300000));
    assert_int_equal(iat_of(second), NOW_S + 10);
    assert_int_equal(jwt_serial(j), 3);
    jwt_free(&j);
}

static void expect_config(const char *pem, const char *kid, const char *team, const char *word)
{
    struct jwt *j = NULL;
    struct err e;
    assert_int_equal(jwt_new(pem, kid, team, &j, &e), ERR_CONFIG);
    assert_non_null(strstr(e.text, word));
    assert_null(j);
}

static void a_key_that_is_not_p256_is_a_clear_configuration_error(void **state)
{
    (void)state;
    char pem[2048];
    EVP_PKEY *p384 = EVP_EC_gen("P-384");
    write_pem(p384, pem);
    expect_config(pem, "ABC123DEFG", "TEAM123456", "P-256");
    EVP_PKEY_free(p384);
    EVP_PKEY *ed = EVP_PKEY_Q_keygen(NULL, NULL, "ED25519");
    write_pem(ed, pem);
    expect_config(pem, "ABC123DEFG", "TEAM123456", "P-256");
    EVP_PKEY_free(ed);
    expect_config("", "ABC123DEFG", "TEAM123456", "PEM");
    expect_config("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
                  "ABC123DEFG", "TEAM123456", "PEM");
    expect_config(NULL, "ABC123DEFG", "TEAM123456", "key_file");
    expect_config(key_pem, "", "TEAM123456", "key_id");
    expect_config(key_pem, "A\"B", "TEAM123456", "key_id");
    expect_config(key_pem, "ABC123DEFG", NULL, "team_id");
}

static void an_encrypted_key_fails_without_asking(void **state)
{
    (void)state;
    char pem[2048];
    BIO *bio = BIO_new(BIO_s_mem());
    assert_int_equal(
        PEM_write_bio_PKCS8PrivateKey(bio, key, EVP_aes_128_cbc(), "secret", 6, NULL, NULL),
        1);
    int n = BIO_read(bio, pem, sizeof pem - 1);
    assert_true(n > 0);
    pem[n] = '\0';
    BIO_free(bio);
    expect_config(pem, "ABC123DEFG", "TEAM123456", "PEM");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_token_has_the_header_and_claims_apple_asks_for),
        cmocka_unit_test(the_signature_is_64_raw_bytes_that_openssl_verifies),
        cmocka_unit_test(a_token_is_kept_for_48_minutes_and_then_replaced),
        cmocka_unit_test(one_renewal_out_of_turn_is_allowed_in_20_minutes),
        cmocka_unit_test(a_clock_set_by_hours_makes_a_new_token_whatever_was_before),
        cmocka_unit_test(too_many_updates_go_back_to_the_token_before),
        cmocka_unit_test(a_token_too_old_is_not_gone_back_to),
        cmocka_unit_test(a_text_outlives_the_next_renewal_also_after_going_back),
        cmocka_unit_test(a_key_that_is_not_p256_is_a_clear_configuration_error),
        cmocka_unit_test(an_encrypted_key_fails_without_asking),
    };
    return cmocka_run_group_tests(tests, make_key, free_key);
}
