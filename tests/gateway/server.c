// SPDX-License-Identifier: Apache-2.0
#include "tests/gateway/server.h"

#include <assert.h>
#include <errno.h>
#include <event2/event.h>
#include <event2/listener.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/gateway/address.h"
#include "tests/gateway/gateway.h"
#include "tests/gateway/h1.h"
#include "tests/gateway/h2.h"
#include "tests/gateway/text.h"

enum {
    MAGIC = 0x6777636f,
    RECORD = 16384,     /* TLS's largest, and HTTP/2's largest frame here */
    READS_PER_TURN = 8, /* then others have their turn */
    HANDSHAKE_S = 10,
    LINGER_S = 1,
    LISTEN_AGAIN_MS = 50
};

enum conn_state {
    HANDSHAKE, /* → OPEN, DEAD */
    OPEN,      /* → LINGER, DEAD */
    LINGER,    /* said all; waits for the peer to close, so that no TCP reset can take
                  back what is on its way → DEAD */
    DEAD
};

struct conn {
    uint32_t magic;
    struct gw_server *server;
    uint32_t id;
    int fd;
    enum conn_state state;
    SSL *ssl;
    struct gw_h2 *h2;
    struct gw_h1 *h1; /* instead of it, for HTTP/1.1 */
    struct event *readable, *writable, *timer;
    uint8_t out[RECORD + RECORD + 9];
    size_t out_len, out_sent;
    LIST_ENTRY(conn) next;
};

struct gw_server {
    struct gateway *gw;
    enum gw_service service;
    SSL_CTX *tls;
    struct evconnlistener *listener;
    struct gw_address address;
    uint32_t last_id;
    struct event *listen_again;
    LIST_HEAD(, conn) conns;
};

static void set_state(struct conn *c, enum conn_state to)
{
    assert(to > c->state);
    c->state = to;
}

static void conn_free(struct conn *c)
{
    LIST_REMOVE(c, next);
    gw_h2_free(&c->h2);
    gw_h1_free(&c->h1);
    event_free(c->readable);
    event_free(c->writable);
    event_free(c->timer);
    SSL_free(c->ssl);
    close(c->fd);
    if (c->server->gw->stats.connections_open > 0)
        c->server->gw->stats.connections_open--;
    c->magic = 0;
    free(c);
}

static void start_timer(struct conn *c, int seconds)
{
    struct timeval tv = {.tv_sec = seconds};

    evtimer_add(c->timer, &tv);
}

static bool would_block(const struct conn *c, int rc)
{
    int error = SSL_get_error(c->ssl, rc);

    return error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE;
}

static void conn_pump(void *ctx);

/* The texts of the extension in which Apple names the topics of a certificate of several. */
static void add_listed_topics(X509 *cert, char *out, size_t size)
{
    ASN1_OBJECT *oid = OBJ_txt2obj("1.2.840.113635.100.6.3.6", 1);
    int at = X509_get_ext_by_OBJ(cert, oid, -1);
    STACK_OF(ASN1_TYPE) *list = NULL;

    ASN1_OBJECT_free(oid);
    if (at >= 0) {
        const ASN1_OCTET_STRING *data = X509_EXTENSION_get_data(X509_get_ext(cert, at));
        const unsigned char *der = ASN1_STRING_get0_data(data);

        list = d2i_ASN1_SEQUENCE_ANY(NULL, &der, ASN1_STRING_length(data));
    }
    for (int i = 0; i < sk_ASN1_TYPE_num(list); i++) {
        const ASN1_TYPE *one = sk_ASN1_TYPE_value(list, i);
        size_t n = strlen(out);

        if (one->type == V_ASN1_UTF8STRING)
            snprintf(out + n, size - n, "%.*s,", ASN1_STRING_length(one->value.utf8string),
                     (const char *)ASN1_STRING_get0_data(one->value.utf8string));
    }
    sk_ASN1_TYPE_pop_free(list, ASN1_TYPE_free);
}

