// SPDX-License-Identifier: Apache-2.0
/* A gateway against a TLS server in the same loop: real sockets, short periods, no sleeping.
 */
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

static void link_close(struct link *l, bool politely)
{
    if (!l->bev)
        return;
    if (!politely)
        SSL_set_quiet_shutdown(bufferevent_openssl_get_ssl(l->bev), 1);
    bufferevent_free(l->bev);
    l->bev = NULL;
}

static void link_write(struct link *l)
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

static void on_request(struct peer *p, struct peer_request *r)
{
    struct link *l = p->ctx;
    l->server->requests++;
    l->handled++;
    l->server->handle(l, r);
}

static void on_read(struct bufferevent *bev, void *ctx)
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

static void on_event(struct bufferevent *bev, short what, void *ctx)
{
    (void)bev;
    struct link *l = ctx;
    if (what & (BEV_EVENT_EOF | BEV_EVENT_ERROR))
        link_close(l, true);
}

static void on_accept(struct evconnlistener *listener, evutil_socket_t fd,
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

static int choose_alpn(SSL *ssl, const unsigned char **out, unsigned char *out_len,
                       const unsigned char *in, unsigned in_len, void *ctx)
{
    (void)ssl;
    struct server *s = ctx;
    if (s->no_alpn || in_len != 3 || memcmp(in, "\x02h2", 3) != 0)
        return SSL_TLSEXT_ERR_NOACK;
    *out = in + 1;
    *out_len = 2;
    return SSL_TLSEXT_ERR_OK;
}

static void listen_again(void)
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

static void stop_listening(void)
{
    if (w.server.listener)
        evconnlistener_free(w.server.listener);
    w.server.listener = NULL;
}

static void make_certificate(const char *alt_names)
{
    EVP_PKEY *key = EVP_EC_gen("P-256");
    X509 *cert = X509_new();
    X509_set_version(cert, X509_VERSION_3);
    ASN1_INTEGER_set(X509_get_serialNumber(cert), 1);
    X509_gmtime_adj(X509_getm_notBefore(cert), -3600);
    X509_gmtime_adj(X509_getm_notAfter(cert), 3600);
    X509_NAME_add_entry_by_txt(X509_get_subject_name(cert), "CN", MBSTRING_ASC,
                               (const unsigned char *)"gateway", -1, -1, 0);
    X509_set_issuer_name(cert, X509_get_subject_name(cert));
    X509_set_pubkey(cert, key);
    X509_EXTENSION *ext = X509V3_EXT_conf_nid(NULL, NULL, NID_subject_alt_name, alt_names);
    X509_add_ext(cert, ext, -1);
    X509_EXTENSION_free(ext);
    assert_true(X509_sign(cert, key, EVP_sha256()) > 0);
    BIO *bio = BIO_new(BIO_s_mem());
    PEM_write_bio_X509(bio, cert);
    w.cert_pem[BIO_read(bio, w.cert_pem, sizeof w.cert_pem - 1)] = '\0';
    BIO_free(bio);
    w.server.tls = SSL_CTX_new(TLS_server_method());
    assert_int_equal(SSL_CTX_use_certificate(w.server.tls, cert), 1);
    assert_int_equal(SSL_CTX_use_PrivateKey(w.server.tls, key), 1);
    SSL_CTX_set_alpn_select_cb(w.server.tls, choose_alpn, &w.server);
    X509_free(cert);
    EVP_PKEY_free(key);
}

/* --- the client --- */

static bool submit(const char *payload, const char *collapse_id)
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

static void on_verdict(void *ctx, void *request_ctx, const struct push_verdict *v)
{
    struct result *r = request_ctx;
    assert_ptr_equal(ctx, &w);
    assert_int_equal(r->verdicts, 0);
    r->verdicts++;
    r->v = *v;
    w.done++;
}

static void on_room(void *ctx, struct gateway *g)
{
    (void)ctx;
    assert_true(gateway_room(g) > 0);
    w.room_events++;
    if (w.resubmit_on_room)
        assert_true(submit(ALERT, NULL));
}

static void on_log(void *ctx, enum log_level level, const char *line)
{
    (void)ctx;
    if (getenv("TEST_LOG"))
        fprintf(stderr, "%s\n", line);
    w.errors_logged += level == LOG_ERROR;
}

static void answer_ok(struct link *l, struct peer_request *r)
{
    peer_answer(&l->peer, r, 200, "");
}

static int set_up_names(const char *alt_names)
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

static int set_up(void **state)
{
    (void)state;
    return set_up_names("IP:127.0.0.1,DNS:localhost");
}

static int set_up_other_name(void **state)
{
    (void)state;
    return set_up_names("IP:127.0.0.2,DNS:elsewhere.example.org");
}

static void start(void)
{
    struct err e;
    const struct gateway_events events = {.verdict = on_verdict, .room = on_room, .ctx = &w};
    assert_int_equal(gateway_new_tuned(w.base, &w.opts, &events, &w.tuning, &w.gateway, &e),
                     ERR_NONE);
}

static int tear_down(void **state)
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

static struct gateway_status status(void)
{
    struct gateway_status s;
    gateway_get_status(w.gateway, &s);
    return s;
}

static void tick(evutil_socket_t fd, short what, void *ctx)
{
    (void)fd, (void)what, (void)ctx;
}

#define WAIT_MS 10000
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
static void turn_loop(void)
{
    const struct timeval tv = {0, 5000};
    event_base_once(w.base, -1, EV_TIMEOUT, tick, NULL, &tv);
    event_base_loop(w.base, EVLOOP_ONCE);
}

static void submit_all(size_t n, const char *payload, const char *collapse_id)
{
    for (size_t i = 0; i < n; i++)
        assert_true(submit(payload, collapse_id));
}

static void expect(size_t i, enum push_reaction reaction, int http, const char *reason)
{
    assert_int_equal(w.results[i].verdicts, 1);
    assert_string_equal(w.results[i].v.reason, reason);
    assert_int_equal(w.results[i].v.reaction, reaction);
    assert_int_equal(w.results[i].v.status, http);
}

/* How often the server said 200 to the i-th push. */
static size_t deliveries(size_t i)
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

static struct peer_request *request(size_t link, size_t i)
{
    assert_true(link < w.server.n && i < w.server.links[link]->peer.n);
    return w.server.links[link]->peer.requests[i];
}

/* --- tests --- */

static void a_push_connects_and_is_accepted(void **state)
{
    (void)state;
    start();
    assert_int_equal(status().state, GATEWAY_IDLE);
    assert_int_equal(gateway_room(w.gateway), 2000);
    assert_true(submit(ALERT, "thread"));
    RUN_UNTIL(w.done == 1);
    expect(0, PUSH_DONE, 200, "");
    const struct peer_request *r = request(0, 0);
    assert_string_equal(r->topic, "org.example.chat");
    assert_string_equal(r->type, "alert");
    assert_string_equal(r->priority, "10");
    assert_string_equal(r->expiration, "1900000000");
    assert_string_equal(r->collapse_id, "thread");
    assert_string_equal(r->apns_id, "00000000-0000-0000-0000-000000000000");
    assert_memory_equal(r->body, ALERT, strlen(ALERT));
    char authority[32];
    snprintf(authority, sizeof authority, "127.0.0.1:%u", w.server.port);
    assert_string_equal(r->authority, authority);
    struct gateway_status s = status();
    assert_int_equal(s.state, GATEWAY_UP);
    assert_int_equal(s.connections, 1);
    assert_int_equal(s.stream_limit, 100);
    assert_int_equal(s.sent, 1);
    assert_int_equal(s.accepted, 1);
    assert_int_equal(s.in_flight + s.queued, 0);
}

static void a_host_name_is_looked_up_and_checked(void **state)
{
    (void)state;
    w.opts.host = "localhost";
    start();
    assert_true(submit(ALERT, NULL));
    RUN_UNTIL(w.done == 1);
    expect(0, PUSH_DONE, 200, "");
}

static void a_voip_push_has_its_own_topic(void **state)
{
    (void)state;
    start();
    struct push_request push = {.token = "ABCDEF0123",
                                .type = PUSH_VOIP,
                                .priority = 10,
                                .payload = (const uint8_t *)ALERT,
                                .payload_len = strlen(ALERT),
                                .ctx = &w.results[0]};
    assert_true(gateway_submit(w.gateway, &push));
    w.submitted = 1;
    RUN_UNTIL(w.done == 1);
    assert_string_equal(request(0, 0)->topic, "org.example.chat.voip");
    assert_string_equal(request(0, 0)->type, "voip");
    assert_string_equal(request(0, 0)->path, "/3/device/ABCDEF0123");
    assert_string_equal(request(0, 0)->expiration, "0");
}

static void a_thousand_pushes_stay_within_the_limit(void **state)
{
    (void)state;
    w.server.streams = 30;
    w.tuning.pool.members_max = 1;
    start();
    submit_all(1000, ALERT, NULL);
    RUN_UNTIL(w.done == 1000);
    for (size_t i = 0; i < 1000; i++) {
        expect(i, PUSH_DONE, 200, "");
        assert_int_equal(deliveries(i), 1);
    }
    assert_int_equal(w.server.n, 1);
    assert_true(w.server.links[0]->peer.open_max <= 30);
}

static void goaway_every_20(struct link *l, struct peer_request *r)
{
    if (l->handled < 20)
        answer_ok(l, r);
    else if (l->handled == 20)
        peer_goaway(&l->peer, r->stream_id - 2, NGHTTP2_NO_ERROR, "{\"reason\":\"Shutdown\"}");
}

static void goaway_loses_and_doubles_nothing(void **state)
{
    (void)state;
    w.server.handle = goaway_every_20;
    w.server.streams = 60; /* three connections refuse the last one: fewer than resends_max */
    start();
    submit_all(500, ALERT, NULL);
    RUN_UNTIL(w.done == 500);
    for (size_t i = 0; i < 500; i++) {
        expect(i, PUSH_DONE, 200, "");
        assert_int_equal(deliveries(i), 1);
    }
    assert_true(w.server.n >= 26);
    assert_true(status().resent > 0);
}

static void expired_on_first_link(struct link *l, struct peer_request *r)
{
    if (l->index == 0 && l->server->requests > 1)
        peer_answer(&l->peer, r, 403, "{\"reason\":\"ExpiredProviderToken\"}");
    else
        answer_ok(l, r);
}

static void an_expired_token_is_renewed_on_a_new_connection(void **state)
{
    (void)state;
    w.server.handle = expired_on_first_link;
    start();
    assert_true(submit(ALERT, NULL));
    RUN_UNTIL(w.done == 1);
    submit_all(50, ALERT, NULL);
    RUN_UNTIL(w.done == 51);
    for (size_t i = 0; i < 51; i++)
        expect(i, PUSH_DONE, 200, "");
    assert_int_equal(w.server.n, 2);
    for (size_t i = 1; i < w.server.links[1]->peer.n; i++) {
        assert_string_equal(request(1, i)->authorization, request(1, 0)->authorization);
        assert_string_not_equal(request(1, i)->authorization, request(0, 0)->authorization);
    }
    assert_int_equal(status().state, GATEWAY_UP);
    assert_int_equal(w.errors_logged, 0);
}

static void expired_always(struct link *l, struct peer_request *r)
{
    peer_answer(&l->peer, r, 403, "{\"reason\":\"ExpiredProviderToken\"}");
}

static void a_token_expired_again_at_once_stops_the_app(void **state)
{
    (void)state;
    w.server.handle = expired_always;
    start();
    submit_all(5, ALERT, NULL);
    RUN_UNTIL(w.done == 5);
    for (size_t i = 0; i < 5; i++)
        assert_int_equal(w.results[i].v.reaction, PUSH_APP_STOPPED);
    assert_int_equal(status().state, GATEWAY_STOPPED);
    assert_string_equal(status().reason, "ExpiredProviderToken");
    assert_int_equal(w.server.requests, 2); /* one renewal, no more */
    assert_int_equal(w.errors_logged, 1);
}

static void invalid_until_told(struct link *l, struct peer_request *r)
{
    if (w.resubmit_on_room)
        answer_ok(l, r);
    else
        peer_answer(&l->peer, r, 403, "{\"reason\":\"InvalidProviderToken\"}");
}

static void a_stopped_app_tries_one_push_now_and_then(void **state)
{
    (void)state;
    w.server.handle = invalid_until_told;
    w.tuning.probe_ms = 400;
    start();
    submit_all(100, ALERT, NULL);
    RUN_UNTIL(w.done == 100);
    for (size_t i = 0; i < 100; i++) {
        assert_int_equal(w.results[i].v.reaction, PUSH_APP_STOPPED);
        assert_string_equal(w.results[i].v.reason, "InvalidProviderToken");
    }
    assert_int_equal(w.server.requests, 2);
    assert_int_equal(gateway_room(w.gateway), 0);
    assert_false(submit(ALERT, NULL));
    RUN_UNTIL(w.room_events == 1);
    assert_int_equal(gateway_room(w.gateway), 1);
    assert_true(submit(ALERT, NULL)); /* still wrong */
    assert_false(submit(ALERT, NULL));
    RUN_UNTIL(w.done == 101);
    assert_int_equal(w.results[100].v.reaction, PUSH_APP_STOPPED);
    assert_int_equal(status().state, GATEWAY_STOPPED);
    w.resubmit_on_room = true; /* from now on the server is content */
    RUN_UNTIL(w.done == 102);
    expect(101, PUSH_DONE, 200, "");
    w.resubmit_on_room = false;
    assert_int_equal(status().state, GATEWAY_UP);
    assert_true(gateway_room(w.gateway) > 1000);
}

static void unrelated_on_first_link(struct link *l, struct peer_request *r)
{
    if (l->index == 0)
        peer_answer(&l->peer, r, 403, "{\"reason\":\"UnrelatedKeyIdInToken\"}");
    else
        answer_ok(l, r);
}

static void an_unrelated_key_gets_a_new_connection_first(void **state)
{
    (void)state;
    w.server.handle = unrelated_on_first_link;
    start();
    assert_true(submit(ALERT, NULL));
    RUN_UNTIL(w.done == 1);
    expect(0, PUSH_DONE, 200, "");
    assert_int_equal(w.server.n, 2);
    assert_string_equal(request(1, 0)->authorization, request(0, 0)->authorization);
}

static void too_many_updates(struct link *l, struct peer_request *r)
{
    peer_answer_with(&l->peer, r, 429, "{\"reason\":\"TooManyProviderTokenUpdates\"}",
                     "retry-after", "1");
}

static void too_many_token_updates_hold_the_app(void **state)
{
    (void)state;
    w.server.handle = too_many_updates;
    start();
    submit_all(3, ALERT, NULL);
    RUN_UNTIL(w.done == 3);
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(w.results[i].v.reaction, PUSH_RETRY);
        assert_string_equal(w.results[i].v.reason, "TooManyProviderTokenUpdates");
    }
    assert_true(w.results[0].v.retry_after_ms > 19 * 60 * 1000);
    assert_int_equal(status().state, GATEWAY_BACKOFF);
    assert_int_equal(gateway_room(w.gateway), 0);
    assert_int_equal(w.server.requests, 1);
}

