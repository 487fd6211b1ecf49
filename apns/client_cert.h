// SPDX-License-Identifier: Apache-2.0
/*
 * The certificate with which we show Apple who we are, where an app has no key for provider
 * tokens: read, checked against its private key and the app's topic, and put into TLS.  It
 * asks no clock and opens no connection.
 */
#ifndef APNS_CLIENT_CERT_H
#define APNS_CLIENT_CERT_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

struct client_cert;
struct ssl_ctx_st;

/* cert_pem: the certificate, then what else it is shown with; key_pem: its private key without
 * a passphrase.  CONFIG when one cannot be read, they do not belong together, or the
 * certificate is for other topics than this one, or, with voip, not for calls of it.  Nothing
 * is borrowed. */
MUST_CHECK enum err_kind client_cert_new(const char *cert_pem, const char *key_pem,
                                         const char *topic, bool voip,
                                         struct client_cert **out, struct err *e);
void client_cert_free(struct client_cert **c);

int64_t client_cert_expires_s(const struct client_cert *c); /* seconds since 1970 */
void client_cert_use(const struct client_cert *c, struct ssl_ctx_st *tls);

#endif
