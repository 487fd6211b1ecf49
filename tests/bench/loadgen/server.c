// SPDX-License-Identifier: Apache-2.0
#include "tests/bench/loadgen/server.h"

#include <arpa/inet.h>
#include <errno.h>
#include <inttypes.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <event2/event.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/crypt.h"
#include "base/stanza.h"
#include "base/xml_parse.h"
#include "component/ns.h"

#define NS_STREAMS "http://etherx.jabber.org/streams"
#define READ_BYTES ((size_t)64 * 1024)
#define QUEUE_MAX ((size_t)256 * 1024 * 1024)

enum server_state {
    SERVER_LISTENING, /* -> OPENING */
    SERVER_OPENING,   /* waits for the stream header -> SHAKING, DOWN */
    SERVER_SHAKING,   /* waits for the handshake -> UP, DOWN */
    SERVER_UP,        /* -> DOWN */
    SERVER_DOWN,
};

struct server {
    struct event_base *base;
    struct server_opts opts;
    struct server_events ev;
    enum server_state state;
    int fd; /* listening, then the component's */
    struct event *readable;
    struct event *writable;
    struct xml_parse *parser;
    struct buf out;
    char id[24]; /* of the stream */
    uint64_t queued;
    uint64_t written;
    uint64_t greeting;  /* bytes up to <handshake/> that are not counted */
    int64_t blocked_us; /* since then, 0: it is not */
    struct server_blocked blocked;
    uint8_t chunk[READ_BYTES];
};

static void set_state(struct server *s, enum server_state to)
{
    s->state = to;
}

static void go_down(struct server *s, const char *why)
{
    if (s->state == SERVER_DOWN)
        return;
    set_state(s, SERVER_DOWN);
    event_del(s->readable);
    event_del(s->writable);
    s->ev.down(s->ev.ctx, why);
}

/* --- writing ----------------------------------------------------------------------------- */

static void unblocked(struct server *s)
{
    if (s->blocked_us == 0)
        return;
    int64_t us = clock_real_us() - s->blocked_us;
    s->blocked_us = 0;
    s->blocked.us += us;
    if (us > s->blocked.longest_us)
        s->blocked.longest_us = us;
}

static void is_blocked(struct server *s)
{
    if (s->blocked_us == 0) {
        s->blocked_us = clock_real_us();
        s->blocked.times++;
    }
    if (buf_len(&s->out) > s->blocked.bytes_max)
        s->blocked.bytes_max = buf_len(&s->out);
    event_add(s->writable, NULL);
}

static void flush(struct server *s)
{
    uint64_t before = s->written;
    while (buf_len(&s->out) > 0) {
        ssize_t n = send(s->fd, buf_data(&s->out), buf_len(&s->out), MSG_NOSIGNAL);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) {
            is_blocked(s);
            break;
        }
        if (n < 0) {
            go_down(s, strerror(errno));
            return;
        }
        buf_consume(&s->out, (size_t)n);
        s->written += (uint64_t)n;
    }
    if (buf_len(&s->out) == 0)
        unblocked(s);
    if (s->state == SERVER_UP && s->written != before && s->written > s->greeting)
        s->ev.written(s->ev.ctx);
}

void server_send(struct server *s, const void *data, size_t len)
{
    if (s->state == SERVER_DOWN || len == 0)
        return;
    buf_add(&s->out, data, len);
    if (buf_failed(&s->out)) {
        go_down(s, "the component has not read for too long");
        return;
    }
    s->queued += len;
    if (s->blocked_us == 0)
        flush(s);
    else if (buf_len(&s->out) > s->blocked.bytes_max)
        s->blocked.bytes_max = buf_len(&s->out);
}

static void send_text(struct server *s, const char *text)
{
    server_send(s, text, strlen(text));
}

static void on_writable(evutil_socket_t fd, short what, void *ctx)
{
    (void)fd, (void)what;
    flush(ctx);
}

uint64_t server_queued(const struct server *s)
{
    return s->queued - s->greeting;
}

uint64_t server_written(const struct server *s)
{
    return s->written > s->greeting ? s->written - s->greeting : 0;
}

void server_get_blocked(const struct server *s, struct server_blocked *out)
{
    *out = s->blocked;
    if (s->blocked_us)
        out->us += clock_real_us() - s->blocked_us;
}

/* --- the component's stream -------------------------------------------------------------- */

static void on_root(void *ctx, const struct stanza *root)
{
    struct server *s = ctx;
    const char *to = stanza_get(root, "to");
    if (!stanza_is(root, "stream", NS_STREAMS) || !to || strcmp(to, s->opts.component) != 0) {
        go_down(s, "it wants another component's stream than --component");
        return;
    }
    char header[512];
    snprintf(s->id, sizeof s->id, "%" PRIu64, crypt_random_u64());
    snprintf(
        header, sizeof header,
        "<?xml version='1.0'?><stream:stream id='%s' xml:lang='en' xmlns:stream='" NS_STREAMS
        "' from='%s' xmlns='" NS_COMPONENT "'>",
        s->id, s->opts.component);
    set_state(s, SERVER_SHAKING);
    send_text(s, header);
}

