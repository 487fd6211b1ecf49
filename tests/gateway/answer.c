// SPDX-License-Identifier: Apache-2.0
#include "tests/gateway/h2_int.h"

#include <assert.h>
#include <event2/event.h>
#include <nghttp2/nghttp2.h>
#include <openssl/rand.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "tests/gateway/checks.h"
#include "tests/gateway/fcm.h"
#include "tests/gateway/gateway.h"
#include "tests/gateway/oauth.h"
#include "tests/gateway/record.h"
#include "tests/gateway/text.h"
#include "tests/gateway/webpush.h"

enum { UUID_SIZE = 37, HTTP_DATE_SIZE = 40 };

static void set_state(struct gw_stream *s, enum gw_stream_state to)
{
    assert(s->state == GW_STREAM_RECEIVING ||
           (s->state == GW_STREAM_WAITING && to != GW_STREAM_RECEIVING));
    s->state = to;
}

static void set_timer(struct event *timer, int ms)
{
    struct timeval tv = {.tv_sec = ms / 1000, .tv_usec = ms % 1000 * 1000L};

    evtimer_add(timer, &tv);
}

void gw_h2_set_limit(struct gw_h2 *h, uint32_t limit)
{
    nghttp2_settings_entry iv = {NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, limit};

    if (limit == h->limit)
        return;
    h->limit = limit;
    nghttp2_submit_settings(h->session, NGHTTP2_FLAG_NONE, &iv, 1);
}

void gw_stream_reset(struct gw_stream *s, uint32_t code)
{
    set_state(s, GW_STREAM_GONE);
    if (code == NGHTTP2_REFUSED_STREAM)
        s->h2->gw->stats.streams_refused++;
    nghttp2_submit_rst_stream(s->h2->session, NGHTTP2_FLAG_NONE, s->id, code);
}

void gw_h2_goaway(struct gw_h2 *h, int32_t last_id, uint32_t code, const char *text)
{
    struct gw_stream *s;

    /* What came in the same read as the cause must not be processed either. */
    if (last_id < h->last_id)
        h->last_id = last_id;
    TAILQ_FOREACH(s, &h->streams, next)
    if (s->id > h->last_id && s->state == GW_STREAM_RECEIVING)
        set_state(s, GW_STREAM_GONE);
    nghttp2_submit_goaway(h->session, NGHTTP2_FLAG_NONE, last_id, code, (const uint8_t *)text,
                          strlen(text));
}

static void send_goaway_reason(struct gw_h2 *h, int32_t last_id, const char *reason)
{
    struct gw_text t = {0};

    if (h->service != GW_APNS) {
        gw_h2_goaway(h, last_id, NGHTTP2_NO_ERROR, reason[0] == '\0' ? "max_age" : reason);
        return;
    }
    gw_text_puts(&t, "{\"reason\":");
    gw_text_json_str(&t, reason[0] == '\0' ? "Shutdown" : reason);
    gw_text_puts(&t, "}");
    gw_h2_goaway(h, last_id, NGHTTP2_NO_ERROR, t.s);
    gw_text_free(&t);
}

/* After a rejection one stream may be open: of those still being received the oldest
 * stays, the others must be sent again.  Those that wait for an answer get it. */
static void distrust(struct gw_h2 *h, const struct gw_stream *rejected)
{
    struct gw_stream *s;
    bool room = true;

    if (h->service != GW_APNS)
        return;
    h->trusted = false;
    gw_h2_set_limit(h, 1);
    TAILQ_FOREACH(s, &h->streams, next)
    if (s->state == GW_STREAM_WAITING && s != rejected)
        room = false;
    TAILQ_FOREACH(s, &h->streams, next)
    {
        if (s->state != GW_STREAM_RECEIVING || s == rejected)
            continue;
        if (!room)
            gw_stream_reset(s, NGHTTP2_REFUSED_STREAM);
        room = false;
    }
}