static void cut_first_link(struct link *l, struct peer_request *r)
{
    if (l->index > 0)
        answer_ok(l, r);
    else if (l->handled == 1)
        answer_ok(l, r); /* opens the limit */
    else if (l->handled == 4)
        link_close(l, false);
}

static void a_lost_connection_resends_only_what_may_double(void **state)
{
    (void)state;
    w.server.handle = cut_first_link;
    start();
    assert_true(submit(ALERT, NULL));
    RUN_UNTIL(w.done == 1);
    assert_true(submit(ALERT, NULL) && submit(ALERT, "thread") && submit(BADGE, NULL));
    RUN_UNTIL(w.done == 4);
    expect(1, PUSH_RETRY, 0, "connection lost");
    assert_int_equal(w.results[1].v.retry_after_ms, 1000);
    expect(2, PUSH_DONE, 200, "");
    expect(3, PUSH_DONE, 200, "");
    assert_int_equal(w.server.n, 2);
    assert_int_equal(w.server.links[1]->peer.n, 2);
    /* The same id, so that the service may know it again. */
    for (size_t i = 0; i < 2; i++)
        assert_true(strcmp(request(1, i)->apns_id, request(0, 2)->apns_id) == 0 ||
                    strcmp(request(1, i)->apns_id, request(0, 3)->apns_id) == 0);
    assert_int_equal(status().resent, 2);
}

