// SPDX-License-Identifier: Apache-2.0
/*
 * A gateway against a TLS server in the same loop: real sockets, short periods, no sleeping.
 * Included by the tests.
 */
#ifndef TESTS_UNIT_GATEWAY_WORLD_H
#define TESTS_UNIT_GATEWAY_WORLD_H

#include "apns/gateway.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <string.h>

#include <arpa/inet.h>
#include <cmocka.h>
#include <event2/buffer.h>
#include <event2/bufferevent_ssl.h>
#include <event2/event.h>
#include <event2/listener.h>
#include <netinet/in.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

#include "apns/gateway_int.h"
#include "apns/opts.h"
#include "base/clock.h"
#include "base/log.h"
#include "tests/unit/apns_peer.h"
#include "tests/unit/tls_server.h"

#define PUSHES 3000
#define LINKS 64
#define ALERT "{\"aps\":{\"alert\":\"x\"}}"
#define BADGE "{\"aps\":{\"badge\":3}}"

struct server;

/* One connection at the server. */
struct link {
    struct peer peer; /* first: what the peer's callback gets */
    struct server *server;
    struct bufferevent *bev; /* NULL: closed */
    size_t index;
    size_t handled; /* requests that were complete, with the present one */
};

struct server {
    struct evconnlistener *listener;
    SSL_CTX *tls;
    uint16_t port;
    uint32_t streams;
    struct link *links[LINKS];
    size_t n;
    size_t requests;
    void (*handle)(struct link *l, struct peer_request *r);
    bool no_alpn, silent; /* silent: never says SETTINGS */
};

struct result {
    unsigned verdicts;
    struct push_verdict v;
};

static struct {
    struct event_base *base;
    struct server server;
    struct gateway *gateway;
    struct gateway_tuning tuning;
    struct apns_app_opts opts;
    struct result results[PUSHES];
    size_t submitted, done, room_events, errors_logged;
    char key_pem[1024], cert_pem[2048];
    bool resubmit_on_room;
} w;

/* --- the server --- */

static inline void link_close(struct link *l, bool politely)
{
    if (!l->bev)
        return;
    if (!politely)
        SSL_set_quiet_shutdown(bufferevent_openssl_get_ssl(l->bev), 1);
    bufferevent_free(l->bev);
    l->bev = NULL;
}

static inline void link_write(struct link *l)
{
    struct buf b;
    if (!l->bev || l->server->silent)
        return;
    buf_init(&b, 1 << 24);
    peer_output(&l->peer, &b);
    if (buf_len(&b) > 0)
        bufferevent_write(l->bev, buf_data(&b), buf_len(&b));
    buf_deinit(&b);
}

static inline void on_request(struct peer *p, struct peer_request *r)
{
    struct link *l = p->ctx;
    l->server->requests++;
    l->handled++;
    l->server->handle(l, r);
}

static inline void on_read(struct bufferevent *bev, void *ctx)
{
    struct link *l = ctx;
    struct evbuffer *in = bufferevent_get_input(bev);
    size_t len = evbuffer_get_length(in);
    (void)nghttp2_session_mem_recv(l->peer.session, evbuffer_pullup(in, -1), len);
    if (l->bev) {
        evbuffer_drain(in, len);
        link_write(l);
    }
}

static inline void on_event(struct bufferevent *bev, short what, void *ctx)
{
    (void)bev;
    struct link *l = ctx;
    if (what & (BEV_EVENT_EOF | BEV_EVENT_ERROR))
        link_close(l, true);
}

static inline void on_accept(struct evconnlistener *listener, evutil_socket_t fd,
                             struct sockaddr *address, int len, void *ctx)
{
    (void)listener;
    (void)address;
    (void)len;
    struct server *s = ctx;
    assert_true(s->n < LINKS);
    struct link *l = calloc(1, sizeof *l);
    assert_non_null(l);
    l->server = s;
    l->index = s->n;
    s->links[s->n++] = l;
    l->peer.on_request = on_request;
    l->peer.ctx = l;
    const nghttp2_settings_entry limit = {NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, s->streams};
    peer_init(&l->peer, &limit, 1);
    l->bev = bufferevent_openssl_socket_new(w.base, fd, SSL_new(s->tls),
                                            BUFFEREVENT_SSL_ACCEPTING, BEV_OPT_CLOSE_ON_FREE);
    assert_non_null(l->bev);
    bufferevent_setcb(l->bev, on_read, NULL, on_event, l);
    bufferevent_enable(l->bev, EV_READ | EV_WRITE);
    link_write(l);
}

