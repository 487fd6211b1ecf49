// SPDX-License-Identifier: Apache-2.0
/*
 *  POST /script      {"token": T, "actions": [{…}, …]}, see script.h; T is a device's, "*"
 *                    for any, or "oauth" for FCM's token endpoint; each action:
 *                    "status" with "reason" "body" "retry_after" "retry_as_date"
 *                    "field" "timestamp_ms" "location" |
 *                    "silence" | "refuse_stream" | "reset_stream": code |
 *                    "goaway": {"reason", "last": before|after} |
 *                    "two_step_goaway" with "gap_ms" | "cut": before_answer|after_answer;
 *                    and "times" "delay_ms" "hold" "deliver" with any of them
 *  POST /release     what is held is let go, and what comes with "hold", until the next script
 *  POST /register    {"token", "topics": [...]}        good for these topics alone
 *  POST /expire      {"token", "timestamp_ms"}         410 Unregistered from now on
 *  POST /device      {"token", "online": bool}
 *  POST /jwt         {"expire_now": true, "stick_to_connection": bool}
 *  POST /oauth       {"expire_now": true} | {"life_s": N} | {"clock_s": N}    FCM's access
 *                    tokens: all void, how long new ones live, how wrong our clock is
 *  POST /down        {"ms": N} | {"down": bool}, and "service": apns|fcm|webpush
 *  POST /webpush     {"http1": bool}                   whether it speaks only HTTP/1.1
 *  POST /max_streams {"n": N}
 *  POST /ping        {"ack": bool}
 *  POST /reset       everything but open connections is as at the start
 *  GET  /pushes      ?token= &since=SEQ &status= &limit=
 *  GET  /device      ?token=
 *  GET  /stats
 *  GET  /wait        ?token= &count= &timeout_ms=      until so many were accepted, or with
 *                    &any=true seen at all; 408 when they did not come
 */
#include "tests/gateway/control.h"

#include <cjson/cJSON.h>
#include <ctype.h>
#include <event2/buffer.h>
#include <event2/event.h>
#include <event2/http.h>
#include <event2/keyvalq_struct.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#include "tests/gateway/address.h"
#include "tests/gateway/devices.h"
#include "tests/gateway/fcm.h"
#include "tests/gateway/gateway.h"
#include "tests/gateway/jwt_check.h"
#include "tests/gateway/oauth.h"
#include "tests/gateway/pushes.h"
#include "tests/gateway/request.h"
#include "tests/gateway/script.h"
#include "tests/gateway/server.h"
#include "tests/gateway/text.h"

enum { BODY_MAX = 16 << 20, WAIT_MAX_MS = 600000, WAIT_DEFAULT_MS = 10000 };

struct waiter {
    struct gw_control *control;
    struct evhttp_request *request;
    struct event *timer;
    char token[GW_TOKEN_MAX + 1]; /* "" counts all */
    uint64_t count;
    bool any; /* also those that were not accepted */
    TAILQ_ENTRY(waiter) next;
};

struct gw_control {
    struct gateway *gw;
    struct evhttp *http;
    uint16_t port;
    TAILQ_HEAD(, waiter) waiters;
};

/* One request being served. */
struct call {
    struct gateway *gw;
    struct gw_control *control;
    struct evhttp_request *request;
    cJSON *body;
    struct evkeyvalq query;
};

static void reply(struct evhttp_request *request, int code, const char *json)
{
    struct evbuffer *b = evhttp_request_get_output_buffer(request);

    evhttp_add_header(evhttp_request_get_output_headers(request), "Content-Type",
                      "application/json");
    evbuffer_add(b, json, strlen(json));
    evhttp_send_reply(request, code, NULL, NULL);
}

static void reply_ok(const struct call *c)
{
    reply(c->request, 200, "{}\n");
}

static void reply_bad(const struct call *c, const char *why)
{
    struct gw_text t = {0};

    gw_text_puts(&t, "{\"error\":");
    gw_text_json_str(&t, why);
    gw_text_puts(&t, "}\n");
    reply(c->request, 400, t.s);
    gw_text_free(&t);
}

static const cJSON *member(const struct call *c, const char *name)
{
    return cJSON_GetObjectItemCaseSensitive(c->body, name);
}

