// SPDX-License-Identifier: Apache-2.0
#include "apns/curl_loop.h"

#include <assert.h>
#include <curl/curl.h>
#include <event2/event.h>
#include <stdlib.h>

#define MAGIC 0x6375726cu

struct curl_loop {
    unsigned magic;
    struct event_base *base;
    curl_loop_done_fn done;
    void *ctx;
    CURLM *multi;
    struct event *timer;
};

static struct curl_loop *loop_of(void *ctx)
{
    struct curl_loop *l = ctx;
    assert(l->magic == MAGIC);
    return l;
}

static void step(struct curl_loop *l, curl_socket_t fd, int what)
{
    int running, left;
    CURLMsg *m;
    if (curl_multi_socket_action(l->multi, fd, what, &running) != CURLM_OK)
        abort();
    while ((m = curl_multi_info_read(l->multi, &left)) != NULL) {
        if (m->msg != CURLMSG_DONE)
            continue;
        CURL *easy = m->easy_handle; /* m ends with the handle's stay */
        CURLcode result = m->data.result;
        curl_loop_remove(l, easy);
        l->done(l->ctx, easy, (int)result);
    }
}

static void on_timer(evutil_socket_t fd, short what, void *ctx)
{
    (void)fd;
    (void)what;
    step(loop_of(ctx), CURL_SOCKET_TIMEOUT, 0);
}

static void on_socket(evutil_socket_t fd, short what, void *ctx)
{
    int flags =
        (what & EV_READ ? CURL_CSELECT_IN : 0) | (what & EV_WRITE ? CURL_CSELECT_OUT : 0);
    step(loop_of(ctx), fd, flags);
}

static int want_time(CURLM *multi, long timeout_ms, void *ctx)
{
    (void)multi;
    struct curl_loop *l = loop_of(ctx);
    struct timeval tv = {timeout_ms / 1000, timeout_ms % 1000 * 1000};
    int failed = timeout_ms < 0 ? evtimer_del(l->timer) : evtimer_add(l->timer, &tv);
    return failed ? -1 : 0;
}

static int want_socket(CURL *easy, curl_socket_t fd, int what, void *ctx, void *socket_ctx)
{
    (void)easy;
    struct curl_loop *l = loop_of(ctx);
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
        ev = event_new(l->base, fd, events, on_socket, l);
        if (!ev || event_add(ev, NULL) != 0)
            abort();
    }
    (void)curl_multi_assign(l->multi, fd, ev);
    return 0;
}

struct curl_loop *curl_loop_new(struct event_base *base, curl_loop_done_fn done, void *ctx)
{
    struct curl_loop *l = calloc(1, sizeof *l);
    if (!l)
        abort();
    *l = (struct curl_loop){.magic = MAGIC, .base = base, .done = done, .ctx = ctx};
    l->multi = curl_multi_init();
    l->timer = evtimer_new(base, on_timer, l);
    if (!l->multi || !l->timer ||
        curl_multi_setopt(l->multi, CURLMOPT_SOCKETFUNCTION, want_socket) != CURLM_OK ||
        curl_multi_setopt(l->multi, CURLMOPT_SOCKETDATA, l) != CURLM_OK ||
        curl_multi_setopt(l->multi, CURLMOPT_TIMERFUNCTION, want_time) != CURLM_OK ||
        curl_multi_setopt(l->multi, CURLMOPT_TIMERDATA, l) != CURLM_OK)
        abort();
    return l;
}

void curl_loop_free(struct curl_loop **lp)
{
    struct curl_loop *l = *lp;
    if (!l)
        return;
    (void)curl_multi_cleanup(l->multi);
    event_free(l->timer);
    l->magic = 0;
    free(l);
    *lp = NULL;
}

void *curl_loop_multi(struct curl_loop *l)
{
    return l->multi;
}

void curl_loop_add(struct curl_loop *l, void *easy)
{
    if (curl_multi_add_handle(l->multi, easy) != CURLM_OK)
        abort();
}

void curl_loop_remove(struct curl_loop *l, void *easy)
{
    (void)curl_multi_remove_handle(l->multi, easy);
}
