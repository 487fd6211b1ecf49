// SPDX-License-Identifier: Apache-2.0
#include "apns/webpush_http.h"

#include <assert.h>
#include <curl/curl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <sys/socket.h>

#include "apns/curl_loop.h"
#include "apns/curl_set.h"
#include "base/address.h"

#define MAGIC 0x77706874u
#define ANSWER_MAX 16384 /* more of a body is not read, not even to be dropped */
#define FIELD_BYTES 1400

struct call {
    LIST_ENTRY(call) all;
    struct webpush_http *http;
    CURL *easy;
    struct curl_slist *fields;
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
    const char *what = c->http->opts.allow_private ? NULL : address_not_public(&a->addr);
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
    while (!LIST_EMPTY(&h->calls)) {
        struct call *c = LIST_FIRST(&h->calls);
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

void webpush_http_send(struct webpush_http *h, const struct webpush_post *p)
{
    struct call *c = calloc(1, sizeof *c);
    CURL *easy = curl_easy_init();
    if (!c || !easy)
        abort();
    *c = (struct call){.http = h, .easy = easy, .ctx = p->ctx};
    LIST_INSERT_HEAD(&h->calls, c, all);
    curl_set_common(easy, h->opts.ca_pem);
    set_fields(c, p);
    CURL_SET(easy, CURLOPT_PRIVATE, c);
    CURL_SET(easy, CURLOPT_URL, p->endpoint);
    CURL_SET(easy, CURLOPT_PATH_AS_IS, 1L);
    CURL_SET(easy, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_2TLS);
    CURL_SET(easy, CURLOPT_PIPEWAIT, p->share ? 1L : 0L);
    CURL_SET(easy, CURLOPT_TCP_NODELAY, 1L);
    CURL_SET(easy, CURLOPT_CONNECTTIMEOUT_MS, (long)h->opts.connect_timeout_ms);
    CURL_SET(easy, CURLOPT_TIMEOUT_MS, (long)h->opts.timeout_ms);
    CURL_SET(easy, CURLOPT_OPENSOCKETFUNCTION, open_socket);
    CURL_SET(easy, CURLOPT_OPENSOCKETDATA, c);
    CURL_SET(easy, CURLOPT_WRITEFUNCTION, drop_body);
    CURL_SET(easy, CURLOPT_WRITEDATA, c);
    CURL_SET(easy, CURLOPT_POST, 1L);
    CURL_SET(easy, CURLOPT_POSTFIELDS, p->body);
    CURL_SET(easy, CURLOPT_POSTFIELDSIZE, (long)p->len);
    curl_loop_add(h->loop, easy);
}