/* True for 64 hex digits, then out is in lower case, and for a token of FCM. */
static bool read_token(const char *s, char out[GW_TOKEN_MAX + 1])
{
    size_t i;

    if (s != NULL && gw_fcm_is_token(s)) {
        snprintf(out, GW_TOKEN_MAX + 1, "%s", s);
        return true;
    }
    if (s == NULL || strlen(s) != GW_TOKEN_HEX)
        return false;
    for (i = 0; i < GW_TOKEN_HEX; i++) {
        if (!isxdigit((unsigned char)s[i]))
            return false;
        out[i] = (char)tolower((unsigned char)s[i]);
    }
    out[i] = '\0';
    return true;
}

static bool body_token(const struct call *c, char out[GW_TOKEN_MAX + 1])
{
    const cJSON *token = member(c, "token");

    if (cJSON_IsString(token) && read_token(token->valuestring, out))
        return true;
    reply_bad(c, "token must be 64 hex digits");
    return false;
}

static const char *query_text(const struct call *c, const char *name)
{
    return evhttp_find_header(&c->query, name);
}

static long long query_number(const struct call *c, const char *name, long long otherwise)
{
    const char *s = query_text(c, name);

    return s == NULL ? otherwise : strtoll(s, NULL, 10);
}

/* A token of the query in lower case; out is "" when there is none. */
static bool query_token(const struct call *c, char out[GW_TOKEN_MAX + 1])
{
    const char *s = query_text(c, "token");

    out[0] = '\0';
    if (s == NULL || strcmp(s, "*") == 0 || read_token(s, out))
        return true;
    reply_bad(c, "token must be 64 hex digits");
    return false;
}

static void post_script(const struct call *c)
{
    const cJSON *token = member(c, "token");
    const char *name = "*", *wrong;
    char hex[GW_TOKEN_MAX + 1];

    if (cJSON_IsString(token) && strcmp(token->valuestring, GW_SCRIPT_OAUTH) == 0) {
        name = GW_SCRIPT_OAUTH;
    } else if (!cJSON_IsString(token) || strcmp(token->valuestring, "*") != 0) {
        if (!body_token(c, hex))
            return;
        name = hex;
    }
    c->gw->released = false;
    wrong = gw_scripts_add(c->gw->scripts, name, member(c, "actions"));
    if (wrong != NULL)
        reply_bad(c, wrong);
    else
        reply_ok(c);
}

static void post_register(const struct call *c)
{
    const cJSON *topics = member(c, "topics"), *topic;
    char token[GW_TOKEN_MAX + 1];

    if (!body_token(c, token))
        return;
    cJSON_ArrayForEach(topic, topics)
    {
        if (!cJSON_IsString(topic)) {
            reply_bad(c, "topics must be strings");
            return;
        }
    }
    gw_devices_register(c->gw->devices, token);
    cJSON_ArrayForEach(topic, topics)
    {
        gw_devices_add_topic(c->gw->devices, token, topic->valuestring);
    }
    reply_ok(c);
}

static void post_expire(const struct call *c)
{
    const cJSON *timestamp = member(c, "timestamp_ms");
    char token[GW_TOKEN_MAX + 1];

    if (!body_token(c, token))
        return;
    gw_devices_expire(c->gw->devices, token,
                      cJSON_IsNumber(timestamp) ? (int64_t)timestamp->valuedouble
                                                : gw_now_ms());
    reply_ok(c);
}

static void post_device(const struct call *c)
{
    const cJSON *online = member(c, "online");
    char token[GW_TOKEN_MAX + 1];

    if (!body_token(c, token))
        return;
    if (!cJSON_IsBool(online)) {
        reply_bad(c, "online must be true or false");
        return;
    }
    gw_devices_set_online(c->gw->devices, token, cJSON_IsTrue(online), gw_now_ms());
    reply_ok(c);
}

static void post_jwt(const struct call *c)
{
    if (!cJSON_IsTrue(member(c, "expire_now"))) {
        reply_bad(c, "expire_now must be true");
        return;
    }
    gw_jwts_expire(c->gw->jwts, cJSON_IsTrue(member(c, "stick_to_connection")));
    reply_ok(c);
}

