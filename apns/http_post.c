// SPDX-License-Identifier: Apache-2.0
#include "apns/http_post.h"

#include <assert.h>
#include <curl/curl.h>
#include <stdlib.h>
#include <string.h>

#include "apns/curl_loop.h"
#include "apns/curl_set.h"
#include "base/buf.h"
#include "base/datetime.h"

#define MAGIC 0x68747470u

struct http_post {
    unsigned magic;
    struct http_post_opts opts;
    char *url, *ca_pem;
    struct curl_loop *loop;
    CURL *easy; /* NULL: nothing under way */
    struct buf body;
};

static struct http_post *post_of(void *ctx)
{
    struct http_post *p = ctx;
    assert(p->magic == MAGIC);
    return p;
}

static int64_t date_of(CURL *easy)
{
    struct curl_header *h;
    int64_t s;
    if (curl_easy_header(easy, "date", 0, CURLH_HEADER, -1, &h) != CURLHE_OK ||
        !datetime_parse_http(h->value, strlen(h->value), &s))
        return -1;
    return s;
}

/* What a proxy said is no answer of the service. */
static const char *why_not(CURL *easy, CURLcode result)
{
    long status = 0;
    (void)curl_easy_getinfo(easy, CURLINFO_HTTP_CONNECTCODE, &status);
    if (status == 407)
        return "proxy: it wants other credentials (status 407)";
    return status >= 300 ? "proxy: it does not let us through" : curl_easy_strerror(result);
}

static void finish(void *ctx, void *easy, int result)
{
    struct http_post *p = post_of(ctx);
    struct http_answer a = {.error = "", .date_s = -1, .retry_after_s = -1};
    long status = 0;
    curl_off_t retry_after = 0;
    if (result == CURLE_OK) {
        (void)curl_easy_getinfo(easy, CURLINFO_RESPONSE_CODE, &status);
        (void)curl_easy_getinfo(easy, CURLINFO_RETRY_AFTER, &retry_after);
        a.date_s = date_of(easy);
        a.retry_after_s = retry_after > 0 ? (int64_t)retry_after : -1;
        a.body = buf_data(&p->body);
        a.len = buf_len(&p->body);
    } else {
        a.error = why_not(easy, (CURLcode)result);
    }
    a.status = (int)status;
    curl_easy_cleanup(easy);
    p->easy = NULL;
    p->opts.done(p->opts.ctx, &a);
}

static size_t take_body(char *data, size_t size, size_t n, void *ctx)
{
    struct http_post *p = post_of(ctx);
    buf_add(&p->body, data, size * n);
    return buf_failed(&p->body) ? 0 : size * n;
}

static char *copy(const char *text)
{
    char *out = text ? strdup(text) : NULL;
    if (text && !out)
        abort();
    return out;
}

struct http_post *http_post_new(const struct http_post_opts *opts)
{
    struct http_post *p = calloc(1, sizeof *p);
    if (!p)
        abort();
    p->magic = MAGIC;
    p->opts = *opts;
    p->url = copy(opts->url);
    p->ca_pem = copy(opts->ca_pem);
    p->loop = curl_loop_new(opts->base, finish, p);
    buf_init(&p->body, HTTP_POST_BODY_MAX);
    return p;
}

void http_post_free(struct http_post **pp)
{
    struct http_post *p = *pp;
    if (!p)
        return;
    if (p->easy) {
        curl_loop_remove(p->loop, p->easy);
        curl_easy_cleanup(p->easy);
    }
    curl_loop_free(&p->loop);
    buf_deinit(&p->body);
    free(p->url);
    free(p->ca_pem);
    p->magic = 0;
    free(p);
    *pp = NULL;
}

void http_post_send(struct http_post *p, const char *body, size_t len)
{
    assert(!p->easy);
    CURL *easy = curl_easy_init();
    if (!easy)
        abort();
    p->easy = easy;
    buf_reset(&p->body);
    curl_set_common(easy, p->ca_pem, p->opts.proxy);
    CURL_SET(easy, CURLOPT_URL, p->url);
    CURL_SET(easy, CURLOPT_FRESH_CONNECT, 1L);
    CURL_SET(easy, CURLOPT_FORBID_REUSE, 1L);
    CURL_SET(easy, CURLOPT_TIMEOUT_MS, (long)p->opts.timeout_ms);
    CURL_SET(easy, CURLOPT_WRITEFUNCTION, take_body);
    CURL_SET(easy, CURLOPT_WRITEDATA, p);
    CURL_SET(easy, CURLOPT_POSTFIELDSIZE, (long)len);
    CURL_SET(easy, CURLOPT_COPYPOSTFIELDS, body); /* form encoding is what it means then */
    curl_loop_add(p->loop, easy);
}