static void new_uuid(char out[UUID_SIZE])
{
    uint8_t b[16];

    if (RAND_bytes(b, sizeof(b)) != 1)
        abort();
    b[6] = (uint8_t)((b[6] & 0x0f) | 0x40);
    b[8] = (uint8_t)((b[8] & 0x3f) | 0x80);
    snprintf(out, UUID_SIZE,
             "%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x", b[0],
             b[1], b[2], b[3], b[4], b[5], b[6], b[7], b[8], b[9], b[10], b[11], b[12], b[13],
             b[14], b[15]);
}

/* nghttp2 takes pointers to non-const and does not write through them. */
static nghttp2_nv header(const char *name, const char *value)
{
    return (nghttp2_nv){.name = (uint8_t *)(uintptr_t)name,
                        .namelen = strlen(name),
                        .value = (uint8_t *)(uintptr_t)value,
                        .valuelen = strlen(value)};
}

static ssize_t read_answer(nghttp2_session *session, int32_t stream_id, uint8_t *buf,
                           size_t length, uint32_t *data_flags, nghttp2_data_source *source,
                           void *user_data)
{
    struct gw_stream *s = source->ptr;
    size_t n = s->answer_len - s->answer_sent;

    (void)session;
    (void)stream_id;
    (void)user_data;
    if (n > length)
        n = length;
    memcpy(buf, s->answer + s->answer_sent, n);
    s->answer_sent += n;
    /* FCM ends with a frame that has nothing in it. */
    if (s->answer_sent == s->answer_len && (n == 0 || s->h2->service != GW_FCM))
        *data_flags |= NGHTTP2_DATA_FLAG_EOF;
    return (ssize_t)n;
}

static void write_answer(struct gw_stream *s, const struct gw_verdict *v)
{
    struct gw_text t = {0};

    if (s->action.body[0] != '\0') {
        gw_text_puts(&t, s->action.body);
    } else if (s->h2->service == GW_FCM) {
        gw_fcm_write_error(v, s->origin.stream % 4 == 1, &t);
    } else if (v->reason != NULL) {
        gw_text_puts(&t, "{\"reason\":");
        gw_text_json_str(&t, v->reason);
        if (v->timestamp_ms != 0)
            gw_text_printf(&t, ",\"timestamp\":%lld", (long long)v->timestamp_ms);
        gw_text_puts(&t, "}");
    }
    s->answer_len = t.len < GW_ANSWER_MAX ? t.len : GW_ANSWER_MAX;
    if (t.len > 0)
        memcpy(s->answer, t.s, s->answer_len);
    gw_text_free(&t);
}

static void answer_as_fcm(struct gw_stream *s, int status, const char *type)
{
    nghttp2_data_provider body = {.source.ptr = s, .read_callback = read_answer};
    char code[16], date[HTTP_DATE_SIZE], retry_after[HTTP_DATE_SIZE];
    int64_t now_s = gw_oauth_now_s(s->h2->gw->oauth);
    const struct gw_action *a = &s->action;
    nghttp2_nv nva[4];
    size_t n = 0;

    snprintf(code, sizeof(code), "%d", status);
    gw_http_date(now_s, date, sizeof(date));
    nva[n++] = header(":status", code);
    nva[n++] = header("date", date);
    if (s->answer_len > 0)
        nva[n++] = header("content-type", type);
    if (status != 200 && a->kind == GW_ACT_ANSWER && a->retry_after_s >= 0) {
        if (a->retry_as_date)
            gw_http_date(now_s + a->retry_after_s, retry_after, sizeof(retry_after));
        else
            snprintf(retry_after, sizeof(retry_after), "%d", a->retry_after_s);
        nva[n++] = header("retry-after", retry_after);
    }
    nghttp2_submit_response(s->h2->session, s->id, nva, n, s->answer_len > 0 ? &body : NULL);
}