static void post_oauth(const struct call *c)
{
    const cJSON *life = member(c, "life_s"), *clock = member(c, "clock_s");

    if (cJSON_IsTrue(member(c, "expire_now"))) {
        gw_oauth_revoke(c->gw->oauth);
    } else if (cJSON_IsNumber(life)) {
        gw_oauth_set_life(c->gw->oauth, (int64_t)life->valuedouble);
    } else if (cJSON_IsNumber(clock)) {
        gw_oauth_set_clock(c->gw->oauth, (int64_t)clock->valuedouble);
    } else {
        reply_bad(c, "one of expire_now, life_s and clock_s is wanted");
        return;
    }
    reply_ok(c);
}

static void post_down(const struct call *c)
{
    const cJSON *ms = member(c, "ms"), *down = member(c, "down");
    const cJSON *service = member(c, "service");
    struct gw_server *server = c->gw->server;

    if (cJSON_IsString(service) && strcmp(service->valuestring, "fcm") == 0)
        server = c->gw->fcm_server;
    if (cJSON_IsString(service) && strcmp(service->valuestring, "webpush") == 0)
        server = c->gw->webpush_server;
    if (server == NULL) {
        reply_bad(c, "there is no such service");
        return;
    }
    if (cJSON_IsNumber(ms) && ms->valuedouble >= 0 && ms->valuedouble < 1e6) {
        gw_server_down(server);
        gw_server_up(server, (int)ms->valuedouble);
    } else if (cJSON_IsTrue(down)) {
        gw_server_down(server);
    } else if (cJSON_IsFalse(down)) {
        gw_server_up(server, 0);
    } else {
        reply_bad(c, "ms must be a number, or down true or false");
        return;
    }
    reply_ok(c);
}

static void post_max_streams(const struct call *c)
{
    const cJSON *n = member(c, "n");

    if (!cJSON_IsNumber(n) || n->valuedouble < 1 || n->valuedouble > 1e6) {
        reply_bad(c, "n must be a number from 1");
        return;
    }
    c->gw->max_streams = (uint32_t)n->valuedouble;
    gw_server_update_limit(c->gw->server);
    reply_ok(c);
}

static void post_webpush(const struct call *c)
{
    const cJSON *http1 = member(c, "http1");

    if (!cJSON_IsBool(http1)) {
        reply_bad(c, "http1 must be true or false");
        return;
    }
    c->gw->webpush_http1 = cJSON_IsTrue(http1);
    reply_ok(c);
}

static void post_ping(const struct call *c)
{
    const cJSON *ack = member(c, "ack");

    if (!cJSON_IsBool(ack)) {
        reply_bad(c, "ack must be true or false");
        return;
    }
    c->gw->ping_ack = cJSON_IsTrue(ack);
    reply_ok(c);
}

static void post_release(const struct call *c)
{
    c->gw->released = true;
    reply_ok(c);
}

static void post_reset(const struct call *c)
{
    struct gateway *gw = c->gw;

    gw_scripts_reset(gw->scripts);
    gw_pushes_reset(gw->pushes);
    gw_devices_reset(gw->devices);
    gw_jwts_reset(gw->jwts);
    gw_stats_reset(&gw->stats);
    gw->ping_ack = true;
    gw->released = true;
    gw->max_streams = gw->opts.max_streams;
    gw_server_update_limit(gw->server);
    gw_server_up(gw->server, 0);
    gw_oauth_reset(gw->oauth);
    if (gw->fcm_server != NULL)
        gw_server_up(gw->fcm_server, 0);
    if (gw->webpush_server != NULL)
        gw_server_up(gw->webpush_server, 0);
    gw->webpush_http1 = false;
    reply_ok(c);
}

