// SPDX-License-Identifier: Apache-2.0
/*
 * The way through an HTTP proxy (RFC 9110 section 9.3.6): what is said to it, and what its
 * answer means.  Bytes in, bytes out; it knows no socket.
 */
#ifndef APNS_PROXY_H
#define APNS_PROXY_H

#include <stddef.h>
#include <stdint.h>

#define PROXY_ANSWER_MAX 8192

struct buf;

struct proxy_opts;

/* "CONNECT host:port", with the credentials. */
void proxy_request(const struct proxy_opts *p, const char *host, uint16_t port,
                   struct buf *out);

enum proxy_answer {
    PROXY_MORE, /* not all of it is there */
    PROXY_OPEN, /* from here on it is the service who speaks */
    PROXY_REFUSED,
};
/* All that it said so far; why gets the reason of REFUSED, in one line. */
enum proxy_answer proxy_read(const uint8_t *data, size_t len, char *why, size_t why_size);

/* "http://host:port" for libcurl, where brackets belong around an address of IPv6. */
#define PROXY_URL_BYTES 320
void proxy_url(const struct proxy_opts *p, char out[PROXY_URL_BYTES]);

#endif
