// SPDX-License-Identifier: Apache-2.0
#include "tests/gateway/h1.h"

#include <assert.h>
#include <ctype.h>
#include <event2/event.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/gateway/gateway.h"
#include "tests/gateway/pushes.h"
#include "tests/gateway/record.h"
#include "tests/gateway/request.h"
#include "tests/gateway/script.h"
#include "tests/gateway/text.h"
#include "tests/gateway/webpush.h"

enum { MAGIC = 0x67773131, LINE_MAX_BYTES = 8192, FIELDS_MAX = 64 };

enum state {
    REQUEST_LINE, /* → FIELDS, BROKEN */
    FIELDS,       /* → BODY, BROKEN */
    BODY,         /* → WAITING, REQUEST_LINE */
    WAITING,      /* for its script's delay, or for ever → REQUEST_LINE */
    BROKEN        /* no request can be read any more */
};

struct gw_h1 {
    uint32_t magic;
    struct gateway *gw;
    uint32_t conn_id;
    int32_t requests;
    gw_h2_pump_fn pump;
    void *conn;
    enum state state;
    enum gw_h2_fate fate;
    struct gw_text line;
    size_t body_left;
    bool has_length, has_host, answered;
    unsigned n_fields;
    struct gw_request request;
    struct gw_push push;
    struct gw_push_origin origin;
    struct gw_action action;
    struct event *timer;
    struct gw_text out;
    size_t out_sent;
};

static void begin_request(struct gw_h1 *h)
{
    gw_request_deinit(&h->request);
    h->push = (struct gw_push){0};
    h->action = (struct gw_action){.retry_after_s = -1};
    h->has_length = h->has_host = h->answered = false;
    h->n_fields = 0;
    h->body_left = 0;
    h->state = REQUEST_LINE;
}

struct gw_h1 *gw_h1_new(struct gateway *gw, uint32_t conn_id, gw_h2_pump_fn pump, void *conn)
{
    struct gw_h1 *h = gw_alloc(sizeof(*h));

    h->magic = MAGIC;
    h->gw = gw;
    h->conn_id = conn_id;
    h->pump = pump;
    h->conn = conn;
    begin_request(h);
    return h;
}

static void record(struct gw_h1 *h, const struct gw_verdict *v)
{
    h->answered = true;
    gw_record(h->gw, &h->origin, &h->request, &h->push, v, h->action.deliver);
}

void gw_h1_free(struct gw_h1 **hp)
{
    struct gw_h1 *h = *hp;

    if (h == NULL)
        return;
    if (h->state == WAITING && !h->answered)
        record(h, &(struct gw_verdict){.reason = "(cancelled)"});
    if (h->timer != NULL)
        event_free(h->timer);
    gw_request_deinit(&h->request);
    gw_text_free(&h->line);
    gw_text_free(&h->out);
    h->magic = 0;
    free(h);
    *hp = NULL;
}

/* --- answers --- */

static void write_answer(struct gw_h1 *h, const struct gw_verdict *v)
{
    struct gw_webpush_fields f;
    char date[64];
    size_t i, body = strlen(h->action.body);

    gw_webpush_answer(&h->request, &h->push, &h->action, v, &f);
    gw_http_date(gw_now_ms() / 1000, date, sizeof(date));
    gw_text_printf(&h->out, "HTTP/1.1 %d %s\r\nDate: %s\r\n", v->status,
                   gw_is_good(v) ? "Created" : "Refused", date);
    for (i = 0; i < f.n; i++)
        gw_text_printf(&h->out, "%s: %s\r\n", f.name[i], f.value[i]);
    gw_text_printf(&h->out, "Content-Length: %zu\r\n\r\n%s", body, h->action.body);
}

static void answer(struct gw_h1 *h, const struct gw_verdict *v)
{
    record(h, v);
    write_answer(h, v);
    begin_request(h);
}

static void leave_unanswered(struct gw_h1 *h, const char *why)
{
    record(h, &(struct gw_verdict){.reason = why});
}

static void answer_scripted(struct gw_h1 *h)
{
    struct gw_verdict v = {.status = h->action.status};

    if (h->action.reason[0] != '\0')
        v.reason = h->action.reason;
    answer(h, &v);
}

static void act(struct gw_h1 *h)
{
    static const struct gw_verdict good = {.status = 201};

    switch (h->action.kind) {
    case GW_ACT_ANSWER:
        answer_scripted(h);
        return;
    case GW_ACT_SILENCE:
        leave_unanswered(h, "(silence)");
        return;
    case GW_ACT_RESET: /* what has no counterpart here is the end of the connection */
    case GW_ACT_GOAWAY_BEFORE:
    case GW_ACT_CUT_BEFORE:
        leave_unanswered(h, "(cut)");
        h->fate = GW_H2_CUT;
        return;
    case GW_ACT_GOAWAY_AFTER:
    case GW_ACT_TWO_STEP:
        answer(h, &good);
        h->fate = GW_H2_CLOSE;
        return;
    case GW_ACT_CUT_AFTER:
        answer(h, &good);
        h->fate = GW_H2_CUT_FLUSHED;
        return;
    }
}

static void set_timer(struct gw_h1 *h, int ms)
{
    struct timeval tv = {ms / 1000, ms % 1000 * 1000};

    evtimer_add(h->timer, &tv);
}