static void get_pushes(const struct call *c)
{
    struct evbuffer *out = evhttp_request_get_output_buffer(c->request);
    long long limit = query_number(c, "limit", -1);
    struct gw_pushes_query q = {.token = query_text(c, "token"),
                                .since = (uint64_t)query_number(c, "since", 0),
                                .status = (int)query_number(c, "status", -1),
                                .limit = limit < 0 ? SIZE_MAX : (size_t)limit};
    char token[GW_TOKEN_MAX + 1];

    /* Tokens that are none are recorded too, and may be asked for as they were sent. */
    if (q.token != NULL && read_token(q.token, token))
        q.token = token;
    gw_pushes_write(c->gw->pushes, &q, out);
    evhttp_add_header(evhttp_request_get_output_headers(c->request), "Content-Type",
                      "application/json");
    evhttp_send_reply(c->request, 200, NULL, NULL);
}

static void get_device(const struct call *c)
{
    char token[GW_TOKEN_MAX + 1];
    struct gw_text t = {0};

    if (!query_token(c, token))
        return;
    gw_devices_write(c->gw->devices, token, &t);
    gw_text_puts(&t, "\n");
    reply(c->request, 200, t.s);
    gw_text_free(&t);
}

static void get_stats(const struct call *c)
{
    struct gw_text t = {0};

    gw_text_puts(&t, "{");
    gw_stats_write(&c->gw->stats, &t);
    gw_text_puts(&t, ",");
    gw_oauth_write(c->gw->oauth, &t);
    gw_text_printf(&t, ",\"jwt_count\":%u,\"script_actions_pending\":%zu}\n",
                   gw_jwts_count(c->gw->jwts), gw_scripts_pending(c->gw->scripts));
    reply(c->request, 200, t.s);
    gw_text_free(&t);
}

static uint64_t arrived(const struct waiter *w)
{
    const struct gateway *gw = w->control->gw;
    const struct gw_stats *stats = &gw->stats;

    if (w->token[0] != '\0')
        return w->any ? gw_devices_seen(gw->devices, w->token)
                      : gw_devices_accepted(gw->devices, w->token);
    return w->any ? stats->accepted + stats->rejected + stats->unanswered : stats->accepted;
}

static void waiter_free(struct waiter *w)
{
    TAILQ_REMOVE(&w->control->waiters, w, next);
    event_free(w->timer);
    free(w);
}

static void waiter_reply(struct waiter *w, int code)
{
    char json[64];

    snprintf(json, sizeof(json), "{\"count\":%" PRIu64 "}\n", arrived(w));
    evhttp_connection_set_closecb(evhttp_request_get_connection(w->request), NULL, NULL);
    reply(w->request, code, json);
    waiter_free(w);
}

static void waiter_timeout(evutil_socket_t fd, short what, void *ctx)
{
    (void)fd;
    (void)what;
    waiter_reply(ctx, 408);
}

/* The one who asked is gone, and the request with it. */
static void waiter_closed(struct evhttp_connection *conn, void *ctx)
{
    (void)conn;
    waiter_free(ctx);
}

static void get_wait(const struct call *c)
{
    long long ms = query_number(c, "timeout_ms", WAIT_DEFAULT_MS);
    long long count = query_number(c, "count", 1);
    const char *any = query_text(c, "any");
    char token[GW_TOKEN_MAX + 1];
    struct timeval tv;
    struct waiter *w;

    if (!query_token(c, token))
        return;
    if (ms < 0 || ms > WAIT_MAX_MS || count < 0) {
        reply_bad(c, "timeout_ms or count out of range");
        return;
    }
    w = gw_alloc(sizeof(*w));
    w->control = c->control;
    w->request = c->request;
    w->count = (uint64_t)count;
    w->any = any != NULL && strcmp(any, "true") == 0;
    memcpy(w->token, token, sizeof(token));
    w->timer = evtimer_new(c->gw->base, waiter_timeout, w);
    TAILQ_INSERT_TAIL(&c->control->waiters, w, next);
    if (arrived(w) >= w->count) {
        waiter_reply(w, 200);
        return;
    }
    evhttp_connection_set_closecb(evhttp_request_get_connection(c->request), waiter_closed, w);
    tv = (struct timeval){.tv_sec = ms / 1000, .tv_usec = ms % 1000 * 1000};
    evtimer_add(w->timer, &tv);
}

void gw_control_saw(struct gw_control *c)
{
    struct waiter *w, *next;

    for (w = TAILQ_FIRST(&c->waiters); w != NULL; w = next) {
        next = TAILQ_NEXT(w, next);
        if (arrived(w) >= w->count)
            waiter_reply(w, 200);
    }
}

