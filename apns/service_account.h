// SPDX-License-Identifier: Apache-2.0
/*
 * A Google service account, as the JSON file from the console holds it, and the assertions it
 * signs: a JWT with RS256 that is exchanged for an access token (RFC 7523).  It knows no
 * network and asks no clock.
 */
#ifndef APNS_SERVICE_ACCOUNT_H
#define APNS_SERVICE_ACCOUNT_H

#include <stdint.h>

#include "base/err.h"

struct buf;
struct evp_pkey_st;

#define ASSERTION_S 3600   /* life of an assertion; the service takes no longer one */
#define ASSERTION_MAX 4096 /* bytes */

struct service_account {
    char *project_id;
    char *client_email;
    char *key_id;
    char *token_uri; /* where the account's assertions are exchanged */
    struct evp_pkey_st *key;
};

/* CONFIG, with what is wrong and nothing of the key. */
MUST_CHECK enum err_kind service_account_read(const char *json, struct service_account **out,
                                              struct err *e);
void service_account_free(struct service_account **a);

/* Appends an assertion for the audience, issued at real_s (seconds since 1970), to b. */
void service_account_assert(const struct service_account *a, const char *audience,
                            int64_t real_s, struct buf *b);

#endif
