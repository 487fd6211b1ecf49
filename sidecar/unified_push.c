// SPDX-License-Identifier: Apache-2.0
#include "sidecar/unified_push.h"

#include <assert.h>
#include <errno.h>
#include <event2/buffer.h>
#include <event2/event.h>
#include <event2/http.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#include "base/arena.h"
#include "base/clock.h"
#include "base/crypt.h"
#include "base/datetime.h"
#include "base/log.h"
#include "base/stanza.h"
#include "component/ns.h"
#include "component/service.h"
#include "config/config.h"
#include "sidecar/unified_push_token.h"

#define MAGIC 0x75707573u
#define PREFIX "unified push"
#define LIFE_S (24 * 60 * 60)
#define BODY_MAX 4096
#define OPEN_MAX 200       /* pushes on their way */
#define OPEN_OF_ONE_MAX 10 /* of them to one client */
#define WITHIN_MS 15000    /* a client that sleeps is not there */
#define HTTP_TIMEOUT_S 20
#define HTTP_BODY_MAX 65536 /* a longer one is not even read */
#define LISTEN_AGAIN_S 5
#define TEXT_MAX (4 * ((BODY_MAX + 2) / 3) + 1)
#define ARENA_MAX 32768
#define PATH_START "/push/"
#define RETRY_AFTER "60"

/* A push on its way. */
struct relayed {
    LIST_ENTRY(relayed) all;
    struct unified_push *up;
    struct evhttp_request *request; /* NULL: whoever sent it has gone */
    char jid[UP_JID_MAX + 1];
};

struct unified_push {
    unsigned magic;
    struct event_base *base;
    const struct unified_push_opts *opts;
    struct service *service;
    size_t links;
    bool ready;
    uint8_t key[32];
    struct evhttp *http;
    struct event *listen;
    LIST_HEAD(relayeds, relayed) all;
    unsigned n;
};

/* --- registering --- */

static void refuse(struct iq_request *r, const char *condition, const char *text)
{
    iq_error(r, "modify", condition, text);
}

static void answer_registered(struct unified_push *u, struct iq_request *r,
                              const struct up_registration *reg)
{
    char token[UP_TOKEN_BYTES], endpoint[1024], expiration[DATETIME_BYTES];
    up_seal(u->key, reg, token);
    int n = snprintf(endpoint, sizeof endpoint, "%s" PATH_START "%s", u->opts->url, token);
    if (n < 0 || n > 1000) {
        refuse(r, "not-acceptable", "your address is too long for an endpoint");
        return;
    }
    datetime_format_short(reg->until_s * 1000000, expiration);
    struct stanza *registered = stanza_new(r->arena, "registered", NS_UNIFIED_PUSH);
    stanza_set(registered, "expiration", expiration);
    stanza_set(registered, "endpoint", endpoint);
    iq_reply(r, registered);
}

static void on_register(void *ctx, struct iq_request *r)
{
    struct unified_push *u = ctx;
    struct up_registration reg = {.until_s = clock_real_us() / 1000000 + LIFE_S};
    assert(u->magic == MAGIC);
    if (!r->own_account || !adapter_is_local(service_adapter(u->service), &r->asker)) {
        iq_forbid(r);
    } else if (!r->is_set || !r->asker.resource[0]) {
        refuse(r, "bad-request", "a session registers, by an IQ of type set");
    } else if (!up_read_hash(stanza_get(r->payload, "application"), reg.application) ||
               !up_read_hash(stanza_get(r->payload, "instance"), reg.instance)) {
        refuse(r, "bad-request", "application and instance are 32 bytes in base64 each");
    } else if (strlen(r->asker.bare) + 1 + strlen(r->asker.resource) > UP_JID_MAX) {
        refuse(r, "not-acceptable", "your address is too long for an endpoint");
    } else if (!u->ready) {
        iq_later(r, "the database is not reachable yet");
    } else {
        strcpy(stpcpy(stpcpy(reg.jid, r->asker.bare), "/"), r->asker.resource);
        answer_registered(u, r, &reg);
    }
}

/* --- pushing --- */

static void answer(struct evhttp_request *req, int status)
{
    struct evkeyvalq *out = evhttp_request_get_output_headers(req);
    struct evhttp_connection *conn = evhttp_request_get_connection(req);
    if (conn)
        evhttp_connection_set_closecb(conn, NULL, NULL);
    if (status == 201)
        (void)evhttp_add_header(out, "TTL", "0"); /* nothing is kept (the draft says so) */
    if (status == 429 || status == 503)
        (void)evhttp_add_header(out, "Retry-After", RETRY_AFTER);
    evhttp_send_reply(req, status, NULL, NULL);
}

static void relayed_free(struct relayed *p)
{
    LIST_REMOVE(p, all);
    p->up->n--;
    free(p);
}

/* What the draft says of each condition: these two end a registration, all else may pass. */
static int status_of(const struct stanza *iq)
{
    const char *type = iq ? stanza_get(iq, "type") : NULL;
    if (!type)
        return 503;
    if (strcmp(type, "result") == 0)
        return 201;
    const struct stanza *error = stanza_child(iq, "error", NULL);
    if (stanza_child(error, "item-not-found", NS_STANZA_ERRORS) ||
        stanza_child(error, "feature-not-implemented", NS_STANZA_ERRORS))
        return 404;
    return 503;
}

static void on_client_answer(void *ctx, const struct stanza *iq)
{
    struct relayed *p = ctx;
    int status = status_of(iq);
    log_debug(PREFIX, "passed on: %d", status);
    if (p->request)
        answer(p->request, status);
    relayed_free(p);
}

static void on_sender_gone(struct evhttp_connection *conn, void *ctx)
{
    (void)conn;
    struct relayed *p = ctx;
    p->request = NULL;
}