static void refuse_three_times(struct link *l, struct peer_request *r)
{
    if (l->server->requests <= 3)
        peer_reset(&l->peer, r, NGHTTP2_REFUSED_STREAM);
    else
        answer_ok(l, r);
}

static void a_refused_stream_is_sent_again(void **state)
{
    (void)state;
    w.server.handle = refuse_three_times;
    start();
    assert_true(submit(ALERT, NULL));
    RUN_UNTIL(w.done == 1);
    expect(0, PUSH_DONE, 200, "");
    assert_int_equal(status().resent, 3);
}

static void refuse_always(struct link *l, struct peer_request *r)
{
    peer_reset(&l->peer, r, NGHTTP2_REFUSED_STREAM);
}

static void resends_are_bounded(void **state)
{
    (void)state;
    w.server.handle = refuse_always;
    start();
    assert_true(submit(ALERT, "thread"));
    RUN_UNTIL(w.done == 1);
    expect(0, PUSH_RETRY, 0, "refused");
    assert_int_equal(w.server.requests, 6);
}

static void limit_falls_and_refuses(struct link *l, struct peer_request *r)
{
    if (l->handled == 10) {
        peer_set(&l->peer, NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, 1);
        peer_answer(&l->peer, r, 400, "{\"reason\":\"BadDeviceToken\"}");
    } else if (l->handled > 10 && l->handled <= 14) {
        peer_reset(&l->peer, r,
                   l->handled % 2 ? NGHTTP2_REFUSED_STREAM : NGHTTP2_STREAM_CLOSED);
    } else {
        if (l->handled == 16)
            peer_set(&l->peer, NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, 100);
        answer_ok(l, r);
    }
}

