// SPDX-License-Identifier: Apache-2.0
#include "apns/service_account.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cjson/cJSON.h>
#include <cmocka.h>
#include <openssl/ec.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>

#include "base/buf.h"
#include "tests/unit/base64url.h"

#define AUDIENCE "https://oauth2.googleapis.com/token"

static EVP_PKEY *key;
static char key_pem[2048], short_pem[2048], ec_pem[2048];

static void write_pem(EVP_PKEY *k, char out[2048])
{
    BIO *bio = BIO_new(BIO_s_mem());
    assert_int_equal(PEM_write_bio_PKCS8PrivateKey(bio, k, NULL, NULL, 0, NULL, NULL), 1);
    int n = BIO_read(bio, out, 2047);
    assert_true(n > 0);
    out[n] = '\0';
    BIO_free(bio);
}

static int make_keys(void **state)
{
    (void)state;
    key = EVP_RSA_gen(2048);
    EVP_PKEY *too_short = EVP_RSA_gen(1024), *ec = EVP_EC_gen("P-256");
    write_pem(key, key_pem);
    write_pem(too_short, short_pem);
    write_pem(ec, ec_pem);
    EVP_PKEY_free(too_short);
    EVP_PKEY_free(ec);
    return 0;
}

static int free_keys(void **state)
{
    (void)state;
    EVP_PKEY_free(key);
    return 0;
}

/* The file as the console makes it, with one member changed; NULL removes it. */
static char *file_with(const char *name, const char *value)
{
    static const char *const members[][2] = {
        {"type", "service_account"},
        {"project_id", "example-chat"},
        {"private_key_id", "0123456789abcdef"},
        {"private_key", NULL},
        {"client_email", "push@example-chat.iam.gserviceaccount.com"},
        {"client_id", "1"},
        {"token_uri", AUDIENCE},
    };
    cJSON *root = cJSON_CreateObject();
    for (size_t i = 0; i < sizeof members / sizeof *members; i++) {
        const char *text = members[i][1] ? members[i][1] : key_pem;
        if (strcmp(members[i][0], name) == 0)
            text = value;
        if (text)
            cJSON_AddStringToObject(root, members[i][0], text);
    }
    char *json = cJSON_PrintUnformatted(root);
    cJSON_Delete(root);
    return json;
}

static struct service_account *read_good(void)
{
    struct service_account *a = NULL;
    struct err e;
    char *json = file_with("", NULL);
    assert_int_equal(service_account_read(json, &a, &e), ERR_NONE);
    free(json);
    return a;
}

static void the_consoles_file_is_read(void **state)
{
    (void)state;
    struct service_account *a = read_good();
    assert_string_equal(a->project_id, "example-chat");
    assert_string_equal(a->client_email, "push@example-chat.iam.gserviceaccount.com");
    assert_string_equal(a->token_uri, AUDIENCE);
    service_account_free(&a);
    assert_null(a);
}

static void what_is_wrong_with_a_file_is_said(void **state)
{
    (void)state;
    static const struct {
        const char *name, *value, *complaint;
    } cases[] = {
        {"type", "authorized_user", "type is not"},
        {"type", NULL, "type is not"},
        {"project_id", NULL, "no project_id"},
        {"project_id", "a/b", "project_id is not usable"},
        {"project_id", "a\"b", "project_id is not usable"},
        {"client_email", "", "no client_email"},
        {"client_email", "a\\b", "client_email is not usable"},
        {"private_key_id", NULL, "no private_key_id"},
        {"token_uri", NULL, "no token_uri"},
        {"token_uri", "http://oauth2.googleapis.com/token", "token_uri is not https"},
        {"private_key", NULL, "no private_key"},
        {"private_key", "no key", "no readable PEM"},
        {"private_key", short_pem, "RSA key of 2048"},
        {"private_key", ec_pem, "RSA key of 2048"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct service_account *a = NULL;
        struct err e;
        char *json = file_with(cases[i].name, cases[i].value);
        assert_int_equal(service_account_read(json, &a, &e), ERR_CONFIG);
        if (!strstr(e.text, cases[i].complaint))
            fail_msg("%s: \"%s\"", cases[i].name, e.text);
        assert_null(a);
        free(json);
    }
    static const char *const files[] = {"", "no json", "[]", "{", "\"text\"", "{\"type\":7}"};
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        struct service_account *a = NULL;
        struct err e;
        assert_int_equal(service_account_read(files[i], &a, &e), ERR_CONFIG);
        assert_null(a);
    }
}

static void expect_json(const char *part, size_t len, const char *expected)
{
    uint8_t raw[1024];
    size_t n = base64url_decode(part, len, raw);
    assert_int_equal(n, strlen(expected));
    assert_memory_equal(raw, expected, n);
}

static void an_assertion_says_what_google_asks_for_and_is_signed(void **state)
{
    (void)state;
    struct service_account *a = read_good();
    struct buf b;
    buf_init(&b, ASSERTION_MAX);
    service_account_assert(a, AUDIENCE, 1760000000, &b);
    assert_false(buf_failed(&b));
    const char *text = buf_cstr(&b);
    const char *claims = strchr(text, '.') + 1, *sig = strchr(claims, '.') + 1;
    expect_json(text, (size_t)(claims - text) - 1,
                "{\"alg\":\"RS256\",\"typ\":\"JWT\",\"kid\":\"0123456789abcdef\"}");
    expect_json(claims, (size_t)(sig - claims) - 1,
                "{\"iss\":\"push@example-chat.iam.gserviceaccount.com\",\"scope\":"
                "\"https://www.googleapis.com/auth/firebase.messaging\",\"aud\":\"" AUDIENCE
                "\",\"iat\":1760000000,\"exp\":1760003600}");
    uint8_t raw[512];
    size_t raw_len = base64url_decode(sig, strlen(sig), raw);
    assert_int_equal(raw_len, 256);
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    EVP_DigestVerifyInit(ctx, NULL, EVP_sha256(), NULL, key);
    assert_int_equal(
        EVP_DigestVerify(ctx, raw, raw_len, (const uint8_t *)text, (size_t)(sig - text) - 1),
        1);
    EVP_MD_CTX_free(ctx);
    buf_deinit(&b);
    service_account_free(&a);
}

static void an_assertion_that_does_not_fit_is_none(void **state)
{
    (void)state;
    struct service_account *a = read_good();
    struct buf b;
    buf_init(&b, 300);
    service_account_assert(a, AUDIENCE, 1760000000, &b);
    assert_true(buf_failed(&b));
    buf_deinit(&b);
    service_account_free(&a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_consoles_file_is_read),
        cmocka_unit_test(what_is_wrong_with_a_file_is_said),
        cmocka_unit_test(an_assertion_says_what_google_asks_for_and_is_signed),
        cmocka_unit_test(an_assertion_that_does_not_fit_is_none),
    };
    return cmocka_run_group_tests(tests, make_keys, free_keys);
}