static void shake(struct server *s, const struct stanza *st)
{
    char wanted[SHA1_HEX_BYTES];
    const char *got = stanza_text(st);
    crypt_sha1_hex(s->id, s->opts.secret, wanted);
    if (!stanza_is(st, "handshake", NS_COMPONENT) ||
        !crypt_same(got, strlen(got), wanted, strlen(wanted))) {
        send_text(s, "<stream:error><not-authorized "
                     "xmlns='urn:ietf:params:xml:ns:xmpp-streams'/></stream:error>");
        go_down(s, "its secret is not that of --secret");
        return;
    }
    send_text(s, "<handshake/>");
    s->greeting = s->queued;
    set_state(s, SERVER_UP);
    s->ev.up(s->ev.ctx);
}

static void on_stanza(void *ctx, struct stanza *st, uint64_t end)
{
    (void)end;
    struct server *s = ctx;
    if (s->state == SERVER_SHAKING)
        shake(s, st);
    else if (s->state == SERVER_UP)
        s->ev.stanza(s->ev.ctx, st);
    stanza_free(&st);
    if (s->state == SERVER_DOWN)
        xml_parse_stop(s->parser);
}

static void on_root_end(void *ctx)
{
    go_down(ctx, "the component has closed its stream");
}

static void on_readable(evutil_socket_t fd, short what, void *ctx)
{
    (void)what;
    struct server *s = ctx;
    struct err e;
    ssize_t n = recv(fd, s->chunk, sizeof s->chunk, 0);
    if (n < 0 && (errno == EINTR || errno == EAGAIN || errno == EWOULDBLOCK))
        return;
    if (n <= 0)
        go_down(s, n < 0 ? strerror(errno) : "the component has closed the connection");
    else if (xml_parse_input(s->parser, s->chunk, (size_t)n, &e) != ERR_NONE)
        go_down(s, e.text);
}

/* --- its connection ---------------------------------------------------------------------- */

static void watch(struct server *s, int fd, event_callback_fn readable)
{
    s->fd = fd;
    event_free(s->readable);
    s->readable = event_new(s->base, fd, EV_READ | EV_PERSIST, readable, s);
    s->writable = event_new(s->base, fd, EV_WRITE, on_writable, s);
    if (!s->readable || !s->writable || event_add(s->readable, NULL) != 0)
        abort();
}

static void on_connection(evutil_socket_t listening, short what, void *ctx)
{
    (void)what;
    struct server *s = ctx;
    int fd = accept4(listening, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd < 0)
        return;
    int on = 1;
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    set_state(s, SERVER_OPENING);
    watch(s, fd, on_readable);
    close(listening);
}

static int listen_on_loopback(uint16_t port)
{
    const struct sockaddr_in at = {.sin_family = AF_INET,
                                   .sin_port = htons(port),
                                   .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int on = 1;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -1;
    if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) == 0 &&
        bind(fd, (const struct sockaddr *)&at, sizeof at) == 0 && listen(fd, 1) == 0)
        return fd;
    int error = errno;
    close(fd);
    errno = error;
    return -1;
}

enum err_kind server_new(struct event_base *base, const struct server_opts *opts,
                         const struct server_events *events, struct server **out,
                         struct err *e)
{
    const struct xml_parse_events parse = {.root = on_root, .stanza = on_stanza};
    *out = NULL;
    int fd = listen_on_loopback(opts->port);
    if (fd < 0)
        return err_set(e, ERR_CONFIG, "127.0.0.1:%u: %s", opts->port, strerror(errno));
    struct server *s = calloc(1, sizeof *s);
    if (!s)
        abort();
    s->base = base;
    s->opts = *opts;
    s->ev = *events;
    s->fd = fd;
    buf_init(&s->out, QUEUE_MAX);
    struct xml_parse_events with = parse;
    with.root_end = on_root_end;
    with.ctx = s;
    s->parser = xml_parse_new(NULL, &with);
    s->readable = event_new(base, fd, EV_READ | EV_PERSIST, on_connection, s);
    if (!s->readable || event_add(s->readable, NULL) != 0)
        abort();
    *out = s;
    return ERR_NONE;
}

void server_free(struct server **sp)
{
    struct server *s = *sp;
    *sp = NULL;
    if (!s)
        return;
    if (s->readable)
        event_free(s->readable);
    if (s->writable)
        event_free(s->writable);
    close(s->fd);
    xml_parse_free(&s->parser);
    buf_deinit(&s->out);
    free(s);
}