static void delay_over(evutil_socket_t fd, short what, void *ctx)
{
    struct gw_h1 *h = ctx;

    (void)fd;
    (void)what;
    assert(h->magic == MAGIC);
    if (h->action.hold && !h->gw->released) {
        set_timer(h, GW_HOLD_LOOK_MS);
        return;
    }
    act(h);
    h->pump(h->conn);
}

static void complete(struct gw_h1 *h)
{
    struct gw_verdict v;

    h->state = WAITING;
    h->origin = (struct gw_push_origin){
        .conn = h->conn_id, .stream = ++h->requests, .time_ms = gw_now_ms()};
    v = gw_webpush_check(h->gw, &h->request, &h->push);
    if (!gw_is_good(&v) || !gw_scripts_take(h->gw->scripts, h->push.token, &h->action)) {
        answer(h, &v);
        return;
    }
    if (h->action.delay_ms == 0 && !h->action.hold) {
        act(h);
        return;
    }
    if (h->timer == NULL)
        h->timer = evtimer_new(h->gw->base, delay_over, h);
    set_timer(h, h->action.delay_ms);
}

/* --- requests --- */

static void give_up(struct gw_h1 *h, const char *why)
{
    gw_stats_violation(&h->gw->stats, "HTTP/1.1: %s", why);
    gw_text_puts(&h->out,
                 "HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Length: 0\r\n\r\n");
    h->state = BROKEN;
    h->fate = GW_H2_CLOSE;
}

static bool keep(struct gw_h1 *h, const char *name, const char *value)
{
    return gw_request_add_field(&h->request, (const uint8_t *)name, strlen(name),
                                (const uint8_t *)value, strlen(value));
}

static void read_request_line(struct gw_h1 *h, char *line)
{
    char *path = strchr(line, ' '), *version = path == NULL ? NULL : strchr(path + 1, ' ');

    if (version == NULL || strcmp(version, " HTTP/1.1") != 0 || path[1] != '/') {
        give_up(h, "request line");
        return;
    }
    *path++ = '\0';
    *version = '\0';
    keep(h, ":method", line);
    keep(h, ":path", path);
    h->state = FIELDS;
}

static void end_fields(struct gw_h1 *h)
{
    if (!h->has_host || !h->has_length) {
        give_up(h, "Host or Content-Length is missing");
        return;
    }
    h->state = BODY;
    if (h->body_left == 0)
        complete(h);
}

static void read_field(struct gw_h1 *h, char *line)
{
    char *colon = strchr(line, ':'), *value, *p;
    size_t token = strspn(line, "!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyz"
                                "ABCDEFGHIJKLMNOPQRSTUVWXYZ");

    if (*line == '\0') {
        end_fields(h);
        return;
    }
    if (colon == NULL || token == 0 || line + token != colon || ++h->n_fields > FIELDS_MAX) {
        give_up(h, "field");
        return;
    }
    *colon = '\0';
    for (p = line; *p != '\0'; p++)
        *p = (char)tolower((unsigned char)*p);
    value = colon + 1 + strspn(colon + 1, " \t");
    for (p = value + strlen(value); p > value && (p[-1] == ' ' || p[-1] == '\t');)
        *--p = '\0';
    if (strcmp(line, "host") == 0) {
        h->has_host = keep(h, ":authority", value);
        return;
    }
    if (strcmp(line, "transfer-encoding") == 0 || strcmp(line, "expect") == 0) {
        give_up(h, line);
        return;
    }
    if (strcmp(line, "content-length") == 0) {
        if (h->has_length || *value == '\0' || strlen(value) > 7 ||
            value[strspn(value, "0123456789")] != '\0') {
            give_up(h, "Content-Length");
            return;
        }
        h->has_length = true;
        h->body_left = strtoul(value, NULL, 10);
    }
    if (!keep(h, line, value))
        give_up(h, "header list too large");
}

static void take_line(struct gw_h1 *h)
{
    char *line = h->line.s;

    if (h->line.len == 0 || line[h->line.len - 1] != '\r' || strlen(line) != h->line.len) {
        give_up(h, "line end");
        return;
    }
    line[h->line.len - 1] = '\0';
    if (h->state == REQUEST_LINE)
        read_request_line(h, line);
    else
        read_field(h, line);
}

void gw_h1_input(struct gw_h1 *h, const uint8_t *data, size_t len)
{
    const uint8_t *end = data + len;
    size_t n;

    while (data < end && h->fate == GW_H2_RUN) {
        if (h->state == WAITING) {
            give_up(h, "a second request before the answer");
        } else if (h->state == BODY) {
            n = (size_t)(end - data) < h->body_left ? (size_t)(end - data) : h->body_left;
            gw_request_add_body(&h->request, data, n);
            data += n;
            h->body_left -= n;
            if (h->body_left == 0)
                complete(h);
        } else if (*data != '\n') {
            if (h->line.len >= LINE_MAX_BYTES)
                give_up(h, "line too long");
            gw_text_add(&h->line, (const char *)data++, 1);
        } else {
            data++;
            take_line(h);
            h->line.len = 0;
        }
    }
}

size_t gw_h1_output(struct gw_h1 *h, const uint8_t **data_out)
{
    size_t n = h->out.len - h->out_sent;

    if (n > 8192)
        n = 8192;
    if (n == 0) {
        h->out.len = h->out_sent = 0;
        return 0;
    }
    *data_out = (const uint8_t *)h->out.s + h->out_sent;
    h->out_sent += n;
    return n;
}

enum gw_h2_fate gw_h1_fate(const struct gw_h1 *h)
{
    return h->fate;
}
