// SPDX-License-Identifier: Apache-2.0
#include "apns/client_cert.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#define TOPIC "org.example.chat"
#define LIFE_S (40 * 24 * 3600L)

struct pair {
    char cert[4096], key[1024];
};

static void to_text(BIO *bio, char *out, size_t size)
{
    int n = BIO_read(bio, out, (int)size - 1);
    assert_true(n > 0);
    out[n] = '\0';
    BIO_free(bio);
}

/* Names and their uses, as Apple writes several topics into one certificate. */
static void add_topics(X509 *cert, const char *const *topics, size_t n)
{
    static const char oid[] = "1.2.840.113635.100.6.3.6";
    STACK_OF(ASN1_TYPE) *list = sk_ASN1_TYPE_new_null();
    for (size_t i = 0; i < n; i++) {
        ASN1_TYPE *name = ASN1_TYPE_new();
        ASN1_STRING *text = ASN1_STRING_type_new(V_ASN1_UTF8STRING);
        ASN1_STRING_set(text, topics[i], -1);
        ASN1_TYPE_set(name, V_ASN1_UTF8STRING, text);
        sk_ASN1_TYPE_push(list, name);
    }
    unsigned char *der = NULL;
    int len = i2d_ASN1_SEQUENCE_ANY(list, &der);
    ASN1_OCTET_STRING *data = ASN1_OCTET_STRING_new();
    ASN1_OCTET_STRING_set(data, der, len);
    ASN1_OBJECT *name = OBJ_txt2obj(oid, 1);
    X509_EXTENSION *e = X509_EXTENSION_create_by_OBJ(NULL, name, 0, data);
    assert_int_equal(X509_add_ext(cert, e, -1), 1);
    X509_EXTENSION_free(e);
    ASN1_OBJECT_free(name);
    ASN1_OCTET_STRING_free(data);
    OPENSSL_free(der);
    sk_ASN1_TYPE_pop_free(list, ASN1_TYPE_free);
}

static void make(struct pair *out, const char *uid, const char *const *topics, size_t n)
{
    EVP_PKEY *key = EVP_EC_gen("P-256");
    X509 *cert = X509_new();
    X509_set_version(cert, X509_VERSION_3);
    ASN1_INTEGER_set(X509_get_serialNumber(cert), 1);
    X509_gmtime_adj(X509_getm_notBefore(cert), 0);
    X509_gmtime_adj(X509_getm_notAfter(cert), LIFE_S);
    if (uid)
        X509_NAME_add_entry_by_NID(X509_get_subject_name(cert), NID_userId, MBSTRING_ASC,
                                   (const unsigned char *)uid, -1, -1, 0);
    if (n > 0)
        add_topics(cert, topics, n);
    X509_set_pubkey(cert, key);
    assert_true(X509_sign(cert, key, EVP_sha256()) > 0);
    BIO *bio = BIO_new(BIO_s_mem());
    PEM_write_bio_X509(bio, cert);
    to_text(bio, out->cert, sizeof out->cert);
    bio = BIO_new(BIO_s_mem());
    PEM_write_bio_PrivateKey(bio, key, NULL, NULL, 0, NULL, NULL);
    to_text(bio, out->key, sizeof out->key);
    X509_free(cert);
    EVP_PKEY_free(key);
}

static bool for_calls;

static void expect(const char *cert, const char *key, const char *topic, const char *complaint)
{
    struct client_cert *c = NULL;
    struct err e = {0};
    enum err_kind kind = client_cert_new(cert, key, topic, for_calls, &c, &e);
    if (complaint) {
        assert_int_equal(kind, ERR_CONFIG);
        assert_non_null(strstr(e.text, complaint));
        assert_null(c);
    } else {
        assert_int_equal(kind, ERR_NONE);
    }
    client_cert_free(&c);
}

static void a_certificate_is_for_its_topics_alone(void **state)
{
    (void)state;
    static const char *const topics[] = {TOPIC, TOPIC ".voip", "org.example.other"};
    struct pair p;
    make(&p, TOPIC, NULL, 0);
    expect(p.cert, p.key, TOPIC, NULL);
    expect(p.cert, p.key, TOPIC "2", "not for the topic " TOPIC "2");
    expect(p.cert, p.key, "org.example", "not for the topic");
    make(&p, TOPIC, topics, 3);
    expect(p.cert, p.key, "org.example.other", NULL);
    expect(p.cert, p.key, "org.example.third", "not for the topic");
    make(&p, NULL, NULL, 0);
    expect(p.cert, p.key, TOPIC, NULL);
}

static void one_that_is_not_for_calls_is_refused_where_calls_are_sent(void **state)
{
    (void)state;
    static const char *const topics[] = {"org.example.other", "org.example.rings",
                                         "org.example.rings.voip"};
    struct pair p;
    for_calls = true;
    make(&p, TOPIC, topics, 3);
    expect(p.cert, p.key, TOPIC, NULL); /* its user id */
    expect(p.cert, p.key, "org.example.rings", NULL);
    expect(p.cert, p.key, "org.example.other", "not for the topic org.example.other.voip");
    make(&p, NULL, NULL, 0);
    expect(p.cert, p.key, TOPIC, NULL);
    for_calls = false;
}

static void what_cannot_be_used_is_named(void **state)
{
    (void)state;
    struct pair p, other;
    char both[16384];
    make(&p, TOPIC, NULL, 0);
    make(&other, TOPIC, NULL, 0);
    expect("", p.key, TOPIC, "certificate_file holds no readable");
    expect(p.key, p.key, TOPIC, "certificate_file holds no readable");
    expect(p.cert, "", TOPIC, "private_key_file holds no");
    expect(p.cert, p.cert, TOPIC, "private_key_file holds no");
    expect(p.cert, other.key, TOPIC, "not the key of the certificate");
    /* As a converted .p12 holds them: key and certificates in one file. */
    snprintf(both, sizeof both, "%s%s%s", p.key, p.cert, other.cert);
    expect(both, both, TOPIC, NULL);
}

static void its_end_is_known(void **state)
{
    (void)state;
    struct pair p;
    struct client_cert *c;
    struct err e;
    make(&p, TOPIC, NULL, 0);
    assert_int_equal(client_cert_new(p.cert, p.key, TOPIC, false, &c, &e), ERR_NONE);
    int64_t left_s = client_cert_expires_s(c) - time(NULL);
    assert_true(left_s > LIFE_S - 60 && left_s <= LIFE_S);
    client_cert_free(&c);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_certificate_is_for_its_topics_alone),
        cmocka_unit_test(one_that_is_not_for_calls_is_refused_where_calls_are_sent),
        cmocka_unit_test(what_cannot_be_used_is_named),
        cmocka_unit_test(its_end_is_known),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
