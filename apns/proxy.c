// SPDX-License-Identifier: Apache-2.0
#include "apns/proxy.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "apns/opts.h"
#include "base/buf.h"
#include "base/crypt.h"

static const char *bracket(const char *host, bool closing)
{
    if (!strchr(host, ':'))
        return "";
    return closing ? "]" : "[";
}

/* RFC 7617. */
static void add_credentials(const struct proxy_opts *p, struct buf *out)
{
    size_t len = strlen(p->user) + 1 + strlen(p->password);
    char *plain = malloc(len + 1), *text = malloc(4 * ((len + 2) / 3) + 1);
    if (!plain || !text)
        abort();
    snprintf(plain, len + 1, "%s:%s", p->user, p->password);
    crypt_base64(plain, len, text);
    buf_addf(out, "Proxy-Authorization: Basic %s\r\n", text);
    free(plain);
    free(text);
}

void proxy_request(const struct proxy_opts *p, const char *host, uint16_t port,
                   struct buf *out)
{
    const char *before = bracket(host, false), *after = bracket(host, true);
    buf_addf(out, "CONNECT %s%s%s:%u HTTP/1.1\r\nHost: %s%s%s:%u\r\n", before, host, after,
             port, before, host, after, port);
    if (p->user)
        add_credentials(p, out);
    buf_add_str(out, "\r\n");
}

void proxy_url(const struct proxy_opts *p, char out[PROXY_URL_BYTES])
{
    snprintf(out, PROXY_URL_BYTES, "http://%s%s%s:%u", bracket(p->host, false), p->host,
             bracket(p->host, true), p->port);
}

/* "HTTP/1.1 200 whatever"; -1 for anything else. */
static int read_status(const char *text, size_t len)
{
    static const char start[] = "HTTP/1.";
    size_t at = sizeof start - 1;
    if (len < at + 5 || memcmp(text, start, at) != 0 || text[at + 1] != ' ')
        return -1;
    int status = 0;
    for (size_t i = at + 2; i < at + 5; i++) {
        if (text[i] < '0' || text[i] > '9')
            return -1;
        status = 10 * status + text[i] - '0';
    }
    return status;
}

static enum proxy_answer refuse(char *why, size_t size, const char *text)
{
    snprintf(why, size, "proxy: %s", text);
    return PROXY_REFUSED;
}

enum proxy_answer proxy_read(const uint8_t *data, size_t len, char *why, size_t why_size)
{
    char text[64];
    const uint8_t *end = memmem(data, len, "\r\n\r\n", 4);
    if (!end && len < PROXY_ANSWER_MAX)
        return PROXY_MORE;
    int status = read_status((const char *)data, len);
    if (status < 0 || !end)
        return refuse(why, why_size, "what it answers is not HTTP/1.1");
    if (status == 407)
        return refuse(why, why_size, "it wants other credentials (status 407)");
    if (status < 200 || status > 299) {
        snprintf(text, sizeof text, "it does not let us through (status %d)", status);
        return refuse(why, why_size, text);
    }
    /* Nobody may speak before our first TLS record. */
    if ((size_t)(end - data) + 4 != len)
        return refuse(why, why_size, "it says more than its answer");
    return PROXY_OPEN;
}