static void submit_fcm_answer(struct gw_stream *s, const struct gw_verdict *v)
{
    const char *type = "application/json; charset=UTF-8";

    if (v->status == 200)
        s->answer_len = (size_t)snprintf(
            s->answer, sizeof(s->answer), "{\"name\":\"projects/%s/messages/%u-%d\"}",
            gw_oauth_project(s->h2->gw->oauth), s->origin.conn, s->origin.stream);
    else
        write_answer(s, v);
    if (s->action.body[0] == '<')
        type = "text/html; charset=UTF-8";
    answer_as_fcm(s, v->status, type);
}

static void submit_apns_answer(struct gw_stream *s, const struct gw_verdict *v)
{
    nghttp2_data_provider body = {.source.ptr = s, .read_callback = read_answer};
    char status[16], made_id[UUID_SIZE], unique_id[UUID_SIZE], retry_after[16];
    const char *id = gw_request_header(&s->request, "apns-id");
    nghttp2_nv nva[5];
    size_t n = 0;

    if (id == NULL || (v->reason != NULL && strcmp(v->reason, "BadMessageId") == 0)) {
        new_uuid(made_id);
        id = made_id;
    }
    snprintf(status, sizeof(status), "%d", v->status);
    nva[n++] = header(":status", status);
    nva[n++] = header("apns-id", id);
    if (s->h2->gw->opts.sandbox) {
        new_uuid(unique_id);
        nva[n++] = header("apns-unique-id", unique_id);
    }
    if (v->status != 200) {
        write_answer(s, v);
        if (s->action.retry_after_s >= 0 && s->action.kind == GW_ACT_ANSWER) {
            snprintf(retry_after, sizeof(retry_after), "%d", s->action.retry_after_s);
            nva[n++] = header("retry-after", retry_after);
        }
        if (s->answer_len > 0)
            nva[n++] = header("content-type", "application/json");
    }
    nghttp2_submit_response(s->h2->session, s->id, nva, n, s->answer_len > 0 ? &body : NULL);
}

static void submit_webpush_answer(struct gw_stream *s, const struct gw_verdict *v)
{
    nghttp2_data_provider body = {.source.ptr = s, .read_callback = read_answer};
    nghttp2_nv nva[1 + GW_WEBPUSH_FIELDS];
    struct gw_webpush_fields f;
    char status[16];
    size_t i, n = 0;

    gw_webpush_answer(&s->request, &s->push, &s->action, v, &f);
    snprintf(status, sizeof(status), "%d", v->status);
    nva[n++] = header(":status", status);
    for (i = 0; i < f.n; i++)
        nva[n++] = header(f.name[i], f.value[i]);
    s->answer_len = strlen(s->action.body);
    memcpy(s->answer, s->action.body, s->answer_len);
    nghttp2_submit_response(s->h2->session, s->id, nva, n, s->answer_len > 0 ? &body : NULL);
}

static void submit_answer(struct gw_stream *s, const struct gw_verdict *v)
{
    switch (s->h2->service) {
    case GW_APNS:
        submit_apns_answer(s, v);
        break;
    case GW_FCM:
        submit_fcm_answer(s, v);
        break;
    case GW_WEBPUSH:
        submit_webpush_answer(s, v);
        break;
    }
}

static void record(struct gw_stream *s, const struct gw_verdict *v)
{
    gw_record(s->h2->gw, &s->origin, &s->request, &s->push, v, s->action.deliver);
}

static void answer(struct gw_stream *s, const struct gw_verdict *v)
{
    struct gw_h2 *h = s->h2;

    set_state(s, GW_STREAM_ANSWERED);
    if (s->id > h->highest_answered)
        h->highest_answered = s->id;
    record(s, v);
    if (gw_is_good(v))
        h->trusted = true;
    else
        distrust(h, s);
    submit_answer(s, v);
}

static void answer_ok(struct gw_stream *s)
{
    answer(s, &(struct gw_verdict){.status = s->h2->service == GW_WEBPUSH ? 201 : 200});
}

/* The push was read and will not be answered. */
static void leave_unanswered(struct gw_stream *s, const char *why)
{
    record(s, &(struct gw_verdict){.reason = why});
}