static void a_limit_that_falls_after_a_rejection_costs_nothing(void **state)
{
    (void)state;
    w.server.handle = limit_falls_and_refuses;
    start();
    submit_all(60, ALERT, NULL);
    RUN_UNTIL(w.done == 60);
    size_t suspects = 0;
    for (size_t i = 0; i < 60; i++) {
        suspects += w.results[i].v.reaction == PUSH_SUSPECT;
        assert_int_equal(deliveries(i), 1);
    }
    assert_int_equal(suspects, 1);
    assert_int_equal(status().accepted, 59);
    assert_int_equal(status().rejected, 1);
    assert_int_equal(status().resent, 4);
}

static void never_answer(struct link *l, struct peer_request *r)
{
    (void)l;
    (void)r;
}

static void silence_ends_in_a_timeout(void **state)
{
    (void)state;
    w.server.handle = never_answer;
    w.tuning.h2.request_timeout_ms = 60;
    start();
    assert_true(submit(ALERT, "thread"));
    RUN_UNTIL(w.done == 1);
    expect(0, PUSH_RETRY, 0, "timeout");
    assert_int_equal(status().in_flight, 0);
}

static void a_service_that_is_away_means_backoff_until_it_is_back(void **state)
{
    (void)state;
    stop_listening();
    w.tuning.queue_ms = 150;
    start();
    submit_all(3, ALERT, NULL);
    RUN_UNTIL(status().state == GATEWAY_BACKOFF);
    assert_non_null(strstr(status().reason, "connect"));
    assert_int_equal(gateway_room(w.gateway), 0);
    assert_false(submit(ALERT, NULL));
    RUN_UNTIL(w.done == 3);
    expect(0, PUSH_RETRY, 0, "no connection");
    listen_again();
    RUN_UNTIL(w.room_events == 1);
    assert_int_equal(status().state, GATEWAY_UP);
    assert_true(submit(ALERT, NULL));
    RUN_UNTIL(w.done == 4);
    expect(3, PUSH_DONE, 200, "");
}

