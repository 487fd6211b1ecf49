// SPDX-License-Identifier: Apache-2.0
#include "apns/webpush_http.h"

#include <arpa/inet.h>
#include <assert.h>
#include <curl/curl.h>
#include <inttypes.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <sys/socket.h>

#include "apns/curl_loop.h"
#include "apns/curl_set.h"
#include "base/address.h"
#include "base/resolve.h"

#define MAGIC 0x77706874u
#define ANSWER_MAX 16384 /* more of a body is not read, not even to be dropped */
#define FIELD_BYTES 1400

struct call {
    LIST_ENTRY(call) all;
    struct webpush_http *http;
    CURL *easy;
    struct curl_slist *fields;
    struct curl_slist *connect_to; /* the address that the proxy is told */
    struct resolve *resolve;       /* while it is looked for; the transfer has not begun */
    void *ctx;
    size_t read;
    const char *not_public; /* an address that was refused; NULL: none was */
};

struct webpush_http {
    unsigned magic;
    struct webpush_http_opts opts;
    struct curl_loop *loop;
    LIST_HEAD(calls, call) calls;
};

static void call_free(struct call *c)
{
    LIST_REMOVE(c, all);
    curl_easy_cleanup(c->easy);
    curl_slist_free_all(c->fields);
    curl_slist_free_all(c->connect_to);
    resolve_free(&c->resolve);
    free(c);
}

/* It was there, and went; whether the request was looked at nobody knows. */
static bool is_lost(int result)
{
    return result == CURLE_HTTP2 || result == CURLE_HTTP2_STREAM ||
           result == CURLE_SEND_ERROR || result == CURLE_RECV_ERROR ||
           result == CURLE_GOT_NOTHING || result == CURLE_PARTIAL_FILE;
}

static void finish(void *ctx, void *easy, int result)
{
    struct webpush_http *h = ctx;
    struct call *c = NULL;
    assert(h->magic == MAGIC);
    if (curl_easy_getinfo(easy, CURLINFO_PRIVATE, &c) != CURLE_OK || !c)
        abort();
    struct webpush_answer a = {.error = "", .retry_after_s = -1};
    long status = 0, version = 0;
    curl_off_t retry_after = 0;
    (void)curl_easy_getinfo(easy, CURLINFO_RESPONSE_CODE, &status);
    (void)curl_easy_getinfo(easy, CURLINFO_HTTP_VERSION, &version);
    (void)curl_easy_getinfo(easy, CURLINFO_RETRY_AFTER, &retry_after);
    a.http2 = version == CURL_HTTP_VERSION_2_0;
    if (status >= 200) { /* what came after it, and whether it came, is not of interest */
        a.status = (int)status;
        a.retry_after_s = retry_after > 0 ? (int64_t)retry_after : -1;
    } else {
        a.lost = is_lost(result);
        a.refused_address = result == CURLE_COULDNT_CONNECT && c->not_public;
        a.error = a.refused_address ? c->not_public : curl_easy_strerror((CURLcode)result);
    }
    void *post_ctx = c->ctx;
    call_free(c);
    h->opts.done(h->opts.ctx, post_ctx, &a);
}

/* The last moment before we connect, and the only one that counts. */
static curl_socket_t open_socket(void *ctx, curlsocktype purpose, struct curl_sockaddr *a)
{
    struct call *c = ctx;
    (void)purpose;
    bool any = c->http->opts.allow_private || c->http->opts.proxy; /* a is the proxy's */
    const char *what = any ? NULL : address_not_public(&a->addr);
    if (what) {
        c->not_public = what;
        return CURL_SOCKET_BAD;
    }
    return socket(a->family, a->socktype | SOCK_CLOEXEC, a->protocol);
}

static size_t drop_body(char *data, size_t size, size_t n, void *ctx)
{
    struct call *c = ctx;
    (void)data;
    c->read += size * n;
    return c->read > ANSWER_MAX ? 0 : size * n;
}

struct webpush_http *webpush_http_new(const struct webpush_http_opts *opts)
{
    struct webpush_http *h = calloc(1, sizeof *h);
    if (!h)
        abort();
    h->magic = MAGIC;
    h->opts = *opts;
    h->loop = curl_loop_new(opts->base, finish, h);
    LIST_INIT(&h->calls);
    CURLM *multi = curl_loop_multi(h->loop);
    if (curl_multi_setopt(multi, CURLMOPT_MAX_HOST_CONNECTIONS,
                          (long)opts->connections_per_origin) != CURLM_OK ||
        curl_multi_setopt(multi, CURLMOPT_MAX_TOTAL_CONNECTIONS, (long)opts->connections) !=
            CURLM_OK ||
        curl_multi_setopt(multi, CURLMOPT_MAXCONNECTS, (long)opts->connections) != CURLM_OK)
        abort();
    return h;
}

void webpush_http_free(struct webpush_http **hp)
{
    struct webpush_http *h = *hp;
    if (!h)
        return;
    for (struct call *c = LIST_FIRST(&h->calls), *next; c; c = next) {
        next = LIST_NEXT(c, all);
        if (!c->resolve)
            curl_loop_remove(h->loop, c->easy);
        call_free(c);
    }
    curl_loop_free(&h->loop);
    h->magic = 0;
    free(h);
    *hp = NULL;
}

static void add_field(struct call *c, const char *name, const char *value)
{
    char line[FIELD_BYTES];
    int n = snprintf(line, sizeof line, "%s: %s", name, value);
    struct curl_slist *more = curl_slist_append(c->fields, line);
    if (n < 0 || (size_t)n >= sizeof line || !more)
        abort();
    c->fields = more;
}

