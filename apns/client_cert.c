// SPDX-License-Identifier: Apache-2.0
#include "apns/client_cert.h"

#include <openssl/asn1.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "apns/pem.h"

/* Apple, "Establishing a certificate-based connection to APNs": the topics of a certificate
 * that has several. */
#define TOPIC_MAX 300 /* with what is for calls; the settings take 255 */
#define TOPICS_OID "1.2.840.113635.100.6.3.6"

struct client_cert {
    X509 *cert;
    STACK_OF(X509) * chain;
    EVP_PKEY *key;
    int64_t expires_s;
};

static bool is_text(const ASN1_STRING *s, const char *text)
{
    return s && (size_t)ASN1_STRING_length(s) == strlen(text) &&
           memcmp(ASN1_STRING_get0_data(s), text, strlen(text)) == 0;
}

static const ASN1_STRING *user_id(const X509 *cert)
{
    const X509_NAME *subject = X509_get_subject_name(cert);
    int at = X509_NAME_get_index_by_NID(subject, NID_userId, -1);
    return at < 0 ? NULL : X509_NAME_ENTRY_get_data(X509_NAME_get_entry(subject, at));
}

/* The texts among a sequence of texts, each followed by the uses of that topic. */
static STACK_OF(ASN1_TYPE) * topic_list(const X509 *cert)
{
    ASN1_OBJECT *oid = OBJ_txt2obj(TOPICS_OID, 1);
    if (!oid)
        abort();
    int at = X509_get_ext_by_OBJ(cert, oid, -1);
    ASN1_OBJECT_free(oid);
    if (at < 0)
        return NULL;
    const ASN1_OCTET_STRING *data = X509_EXTENSION_get_data(X509_get_ext(cert, at));
    const unsigned char *der = ASN1_STRING_get0_data(data);
    return d2i_ASN1_SEQUENCE_ANY(NULL, &der, ASN1_STRING_length(data));
}

/* One that names no topic at all is left to the service to judge. */
static bool is_for(const X509 *cert, const char *topic)
{
    const ASN1_STRING *uid = user_id(cert);
    STACK_OF(ASN1_TYPE) *list = topic_list(cert);
    bool found = is_text(uid, topic) || (!uid && !list);
    for (int i = 0; list && i < sk_ASN1_TYPE_num(list); i++) {
        const ASN1_TYPE *one = sk_ASN1_TYPE_value(list, i);
        if (one->type == V_ASN1_UTF8STRING)
            found = found || is_text(one->value.utf8string, topic);
    }
    sk_ASN1_TYPE_pop_free(list, ASN1_TYPE_free);
    ERR_clear_error();
    return found;
}

static void read_certificates(struct client_cert *c, const char *pem)
{
    BIO *bio = BIO_new_mem_buf(pem, -1);
    c->chain = sk_X509_new_null();
    if (!bio || !c->chain)
        abort();
    c->cert = PEM_read_bio_X509(bio, NULL, NULL, NULL);
    for (X509 *more; c->cert && (more = PEM_read_bio_X509(bio, NULL, NULL, NULL));)
        if (sk_X509_push(c->chain, more) == 0)
            abort();
    BIO_free(bio);
    ERR_clear_error();
}

static bool read_end(struct client_cert *c)
{
    struct tm tm;
    if (ASN1_TIME_to_tm(X509_get0_notAfter(c->cert), &tm) != 1)
        return false;
    c->expires_s = timegm(&tm);
    return true;
}

static enum err_kind read_all(struct client_cert *c, const char *cert_pem, const char *key_pem,
                              const char *topic, bool voip, struct err *e)
{
    char calls[TOPIC_MAX];
    read_certificates(c, cert_pem);
    if (!c->cert || !read_end(c))
        return err_set(e, ERR_CONFIG, "certificate_file holds no readable PEM certificate");
    c->key = pem_private_key(key_pem);
    if (!c->key)
        return err_set(e, ERR_CONFIG,
                       "private_key_file holds no PEM private key without passphrase");
    bool fits = X509_check_private_key(c->cert, c->key) == 1;
    ERR_clear_error();
    if (!fits)
        return err_set(e, ERR_CONFIG,
                       "private_key_file is not the key of the certificate in "
                       "certificate_file");
    if (!is_for(c->cert, topic))
        return err_set(e, ERR_CONFIG, "the certificate is not for the topic %s", topic);
    /* Of the topic that is its user id it is good for calls, too. */
    snprintf(calls, sizeof calls, "%s.voip", topic);
    if (voip && !is_text(user_id(c->cert), topic) && !is_for(c->cert, calls))
        return err_set(e, ERR_CONFIG, "voip: the certificate is not for the topic %s", calls);
    return ERR_NONE;
}

enum err_kind client_cert_new(const char *cert_pem, const char *key_pem, const char *topic,
                              bool voip, struct client_cert **out, struct err *e)
{
    struct client_cert *c = calloc(1, sizeof *c);
    if (!c)
        abort();
    enum err_kind kind = read_all(c, cert_pem, key_pem, topic, voip, e);
    if (kind)
        client_cert_free(&c);
    else
        *out = c;
    return kind;
}

void client_cert_free(struct client_cert **cp)
{
    struct client_cert *c = *cp;
    if (!c)
        return;
    X509_free(c->cert);
    sk_X509_pop_free(c->chain, X509_free);
    EVP_PKEY_free(c->key);
    free(c);
    *cp = NULL;
}

int64_t client_cert_expires_s(const struct client_cert *c)
{
    return c->expires_s;
}

void client_cert_use(const struct client_cert *c, struct ssl_ctx_st *tls)
{
    if (SSL_CTX_use_cert_and_key(tls, c->cert, c->key, c->chain, 1) != 1)
        abort(); /* it was read, and the two belong together */
}
