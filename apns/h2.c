// SPDX-License-Identifier: Apache-2.0
#include "apns/h2.h"

#include <assert.h>
#include <nghttp2/nghttp2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "apns/verdict.h"
#include "base/buf.h"
#include "base/datetime.h"

#define MAGIC 0x68322e63u
#define LOCAL_WINDOW 65535 /* answers are small: the protocol's own is enough */
#define HEADERS_MAX (5 + H2_FIELDS_MAX)

struct list {
    struct h2_push *head, *tail;
    size_t n;
};

struct h2 {
    unsigned magic;
    struct h2_opts opts;
    size_t authority_len;
    size_t name_len[H2_FIELDS_MAX];
    nghttp2_session *session;
    struct list open;  /* oldest first: the first one is late first */
    struct list done;  /* have an outcome, not yet given back */
    size_t unsent;     /* bytes of payload submitted and not yet framed */
    unsigned timeouts; /* in a row */
    uint64_t answered;
    bool ready, ready_told;
    bool goaway, goaway_told, left;
    char goaway_reason[64];
    bool ping_open;
    int64_t ping_sent_ms;
    int64_t heard_ms;  /* last bytes of the peer */
    int64_t active_ms; /* last bytes of the peer or push of ours */
    unsigned sent;     /* bit i: field i was sent, its name is in the table */
};

static void list_add(struct list *l, struct h2_push *p)
{
    p->next = NULL;
    p->prev = l->tail;
    if (l->tail)
        l->tail->next = p;
    else
        l->head = p;
    l->tail = p;
    l->n++;
}

static void list_remove(struct list *l, struct h2_push *p)
{
    if (p->prev)
        p->prev->next = p->next;
    else
        l->head = p->next;
    if (p->next)
        p->next->prev = p->prev;
    else
        l->tail = p->prev;
    p->prev = p->next = NULL;
    l->n--;
}

static struct h2 *h2_of(void *ctx)
{
    struct h2 *h = ctx;
    assert(h->magic == MAGIC);
    return h;
}

static void settle(struct h2 *h, struct h2_push *p, enum h2_outcome outcome)
{
    list_remove(&h->open, p);
    h->unsent -= p->payload_len - p->payload_sent;
    p->outcome = outcome;
    if (outcome == H2_ANSWERED) {
        p->cut = !p->ended && p->body_len < p->body_max;
        h->answered++;
        h->timeouts = 0;
    } else {
        p->status = 0;
    }
    list_add(&h->done, p);
}

/* --- what nghttp2 tells us; none of these may call back into the session --- */

static bool read_number(const uint8_t *value, size_t len, int64_t *out)
{
    *out = 0;
    for (size_t i = 0; i < len && i < 9 && value[i] >= '0' && value[i] <= '9'; i++) {
        *out = *out * 10 + (value[i] - '0');
        if (i + 1 == len)
            return true;
    }
    return false;
}

static int on_header(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name,
                     size_t name_len, const uint8_t *value, size_t value_len, uint8_t flags,
                     void *ctx)
{
    (void)flags;
    (void)ctx;
    bool is_status = name_len == 7 && memcmp(name, ":status", 7) == 0;
    bool is_retry = name_len == 11 && memcmp(name, "retry-after", 11) == 0;
    if (!is_status && !is_retry)
        return 0;
    struct h2_push *p = nghttp2_session_get_stream_user_data(session, frame->hd.stream_id);
    int64_t number;
    if (!p)
        return 0;
    if (is_status && read_number(value, value_len, &number))
        p->status = (int)number;
    else if (is_retry && read_number(value, value_len, &number))
        p->retry_after_s = number;
    else if (is_retry && !datetime_parse_http((const char *)value, value_len, &p->retry_at_s))
        p->retry_at_s = -1; /* the caller's own delay is as good */
    return 0;
}

