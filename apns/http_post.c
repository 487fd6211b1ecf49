// SPDX-License-Identifier: Apache-2.0
#include "apns/http_post.h"

#include <assert.h>
#include <curl/curl.h>
#include <event2/event.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/datetime.h"

#define MAGIC 0x68747470u

/* Each CURLOPT fails only for lack of memory, or when libcurl lacks what we need. */
#define SET(easy, option, value)                                                              \
    do {                                                                                      \
        if (curl_easy_setopt(easy, option, value) != CURLE_OK)                                \
            abort();                                                                          \
    } while (0)

struct http_post {
    unsigned magic;
    struct http_post_opts opts;
    char *url, *ca_pem;
    CURLM *multi;
    CURL *easy; /* NULL: nothing under way */
    struct event *timer;
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

static void finish(struct http_post *p, CURLcode result)
{
    struct http_answer a = {.error = "", .date_s = -1, .retry_after_s = -1};
    CURL *easy = p->easy;
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
        a.error = curl_easy_strerror(result);
    }
    a.status = (int)status;
    (void)curl_multi_remove_handle(p->multi, easy);
    curl_easy_cleanup(easy);
    p->easy = NULL;
    p->opts.done(p->opts.ctx, &a);
}

static void step(struct http_post *p, curl_socket_t fd, int what)
{
    int running, left;
    CURLMsg *m;
    if (curl_multi_socket_action(p->multi, fd, what, &running) != CURLM_OK)
        abort();
    while (p->easy && (m = curl_multi_info_read(p->multi, &left)) != NULL)
        if (m->msg == CURLMSG_DONE && m->easy_handle == p->easy) {
            finish(p, m->data.result);
            return;
        }
}

static void on_timer(evutil_socket_t fd, short what, void *ctx)
{
    (void)fd;
    (void)what;
    step(post_of(ctx), CURL_SOCKET_TIMEOUT, 0);
}

static void on_socket(evutil_socket_t fd, short what, void *ctx)
{
    int flags =
        (what & EV_READ ? CURL_CSELECT_IN : 0) | (what & EV_WRITE ? CURL_CSELECT_OUT : 0);
    step(post_of(ctx), fd, flags);
}

static int want_time(CURLM *multi, long timeout_ms, void *ctx)
{
    (void)multi;
    struct http_post *p = post_of(ctx);
    struct timeval tv = {timeout_ms / 1000, timeout_ms % 1000 * 1000};
    int failed = timeout_ms < 0 ? evtimer_del(p->timer) : evtimer_add(p->timer, &tv);
    return failed ? -1 : 0;
}

static int want_socket(CURL *easy, curl_socket_t fd, int what, void *ctx, void *socket_ctx)
{
    (void)easy;
    struct http_post *p = post_of(ctx);
    struct event *ev = socket_ctx;
    short events = EV_PERSIST;
    if (ev)
        event_free(ev);
    ev = NULL;
    if (what == CURL_POLL_IN || what == CURL_POLL_INOUT)
        events |= EV_READ;
    if (what == CURL_POLL_OUT || what == CURL_POLL_INOUT)
        events |= EV_WRITE;
    if (what != CURL_POLL_REMOVE) {
        ev = event_new(p->opts.base, fd, events, on_socket, p);
        if (!ev || event_add(ev, NULL) != 0)
            abort();
    }
    (void)curl_multi_assign(p->multi, fd, ev);
    return 0;
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
    p->multi = curl_multi_init();
    p->timer = evtimer_new(opts->base, on_timer, p);
    if (!p->multi || !p->timer ||
        curl_multi_setopt(p->multi, CURLMOPT_SOCKETFUNCTION, want_socket) != CURLM_OK ||
        curl_multi_setopt(p->multi, CURLMOPT_SOCKETDATA, p) != CURLM_OK ||
        curl_multi_setopt(p->multi, CURLMOPT_TIMERFUNCTION, want_time) != CURLM_OK ||
        curl_multi_setopt(p->multi, CURLMOPT_TIMERDATA, p) != CURLM_OK)
        abort();
    buf_init(&p->body, HTTP_POST_BODY_MAX);
    return p;
}

void http_post_free(struct http_post **pp)
{
    struct http_post *p = *pp;
    if (!p)
        return;
    if (p->easy) {
        (void)curl_multi_remove_handle(p->multi, p->easy);
        curl_easy_cleanup(p->easy);
    }
    (void)curl_multi_cleanup(p->multi);
    event_free(p->timer);
    buf_deinit(&p->body);
    free(p->url);
    free(p->ca_pem);
    p->magic = 0;
    free(p);
    *pp = NULL;
}

static void set_trust(const struct http_post *p, CURL *easy)
{
    struct curl_blob ca = {.data = p->ca_pem, .flags = CURL_BLOB_NOCOPY};
    SET(easy, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
    if (!p->ca_pem)
        return;
    ca.len = strlen(p->ca_pem);
    SET(easy, CURLOPT_CAINFO_BLOB, &ca);
    SET(easy, CURLOPT_CAPATH, NULL); /* these, and nobody whom the system trusts */
}

void http_post_send(struct http_post *p, const char *body, size_t len)
{
    assert(!p->easy);
    CURL *easy = curl_easy_init();
    if (!easy)
        abort();
    p->easy = easy;
    buf_reset(&p->body);
    set_trust(p, easy);
    SET(easy, CURLOPT_URL, p->url);
    SET(easy, CURLOPT_PROTOCOLS_STR, "https");
    SET(easy, CURLOPT_PROXY, "");
    SET(easy, CURLOPT_NOSIGNAL, 1L);
    SET(easy, CURLOPT_QUICK_EXIT, 1L); /* a name that does not resolve holds up no end */
    SET(easy, CURLOPT_FRESH_CONNECT, 1L);
    SET(easy, CURLOPT_FORBID_REUSE, 1L);
    SET(easy, CURLOPT_TIMEOUT_MS, (long)p->opts.timeout_ms);
    SET(easy, CURLOPT_WRITEFUNCTION, take_body);
    SET(easy, CURLOPT_WRITEDATA, p);
    SET(easy, CURLOPT_POSTFIELDSIZE, (long)len);
    SET(easy, CURLOPT_COPYPOSTFIELDS, body); /* form encoding is what it means then */
    if (curl_multi_add_handle(p->multi, easy) != CURLM_OK)
        abort();
}