static void goaway_before(struct gw_stream *s)
{
    struct gw_h2 *h = s->h2;
    int32_t last = s->id > 1 ? s->id - 2 : 0;

    leave_unanswered(s, "(goaway)");
    if (h->highest_answered > s->id) {
        /* A later stream is answered already, and a GOAWAY must not take that back. */
        last = h->highest_answered;
        gw_stream_reset(s, NGHTTP2_REFUSED_STREAM);
    } else {
        set_state(s, GW_STREAM_GONE);
    }
    send_goaway_reason(h, last, s->action.reason);
}

static void goaway_timer_fired(evutil_socket_t fd, short what, void *ctx)
{
    struct gw_h2 *h = ctx;

    (void)fd;
    (void)what;
    assert(h->magic == GW_H2_MAGIC);
    send_goaway_reason(h, nghttp2_session_get_last_proc_stream_id(h->session), "");
    h->pump(h->conn);
}

static void goaway_two_steps(struct gw_stream *s)
{
    struct gw_h2 *h = s->h2;

    answer_ok(s);
    if (h->goaway_timer != NULL)
        return;
    nghttp2_submit_shutdown_notice(h->session);
    h->goaway_timer = evtimer_new(h->gw->base, goaway_timer_fired, h);
    set_timer(h->goaway_timer, s->action.gap_ms);
}

static void answer_scripted(struct gw_stream *s)
{
    const struct gw_action *a = &s->action;
    struct gw_verdict v = {.status = a->status, .timestamp_ms = a->timestamp_ms};

    if (a->reason[0] != '\0')
        v.reason = a->reason;
    snprintf(v.field, sizeof(v.field), "%s", a->field);
    if (a->status == 410 && a->timestamp_ms == 0)
        v.timestamp_ms = gw_now_ms();
    answer(s, &v);
}

static void act(struct gw_stream *s)
{
    struct gw_h2 *h = s->h2;

    switch (s->action.kind) {
    case GW_ACT_ANSWER:
        answer_scripted(s);
        break;
    case GW_ACT_SILENCE:
        set_state(s, GW_STREAM_ANSWERED);
        leave_unanswered(s, "(silence)");
        break;
    case GW_ACT_RESET:
        leave_unanswered(s, "(reset)");
        gw_stream_reset(s, s->action.code);
        break;
    case GW_ACT_GOAWAY_BEFORE:
        goaway_before(s);
        break;
    case GW_ACT_GOAWAY_AFTER:
        answer_ok(s);
        send_goaway_reason(h, h->highest_answered, s->action.reason);
        break;
    case GW_ACT_TWO_STEP:
        goaway_two_steps(s);
        break;
    case GW_ACT_CUT_BEFORE:
        set_state(s, GW_STREAM_GONE);
        leave_unanswered(s, "(cut)");
        h->fate = GW_H2_CUT;
        break;
    case GW_ACT_CUT_AFTER:
        answer_ok(s);
        h->fate = GW_H2_CUT_FLUSHED;
        break;
    }
}

static bool is_path(const struct gw_stream *s, const char *path)
{
    const char *asked = gw_request_header(&s->request, ":path");

    return asked != NULL && strcmp(asked, path) == 0;
}

/* Of a token endpoint only the answers can be ordered, not its behaviour. */
static void exchange(struct gw_stream *s)
{
    struct gateway *gw = s->h2->gw;
    struct gw_text t = {0};
    int status = gw_oauth_exchange(gw->oauth, &s->request, &t);

    set_state(s, GW_STREAM_ANSWERED);
    if (gw_scripts_take(gw->scripts, GW_SCRIPT_OAUTH, &s->action)) {
        status = s->action.status;
        gw_text_free(&t);
        gw_text_puts(&t, s->action.body);
    }
    s->answer_len = t.len < GW_ANSWER_MAX ? t.len : GW_ANSWER_MAX;
    memcpy(s->answer, t.s == NULL ? "" : t.s, s->answer_len);
    gw_text_free(&t);
    answer_as_fcm(s, status, "application/json; charset=utf-8");
}