static int on_data(nghttp2_session *session, uint8_t flags, int32_t stream_id,
                   const uint8_t *data, size_t len, void *ctx)
{
    (void)flags;
    (void)ctx;
    struct h2_push *p = nghttp2_session_get_stream_user_data(session, stream_id);
    if (!p)
        return 0;
    size_t room = p->body_max - p->body_len;
    if (len > room)
        len = room;
    if (len > 0)
        memcpy(p->body + p->body_len, data, len);
    p->body_len += len;
    return 0;
}

static int on_stream_close(nghttp2_session *session, int32_t stream_id, uint32_t error_code,
                           void *ctx)
{
    struct h2 *h = h2_of(ctx);
    struct h2_push *p = nghttp2_session_get_stream_user_data(session, stream_id);
    if (!p)
        return 0;
    /* STREAM_CLOSED: seen from APNs for streams above a limit that had just been lowered. */
    if (p->status >= 200)
        settle(h, p, H2_ANSWERED);
    else if (p->not_sent || error_code == NGHTTP2_REFUSED_STREAM ||
             error_code == NGHTTP2_STREAM_CLOSED)
        settle(h, p, H2_REFUSED);
    else
        settle(h, p, p->timed_out ? H2_TIMEOUT : H2_RESET);
    return 0;
}

static int on_frame_not_send(nghttp2_session *session, const nghttp2_frame *frame, int code,
                             void *ctx)
{
    (void)code;
    (void)ctx;
    if (frame->hd.type != NGHTTP2_HEADERS)
        return 0;
    struct h2_push *p = nghttp2_session_get_stream_user_data(session, frame->hd.stream_id);
    if (p)
        p->not_sent = true;
    return 0;
}

static void take_goaway(struct h2 *h, const nghttp2_goaway *g)
{
    struct h2_push *next;
    h->goaway = true;
    /* nghttp2 closes these streams next, in no order; the pushes keep theirs.  One whose
     * HEADERS were not written yet is no stream so far, and nghttp2 still points to it. */
    for (struct h2_push *p = h->open.head; p; p = next) {
        next = p->next;
        if (p->stream_id > g->last_stream_id &&
            nghttp2_session_get_stream_user_data(h->session, p->stream_id) == p) {
            nghttp2_session_set_stream_user_data(h->session, p->stream_id, NULL);
            settle(h, p, p->status >= 200 ? H2_ANSWERED : H2_REFUSED);
        }
    }
    char word[sizeof h->goaway_reason];
    verdict_reason(g->opaque_data, g->opaque_data_len, word, sizeof word);
    if (word[0] != '\0')
        memcpy(h->goaway_reason, word, sizeof word);
    else
        snprintf(h->goaway_reason, sizeof h->goaway_reason, "%s",
                 nghttp2_http2_strerror(g->error_code));
}

static int on_frame_recv(nghttp2_session *session, const nghttp2_frame *frame, void *ctx)
{
    struct h2 *h = h2_of(ctx);
    if ((frame->hd.type == NGHTTP2_HEADERS || frame->hd.type == NGHTTP2_DATA) &&
        frame->hd.flags & NGHTTP2_FLAG_END_STREAM) {
        struct h2_push *p = nghttp2_session_get_stream_user_data(session, frame->hd.stream_id);
        if (p)
            p->ended = true;
    }
    if (frame->hd.type == NGHTTP2_SETTINGS && !(frame->hd.flags & NGHTTP2_FLAG_ACK))
        h->ready = true;
    else if (frame->hd.type == NGHTTP2_GOAWAY)
        take_goaway(h, &frame->goaway);
    else if (frame->hd.type == NGHTTP2_PING && (frame->hd.flags & NGHTTP2_FLAG_ACK))
        h->ping_open = false;
    return 0;
}

static ssize_t read_payload(nghttp2_session *session, int32_t stream_id, uint8_t *out,
                            size_t max, uint32_t *flags, nghttp2_data_source *source,
                            void *ctx)
{
    (void)session;
    (void)stream_id;
    struct h2 *h = h2_of(ctx);
    struct h2_push *p = source->ptr;
    size_t left = p->payload_len - p->payload_sent;
    size_t n = left < max ? left : max;
    memcpy(out, p->payload + p->payload_sent, n);
    p->payload_sent += n;
    h->unsent -= n;
    if (n == left)
        *flags |= NGHTTP2_DATA_FLAG_EOF;
    return (ssize_t)n;
}

