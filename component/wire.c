// SPDX-License-Identifier: Apache-2.0
#include "component/wire.h"

#include <arpa/inet.h>
#include <assert.h>
#include <errno.h>
#include <event2/event.h>
#include <limits.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"

#define MAGIC 0x57495245
#define KEEPALIVE_IDLE_S 30
#define KEEPALIVE_INTERVAL_S 10
#define KEEPALIVE_COUNT 3
#define UNACKED_MAX_MS 60000

enum wire_state {
    WIRE_CONNECTING,  /* -> HANDSHAKING, UP, DOWN */
    WIRE_HANDSHAKING, /* of TLS; -> UP, DOWN */
    WIRE_UP,          /* -> DOWN */
    WIRE_DOWN,
};

struct wire {
    uint32_t magic;
    enum wire_state state;
    int fd;
    SSL *ssl;
    struct event *reading;
    struct event *writing;
    struct buf out;
    uint64_t written;
    struct wire_events ev;
    bool read_on;
    bool mute;     /* a write failed; what the server had sent before is still to be read */
    unsigned busy; /* inside callbacks */
    bool freed;
    char why[128];
};

struct wire_tls {
    SSL_CTX *ctx;
};

static enum err_kind tls_error(struct err *e, const char *what)
{
    char text[128] = "unknown";
    unsigned long code = ERR_get_error();
    if (code)
        ERR_error_string_n(code, text, sizeof text);
    ERR_clear_error();
    return err_set(e, ERR_CONFIG, "TLS: %s: %s", what, text);
}

static bool trust_pem(SSL_CTX *ctx, const char *pem)
{
    BIO *bio = BIO_new_mem_buf(pem, -1);
    X509 *cert;
    unsigned n = 0;
    if (!bio)
        abort();
    while ((cert = PEM_read_bio_X509(bio, NULL, NULL, NULL))) {
        n += X509_STORE_add_cert(SSL_CTX_get_cert_store(ctx), cert) == 1;
        X509_free(cert);
    }
    BIO_free(bio);
    ERR_clear_error(); /* the end of the text is an error to OpenSSL */
    return n > 0;
}

enum err_kind wire_tls_new(const char *ca_pem, struct wire_tls **out, struct err *e)
{
    *out = NULL;
    SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
    if (!ctx)
        abort();
    SSL_CTX_set_min_proto_version(ctx, TLS1_2_VERSION);
    SSL_CTX_set_options(ctx, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION);
    SSL_CTX_set_mode(ctx, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER, NULL);
    bool trusted = ca_pem ? trust_pem(ctx, ca_pem) : SSL_CTX_set_default_verify_paths(ctx);
    if (!trusted) {
        SSL_CTX_free(ctx);
        return tls_error(e, "no certificate in tls_ca_file");
    }
    *out = calloc(1, sizeof **out);
    if (!*out)
        abort();
    (*out)->ctx = ctx;
    return ERR_NONE;
}

void wire_tls_free(struct wire_tls **t)
{
    if (!*t)
        return;
    SSL_CTX_free((*t)->ctx);
    free(*t);
    *t = NULL;
}

static void set_state(struct wire *w, enum wire_state to)
{
    assert(to > w->state);
    w->state = to;
}

static void release(struct wire *w)
{
    buf_deinit(&w->out);
    w->magic = 0;
    free(w);
}

/* From here on there is no descriptor, so a second connection cannot overlap with this one. */
static void shut(struct wire *w)
{
    if (w->fd < 0)
        return;
    if (w->reading)
        event_free(w->reading);
    if (w->writing)
        event_free(w->writing);
    SSL_free(w->ssl);
    w->ssl = NULL;
    /* To the server it is over even while somebody keeps the descriptor for us. */
    (void)shutdown(w->fd, SHUT_RDWR);
    close(w->fd);
    w->fd = -1;
}