static void a_short_outage_is_not_seen_by_the_outbox(void **state)
{
    (void)state;
    stop_listening();
    start();
    submit_all(3, ALERT, NULL);
    RUN_UNTIL(status().state == GATEWAY_BACKOFF);
    listen_again();
    RUN_UNTIL(w.done == 3);
    expect(0, PUSH_DONE, 200, "");
    expect(2, PUSH_DONE, 200, "");
}

static void expect_no_connection(const char *word)
{
    w.tuning.queue_ms = 100;
    start();
    assert_true(submit(ALERT, NULL));
    RUN_UNTIL(w.done == 1 && status().state == GATEWAY_BACKOFF);
    expect(0, PUSH_RETRY, 0, "no connection");
    assert_non_null(strstr(status().reason, word));
    assert_int_equal(w.server.requests, 0);
}

static void an_untrusted_service_is_told_nothing(void **state)
{
    (void)state;
    static char other[2048];
    memcpy(other, w.cert_pem, sizeof other);
    SSL_CTX_free(w.server.tls);
    make_certificate("IP:127.0.0.1"); /* another key than the trusted one */
    w.opts.ca_pem = other;
    expect_no_connection("certificate");
}

static void a_certificate_for_another_name_is_refused(void **state)
{
    (void)state;
    expect_no_connection("certificate");
}

