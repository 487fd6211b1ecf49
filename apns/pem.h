// SPDX-License-Identifier: Apache-2.0
/* Private keys as files hold them. */
#ifndef APNS_PEM_H
#define APNS_PEM_H

struct evp_pkey_st;

/* The first private key of a PEM text; NULL when there is none, or it wants a passphrase.  The
 * caller frees it with EVP_PKEY_free. */
struct evp_pkey_st *pem_private_key(const char *pem);

#endif