static const struct {
    enum evhttp_cmd_type method;
    const char *path;
    void (*serve)(const struct call *);
} routes[] = {
    {EVHTTP_REQ_POST, "/script", post_script},
    {EVHTTP_REQ_POST, "/register", post_register},
    {EVHTTP_REQ_POST, "/expire", post_expire},
    {EVHTTP_REQ_POST, "/device", post_device},
    {EVHTTP_REQ_POST, "/jwt", post_jwt},
    {EVHTTP_REQ_POST, "/oauth", post_oauth},
    {EVHTTP_REQ_POST, "/down", post_down},
    {EVHTTP_REQ_POST, "/max_streams", post_max_streams},
    {EVHTTP_REQ_POST, "/ping", post_ping},
    {EVHTTP_REQ_POST, "/webpush", post_webpush},
    {EVHTTP_REQ_POST, "/release", post_release},
    {EVHTTP_REQ_POST, "/reset", post_reset},
    {EVHTTP_REQ_GET, "/pushes", get_pushes},
    {EVHTTP_REQ_GET, "/device", get_device},
    {EVHTTP_REQ_GET, "/stats", get_stats},
    {EVHTTP_REQ_GET, "/wait", get_wait},
};

static bool read_body(struct call *c)
{
    struct evbuffer *in = evhttp_request_get_input_buffer(c->request);
    size_t len = evbuffer_get_length(in);
    const char *bytes = (const char *)evbuffer_pullup(in, -1);

    c->body = len == 0 ? cJSON_CreateObject() : cJSON_ParseWithLength(bytes, len);
    return cJSON_IsObject(c->body);
}

static void on_request(struct evhttp_request *request, void *ctx)
{
    struct gw_control *control = ctx;
    const struct evhttp_uri *uri = evhttp_request_get_evhttp_uri(request);
    const char *path = evhttp_uri_get_path(uri), *query = evhttp_uri_get_query(uri);
    struct call c = {.gw = control->gw, .control = control, .request = request};
    size_t i, n = sizeof(routes) / sizeof(routes[0]);

    for (i = 0; i < n; i++)
        if (routes[i].method == evhttp_request_get_command(request) && path != NULL &&
            strcmp(routes[i].path, path) == 0)
            break;
    if (i == n) {
        reply(request, 404, "{\"error\":\"no such request\"}\n");
        return;
    }
    evhttp_parse_query_str(query == NULL ? "" : query, &c.query);
    if (routes[i].method == EVHTTP_REQ_POST && !read_body(&c))
        reply_bad(&c, "the body must be a JSON object");
    else
        routes[i].serve(&c);
    evhttp_clear_headers(&c.query);
    cJSON_Delete(c.body);
}

struct gw_control *gw_control_new(struct gateway *gw)
{
    struct gw_control *c = gw_alloc(sizeof(*c));
    struct evhttp_bound_socket *bound = NULL;
    struct gw_address address;

    c->gw = gw;
    TAILQ_INIT(&c->waiters);
    c->http = evhttp_new(gw->base);
    evhttp_set_max_body_size(c->http, BODY_MAX);
    evhttp_set_gencb(c->http, on_request, c);
    if (gw_address_parse(gw->opts.control, &address))
        bound =
            evhttp_bind_socket_with_handle(c->http, address.host, gw_address_port(&address));
    if (bound == NULL) {
        fprintf(stderr, "--control %s: cannot listen\n", gw->opts.control);
        gw_control_free(&c);
        return NULL;
    }
    gw_address_of(evhttp_bound_socket_get_fd(bound), &address);
    c->port = gw_address_port(&address);
    return c;
}

void gw_control_free(struct gw_control **c)
{
    if (*c == NULL)
        return;
    evhttp_free(c[0]->http);
    while (!TAILQ_EMPTY(&c[0]->waiters))
        waiter_free(TAILQ_FIRST(&c[0]->waiters));
    free(*c);
    *c = NULL;
}

uint16_t gw_control_port(const struct gw_control *c)
{
    return c->port;
}
