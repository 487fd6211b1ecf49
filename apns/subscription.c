// SPDX-License-Identifier: Apache-2.0
#include "apns/subscription.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "apns/opts.h"
#include "base/address.h"
#include "base/crypt.h"

#define SCHEME "https://"
#define LABEL_MAX 63

static bool is_one_of(char c, const char *set)
{
    return c && strchr(set, c);
}

/* Letters, digits, '-' and '_' (which some names of the real world have). */
static bool is_name(const char *host)
{
    for (const char *label = host;;) {
        size_t len = strspn(label, "abcdefghijklmnopqrstuvwxyz0123456789-_");
        if (len == 0 || len > LABEL_MAX || label[0] == '-' || label[len - 1] == '-')
            return false;
        if (label[len] == '\0')
            return true;
        if (label[len] != '.')
            return false;
        label += len + 1;
    }
}

/* The last label of a name is never a number: resolvers take "127.1", "0x7f000001" and
 * "2130706433" for addresses (WHATWG URL, "ends in a number"). */
static bool ends_in_number(const char *host)
{
    const char *dot = strrchr(host, '.');
    const char *last = dot ? dot + 1 : host;
    if (last[0] == '0' && last[1] == 'x')
        return last[2 + strspn(last + 2, "0123456789abcdef")] == '\0';
    return last[strspn(last, "0123456789")] == '\0';
}

/* An address that is written out. */
static bool read_address(const char *host, struct sockaddr_storage *out)
{
    struct sockaddr_in in = {.sin_family = AF_INET};
    struct sockaddr_in6 in6 = {.sin6_family = AF_INET6};
    char v6[INET6_ADDRSTRLEN];
    size_t len = strlen(host);
    memset(out, 0, sizeof *out);
    if (host[0] != '[') {
        memcpy(out, &in, sizeof in);
        bool ok = inet_pton(AF_INET, host, &in.sin_addr) == 1;
        memcpy(out, &in, sizeof in);
        return ok;
    }
    if (len < 3 || len - 2 >= sizeof v6)
        return false;
    memcpy(v6, host + 1, len - 2);
    v6[len - 2] = '\0';
    bool ok = inet_pton(AF_INET6, v6, &in6.sin6_addr) == 1;
    memcpy(out, &in6, sizeof in6);
    return ok;
}

static bool is_host(const char *host)
{
    struct sockaddr_storage address;
    if (host[0] == '[' || ends_in_number(host))
        return read_address(host, &address);
    return is_name(host);
}

static bool take_host(const char *text, size_t len, char out[SUBSCRIPTION_HOST_MAX + 1])
{
    if (len == 0 || len > SUBSCRIPTION_HOST_MAX)
        return false;
    for (size_t i = 0; i < len; i++) {
        bool upper = text[i] >= 'A' && text[i] <= 'Z';
        out[i] = (char)(upper ? text[i] + 'a' - 'A' : text[i]);
    }
    out[len] = '\0';
    return is_host(out);
}

static bool take_port(const char *text, size_t len, uint16_t *out)
{
    unsigned port = 0;
    if (len == 0 || len > 5)
        return false;
    for (size_t i = 0; i < len; i++) {
        if (!is_one_of(text[i], "0123456789"))
            return false;
        port = port * 10 + (unsigned)(text[i] - '0');
    }
    *out = (uint16_t)port;
    return port > 0 && port <= UINT16_MAX;
}

/* What RFC 3986 lets stand in a path and a query. */
static bool is_path(const char *path)
{
    for (; *path; path++)
        if (*path <= ' ' || *path > '~' || is_one_of(*path, "\"#<>\\^`{|}"))
            return false;
    return true;
}

