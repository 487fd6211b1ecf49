// SPDX-License-Identifier: Apache-2.0
#include "apns/conn.h"

#include <arpa/inet.h>
#include <assert.h>
#include <errno.h>
#include <event2/event.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "apns/client_cert.h"
#include "apns/opts.h"
#include "apns/proxy.h"
#include "base/buf.h"
#include "base/clock.h"
#include "base/crypt.h"
#include "base/err.h"
#include "base/resolve.h"

#define MAGIC 0x636f6e6eu
#define ADDRESSES_MAX 8
#define ADDRESS_MS 5000      /* for one of several addresses */
#define OUTPUT_MAX (1 << 20) /* a frame beyond OUTPUT_TARGET is at most 16 KiB */
#define OUTPUT_TARGET 15000  /* one TLS record holds 16384 */
#define INPUT_BYTES 16384
#define USER_TIMEOUT_MS 20000

struct conn_tls {
    SSL_CTX *ctx;
};

struct conn {
    unsigned magic;
    struct conn_opts opts;
    enum conn_state state;
    struct resolve *resolve; /* until UP; addresses are its */
    const struct addrinfo *addresses[ADDRESSES_MAX];
    size_t addresses_n;
    size_t next_address;
    int fd;
    SSL *ssl;
    struct event *on_read;
    struct event *on_write;
    struct h2 *h2;
    struct buf out;
    bool proxy_asked;            /* the whole request is sent */
    int64_t deadline_ms;         /* to be UP */
    int64_t address_deadline_ms; /* for the present address */
    char error[160];
};

static bool move_allowed(enum conn_state from, enum conn_state to)
{
    switch (from) {
    case CONN_RESOLVING:
        return to == CONN_CONNECTING || to == CONN_DEAD;
    case CONN_CONNECTING:
        return to == CONN_CONNECTING || to == CONN_PROXY || to == CONN_HANDSHAKE ||
               to == CONN_DEAD;
    case CONN_PROXY:
        return to == CONN_CONNECTING || to == CONN_HANDSHAKE || to == CONN_DEAD;
    case CONN_HANDSHAKE:
        return to == CONN_CONNECTING || to == CONN_SETTINGS || to == CONN_DEAD;
    case CONN_SETTINGS:
        return to == CONN_UP || to == CONN_DEAD;
    case CONN_UP:
        return to == CONN_DEAD;
    case CONN_DEAD:
        return false;
    }
    return false;
}

static void set_state(struct conn *c, enum conn_state to)
{
    assert(move_allowed(c->state, to));
    c->state = to;
}

/* --- TLS --- */

static enum err_kind trust_pem(SSL_CTX *ctx, const char *pem, struct err *e)
{
    size_t n = 0;
    X509 *cert;
    BIO *bio = BIO_new_mem_buf(pem, -1);
    if (!bio)
        abort();
    while ((cert = PEM_read_bio_X509(bio, NULL, NULL, NULL)) != NULL) {
        if (X509_STORE_add_cert(SSL_CTX_get_cert_store(ctx), cert) == 1)
            n++;
        X509_free(cert);
    }
    BIO_free(bio);
    ERR_clear_error();
    return n > 0 ? ERR_NONE
                 : err_set(e, ERR_CONFIG, "the CA file holds no readable PEM certificate");
}

