// SPDX-License-Identifier: Apache-2.0
#include "apns/curl_set.h"

#include <curl/curl.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "apns/opts.h"
#include "apns/proxy.h"

/* A set of certificates that is one file is read once and kept by libcurl (7.87 and later),
 * one that is a folder is not. */
static void trust_system(CURL *easy)
{
    const curl_version_info_data *info = curl_version_info(CURLVERSION_NOW);
    if (info->age >= CURLVERSION_SEVENTH && info->cainfo)
        CURL_SET(easy, CURLOPT_CAPATH, NULL);
}

static void set_proxy(CURL *easy, const struct proxy_opts *proxy)
{
    char url[PROXY_URL_BYTES] = "";
    if (proxy)
        proxy_url(proxy, url);
    CURL_SET(easy, CURLOPT_PROXY, url);
    CURL_SET(easy, CURLOPT_NOPROXY, "");
    if (!proxy || !proxy->user)
        return;
    CURL_SET(easy, CURLOPT_PROXYAUTH, (long)CURLAUTH_BASIC);
    CURL_SET(easy, CURLOPT_PROXYUSERNAME, proxy->user);
    CURL_SET(easy, CURLOPT_PROXYPASSWORD, proxy->password);
}

void curl_set_common(void *easy, const char *ca_pem, const struct proxy_opts *proxy)
{
    CURL_SET(easy, CURLOPT_PROTOCOLS_STR, "https");
    CURL_SET(easy, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
    set_proxy(easy, proxy);
    CURL_SET(easy, CURLOPT_NOSIGNAL, 1L);
    CURL_SET(easy, CURLOPT_QUICK_EXIT, 1L); /* a name that does not resolve holds up no end */
    if (!ca_pem) {
        trust_system(easy);
        return;
    }
    struct curl_blob ca = {
        .data = (void *)(uintptr_t)ca_pem, .len = strlen(ca_pem), .flags = CURL_BLOB_NOCOPY};
    CURL_SET(easy, CURLOPT_CAINFO_BLOB, &ca);
    CURL_SET(easy, CURLOPT_CAPATH, NULL); /* these, and nobody whom the system trusts */
}
