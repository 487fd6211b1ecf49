// SPDX-License-Identifier: Apache-2.0
/* What all our transfers by libcurl have in common; for files that include its headers. */
#ifndef APNS_CURL_SET_H
#define APNS_CURL_SET_H

/* Each option fails only for lack of memory, or when libcurl lacks what we need. */
#define CURL_SET(easy, option, value)                                                         \
    do {                                                                                      \
        if (curl_easy_setopt(easy, option, value) != CURLE_OK)                                \
            abort();                                                                          \
    } while (0)

struct proxy_opts;

/* https alone, TLS 1.2 at least, no proxy of the environment but this one (NULL: none), no
 * signals.  easy is a CURL; ca_pem: whom to trust, borrowed as long as it lives; NULL: whom
 * the system does. */
void curl_set_common(void *easy, const char *ca_pem, const struct proxy_opts *proxy);

#endif