enum err_kind conn_tls_new(const char *ca_pem, const struct client_cert *ours,
                           struct conn_tls **out, struct err *e)
{
    SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
    if (!ctx)
        abort();
    SSL_CTX_set_min_proto_version(ctx, TLS1_2_VERSION);
    SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER, NULL);
    SSL_CTX_set_mode(ctx, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    SSL_CTX_set_read_ahead(ctx, 1); /* one read for many small records */
    SSL_CTX_set_default_read_buffer_len(ctx, 2 * INPUT_BYTES);
    enum err_kind kind = ERR_NONE;
    if (ca_pem)
        kind = trust_pem(ctx, ca_pem, e);
    else if (SSL_CTX_set_default_verify_paths(ctx) != 1)
        kind = err_set(e, ERR_CONFIG, "the system's CA certificates cannot be read");
    /* 0 is success here, unlike elsewhere in OpenSSL. */
    if (!kind && SSL_CTX_set_alpn_protos(ctx, (const unsigned char *)"\x02h2", 3) != 0)
        abort();
    if (kind) {
        SSL_CTX_free(ctx);
        return kind;
    }
    if (ours)
        client_cert_use(ours, ctx);
    *out = calloc(1, sizeof **out);
    if (!*out)
        abort();
    (*out)->ctx = ctx;
    return ERR_NONE;
}

void conn_tls_free(struct conn_tls **t)
{
    if (!*t)
        return;
    SSL_CTX_free((*t)->ctx);
    free(*t);
    *t = NULL;
}

static void describe_tls_error(const struct conn *c, int ssl_error, char *out, size_t size)
{
    unsigned long code = ERR_peek_last_error();
    long verify = c->ssl ? SSL_get_verify_result(c->ssl) : X509_V_OK;
    if (verify != X509_V_OK)
        snprintf(out, size, "certificate: %s", X509_verify_cert_error_string(verify));
    else if (ssl_error == SSL_ERROR_ZERO_RETURN || (code == 0 && errno == 0) ||
             ERR_GET_REASON(code) == SSL_R_UNEXPECTED_EOF_WHILE_READING)
        snprintf(out, size, "connection closed by the service");
    else if (code != 0)
        snprintf(out, size, "TLS: %s", ERR_reason_error_string(code));
    else
        snprintf(out, size, "connection: %s", strerror(errno));
    ERR_clear_error();
}