/* The user id of the client's certificate, where Apple writes the topic, and its list. */
static void read_cert_topics(const struct conn *c, char *out, size_t size)
{
    X509 *cert = SSL_get1_peer_certificate(c->ssl);

    out[0] = '\0';
    if (cert == NULL)
        return;
    if (X509_NAME_get_text_by_NID(X509_get_subject_name(cert), NID_userId, out,
                                  (int)size - 1) < 0)
        out[0] = '\0';
    strcat(out, ",");
    add_listed_topics(cert, out, size);
    X509_free(cert);
}

static void shake_hands(struct conn *c)
{
    struct gateway *gw = c->server->gw;
    const unsigned char *alpn;
    unsigned alpn_len;
    char cert_topics[512];
    int rc;

    ERR_clear_error();
    rc = SSL_accept(c->ssl);
    if (rc != 1) {
        if (would_block(c, rc))
            return;
        gw->stats.handshakes_failed++;
        set_state(c, DEAD);
        return;
    }
    SSL_get0_alpn_selected(c->ssl, &alpn, &alpn_len);
    if (c->server->service == GW_WEBPUSH && alpn_len == 8) {
        evtimer_del(c->timer);
        c->h1 = gw_h1_new(gw, c->id, conn_pump, c);
        set_state(c, OPEN);
        return;
    }
    if (alpn_len != 2 || memcmp(alpn, "h2", 2) != 0) {
        gw->stats.handshakes_failed++;
        gw_stats_violation(&gw->stats, "no ALPN h2");
        set_state(c, DEAD);
        return;
    }
    evtimer_del(c->timer);
    read_cert_topics(c, cert_topics, sizeof(cert_topics));
    c->h2 = gw_h2_new(gw, c->server->service, c->id, cert_topics, conn_pump, c);
    set_state(c, OPEN);
}

static enum gw_h2_fate fate(const struct conn *c)
{
    return c->h1 != NULL ? gw_h1_fate(c->h1) : gw_h2_fate(c->h2);
}

static size_t next_output(struct conn *c, const uint8_t **data_out)
{
    return c->h1 != NULL ? gw_h1_output(c->h1, data_out) : gw_h2_output(c->h2, data_out);
}

static void read_some(struct conn *c)
{
    static uint8_t in[RECORD];
    int i, n;

    for (i = 0; i < READS_PER_TURN; i++) {
        ERR_clear_error();
        n = SSL_read(c->ssl, in, sizeof(in));
        if (n <= 0) {
            if (!would_block(c, n))
                set_state(c, DEAD);
            return;
        }
        if (c->h1 != NULL)
            gw_h1_input(c->h1, in, (size_t)n);
        else
            gw_h2_input(c->h2, in, (size_t)n);
        if (fate(c) != GW_H2_RUN)
            return;
    }
    /* OpenSSL may hold bytes the socket will not announce again. */
    event_active(c->readable, EV_READ, 0);
}

/* Many small frames make one TLS record. */
static void gather_output(struct conn *c)
{
    const uint8_t *frame;
    size_t n;

    c->out_len = c->out_sent = 0;
    while (c->out_len < RECORD && (n = next_output(c, &frame)) > 0) {
        assert(n <= sizeof(c->out) - c->out_len);
        memcpy(c->out + c->out_len, frame, n);
        c->out_len += n;
    }
}

/* True when all is sent. */
static bool write_some(struct conn *c)
{
    int n;

    for (;;) {
        if (c->out_sent == c->out_len)
            gather_output(c);
        if (c->out_len == 0)
            return true;
        ERR_clear_error();
        n = SSL_write(c->ssl, c->out + c->out_sent, (int)(c->out_len - c->out_sent));
        if (n <= 0) {
            if (!would_block(c, n))
                set_state(c, DEAD);
            return false;
        }
        c->out_sent += (size_t)n;
    }
}