static void life_over(evutil_socket_t fd, short what, void *ctx)
{
    struct gw_h2 *h = ctx;
    int64_t now_ms = gw_now_ms();

    (void)fd;
    (void)what;
    assert(h->magic == GW_H2_MAGIC);
    if (now_ms - h->born_ms >= h->gw->opts.fcm_age_ms)
        send_goaway_reason(h, nghttp2_session_get_last_proc_stream_id(h->session), "max_age");
    else if (now_ms - h->used_ms >= h->gw->opts.fcm_idle_ms && h->n_streams == 0)
        send_goaway_reason(h, nghttp2_session_get_last_proc_stream_id(h->session),
                           "session_timeout");
    else
        gw_h2_watch_life(h);
    h->pump(h->conn);
}

void gw_h2_watch_life(struct gw_h2 *h)
{
    int64_t now_ms = gw_now_ms(), idle_ms = h->used_ms + h->gw->opts.fcm_idle_ms - now_ms;
    int64_t left_ms = h->born_ms + h->gw->opts.fcm_age_ms - now_ms;

    if (h->life_timer == NULL)
        h->life_timer = evtimer_new(h->gw->base, life_over, h);
    if (idle_ms < 10)
        idle_ms = 10;
    left_ms = left_ms < idle_ms ? left_ms : idle_ms;
    set_timer(h->life_timer, left_ms < 0 ? 0 : (int)left_ms);
}

static void delay_over(evutil_socket_t fd, short what, void *ctx)
{
    struct gw_stream *s = ctx;
    struct gw_h2 *h = s->h2;

    (void)fd;
    (void)what;
    assert(h->magic == GW_H2_MAGIC);
    if (s->action.hold && !h->gw->released) {
        set_timer(s->timer, GW_HOLD_LOOK_MS);
        return;
    }
    act(s);
    gw_h2_update_limit(h);
    h->pump(h->conn);
}

static struct gw_verdict check(struct gw_stream *s)
{
    struct gw_h2 *h = s->h2;

    switch (h->service) {
    case GW_APNS:
        break;
    case GW_FCM:
        return gw_fcm_check(h->gw, &s->request, &s->push);
    case GW_WEBPUSH:
        return gw_webpush_check(h->gw, &s->request, &s->push);
    }
    return gw_check(h->gw, &h->binding, &s->request, &s->push);
}

void gw_stream_complete(struct gw_stream *s)
{
    struct gw_h2 *h = s->h2;
    struct gw_verdict v;

    if (h->gw->opts.accept_all) {
        set_state(s, GW_STREAM_ANSWERED);
        h->gw->stats.accepted++;
        submit_answer(s, &(struct gw_verdict){.status = 200});
        return;
    }
    if (h->service == GW_FCM && is_path(s, GW_OAUTH_PATH)) {
        exchange(s);
        return;
    }
    v = check(s);
    if (!gw_is_good(&v)) {
        answer(s, &v);
    } else if (!gw_scripts_take(h->gw->scripts, s->push.token, &s->action)) {
        answer_ok(s);
    } else if (s->action.delay_ms > 0 || s->action.hold) {
        set_state(s, GW_STREAM_WAITING);
        s->timer = evtimer_new(h->gw->base, delay_over, s);
        set_timer(s->timer, s->action.delay_ms);
    } else {
        act(s);
    }
}

void gw_stream_free(struct gw_stream *s)
{
    if (s->state == GW_STREAM_WAITING) {
        s->action.deliver = false;
        leave_unanswered(s, "(cancelled)");
    }
    TAILQ_REMOVE(&s->h2->streams, s, next);
    s->h2->n_streams--;
    if (s->timer != NULL)
        event_free(s->timer);
    gw_request_deinit(&s->request);
    free(s);
}