static bool prepare_tls(struct conn *c)
{
    c->ssl = SSL_new(c->opts.tls->ctx);
    if (!c->ssl || SSL_set_fd(c->ssl, c->fd) != 1)
        abort();
    X509_VERIFY_PARAM *param = SSL_get0_param(c->ssl);
    /* An address is looked for among the certificate's addresses, and is no SNI. */
    if (X509_VERIFY_PARAM_set1_ip_asc(param, c->opts.host) == 1) {
        SSL_set_connect_state(c->ssl);
        return true;
    }
    ERR_clear_error();
    SSL_set_hostflags(c->ssl, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
    if (SSL_set1_host(c->ssl, c->opts.host) != 1 ||
        SSL_set_tlsext_host_name(c->ssl, c->opts.host) != 1)
        return false;
    SSL_set_connect_state(c->ssl);
    return true;
}

/* --- one address after the other --- */

static void on_socket(evutil_socket_t fd, short what, void *ctx);
static void try_next_address(struct conn *c, int64_t now_ms);

static void close_socket(struct conn *c)
{
    if (c->on_read)
        event_free(c->on_read);
    if (c->on_write)
        event_free(c->on_write);
    c->on_read = c->on_write = NULL;
    SSL_free(c->ssl);
    c->ssl = NULL;
    if (c->fd >= 0)
        close(c->fd);
    c->fd = -1;
}

static void die(struct conn *c, const char *why)
{
    if (c->state == CONN_DEAD)
        return;
    if (c->error[0] == '\0')
        snprintf(c->error, sizeof c->error, "%s", why);
    resolve_free(&c->resolve);
    close_socket(c);
    h2_lose(c->h2);
    set_state(c, CONN_DEAD);
}

static void fail_address(struct conn *c, const char *why, int64_t now_ms)
{
    snprintf(c->error, sizeof c->error, "%s", why);
    close_socket(c);
    try_next_address(c, now_ms);
}

static bool open_socket(struct conn *c, const struct addrinfo *a)
{
    int one = 1, user_timeout = USER_TIMEOUT_MS;
    c->fd = socket(a->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (c->fd < 0)
        return false;
    /* Both only help; a socket without them works. */
    (void)setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    (void)setsockopt(c->fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &user_timeout, sizeof user_timeout);
    if (connect(c->fd, a->ai_addr, a->ai_addrlen) != 0 && errno != EINPROGRESS)
        return false;
    c->on_read = event_new(c->opts.base, c->fd, EV_READ | EV_PERSIST, on_socket, c);
    c->on_write = event_new(c->opts.base, c->fd, EV_WRITE, on_socket, c);
    if (!c->on_read || !c->on_write)
        abort();
    return event_add(c->on_write, NULL) == 0;
}

static void try_next_address(struct conn *c, int64_t now_ms)
{
    while (c->next_address < c->addresses_n) {
        const struct addrinfo *a = c->addresses[c->next_address++];
        if (open_socket(c, a)) {
            set_state(c, CONN_CONNECTING);
            c->address_deadline_ms = now_ms + ADDRESS_MS;
            return;
        }
        snprintf(c->error, sizeof c->error, "connect: %s", strerror(errno));
        close_socket(c);
    }
    die(c, "no address");
}

/* In random order: the service wants its load spread over them. */
static void take_addresses(struct conn *c, const struct addrinfo *first)
{
    for (const struct addrinfo *a = first; a && c->addresses_n < ADDRESSES_MAX; a = a->ai_next)
        c->addresses[c->addresses_n++] = a;
    for (size_t i = c->addresses_n; i > 1; i--) {
        size_t j = crypt_random_u64() % i;
        const struct addrinfo *swap = c->addresses[i - 1];
        c->addresses[i - 1] = c->addresses[j];
        c->addresses[j] = swap;
    }
}

static void resolved(void *ctx, const struct addrinfo *first, const char *error)
{
    struct conn *c = ctx;
    assert(c->magic == MAGIC);
    if (first) {
        take_addresses(c, first);
        try_next_address(c, clock_mono_ms());
    } else {
        char why[128];
        snprintf(why, sizeof why, "name: %s", error);
        die(c, why);
    }
    c->opts.turn(c->opts.ctx);
}

/* --- bytes --- */

static void want_write(struct conn *c)
{
    if (event_add(c->on_write, NULL) != 0)
        die(c, "event_add failed");
}

/* True when the call may simply be tried again on the next event. */
static bool blocked(struct conn *c, int result)
{
    int error = SSL_get_error(c->ssl, result);
    if (error == SSL_ERROR_WANT_READ)
        return true;
    if (error == SSL_ERROR_WANT_WRITE) {
        want_write(c);
        return true;
    }
    char why[128];
    describe_tls_error(c, error, why, sizeof why);
    if (c->state == CONN_HANDSHAKE)
        fail_address(c, why, clock_mono_ms());
    else
        die(c, why);
    return false;
}

static void handshake(struct conn *c, int64_t now_ms)
{
    errno = 0;
    ERR_clear_error();
    int r = SSL_do_handshake(c->ssl);
    if (r != 1) {
        (void)blocked(c, r);
        return;
    }
    const unsigned char *alpn = NULL;
    unsigned alpn_len = 0;
    SSL_get0_alpn_selected(c->ssl, &alpn, &alpn_len);
    if (alpn_len != 2 || memcmp(alpn, "h2", 2) != 0) {
        fail_address(c, "TLS: the service does not speak HTTP/2", now_ms);
        return;
    }
    c->error[0] = '\0'; /* of an address before this one */
    set_state(c, CONN_SETTINGS);
    conn_flush(c);
}

static void begin_tls(struct conn *c, int64_t now_ms)
{
    if (!prepare_tls(c)) {
        die(c, "TLS: the host name is not usable");
        return;
    }
    set_state(c, CONN_HANDSHAKE);
    handshake(c, now_ms);
}

/* --- the proxy; what it answers is kept in out, too, once the request is gone from there ---
 */

static void proxy_failed(struct conn *c, ssize_t n, int64_t now_ms)
{
    char why[128];
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    snprintf(why, sizeof why, "proxy: %s",
             n == 0 ? "it closes the connection" : strerror(errno));
    fail_address(c, why, now_ms);
}

static void send_to_proxy(struct conn *c, int64_t now_ms)
{
    while (buf_len(&c->out) > 0) {
        ssize_t n = send(c->fd, buf_data(&c->out), buf_len(&c->out), MSG_NOSIGNAL);
        if (n <= 0) {
            if (n < 0 && errno == EAGAIN)
                want_write(c);
            else
                proxy_failed(c, n, now_ms);
            return;
        }
        buf_consume(&c->out, (size_t)n);
    }
    c->proxy_asked = true;
}

static void ask_proxy(struct conn *c, int64_t now_ms)
{
    set_state(c, CONN_PROXY);
    c->address_deadline_ms = now_ms + ADDRESS_MS; /* anew: it connects, too */
    c->proxy_asked = false;
    buf_reset(&c->out);
    proxy_request(c->opts.proxy, c->opts.host, c->opts.port, &c->out);
    send_to_proxy(c, now_ms);
}

static void hear_proxy(struct conn *c, int64_t now_ms)
{
    uint8_t in[1024];
    char why[128];
    if (!c->proxy_asked) {
        send_to_proxy(c, now_ms);
        return;
    }
    ssize_t n = recv(c->fd, in, sizeof in, 0);
    if (n <= 0) {
        proxy_failed(c, n, now_ms);
        return;
    }
    buf_add(&c->out, in, (size_t)n);
    switch (proxy_read(buf_data(&c->out), buf_len(&c->out), why, sizeof why)) {
    case PROXY_MORE:
        return;
    case PROXY_OPEN:
        buf_reset(&c->out);
        c->address_deadline_ms = now_ms + ADDRESS_MS;
        begin_tls(c, now_ms);
        return;
    case PROXY_REFUSED:
        fail_address(c, why, now_ms);
        return;
    }
}

static void finish_connect(struct conn *c, int64_t now_ms)
{
    int error = 0;
    socklen_t len = sizeof error;
    char why[128];
    if (getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &error, &len) != 0)
        error = errno;
    if (error != 0) {
        snprintf(why, sizeof why, "connect: %s", strerror(error));
        fail_address(c, why, now_ms);
        return;
    }
    if (event_add(c->on_read, NULL) != 0)
        die(c, "event_add failed");
    else if (c->opts.proxy)
        ask_proxy(c, now_ms);
    else
        begin_tls(c, now_ms);
}

static void read_all(struct conn *c, int64_t now_ms)
{
    uint8_t in[INPUT_BYTES];
    struct err e;
    do {
        errno = 0;
        ERR_clear_error();
        int n = SSL_read(c->ssl, in, sizeof in);
        if (n <= 0) {
            (void)blocked(c, n);
            return;
        }
        if (h2_input(c->h2, in, (size_t)n, now_ms, &e)) {
            die(c, e.text);
            return;
        }
    } while (SSL_has_pending(c->ssl)); /* else the event comes again */
}

void conn_flush(struct conn *c)
{
    struct err e;
    if (c->state != CONN_SETTINGS && c->state != CONN_UP)
        return;
    for (;;) {
        if (h2_output(c->h2, &c->out, OUTPUT_TARGET, &e)) {
            die(c, e.text);
            return;
        }
        if (buf_len(&c->out) == 0)
            break;
        errno = 0;
        ERR_clear_error();
        int n = SSL_write(c->ssl, buf_data(&c->out), (int)buf_len(&c->out));
        if (n <= 0) {
            (void)blocked(c, n);
            return;
        }
        buf_consume(&c->out, (size_t)n);
    }
    if (h2_over(c->h2))
        die(c, "closed by the service");
}

static void on_socket(evutil_socket_t fd, short what, void *ctx)
{
    (void)fd;
    (void)what;
    struct conn *c = ctx;
    assert(c->magic == MAGIC);
    int64_t now_ms = clock_mono_ms();
    if (c->state == CONN_CONNECTING)
        finish_connect(c, now_ms);
    else if (c->state == CONN_PROXY)
        hear_proxy(c, now_ms);
    else if (c->state == CONN_HANDSHAKE)
        handshake(c, now_ms);
    if (c->state == CONN_SETTINGS || c->state == CONN_UP)
        read_all(c, now_ms);
    if (c->state == CONN_SETTINGS && h2_ready(c->h2)) {
        set_state(c, CONN_UP);
        resolve_free(&c->resolve);
    }
    c->opts.turn(c->opts.ctx);
}

/* --- for the owner --- */

struct conn *conn_new(const struct conn_opts *opts, int64_t now_ms)
{
    struct conn *c = calloc(1, sizeof *c);
    if (!c)
        abort();
    c->magic = MAGIC;
    c->opts = *opts;
    c->fd = -1;
    c->h2 = h2_new(&opts->h2, now_ms);
    buf_init(&c->out, OUTPUT_MAX);
    c->deadline_ms = now_ms + opts->connect_timeout_ms;
    c->address_deadline_ms = INT64_MAX;
    const struct proxy_opts *proxy = opts->proxy;
    c->resolve = resolve_start(opts->base, proxy ? proxy->host : opts->host,
                               proxy ? proxy->port : opts->port, resolved, c);
    return c;
}

void conn_free(struct conn **cp)
{
    struct conn *c = *cp;
    if (!c)
        return;
    if (c->state == CONN_UP) {
        h2_leave(c->h2);
        conn_flush(c);
        if (c->ssl && c->state == CONN_UP)
            (void)SSL_shutdown(c->ssl); /* our half; the answer is of no use to us */
        ERR_clear_error();
    }
    die(c, "freed");
    h2_free(&c->h2);
    buf_deinit(&c->out);
    c->magic = 0;
    free(c);
    *cp = NULL;
}

enum conn_state conn_get_state(const struct conn *c)
{
    return c->state;
}

const char *conn_error(const struct conn *c)
{
    return c->error;
}

struct h2 *conn_h2(struct conn *c)
{
    return c->h2;
}

bool conn_next_event(struct conn *c, struct h2_event *out)
{
    return h2_next_event(c->h2, out);
}

void conn_tick(struct conn *c, int64_t now_ms)
{
    struct err e;
    switch (c->state) {
    case CONN_RESOLVING:
    case CONN_CONNECTING:
    case CONN_PROXY:
    case CONN_HANDSHAKE:
    case CONN_SETTINGS:
        if (now_ms >= c->deadline_ms)
            die(c, "no connection within the time allowed");
        else if (c->state != CONN_SETTINGS && now_ms >= c->address_deadline_ms)
            fail_address(c, c->state == CONN_PROXY ? "proxy: no answer" : "connect: timed out",
                         now_ms);
        return;
    case CONN_UP:
        if (h2_tick(c->h2, now_ms, &e))
            die(c, e.text);
        return;
    case CONN_DEAD:
        return;
    }
}

int64_t conn_deadline(const struct conn *c)
{
    switch (c->state) {
    case CONN_RESOLVING:
    case CONN_SETTINGS:
        return c->deadline_ms;
    case CONN_CONNECTING:
    case CONN_PROXY:
    case CONN_HANDSHAKE:
        return c->deadline_ms < c->address_deadline_ms ? c->deadline_ms
                                                       : c->address_deadline_ms;
    case CONN_UP:
        return h2_deadline(c->h2);
    case CONN_DEAD:
        break;
    }
    return INT64_MAX;
}

void conn_kill(struct conn *c, const char *why)
{
    die(c, why);
}