static void a_certificate_for_another_host_name_is_refused(void **state)
{
    (void)state;
    w.opts.host = "localhost";
    expect_no_connection("certificate");
}

static void a_service_without_http2_is_refused(void **state)
{
    (void)state;
    w.server.no_alpn = true;
    expect_no_connection("HTTP/2");
}

static void a_service_that_never_says_settings_is_given_up(void **state)
{
    (void)state;
    w.server.silent = true;
    w.tuning.connect_timeout_ms = 50;
    w.server.handle = never_answer;
    expect_no_connection("time allowed");
}

static struct event *late;

static void answer_late(evutil_socket_t fd, short what, void *ctx)
{
    (void)fd, (void)what, (void)ctx;
    for (size_t i = 0; i < w.server.n; i++) {
        struct link *l = w.server.links[i];
        for (size_t k = 0; k < l->peer.n; k++)
            if (l->bev && !l->peer.requests[k]->answered && l->peer.requests[k]->ended)
                answer_ok(l, l->peer.requests[k]);
        link_write(l);
    }
}

static void full_connections_grow_the_pool_and_calm_shrinks_it(void **state)
{
    (void)state;
    const struct timeval period = {0, 30000};
    w.server.handle = never_answer;
    w.server.streams = 2;
    w.tuning.pool.calm_ms = 200;
    start();
    late = event_new(w.base, -1, EV_PERSIST, answer_late, NULL);
    event_add(late, &period);
    submit_all(100, ALERT, NULL);
    RUN_UNTIL(w.done == 100);
    assert_int_equal(w.server.n, 4);
    assert_int_equal(status().connections, 4);
    RUN_UNTIL(status().connections == 1);
    event_free(late);
    assert_true(submit(ALERT, NULL));
    w.server.handle = answer_ok;
    RUN_UNTIL(w.server.links[0]->peer.n > 0);
}

static void a_new_connection_is_not_opened_for_the_first_answer(void **state)
{
    (void)state;
    w.server.handle = never_answer;
    start();
    submit_all(50, ALERT, NULL);
    RUN_UNTIL(w.server.requests == 1);
    int64_t until = clock_mono_ms() + 100; /* five times grow_after_ms */
    RUN_UNTIL(clock_mono_ms() >= until);
    assert_int_equal(w.server.n, 1);
    assert_int_equal(w.server.requests, 1);
}

static void shutdown_answer(struct link *l, struct peer_request *r)
{
    if (l->index == 0)
        peer_answer(&l->peer, r, 503, "{\"reason\":\"Shutdown\"}");
    else
        answer_ok(l, r);
}