static void go_down(struct wire *w, const char *why)
{
    if (w->state == WIRE_DOWN)
        return;
    set_state(w, WIRE_DOWN);
    snprintf(w->why, sizeof w->why, "%s", why);
    shut(w);
    if (!w->freed)
        w->ev.down(w->ev.ctx, w->why);
}

/* Why the last TLS call failed, in words. */
static const char *tls_why(struct wire *w, int rc, char text[128])
{
    long verify = SSL_get_verify_result(w->ssl);
    int code = SSL_get_error(w->ssl, rc);
    unsigned long first = ERR_peek_error();
    if (verify != X509_V_OK)
        snprintf(text, 128, "certificate: %s", X509_verify_cert_error_string(verify));
    else if (first)
        snprintf(text, 128, "TLS: %s", ERR_reason_error_string(first));
    else if (code == SSL_ERROR_SYSCALL && errno)
        snprintf(text, 128, "%s", strerror(errno));
    else
        snprintf(text, 128, "closed by the server");
    ERR_clear_error();
    return text;
}

static void now_up(struct wire *w)
{
    set_state(w, WIRE_UP);
    if (buf_len(&w->out) == 0)
        event_del(w->writing);
    if (!w->read_on)
        event_del(w->reading);
    w->ev.up(w->ev.ctx);
}

static void shake(struct wire *w)
{
    char text[128];
    errno = 0;
    int rc = SSL_connect(w->ssl);
    if (rc == 1) {
        now_up(w);
        return;
    }
    switch (SSL_get_error(w->ssl, rc)) {
    case SSL_ERROR_WANT_READ:
        event_add(w->reading, NULL);
        event_del(w->writing);
        break;
    case SSL_ERROR_WANT_WRITE:
        event_add(w->writing, NULL);
        break;
    default:
        go_down(w, tls_why(w, rc, text));
    }
}

static void finish_connect(struct wire *w)
{
    int error = 0;
    socklen_t len = sizeof error;
    if (getsockopt(w->fd, SOL_SOCKET, SO_ERROR, &error, &len) != 0)
        error = errno;
    if (error) {
        go_down(w, strerror(error));
    } else if (w->ssl) {
        set_state(w, WIRE_HANDSHAKING);
        shake(w);
    } else {
        now_up(w);
    }
}

/* Nothing more can be written.  That is no reason to throw away what the kernel has received:
 * the reader finds the end after it. */
static void fall_silent(struct wire *w)
{
    w->mute = true;
    buf_reset(&w->out);
    event_del(w->writing);
    if (w->read_on)
        event_active(w->reading, EV_READ, 0);
}

/* One write; how many bytes went, 0 when it would block, -1 when no more will. */
static ssize_t write_once(struct wire *w)
{
    size_t len = buf_len(&w->out) < INT_MAX ? buf_len(&w->out) : INT_MAX;
    errno = 0;
    if (!w->ssl) {
        ssize_t n = send(w->fd, buf_data(&w->out), len, MSG_NOSIGNAL);
        if (n >= 0)
            return n;
        if (errno == EAGAIN || errno == EINTR)
            return 0;
        fall_silent(w);
        return -1;
    }
    int n = SSL_write(w->ssl, buf_data(&w->out), (int)len);
    if (n > 0)
        return n;
    int code = SSL_get_error(w->ssl, n);
    if (code == SSL_ERROR_WANT_READ || code == SSL_ERROR_WANT_WRITE)
        return 0;
    ERR_clear_error();
    fall_silent(w);
    return -1;
}

static void flush(struct wire *w)
{
    while (buf_len(&w->out) > 0) {
        ssize_t n = write_once(w);
        if (n < 0)
            return;
        if (n == 0)
            break;
        buf_consume(&w->out, (size_t)n);
        w->written += (uint64_t)n;
    }
    if (buf_len(&w->out) > 0)
        return;
    event_del(w->writing);
    if (w->ev.drained)
        w->ev.drained(w->ev.ctx);
}