static bool read_endpoint(const char *url, struct subscription *out)
{
    if (strlen(url) > SUBSCRIPTION_ENDPOINT_MAX ||
        strncmp(url, SCHEME, sizeof SCHEME - 1) != 0)
        return false;
    const char *host = url + sizeof SCHEME - 1;
    size_t authority_len = strcspn(host, "/?#\\");
    const char *path = host + authority_len;
    const char *bracket = host[0] == '[' ? memchr(host, ']', authority_len) : NULL;
    const char *rest = bracket ? bracket + 1 : host;
    const char *colon = memchr(rest, ':', (size_t)(path - rest));
    const char *host_end = colon ? colon : path;
    out->port = 443;
    if (*path != '/' || !is_path(path) || (bracket && rest != host_end))
        return false;
    if (colon && !take_port(colon + 1, (size_t)(path - colon - 1), &out->port))
        return false;
    if (!take_host(host, (size_t)(host_end - host), out->host))
        return false;
    if (out->port == 443)
        snprintf(out->origin, sizeof out->origin, SCHEME "%s", out->host);
    else
        snprintf(out->origin, sizeof out->origin, SCHEME "%s:%u", out->host, out->port);
    /* As we read it: whoever reads it after us must read the same. */
    int n = snprintf(out->endpoint, sizeof out->endpoint, "%s%s", out->origin, path);
    return n > 0 && n <= SUBSCRIPTION_ENDPOINT_MAX;
}

const char *subscription_read(const char *endpoint, const char *p256dh, const char *auth,
                              struct subscription *out)
{
    memset(out, 0, sizeof *out);
    if (!endpoint || !read_endpoint(endpoint, out))
        return "endpoint is not an https address of at most 1000 characters";
    if (!p256dh ||
        !crypt_base64url_decode(p256dh, out->keys.public, sizeof out->keys.public) ||
        !ece_is_point(out->keys.public))
        return "p256dh is not a P-256 public key in base64url";
    if (!auth || !crypt_base64url_decode(auth, out->keys.auth, sizeof out->keys.auth))
        return "auth is not 16 bytes in base64url";
    return NULL;
}

/* "example.org" is that host, "*.example.org" all below it. */
static bool host_is(const char *host, const char *pattern)
{
    size_t len = strlen(host), tail_len;
    if (strncmp(pattern, "*.", 2) != 0)
        return strcasecmp(host, pattern) == 0;
    tail_len = strlen(pattern + 1);
    return len > tail_len && strcasecmp(host + len - tail_len, pattern + 1) == 0;
}

const char *subscription_refused(const struct subscription *s, const struct webpush_opts *o)
{
    struct sockaddr_storage address;
    bool port = false, host = o->allow_hosts_n == 0;
    for (size_t i = 0; i < o->ports_n; i++)
        port = port || o->ports[i] == s->port;
    for (size_t i = 0; i < o->allow_hosts_n; i++)
        host = host || host_is(s->host, o->allow_hosts[i]);
    if (!port)
        return "endpoint: no push service is served at that port";
    if (!host)
        return "endpoint: that push service is not served here";
    if (!o->allow_private && read_address(s->host, &address) &&
        address_not_public((const struct sockaddr *)&address))
        return "endpoint: that address is not a public one";
    return NULL;
}

void subscription_write(const struct subscription *s, char token[SUBSCRIPTION_TOKEN_MAX + 1])
{
    char *at = stpcpy(token, s->endpoint);
    *at++ = ' ';
    crypt_base64url(s->keys.public, sizeof s->keys.public, at);
    at += strlen(at);
    *at++ = ' ';
    crypt_base64url(s->keys.auth, sizeof s->keys.auth, at);
}

bool subscription_parse(const char *token, struct subscription *out)
{
    char text[SUBSCRIPTION_TOKEN_MAX + 1];
    memset(out, 0, sizeof *out);
    if (strlen(token) >= sizeof text)
        return false;
    strcpy(text, token);
    char *key = strchr(text, ' '), *auth = key ? strchr(key + 1, ' ') : NULL;
    if (!auth)
        return false;
    *key++ = *auth++ = '\0';
    return read_endpoint(text, out) &&
           crypt_base64url_decode(key, out->keys.public, sizeof out->keys.public) &&
           crypt_base64url_decode(auth, out->keys.auth, sizeof out->keys.auth);
}