static void a_service_that_shuts_down_is_left_for_another_connection(void **state)
{
    (void)state;
    w.server.handle = shutdown_answer;
    start();
    submit_all(10, ALERT, NULL);
    RUN_UNTIL(w.done == 10);
    for (size_t i = 0; i < 10; i++)
        expect(i, PUSH_DONE, 200, "");
    assert_int_equal(w.server.n, 2);
}

static void broken_first_link(struct link *l, struct peer_request *r)
{
    if (l->index == 0)
        peer_answer(&l->peer, r, 500, "{\"reason\":\"InternalServerError\"}");
    else
        answer_ok(l, r);
}

static void an_internal_error_is_retried_later_on_a_new_connection(void **state)
{
    (void)state;
    w.server.handle = broken_first_link;
    w.tuning.broken_after_ms = 0;
    w.opts.server_error_retry_ms = 5000;
    start();
    assert_true(submit(ALERT, NULL));
    RUN_UNTIL(w.done == 1);
    expect(0, PUSH_RETRY, 500, "InternalServerError");
    assert_int_equal(w.results[0].v.retry_after_ms, 5000);
    assert_true(submit(ALERT, NULL));
    RUN_UNTIL(w.done == 2);
    expect(1, PUSH_DONE, 200, "");
    assert_int_equal(w.server.n, 2);
}

static void reject_device(struct link *l, struct peer_request *r)
{
    peer_answer(&l->peer, r, 400, "{\"reason\":\"BadDeviceToken\"}");
}

static void a_wave_of_rejected_devices_stops_the_app(void **state)
{
    (void)state;
    w.server.handle = reject_device;
    start();
    submit_all(500, ALERT, NULL);
    RUN_UNTIL(w.done == 500);
    size_t suspects = 0;
    for (size_t i = 0; i < 500; i++)
        suspects += w.results[i].v.reaction == PUSH_SUSPECT;
    assert_true(suspects >= 48 && suspects < 300);
    assert_int_equal(w.results[499].v.reaction, PUSH_APP_STOPPED);
    assert_int_equal(status().state, GATEWAY_STOPPED);
}

static void room_is_bounded_and_its_return_is_told(void **state)
{
    (void)state;
    w.tuning.room_max = 8;
    start();
    submit_all(8, ALERT, NULL);
    assert_int_equal(gateway_room(w.gateway), 0);
    assert_false(submit(ALERT, NULL));
    RUN_UNTIL(w.done == 8);
    assert_int_equal(gateway_room(w.gateway), 8);
    assert_true(w.room_events >= 1);
}

static void the_room_event_may_submit(void **state)
{
    (void)state;
    w.tuning.room_max = 4;
    start();
    submit_all(4, ALERT, NULL);
    assert_false(submit(ALERT, NULL));
    w.resubmit_on_room = true;
    RUN_UNTIL(w.submitted >= 5);
    w.resubmit_on_room = false;
    RUN_UNTIL(w.done == w.submitted);
}

static void what_the_service_would_refuse_is_not_sent(void **state)
{
    (void)state;
    static char large[5000];
    memset(large, ' ', 4097);
    start();
    static const struct {
        const char *token, *collapse_id, *payload;
        int priority;
        int64_t expiration_s;
        enum push_reaction reaction;
        const char *reason;
    } cases[] = {
        {"", NULL, ALERT, 10, 0, PUSH_SUSPECT, "BadDeviceToken"},
        {"abc/../def", NULL, ALERT, 10, 0, PUSH_SUSPECT, "BadDeviceToken"},
        {"abc", "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx", ALERT, 10,
         0, PUSH_PARK, "BadCollapseId"},
        {"abc", NULL, "", 10, 0, PUSH_PARK, "PayloadEmpty"},
        {"abc", NULL, large, 10, 0, PUSH_PARK, "PayloadTooLarge"},
        {"abc", NULL, ALERT, 7, 0, PUSH_PARK, "BadPriority"},
        {"abc", NULL, ALERT, 10, -1, PUSH_PARK, "BadExpirationDate"},
    };
    size_t n = sizeof cases / sizeof *cases;
    for (size_t i = 0; i < n; i++) {
        struct push_request push = {.token = cases[i].token,
                                    .type = PUSH_ALERT,
                                    .priority = cases[i].priority,
                                    .expiration_s = cases[i].expiration_s,
                                    .collapse_id = cases[i].collapse_id,
                                    .payload = (const uint8_t *)cases[i].payload,
                                    .payload_len = strlen(cases[i].payload),
                                    .ctx = &w.results[i]};
        assert_true(gateway_submit(w.gateway, &push));
        w.submitted++;
    }
    RUN_UNTIL(w.done == n);
    for (size_t i = 0; i < n; i++)
        expect(i, cases[i].reaction, 0, cases[i].reason);
    assert_int_equal(w.server.requests, 0);
}