static void make_session(struct h2 *h)
{
    nghttp2_session_callbacks *cb = NULL;
    nghttp2_option *option = NULL;
    if (nghttp2_session_callbacks_new(&cb) != 0 || nghttp2_option_new(&option) != 0)
        abort();
    nghttp2_session_callbacks_set_on_header_callback(cb, on_header);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(cb, on_data);
    nghttp2_session_callbacks_set_on_stream_close_callback(cb, on_stream_close);
    nghttp2_session_callbacks_set_on_frame_not_send_callback(cb, on_frame_not_send);
    nghttp2_session_callbacks_set_on_frame_recv_callback(cb, on_frame_recv);
    /* Nothing is sent before its SETTINGS say what it allows. */
    nghttp2_option_set_peer_max_concurrent_streams(option, 1);
    if (nghttp2_session_client_new2(&h->session, cb, h, option) != 0)
        abort();
    nghttp2_option_del(option);
    nghttp2_session_callbacks_del(cb);
}

struct h2 *h2_new(const struct h2_opts *opts, int64_t now_ms)
{
    struct h2 *h = calloc(1, sizeof *h);
    if (!h)
        abort();
    h->magic = MAGIC;
    h->opts = *opts;
    assert(opts->protocol && opts->protocol->fields_n <= H2_FIELDS_MAX);
    h->authority_len = strlen(opts->authority);
    for (size_t i = 0; i < opts->protocol->fields_n; i++)
        h->name_len[i] = strlen(opts->protocol->fields[i]);
    h->heard_ms = h->active_ms = now_ms;
    make_session(h);
    const nghttp2_settings_entry settings[] = {
        {NGHTTP2_SETTINGS_ENABLE_PUSH, 0},
        {NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, LOCAL_WINDOW},
    };
    if (nghttp2_submit_settings(h->session, NGHTTP2_FLAG_NONE, settings,
                                sizeof settings / sizeof *settings) != 0)
        abort();
    return h;
}

void h2_free(struct h2 **hp)
{
    struct h2 *h = *hp;
    if (!h)
        return;
    assert(h->open.n == 0 && h->done.n == 0);
    nghttp2_session_del(h->session);
    free(h);
    *hp = NULL;
}

enum err_kind h2_input(struct h2 *h, const uint8_t *data, size_t len, int64_t now_ms,
                       struct err *e)
{
    h->heard_ms = h->active_ms = now_ms;
    ssize_t n = nghttp2_session_mem_recv(h->session, data, len);
    if (n < 0)
        return err_set(e, ERR_PEER, "HTTP/2: %s", nghttp2_strerror((int)n));
    return ERR_NONE;
}

enum err_kind h2_output(struct h2 *h, struct buf *out, size_t target, struct err *e)
{
    while (buf_len(out) < target) {
        const uint8_t *data = NULL;
        ssize_t n = nghttp2_session_mem_send(h->session, &data);
        if (n < 0)
            return err_set(e, ERR_PEER, "HTTP/2: %s", nghttp2_strerror((int)n));
        if (n == 0)
            break;
        buf_add(out, data, (size_t)n);
    }
    if (buf_failed(out))
        return err_set(e, ERR_PEER, "HTTP/2: output too large");
    return ERR_NONE;
}

/* Its stream ends when that is written.  One that was not written itself is no stream so far,
 * and would stay as long as the peer allows none: nghttp2 forgets it. */
static void time_out(struct h2 *h, struct h2_push *p)
{
    p->timed_out = true;
    h->timeouts++;
    if (nghttp2_submit_rst_stream(h->session, NGHTTP2_FLAG_NONE, p->stream_id,
                                  NGHTTP2_CANCEL) != 0)
        abort();
    if (nghttp2_session_find_stream(h->session, p->stream_id))
        return;
    if (nghttp2_session_set_stream_user_data(h->session, p->stream_id, NULL) != 0)
        abort();
    settle(h, p, H2_REFUSED);
}