/* A TCP reset: the client must learn it at once, and nothing else. */
static void cut(struct conn *c)
{
    struct linger now = {.l_onoff = 1};

    setsockopt(c->fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
    set_state(c, DEAD);
}

static void linger(struct conn *c, bool say_goodbye)
{
    ERR_clear_error();
    if (say_goodbye)
        SSL_shutdown(c->ssl);
    shutdown(c->fd, SHUT_WR);
    start_timer(c, LINGER_S);
    set_state(c, LINGER);
}

static void exchange(struct conn *c)
{
    bool sent;

    if (fate(c) == GW_H2_RUN)
        read_some(c);
    if (c->state == OPEN && fate(c) == GW_H2_CUT)
        cut(c);
    if (c->state != OPEN)
        return;
    sent = write_some(c);
    if (c->state != OPEN)
        return;
    switch (fate(c)) {
    case GW_H2_RUN:
        break;
    case GW_H2_CLOSE:
    case GW_H2_CUT_FLUSHED:
        if (sent)
            linger(c, fate(c) == GW_H2_CLOSE);
        break;
    case GW_H2_CUT:
        cut(c);
        break;
    }
}

static void discard_input(struct conn *c)
{
    char bytes[4096];
    ssize_t n;

    do
        n = recv(c->fd, bytes, sizeof(bytes), 0);
    while (n > 0);
    if (n == 0 || (errno != EAGAIN && errno != EINTR))
        set_state(c, DEAD);
}

/* All that can be done now; the connection may be gone afterwards. */
static void conn_pump(void *ctx)
{
    struct conn *c = ctx;

    assert(c->magic == MAGIC);
    if (c->state == HANDSHAKE)
        shake_hands(c);
    if (c->state == OPEN)
        exchange(c);
    if (c->state == LINGER)
        discard_input(c);
    if (c->state == DEAD)
        conn_free(c);
    else if (c->state != LINGER && (SSL_want_write(c->ssl) || c->out_sent < c->out_len))
        event_add(c->writable, NULL);
}

static void on_socket(evutil_socket_t fd, short what, void *ctx)
{
    (void)fd;
    (void)what;
    conn_pump(ctx);
}

/* Too slow at shaking hands, or at closing. */
static void on_timer(evutil_socket_t fd, short what, void *ctx)
{
    struct conn *c = ctx;

    (void)fd;
    (void)what;
    assert(c->magic == MAGIC);
    if (c->state == HANDSHAKE)
        c->server->gw->stats.handshakes_failed++;
    conn_free(c);
}

static void on_accept(struct evconnlistener *listener, evutil_socket_t fd,
                      struct sockaddr *address, int address_len, void *ctx)
{
    struct gw_server *s = ctx;
    struct conn *c = gw_alloc(sizeof(*c));
    int on = 1;

    (void)listener;
    (void)address;
    (void)address_len;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    c->magic = MAGIC;
    c->server = s;
    c->id = ++s->last_id;
    c->fd = fd;
    c->ssl = SSL_new(s->tls);
    if (c->ssl == NULL || SSL_set_fd(c->ssl, fd) != 1)
        abort();
    c->readable = event_new(s->gw->base, fd, EV_READ | EV_PERSIST, on_socket, c);
    c->writable = event_new(s->gw->base, fd, EV_WRITE, on_socket, c);
    c->timer = evtimer_new(s->gw->base, on_timer, c);
    LIST_INSERT_HEAD(&s->conns, c, next);
    s->gw->stats.connections_opened++;
    s->gw->stats.connections_open++;
    event_add(c->readable, NULL);
    start_timer(c, HANDSHAKE_S);
}

static int choose_alpn(SSL *ssl, const unsigned char **out, unsigned char *out_len,
                       const unsigned char *in, unsigned in_len, void *ctx)
{
    struct gw_server *s = ctx;
    bool http1 = s->service == GW_WEBPUSH && s->gw->webpush_http1;
    const char *wanted = http1 ? "http/1.1" : "h2";
    unsigned i, len = (unsigned)strlen(wanted);

    (void)ssl;
    for (i = 0; i < in_len; i += in[i] + 1u) {
        if (in[i] == len && i + len < in_len && memcmp(in + i + 1, wanted, len) == 0) {
            *out = in + i + 1;
            *out_len = (unsigned char)len;
            return SSL_TLSEXT_ERR_OK;
        }
    }
    gw_stats_violation(&s->gw->stats, "ALPN without %s", wanted);
    return SSL_TLSEXT_ERR_ALERT_FATAL;
}

static SSL_CTX *new_tls(struct gw_server *s)
{
    const struct gw_opts *o = &s->gw->opts;
    SSL_CTX *tls = SSL_CTX_new(TLS_server_method());

    if (tls == NULL)
        abort();
    SSL_CTX_set_min_proto_version(tls, TLS1_2_VERSION);
    SSL_CTX_set_mode(tls, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    SSL_CTX_set_alpn_select_cb(tls, choose_alpn, s);
    if (SSL_CTX_use_certificate_chain_file(tls, o->cert_file) != 1 ||
        SSL_CTX_use_PrivateKey_file(tls, o->key_file, SSL_FILETYPE_PEM) != 1)
        goto fail;
    if (o->client_ca_file != NULL) {
        if (SSL_CTX_load_verify_locations(tls, o->client_ca_file, NULL) != 1)
            goto fail;
        SSL_CTX_set_client_CA_list(tls, SSL_load_client_CA_file(o->client_ca_file));
        SSL_CTX_set_verify(tls, SSL_VERIFY_PEER, NULL);
        SSL_CTX_set_session_id_context(tls, (const unsigned char *)"gw", 2);
    }
    return tls;
fail:
    ERR_print_errors_fp(stderr);
    SSL_CTX_free(tls);
    return NULL;
}

static bool start_listening(struct gw_server *s)
{
    s->listener = evconnlistener_new_bind(
        s->gw->base, on_accept, s,
        LEV_OPT_CLOSE_ON_FREE | LEV_OPT_CLOSE_ON_EXEC | LEV_OPT_REUSEABLE, 512,
        (struct sockaddr *)&s->address.sa, (int)s->address.len);
    if (s->listener == NULL)
        return false;
    /* Keeps the port that was chosen, for the next time. */
    gw_address_of(evconnlistener_get_fd(s->listener), &s->address);
    return true;
}

static void on_listen_again(evutil_socket_t fd, short what, void *ctx)
{
    struct gw_server *s = ctx;

    (void)fd;
    (void)what;
    if (s->listener == NULL && !start_listening(s))
        gw_server_up(s, LISTEN_AGAIN_MS);
}

struct gw_server *gw_server_new(struct gateway *gw, enum gw_service service,
                                const char *listen)
{
    struct gw_server *s = gw_alloc(sizeof(*s));

    s->gw = gw;
    s->service = service;
    LIST_INIT(&s->conns);
    s->listen_again = evtimer_new(gw->base, on_listen_again, s);
    if (!gw_address_parse(listen, &s->address)) {
        fprintf(stderr, "%s: no address\n", listen);
        gw_server_free(&s);
        return NULL;
    }
    s->tls = new_tls(s);
    if (s->tls == NULL || !start_listening(s)) {
        fprintf(stderr, "cannot listen on %s\n", listen);
        gw_server_free(&s);
    }
    return s;
}

void gw_server_free(struct gw_server **s)
{
    if (*s == NULL)
        return;
    gw_server_down(*s);
    event_free(s[0]->listen_again);
    SSL_CTX_free(s[0]->tls);
    free(*s);
    *s = NULL;
}

uint16_t gw_server_port(const struct gw_server *s)
{
    return gw_address_port(&s->address);
}

void gw_server_down(struct gw_server *s)
{
    evtimer_del(s->listen_again);
    if (s->listener != NULL)
        evconnlistener_free(s->listener);
    s->listener = NULL;
    while (!LIST_EMPTY(&s->conns))
        conn_free(LIST_FIRST(&s->conns));
}

void gw_server_up(struct gw_server *s, int after_ms)
{
    struct timeval tv = {.tv_sec = after_ms / 1000, .tv_usec = after_ms % 1000 * 1000L};

    evtimer_add(s->listen_again, &tv);
}

void gw_server_update_limit(struct gw_server *s)
{
    struct conn *c, *next;

    for (c = LIST_FIRST(&s->conns); c != NULL; c = next) {
        next = LIST_NEXT(c, next);
        if (c->state != OPEN)
            continue;
        gw_h2_update_limit(c->h2);
        conn_pump(c);
    }
}