static void handle(struct wire *w, short what)
{
    switch (w->state) {
    case WIRE_CONNECTING:
        finish_connect(w);
        break;
    case WIRE_HANDSHAKING:
        shake(w);
        break;
    case WIRE_UP:
        if (what & EV_WRITE) {
            flush(w);
            break;
        }
        w->ev.readable(w->ev.ctx);
        /* What TLS has decrypted already, no event of the socket will tell of. */
        if (w->state == WIRE_UP && !w->freed && w->ssl && w->read_on &&
            SSL_has_pending(w->ssl))
            event_active(w->reading, EV_READ, 0);
        break;
    case WIRE_DOWN:
        break;
    }
}

static void on_event(evutil_socket_t fd, short what, void *ctx)
{
    (void)fd;
    struct wire *w = ctx;
    assert(w->magic == MAGIC);
    w->busy++;
    handle(w, what);
    w->busy--;
    if (w->freed && w->busy == 0)
        release(w);
}

static void set_options(int fd)
{
    /* Refused on a socket that is not TCP; then there is no peer to lose either. */
    const struct {
        int level, name, value;
    } options[] = {
        {IPPROTO_TCP, TCP_NODELAY, 1},
        {SOL_SOCKET, SO_KEEPALIVE, 1},
        {IPPROTO_TCP, TCP_KEEPIDLE, KEEPALIVE_IDLE_S},
        {IPPROTO_TCP, TCP_KEEPINTVL, KEEPALIVE_INTERVAL_S},
        {IPPROTO_TCP, TCP_KEEPCNT, KEEPALIVE_COUNT},
        {IPPROTO_TCP, TCP_USER_TIMEOUT, UNACKED_MAX_MS},
    };
    for (size_t i = 0; i < sizeof options / sizeof *options; i++)
        (void)setsockopt(fd, options[i].level, options[i].name, &options[i].value,
                         sizeof options[i].value);
}

static bool is_address(const char *name)
{
    unsigned char raw[16];
    return inet_pton(AF_INET, name, raw) == 1 || inet_pton(AF_INET6, name, raw) == 1;
}

static bool start_tls(struct wire *w, struct wire_tls *tls, const char *name)
{
    w->ssl = SSL_new(tls->ctx);
    if (!w->ssl)
        abort();
    bool ok;
    if (is_address(name))
        ok = X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(w->ssl), name) == 1;
    else
        ok = SSL_set1_host(w->ssl, name) == 1 && SSL_set_tlsext_host_name(w->ssl, name) == 1;
    return ok && SSL_set_fd(w->ssl, w->fd) == 1;
}

static struct wire *new_wire(const struct wire_setup *setup, const struct wire_events *events,
                             int fd)
{
    struct wire *w = calloc(1, sizeof *w);
    if (!w)
        abort();
    w->magic = MAGIC;
    w->fd = fd;
    w->ev = *events;
    buf_init(&w->out, setup->queue_max);
    w->reading = event_new(setup->base, fd, EV_READ | EV_PERSIST, on_event, w);
    w->writing = event_new(setup->base, fd, EV_WRITE | EV_PERSIST, on_event, w);
    if (!w->reading || !w->writing)
        abort();
    return w;
}