static enum err_kind time_out_pushes(struct h2 *h, int64_t now_ms, struct err *e)
{
    struct h2_push *next;
    for (struct h2_push *p = h->open.head; p && p->deadline_ms <= now_ms; p = next) {
        next = p->next;
        if (!p->timed_out)
            time_out(h, p);
    }
    if (h->timeouts >= h->opts.timeouts_max)
        return err_set(e, ERR_PEER, "%u pushes in a row were not answered", h->timeouts);
    return ERR_NONE;
}

/* When the next question for life is due, unless one is open. */
static int64_t next_ping_ms(const struct h2 *h)
{
    if (h->open.n == 0)
        return h->opts.idle_ping_ms ? h->active_ms + h->opts.idle_ping_ms : INT64_MAX;
    /* Silence counts from when there was something to answer. */
    int64_t since = h->heard_ms;
    int64_t oldest = h->open.head->deadline_ms - h->opts.request_timeout_ms;
    return (since > oldest ? since : oldest) + h->opts.quiet_ping_ms;
}

enum err_kind h2_tick(struct h2 *h, int64_t now_ms, struct err *e)
{
    enum err_kind kind = time_out_pushes(h, now_ms, e);
    if (kind)
        return kind;
    /* Whatever came after the question is a sign of life. */
    if (h->ping_open && h->heard_ms >= h->ping_sent_ms)
        h->ping_open = false;
    if (h->ping_open) {
        if (now_ms >= h->ping_sent_ms + h->opts.ping_ack_ms)
            return err_set(e, ERR_PEER, "no answer to PING");
        return ERR_NONE;
    }
    if (!h->ready || now_ms < next_ping_ms(h))
        return ERR_NONE;
    if (nghttp2_submit_ping(h->session, NGHTTP2_FLAG_NONE, NULL) != 0)
        abort();
    h->ping_open = true;
    h->ping_sent_ms = h->active_ms = now_ms;
    return ERR_NONE;
}

int64_t h2_deadline(const struct h2 *h)
{
    int64_t at = INT64_MAX;
    if (h->ping_open)
        at = h->ping_sent_ms + h->opts.ping_ack_ms;
    else if (h->ready)
        at = next_ping_ms(h);
    const struct h2_push *p = h->open.head;
    while (p && p->timed_out)
        p = p->next;
    if (p && p->deadline_ms < at)
        at = p->deadline_ms;
    return at;
}

bool h2_next_event(struct h2 *h, struct h2_event *out)
{
    *out = (struct h2_event){0};
    if (h->ready && !h->ready_told) {
        h->ready_told = true;
        out->kind = H2_EV_READY;
        return true;
    }
    /* Before the pushes it refused, so that they are not sent here again. */
    if (h->goaway && !h->goaway_told) {
        h->goaway_told = true;
        out->kind = H2_EV_GOAWAY;
        memcpy(out->reason, h->goaway_reason, sizeof out->reason);
        return true;
    }
    if (h->done.n == 0)
        return false;
    out->kind = H2_EV_PUSH;
    out->push = h->done.head;
    list_remove(&h->done, out->push);
    return true;
}

unsigned h2_limit(const struct h2 *h)
{
    if (!h2_accepting(h) || !h->ready)
        return 0;
    uint32_t peer = nghttp2_session_get_remote_settings(
        h->session, NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS);
    if (h->opts.protocol->proves_first && h->answered == 0 && peer > 1)
        return 1;
    return peer < h->opts.streams_max ? peer : h->opts.streams_max;
}

bool h2_can_take(const struct h2 *h, size_t payload_len)
{
    if (h->open.n >= h2_limit(h))
        return false;
    if (h->open.n == 0)
        return true;
    int32_t window = nghttp2_session_get_remote_window_size(h->session);
    return window > 0 && h->unsent + payload_len <= (size_t)window;
}