static bool find_link(const struct unified_push *u, unsigned *out)
{
    for (unsigned i = 0; i < u->links; i++) {
        struct service_link_status s;
        service_link_status(u->service, i, &s);
        if (s.up && s.live) {
            *out = i;
            return true;
        }
    }
    return false;
}

static unsigned count_of(const struct unified_push *u, const char *jid)
{
    unsigned n = 0;
    const struct relayed *p;
    LIST_FOREACH(p, &u->all, all)
    n += strcmp(p->jid, jid) == 0;
    return n;
}

static void ask_client(struct unified_push *u, struct relayed *p, unsigned link,
                       const struct up_registration *reg, const uint8_t *body, size_t len)
{
    char hash[UP_HASH_TEXT_BYTES], text[TEXT_MAX];
    struct arena *arena = arena_new(ARENA_MAX);
    struct stanza *push = stanza_new(arena, "push", NS_UNIFIED_PUSH);
    crypt_base64(reg->application, sizeof reg->application, hash);
    stanza_set(push, "application", hash);
    crypt_base64(reg->instance, sizeof reg->instance, hash);
    stanza_set(push, "instance", hash);
    crypt_base64(body, len, text);
    stanza_add_text(push, text, strlen(text));
    service_ask(u->service, link, reg->jid, "set", push, WITHIN_MS, on_client_answer, p);
    arena_free(&arena);
}

/* The status when it is refused, 0 when it is on its way. */
static int relay_push(struct unified_push *u, struct evhttp_request *req,
                      const struct up_registration *reg)
{
    struct evbuffer *in = evhttp_request_get_input_buffer(req);
    size_t len = evbuffer_get_length(in);
    unsigned link;
    if (len == 0)
        return 400;
    if (len > BODY_MAX)
        return 413;
    if (u->n >= OPEN_MAX || count_of(u, reg->jid) >= OPEN_OF_ONE_MAX)
        return 429;
    if (!find_link(u, &link))
        return 503;
    struct relayed *p = calloc(1, sizeof *p);
    if (!p)
        abort();
    p->up = u;
    p->request = req;
    strcpy(p->jid, reg->jid);
    LIST_INSERT_HEAD(&u->all, p, all);
    u->n++;
    evhttp_connection_set_closecb(evhttp_request_get_connection(req), on_sender_gone, p);
    ask_client(u, p, link, reg, evbuffer_pullup(in, -1), len);
    return 0;
}

static void answer_discovery(struct evhttp_request *req)
{
    struct evbuffer *body = evbuffer_new();
    if (!body)
        abort();
    (void)evhttp_add_header(evhttp_request_get_output_headers(req), "Content-Type",
                            "application/json");
    (void)evbuffer_add_printf(body, "{\"unifiedpush\":{\"version\":1}}");
    evhttp_send_reply(req, HTTP_OK, NULL, body);
    evbuffer_free(body);
}

static void on_request(struct evhttp_request *req, void *ctx)
{
    struct unified_push *u = ctx;
    struct up_registration reg;
    const char *path = evhttp_request_get_uri(req);
    assert(u->magic == MAGIC);
    if (evhttp_request_get_command(req) == EVHTTP_REQ_GET) {
        answer_discovery(req);
        return;
    }
    int status = 404;
    if (!u->ready)
        status = 503;
    else if (strncmp(path, PATH_START, strlen(PATH_START)) == 0 &&
             up_open(u->key, path + strlen(PATH_START), &reg) &&
             clock_real_us() / 1000000 < reg.until_s)
        status = relay_push(u, req, &reg);
    if (status)
        answer(req, status);
}

/* --- birth and death --- */

static void open_server(struct unified_push *u)
{
    const struct timeval again = {LISTEN_AGAIN_S, 0};
    if (evhttp_bind_socket(u->http, u->opts->host, u->opts->port) == 0)
        return;
    /* The worker before us may still have it. */
    log_warn(PREFIX, "cannot listen on %s port %u: %s", u->opts->host, u->opts->port,
             strerror(errno));
    if (evtimer_add(u->listen, &again) != 0)
        abort();
}

static void on_listen(evutil_socket_t fd, short what, void *ctx)
{
    (void)fd;
    (void)what;
    open_server(ctx);
}

struct unified_push *unified_push_new(struct event_base *base,
                                      const struct unified_push_opts *opts,
                                      struct service *service, size_t links)
{
    struct unified_push *u = calloc(1, sizeof *u);
    if (!u)
        abort();
    u->magic = MAGIC;
    u->base = base;
    u->opts = opts;
    u->service = service;
    u->links = links;
    LIST_INIT(&u->all);
    u->http = evhttp_new(base);
    u->listen = evtimer_new(base, on_listen, u);
    if (!u->http || !u->listen)
        abort();
    evhttp_set_allowed_methods(u->http, EVHTTP_REQ_GET | EVHTTP_REQ_POST);
    evhttp_set_max_headers_size(u->http, 8192);
    evhttp_set_max_body_size(u->http, HTTP_BODY_MAX);
    evhttp_set_timeout(u->http, HTTP_TIMEOUT_S);
    evhttp_set_gencb(u->http, on_request, u);
    service_handle(service, "register", NS_UNIFIED_PUSH, on_register, u);
    open_server(u);
    return u;
}

void unified_push_free(struct unified_push **up)
{
    struct unified_push *u = *up;
    if (!u)
        return;
    assert(LIST_EMPTY(&u->all)); /* the service has ended them */
    evhttp_free(u->http);
    event_free(u->listen);
    u->magic = 0;
    free(u);
    *up = NULL;
}

void unified_push_ready(struct unified_push *u, const uint8_t key[32])
{
    if (!u)
        return;
    memcpy(u->key, key, sizeof u->key);
    u->ready = true;
}