static void freeing_answers_everything_with_shutdown(void **state)
{
    (void)state;
    w.server.handle = never_answer;
    start();
    submit_all(20, ALERT, "thread");
    RUN_UNTIL(w.server.requests == 1);
    gateway_free(&w.gateway);
    assert_int_equal(w.done, 20);
    for (size_t i = 0; i < 20; i++)
        expect(i, PUSH_RETRY, 0, "shutdown");
}

static void a_wrong_key_is_a_configuration_error(void **state)
{
    (void)state;
    struct err e;
    const struct gateway_events events = {.verdict = on_verdict};
    w.opts.key_pem = "no key";
    assert_int_equal(gateway_new(w.base, &w.opts, &events, &w.gateway, &e), ERR_CONFIG);
    w.opts.key_pem = w.key_pem;
    w.opts.ca_pem = "no certificate";
    assert_int_equal(gateway_new(w.base, &w.opts, &events, &w.gateway, &e), ERR_CONFIG);
    assert_null(w.gateway);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
    signal(SIGPIPE, SIG_IGN);
    const struct CMUnitTest tests[] = {
        TEST(a_push_connects_and_is_accepted),
        TEST(a_host_name_is_looked_up_and_checked),
        TEST(a_voip_push_has_its_own_topic),
        TEST(a_thousand_pushes_stay_within_the_limit),
        TEST(goaway_loses_and_doubles_nothing),
        TEST(an_expired_token_is_renewed_on_a_new_connection),
        TEST(a_token_expired_again_at_once_stops_the_app),
        TEST(a_stopped_app_tries_one_push_now_and_then),
        TEST(an_unrelated_key_gets_a_new_connection_first),
        TEST(too_many_token_updates_hold_the_app),
        TEST(a_lost_connection_resends_only_what_may_double),
        TEST(a_refused_stream_is_sent_again),
        TEST(resends_are_bounded),
        TEST(a_limit_that_falls_after_a_rejection_costs_nothing),
        TEST(silence_ends_in_a_timeout),
        TEST(a_service_that_is_away_means_backoff_until_it_is_back),
        TEST(a_short_outage_is_not_seen_by_the_outbox),
        TEST(an_untrusted_service_is_told_nothing),
        cmocka_unit_test_setup_teardown(a_certificate_for_another_name_is_refused,
                                        set_up_other_name, tear_down),
        cmocka_unit_test_setup_teardown(a_certificate_for_another_host_name_is_refused,
                                        set_up_other_name, tear_down),
        TEST(a_service_without_http2_is_refused),
        TEST(a_service_that_never_says_settings_is_given_up),
        TEST(full_connections_grow_the_pool_and_calm_shrinks_it),
        TEST(a_new_connection_is_not_opened_for_the_first_answer),
        TEST(a_service_that_shuts_down_is_left_for_another_connection),
        TEST(an_internal_error_is_retried_later_on_a_new_connection),
        TEST(a_wave_of_rejected_devices_stops_the_app),
        TEST(room_is_bounded_and_its_return_is_told),
        TEST(the_room_event_may_submit),
        TEST(what_the_service_would_refuse_is_not_sent),
        TEST(freeing_answers_everything_with_shutdown),
        TEST(a_wrong_key_is_a_configuration_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