enum err_kind wire_connect(const struct wire_setup *setup, const struct wire_events *events,
                           struct wire **out, struct err *e)
{
    *out = NULL;
    int fd = socket(setup->addr->sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return err_set(e, ERR_PEER, "socket: %s", strerror(errno));
    set_options(fd);
    if (connect(fd, setup->addr, setup->addr_len) != 0 && errno != EINPROGRESS) {
        err_set(e, ERR_PEER, "%s", strerror(errno));
        close(fd);
        return ERR_PEER;
    }
    struct wire *w = new_wire(setup, events, fd);
    if (setup->tls && !start_tls(w, setup->tls, setup->name)) {
        wire_free(&w);
        return err_set(e, ERR_PEER, "TLS: %s cannot be verified as a name", setup->name);
    }
    if (event_add(w->writing, NULL) != 0)
        abort();
    *out = w;
    return ERR_NONE;
}

struct wire *wire_adopt(const struct wire_setup *setup, const struct wire_events *events,
                        int fd, uint64_t written)
{
    set_options(fd);
    struct wire *w = new_wire(setup, events, fd);
    w->written = written;
    set_state(w, WIRE_UP);
    return w;
}

void wire_free(struct wire **wp)
{
    struct wire *w = *wp;
    *wp = NULL;
    if (!w)
        return;
    /* Tells the server, if it can be told at once, that no byte is missing. */
    if (w->state == WIRE_UP && w->ssl)
        (void)SSL_shutdown(w->ssl);
    ERR_clear_error();
    shut(w);
    w->freed = true;
    if (w->busy == 0)
        release(w);
}

static ssize_t read_tls(struct wire *w, uint8_t *data, size_t len, const char **why_out)
{
    size_t got = 0;
    while (got < len) {
        size_t want = len - got < INT_MAX ? len - got : INT_MAX;
        errno = 0;
        int n = SSL_read(w->ssl, data + got, (int)want);
        if (n > 0) {
            got += (size_t)n;
            continue;
        }
        int code = SSL_get_error(w->ssl, n);
        if (code == SSL_ERROR_WANT_READ || code == SSL_ERROR_WANT_WRITE || got > 0)
            break; /* an end after some bytes is met again by the next call */
        *why_out = tls_why(w, n, w->why);
        return -1;
    }
    return (ssize_t)got;
}

static ssize_t receive(struct wire *w, uint8_t *data, size_t len, int flags,
                       const char **why_out)
{
    assert(w->state == WIRE_UP);
    if (w->ssl)
        return read_tls(w, data, len, why_out);
    ssize_t n = recv(w->fd, data, len, flags);
    if (n > 0)
        return n;
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return 0;
    snprintf(w->why, sizeof w->why, "%s", n == 0 ? "closed by the server" : strerror(errno));
    *why_out = w->why;
    return -1;
}

ssize_t wire_read(struct wire *w, uint8_t *data, size_t len, const char **why_out)
{
    return receive(w, data, len, 0, why_out);
}

ssize_t wire_peek(struct wire *w, uint8_t *data, size_t len, const char **why_out)
{
    return receive(w, data, len, MSG_PEEK, why_out);
}

/* One call for all of it, so that a record of the spool is consumed as a whole or not at all.
 * The kernel copies nothing. */
bool wire_consume(struct wire *w, size_t len)
{
    if (w->ssl || len == 0)
        return true;
    ssize_t n;
    do {
        n = recv(w->fd, NULL, len, MSG_TRUNC | MSG_DONTWAIT);
    } while (n < 0 && errno == EINTR);
    return n == (ssize_t)len;
}

void wire_read_on(struct wire *w, bool on)
{
    if (w->state == WIRE_DOWN || w->read_on == on)
        return;
    w->read_on = on;
    if (w->state != WIRE_UP)
        return;
    if (!on) {
        event_del(w->reading);
        return;
    }
    event_add(w->reading, NULL);
    if (w->ssl && SSL_has_pending(w->ssl))
        event_active(w->reading, EV_READ, 0);
}

bool wire_write(struct wire *w, const void *data, size_t len)
{
    if (w->state == WIRE_DOWN || buf_len(&w->out) + len > w->out.max)
        return false;
    if (w->mute)
        return true;
    buf_add(&w->out, data, len);
    event_add(w->writing, NULL);
    return true;
}

size_t wire_queued(const struct wire *w)
{
    return buf_len(&w->out);
}

uint64_t wire_written(const struct wire *w)
{
    return w->written;
}

void wire_end(struct wire *w)
{
    if (w->state != WIRE_UP)
        return;
    fall_silent(w);
    (void)shutdown(w->fd, SHUT_WR);
}

int wire_plain_fd(const struct wire *w)
{
    return w->ssl ? -1 : w->fd;
}