static void set_fields(struct call *c, const struct webpush_post *p)
{
    char ttl[24];
    snprintf(ttl, sizeof ttl, "%" PRId64, p->ttl_s > 0 ? p->ttl_s : 0);
    add_field(c, "Authorization", p->authorization);
    add_field(c, "TTL", ttl);
    add_field(c, "Urgency", p->urgency);
    if (p->topic)
        add_field(c, "Topic", p->topic);
    add_field(c, "Content-Encoding", "aes128gcm");
    add_field(c, "Content-Type", "application/octet-stream");
    add_field(c, "Expect", ""); /* "Name:" is left out */
    add_field(c, "Accept", "");
    CURL_SET(c->easy, CURLOPT_HTTPHEADER, c->fields);
}

/* Through a proxy libcurl connects to nothing of the stranger's choice, but the proxy would:
 * it is told an address that we have looked at, and no name that may be another's a moment
 * later. */

static void give_up(struct call *c, const char *error, bool refused)
{
    struct webpush_http *h = c->http;
    struct webpush_answer a = {
        .error = error, .refused_address = refused, .retry_after_s = -1};
    void *post_ctx = c->ctx;
    call_free(c);
    h->opts.done(h->opts.ctx, post_ctx, &a);
}

static void looked_up(void *ctx, const struct addrinfo *first, const char *why)
{
    struct call *c = ctx;
    char host[INET6_ADDRSTRLEN], port[8], text[INET6_ADDRSTRLEN + 16];
    const char *what = NULL;
    (void)why;
    for (; first && (what = address_not_public(first->ai_addr)); first = first->ai_next)
        c->not_public = what;
    if (!first) {
        give_up(c, c->not_public ? c->not_public : "the name has no address",
                c->not_public != NULL);
        return;
    }
    if (getnameinfo(first->ai_addr, first->ai_addrlen, host, sizeof host, port, sizeof port,
                    NI_NUMERICHOST | NI_NUMERICSERV) != 0)
        abort();
    snprintf(text, sizeof text, first->ai_family == AF_INET6 ? "::[%s]:%s" : "::%s:%s", host,
             port);
    resolve_free(&c->resolve);
    c->connect_to = curl_slist_append(NULL, text);
    if (!c->connect_to)
        abort();
    CURL_SET(c->easy, CURLOPT_CONNECT_TO, c->connect_to);
    curl_loop_add(c->http->loop, c->easy);
}

static void look_up(struct call *c, const char *endpoint)
{
    char *host = NULL, *port = NULL;
    CURLU *url = curl_url();
    /* It was read when it was registered. */
    if (!url || curl_url_set(url, CURLUPART_URL, endpoint, 0) != CURLUE_OK ||
        curl_url_get(url, CURLUPART_HOST, &host, 0) != CURLUE_OK ||
        curl_url_get(url, CURLUPART_PORT, &port, CURLU_DEFAULT_PORT) != CURLUE_OK)
        abort();
    size_t len = strlen(host);
    bool v6 = len > 2 && host[0] == '[';
    if (v6)
        host[len - 1] = '\0';
    c->resolve = resolve_start(c->http->opts.base, v6 ? host + 1 : host,
                               (uint16_t)strtoul(port, NULL, 10), looked_up, c);
    curl_free(host);
    curl_free(port);
    curl_url_cleanup(url);
}

void webpush_http_send(struct webpush_http *h, const struct webpush_post *p)
{
    struct call *c = calloc(1, sizeof *c);
    CURL *easy = curl_easy_init();
    if (!c || !easy)
        abort();
    *c = (struct call){.http = h, .easy = easy, .ctx = p->ctx};
    LIST_INSERT_HEAD(&h->calls, c, all);
    curl_set_common(easy, h->opts.ca_pem, h->opts.proxy);
    set_fields(c, p);
    CURL_SET(easy, CURLOPT_PRIVATE, c);
    CURL_SET(easy, CURLOPT_URL, p->endpoint);
    CURL_SET(easy, CURLOPT_PATH_AS_IS, 1L);
    CURL_SET(easy, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_2TLS);
    CURL_SET(easy, CURLOPT_PIPEWAIT, p->share ? 1L : 0L);
    CURL_SET(easy, CURLOPT_TCP_NODELAY, 1L);
    CURL_SET(easy, CURLOPT_BUFFERSIZE, 4096L); /* messages and answers are small */
    CURL_SET(easy, CURLOPT_UPLOAD_BUFFERSIZE, 16384L);
    CURL_SET(easy, CURLOPT_CONNECTTIMEOUT_MS, (long)h->opts.connect_timeout_ms);
    CURL_SET(easy, CURLOPT_TIMEOUT_MS, (long)h->opts.timeout_ms);
    CURL_SET(easy, CURLOPT_OPENSOCKETFUNCTION, open_socket);
    CURL_SET(easy, CURLOPT_OPENSOCKETDATA, c);
    CURL_SET(easy, CURLOPT_WRITEFUNCTION, drop_body);
    CURL_SET(easy, CURLOPT_WRITEDATA, c);
    CURL_SET(easy, CURLOPT_POST, 1L);
    CURL_SET(easy, CURLOPT_POSTFIELDS, p->body);
    CURL_SET(easy, CURLOPT_POSTFIELDSIZE, (long)p->len);
    if (h->opts.proxy && !h->opts.allow_private)
        look_up(c, p->endpoint);
    else
        curl_loop_add(h->loop, easy);
}