/* The only place where nghttp2's unqualified pointers meet ours; it does not write. */
static nghttp2_nv field(const char *name, size_t name_len, struct h2_text value, bool no_index)
{
    uint8_t flags = NGHTTP2_NV_FLAG_NO_COPY_NAME | NGHTTP2_NV_FLAG_NO_COPY_VALUE;
    if (no_index)
        flags |= NGHTTP2_NV_FLAG_NO_INDEX;
    return (nghttp2_nv){.name = (uint8_t *)(uintptr_t)name,
                        .value = (uint8_t *)(uintptr_t)value.s,
                        .namelen = name_len,
                        .valuelen = value.len,
                        .flags = flags};
}

#define FIELD(name, value, no_index) field(name, sizeof(name) - 1, value, no_index)
#define TEXT(literal) ((struct h2_text){literal, sizeof(literal) - 1})

/* Apple's advice for HPACK, and good for all: the fields that differ each time enter the
 * table once, for their names, and are literals afterwards; :path and authorization nghttp2
 * never indexes. */
static size_t make_headers(struct h2 *h, const struct h2_push *p, nghttp2_nv nv[HEADERS_MAX])
{
    const struct h2_protocol *protocol = h->opts.protocol;
    size_t n = 0;
    struct h2_text authority = {h->opts.authority, h->authority_len};
    nv[n++] = FIELD(":method", TEXT("POST"), false);
    nv[n++] = FIELD(":scheme", TEXT("https"), false);
    nv[n++] = FIELD(":authority", authority, false);
    nv[n++] = FIELD(":path", p->path, false);
    if (p->authorization.len > 0) /* else the certificate says who we are */
        nv[n++] = FIELD("authorization", p->authorization, false);
    for (size_t i = 0; i < protocol->fields_n; i++) {
        unsigned bit = 1u << i;
        if (p->fields[i].len == 0)
            continue;
        nv[n++] = field(protocol->fields[i], h->name_len[i], p->fields[i],
                        (protocol->varying & h->sent & bit) != 0);
        h->sent |= bit;
    }
    return n;
}

bool h2_submit(struct h2 *h, struct h2_push *p, int64_t now_ms)
{
    assert(p->payload_len > 0 && h2_can_take(h, p->payload_len));
    nghttp2_nv nv[HEADERS_MAX];
    size_t n = make_headers(h, p, nv);
    nghttp2_data_provider body = {.source = {.ptr = p}, .read_callback = read_payload};
    p->status = 0;
    p->retry_after_s = p->retry_at_s = -1;
    p->body_len = 0;
    p->payload_sent = 0;
    p->timed_out = p->not_sent = p->ended = p->cut = false;
    p->stream_id = nghttp2_submit_request(h->session, NULL, nv, n, &body, p);
    if (p->stream_id < 0) {
        /* Out of stream ids after a thousand million pushes; memory cannot run out. */
        h->left = true;
        return false;
    }
    p->deadline_ms = now_ms + h->opts.request_timeout_ms;
    h->active_ms = now_ms;
    h->unsent += p->payload_len;
    list_add(&h->open, p);
    return true;
}

void h2_lose(struct h2 *h)
{
    for (struct h2_push *p; (p = h->open.head) != NULL;) {
        if (p->status >= 200)
            settle(h, p, H2_ANSWERED);
        else
            settle(h, p, p->timed_out ? H2_TIMEOUT : H2_LOST);
    }
    h->left = true;
}

void h2_leave(struct h2 *h)
{
    h->left = true;
    /* It fails only when a GOAWAY was sent before. */
    (void)nghttp2_submit_goaway(h->session, NGHTTP2_FLAG_NONE, 0, NGHTTP2_NO_ERROR, NULL, 0);
}

bool h2_ready(const struct h2 *h)
{
    return h->ready;
}

bool h2_accepting(const struct h2 *h)
{
    return !h->goaway && !h->left;
}

bool h2_over(const struct h2 *h)
{
    return !nghttp2_session_want_read(h->session) && !nghttp2_session_want_write(h->session);
}

size_t h2_open_count(const struct h2 *h)
{
    return h->open.n;
}

bool h2_has_done(const struct h2 *h)
{
    return h->done.n > 0;
}

uint64_t h2_answered(const struct h2 *h)
{
    return h->answered;
}