static inline int choose_alpn(SSL *ssl, const unsigned char **out, unsigned char *out_len,
                              const unsigned char *in, unsigned in_len, void *ctx)
{
    (void)ssl;
    struct server *s = ctx;
    if (s->no_alpn || in_len < 3 || memcmp(in, "\x02h2", 3) != 0)
        return SSL_TLSEXT_ERR_NOACK;
    *out = in + 1;
    *out_len = 2;
    return SSL_TLSEXT_ERR_OK;
}

static inline void listen_again(void)
{
    struct sockaddr_in a = {.sin_family = AF_INET,
                            .sin_port = htons(w.server.port),
                            .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    w.server.listener = evconnlistener_new_bind(w.base, on_accept, &w.server,
                                                LEV_OPT_CLOSE_ON_FREE | LEV_OPT_REUSEABLE, 16,
                                                (struct sockaddr *)&a, sizeof a);
    assert_non_null(w.server.listener);
    socklen_t len = sizeof a;
    getsockname(evconnlistener_get_fd(w.server.listener), (struct sockaddr *)&a, &len);
    w.server.port = ntohs(a.sin_port);
}

static inline void stop_listening(void)
{
    if (w.server.listener)
        evconnlistener_free(w.server.listener);
    w.server.listener = NULL;
}

static inline void make_certificate(const char *alt_names)
{
    w.server.tls = tls_server_new(alt_names, w.cert_pem, sizeof w.cert_pem);
    SSL_CTX_set_alpn_select_cb(w.server.tls, choose_alpn, &w.server);
}

/* --- the client --- */

static inline bool submit(const char *payload, const char *collapse_id)
{
    assert_true(w.submitted < PUSHES);
    struct result *r = &w.results[w.submitted];
    char token[65];
    snprintf(token, sizeof token, "%064zx", w.submitted);
    struct push_request push = {.token = token,
                                .type = PUSH_ALERT,
                                .priority = 10,
                                .expiration_s = 1900000000,
                                .collapse_id = collapse_id,
                                .payload = (const uint8_t *)payload,
                                .payload_len = strlen(payload),
                                .ctx = r};
    memcpy(push.apns_id, &w.submitted, sizeof w.submitted);
    if (!gateway_submit(w.gateway, &push))
        return false;
    assert_int_equal(r->verdicts, 0); /* never before submit returned */
    w.submitted++;
    return true;
}

static inline void on_verdict(void *ctx, void *request_ctx, const struct push_verdict *v)
{
    struct result *r = request_ctx;
    assert_ptr_equal(ctx, &w);
    assert_int_equal(r->verdicts, 0);
    r->verdicts++;
    r->v = *v;
    w.done++;
}

static inline void on_room(void *ctx, struct gateway *g)
{
    (void)ctx;
    assert_true(gateway_room(g) > 0);
    w.room_events++;
    if (w.resubmit_on_room)
        assert_true(submit(ALERT, NULL));
}

static inline void on_log(void *ctx, enum log_level level, const char *line)
{
    (void)ctx;
    if (getenv("TEST_LOG"))
        fprintf(stderr, "%s\n", line);
    w.errors_logged += level == LOG_ERROR;
}

static inline void answer_ok(struct link *l, struct peer_request *r)
{
    peer_answer(&l->peer, r, 200, "");
}

static inline int set_up_names(const char *alt_names)
{
    memset(&w, 0, sizeof w);
    w.base = event_base_new();
    EVP_PKEY *key = EVP_EC_gen("P-256");
    BIO *bio = BIO_new(BIO_s_mem());
    PEM_write_bio_PrivateKey(bio, key, NULL, NULL, 0, NULL, NULL);
    w.key_pem[BIO_read(bio, w.key_pem, sizeof w.key_pem - 1)] = '\0';
    BIO_free(bio);
    EVP_PKEY_free(key);
    make_certificate(alt_names);
    w.server.streams = 100;
    w.server.handle = answer_ok;
    listen_again();
    w.tuning = gateway_tuning_default;
    w.tuning.pool.backoff_min_ms = 10;
    w.tuning.pool.backoff_max_ms = 40;
    w.tuning.pool.grow_after_ms = 20;
    w.tuning.pool.proven_ms = 0;
    w.opts = (struct apns_app_opts){.id = "test",
                                    .topic = "org.example.chat",
                                    .key_pem = w.key_pem,
                                    .key_id = "ABC123DEFG",
                                    .team_id = "TEAM123456",
                                    .host = "127.0.0.1",
                                    .port = w.server.port,
                                    .ca_pem = w.cert_pem};
    log_set_sink(on_log, NULL);
    return 0;
}

static inline int set_up(void **state)
{
    (void)state;
    return set_up_names("IP:127.0.0.1,DNS:localhost");
}

static inline int set_up_other_name(void **state)
{
    (void)state;
    return set_up_names("IP:127.0.0.2,DNS:elsewhere.example.org");
}

static inline void start(void)
{
    struct err e;
    const struct gateway_events events = {.verdict = on_verdict, .room = on_room, .ctx = &w};
    assert_int_equal(gateway_new_tuned(w.base, &w.opts, &events, &w.tuning, &w.gateway, &e),
                     ERR_NONE);
}

static inline int tear_down(void **state)
{
    (void)state;
    gateway_free(&w.gateway);
    assert_int_equal(w.done, w.submitted);
    stop_listening();
    for (size_t i = 0; i < w.server.n; i++) {
        link_close(w.server.links[i], true);
        peer_deinit(&w.server.links[i]->peer);
        free(w.server.links[i]);
    }
    SSL_CTX_free(w.server.tls);
    event_base_free(w.base);
    log_set_sink(NULL, NULL);
    return 0;
}

static inline struct gateway_status status(void)
{
    struct gateway_status s;
    gateway_get_status(w.gateway, &s);
    return s;
}

static inline void tick(evutil_socket_t fd, short what, void *ctx)
{
    (void)fd, (void)what, (void)ctx;
}

#define WAIT_MS 60000
#define RUN_UNTIL(condition)                                                                  \
    do {                                                                                      \
        int64_t give_up_ms = clock_mono_ms() + WAIT_MS;                                       \
        while (!(condition)) {                                                                \
            if (clock_mono_ms() > give_up_ms)                                                 \
                fail_msg("never: %s", #condition);                                            \
            turn_loop();                                                                      \
        }                                                                                     \
    } while (0)

/* One turn, at most 5 ms of waiting. */
static inline void turn_loop(void)
{
    const struct timeval tv = {0, 5000};
    event_base_once(w.base, -1, EV_TIMEOUT, tick, NULL, &tv);
    event_base_loop(w.base, EVLOOP_ONCE);
}

static inline void submit_all(size_t n, const char *payload, const char *collapse_id)
{
    for (size_t i = 0; i < n; i++)
        assert_true(submit(payload, collapse_id));
}

static inline void expect(size_t i, enum push_reaction reaction, int http, const char *reason)
{
    assert_int_equal(w.results[i].verdicts, 1);
    assert_string_equal(w.results[i].v.reason, reason);
    assert_int_equal(w.results[i].v.reaction, reaction);
    assert_int_equal(w.results[i].v.status, http);
}

/* How often the server said 200 to the i-th push. */
static inline size_t deliveries(size_t i)
{
    char path[80];
    size_t n = 0;
    snprintf(path, sizeof path, "/3/device/%064zx", i);
    for (size_t l = 0; l < w.server.n; l++)
        for (size_t k = 0; k < w.server.links[l]->peer.n; k++)
            n += w.server.links[l]->peer.requests[k]->answered &&
                 strcmp(w.server.links[l]->peer.requests[k]->path, path) == 0;
    return n;
}

static inline struct peer_request *request(size_t link, size_t i)
{
    assert_true(link < w.server.n && i < w.server.links[link]->peer.n);
    return w.server.links[link]->peer.requests[i];
}

#endif
