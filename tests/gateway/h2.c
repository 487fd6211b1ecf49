// SPDX-License-Identifier: Apache-2.0
#include "tests/gateway/h2.h"

#include <assert.h>
#include <event2/event.h>
#include <nghttp2/nghttp2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/gateway/gateway.h"
#include "tests/gateway/h2_int.h"
#include "tests/gateway/text.h"

enum { IDLE_PINGS_MAX = 3 };

/* nghttp2's callbacks.  A stream that is GW_STREAM_GONE is not looked at any more. */

static int on_begin_headers(nghttp2_session *session, const nghttp2_frame *frame, void *ctx)
{
    struct gw_h2 *h = ctx;
    struct gw_stream *s;

    assert(h->magic == GW_H2_MAGIC);
    if (frame->hd.type != NGHTTP2_HEADERS || frame->headers.cat != NGHTTP2_HCAT_REQUEST ||
        frame->hd.stream_id > h->last_id)
        return 0;
    s = gw_alloc(sizeof(*s));
    s->h2 = h;
    s->id = frame->hd.stream_id;
    s->action.retry_after_s = -1;
    s->origin =
        (struct gw_push_origin){.conn = h->conn_id, .stream = s->id, .time_ms = gw_now_ms()};
    TAILQ_INSERT_TAIL(&h->streams, s, next);
    if (++h->n_streams > h->gw->stats.streams_max)
        h->gw->stats.streams_max = h->n_streams;
    nghttp2_session_set_stream_user_data(session, s->id, s);
    h->idle_pings = 0;
    h->used_ms = s->origin.time_ms;
    return 0;
}

static struct gw_stream *receiving_stream(nghttp2_session *session, int32_t id)
{
    struct gw_stream *s = nghttp2_session_get_stream_user_data(session, id);

    return s != NULL && s->state == GW_STREAM_RECEIVING ? s : NULL;
}

static int on_header(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name,
                     size_t namelen, const uint8_t *value, size_t valuelen, uint8_t flags,
                     void *ctx)
{
    struct gw_h2 *h = ctx;
    struct gw_stream *s = receiving_stream(session, frame->hd.stream_id);

    (void)flags;
    if (s == NULL)
        return 0;
    if (h->gw->opts.accept_all && (namelen != 7 || memcmp(name, "apns-id", 7) != 0))
        return 0;
    if (!gw_request_add_field(&s->request, name, namelen, value, valuelen)) {
        gw_stats_violation(&h->gw->stats, "header list larger than %d", GW_HEADER_LIST_MAX);
        gw_stream_reset(s, NGHTTP2_PROTOCOL_ERROR);
    }
    return 0;
}

/* What nghttp2 would leave out silently. */
static int on_invalid_header(nghttp2_session *session, const nghttp2_frame *frame,
                             const uint8_t *name, size_t namelen, const uint8_t *value,
                             size_t valuelen, uint8_t flags, void *ctx)
{
    struct gw_h2 *h = ctx;
    struct gw_stream *s = receiving_stream(session, frame->hd.stream_id);

    (void)value;
    (void)valuelen;
    (void)flags;
    gw_stats_violation(&h->gw->stats, "invalid header: %.*s", namelen < 64 ? (int)namelen : 64,
                       (const char *)name);
    if (s != NULL)
        gw_stream_reset(s, NGHTTP2_PROTOCOL_ERROR);
    return 0;
}

static int on_data_chunk(nghttp2_session *session, uint8_t flags, int32_t stream_id,
                         const uint8_t *data, size_t len, void *ctx)
{
    struct gw_h2 *h = ctx;
    struct gw_stream *s = receiving_stream(session, stream_id);

    (void)flags;
    if (s != NULL && !h->gw->opts.accept_all)
        gw_request_add_body(&s->request, data, len);
    return 0;
}

static void request_frame_received(struct gw_h2 *h, const nghttp2_frame *frame)
{
    struct gw_stream *s = receiving_stream(h->session, frame->hd.stream_id);

    if (s == NULL)
        return;
    if (frame->hd.type == NGHTTP2_HEADERS && !h->gw->opts.accept_all) {
        if (frame->headers.cat != NGHTTP2_HCAT_REQUEST)
            gw_stats_violation(&h->gw->stats, "trailers");
        if (frame->hd.flags & NGHTTP2_FLAG_PRIORITY)
            h->gw->stats.priorities_received++;
        if (gw_request_header(&s->request, ":authority") == NULL) {
            gw_stats_violation(&h->gw->stats, "no :authority");
            gw_stream_reset(s, NGHTTP2_PROTOCOL_ERROR);
            return;
        }
    }
    if (frame->hd.flags & NGHTTP2_FLAG_END_STREAM)
        gw_stream_complete(s);
}

/* Asked for life too often without anything to do, FCM ends the connection. */
static void count_idle_ping(struct gw_h2 *h)
{
    if (h->service != GW_FCM || h->n_streams > 0 || ++h->idle_pings < IDLE_PINGS_MAX)
        return;
    gw_stats_violation(&h->gw->stats, "too_many_pings");
    gw_h2_goaway(h, nghttp2_session_get_last_proc_stream_id(h->session),
                 NGHTTP2_ENHANCE_YOUR_CALM, "too_many_pings");
    h->fate = GW_H2_CLOSE;
}

static int on_frame_recv(nghttp2_session *session, const nghttp2_frame *frame, void *ctx)
{
    struct gw_h2 *h = ctx;
    struct gw_stats *stats = &h->gw->stats;

    assert(h->magic == GW_H2_MAGIC);
    switch (frame->hd.type) {
    case NGHTTP2_HEADERS:
    case NGHTTP2_DATA:
        request_frame_received(h, frame);
        break;
    case NGHTTP2_SETTINGS:
        if (frame->hd.flags & NGHTTP2_FLAG_ACK)
            stats->settings_acked++;
        break;
    case NGHTTP2_PING:
        if (frame->hd.flags & NGHTTP2_FLAG_ACK)
            break;
        stats->pings_received++;
        count_idle_ping(h);
        if (h->gw->ping_ack)
            nghttp2_submit_ping(session, NGHTTP2_FLAG_ACK, frame->ping.opaque_data);
        break;
    case NGHTTP2_PRIORITY:
        stats->priorities_received++;
        break;
    case NGHTTP2_RST_STREAM:
        stats->resets_received++;
        break;
    case NGHTTP2_GOAWAY:
        stats->goaways_received++;
        break;
    }
    /* A cut connection reads nothing more of what came with it. */
    return h->fate == GW_H2_RUN ? 0 : NGHTTP2_ERR_CALLBACK_FAILURE;
}

static int on_invalid_frame(nghttp2_session *session, const nghttp2_frame *frame, int error,
                            void *ctx)
{
    struct gw_h2 *h = ctx;
    uint32_t limit =
        nghttp2_session_get_local_settings(session, NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS);

    if (error == NGHTTP2_ERR_REFUSED_STREAM) {
        h->gw->stats.streams_refused++;
        return 0;
    }
    if (frame->hd.type == NGHTTP2_HEADERS && error == NGHTTP2_ERR_PROTO &&
        h->n_streams >= limit) {
        /* The limit is acknowledged and was passed: their words, and the end. */
        const char *words = h->service == GW_FCM
                                ? "exceeded_max_concurrent_streams"
                                : "Maximum active streams violated for this endpoint.";

        gw_stats_violation(&h->gw->stats, "%s", words);
        gw_h2_goaway(h, nghttp2_session_get_last_proc_stream_id(session),
                     NGHTTP2_PROTOCOL_ERROR, words);
        h->fate = GW_H2_CLOSE;
        return NGHTTP2_ERR_CALLBACK_FAILURE;
    }
    gw_stats_violation(&h->gw->stats, "frame type %d on stream %d: %s", frame->hd.type,
                       frame->hd.stream_id, nghttp2_strerror(error));
    return 0;
}

static int on_frame_send(nghttp2_session *session, const nghttp2_frame *frame, void *ctx)
{
    struct gw_h2 *h = ctx;

    (void)session;
    if (frame->hd.type == NGHTTP2_GOAWAY)
        h->gw->stats.goaways_sent++;
    return 0;
}

static int on_stream_close(nghttp2_session *session, int32_t stream_id, uint32_t code,
                           void *ctx)
{
    struct gw_stream *s = nghttp2_session_get_stream_user_data(session, stream_id);

    (void)code;
    (void)ctx;
    if (s != NULL)
        gw_stream_free(s);
    return 0;
}

static nghttp2_session *new_session(struct gw_h2 *h)
{
    nghttp2_session_callbacks *cb;
    nghttp2_option *option;
    nghttp2_session *session;

    if (nghttp2_session_callbacks_new(&cb) != 0 || nghttp2_option_new(&option) != 0)
        abort();
    nghttp2_session_callbacks_set_on_begin_headers_callback(cb, on_begin_headers);
    nghttp2_session_callbacks_set_on_header_callback(cb, on_header);
    nghttp2_session_callbacks_set_on_invalid_header_callback(cb, on_invalid_header);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(cb, on_data_chunk);
    nghttp2_session_callbacks_set_on_frame_recv_callback(cb, on_frame_recv);
    nghttp2_session_callbacks_set_on_frame_send_callback(cb, on_frame_send);
    nghttp2_session_callbacks_set_on_invalid_frame_recv_callback(cb, on_invalid_frame);
    nghttp2_session_callbacks_set_on_stream_close_callback(cb, on_stream_close);
    nghttp2_option_set_no_auto_ping_ack(option, 1);
    nghttp2_option_set_no_closed_streams(option, 1);
    if (nghttp2_session_server_new2(&session, cb, h, option) != 0)
        abort();
    nghttp2_option_del(option);
    nghttp2_session_callbacks_del(cb);
    return session;
}

struct gw_h2 *gw_h2_new(struct gateway *gw, enum gw_service service, uint32_t conn_id,
                        const char *cert_topics, gw_h2_pump_fn pump, void *conn)
{
    struct gw_h2 *h = gw_alloc(sizeof(*h));
    nghttp2_settings_entry iv[4];

    h->magic = GW_H2_MAGIC;
    h->gw = gw;
    h->service = service;
    h->conn_id = conn_id;
    h->pump = pump;
    h->conn = conn;
    h->last_id = INT32_MAX;
    TAILQ_INIT(&h->streams);
    snprintf(h->binding.cert_topics, sizeof(h->binding.cert_topics), "%s", cert_topics);
    /* A certificate has said who it is; a provider token must first be seen. */
    h->trusted = gw->opts.accept_all || cert_topics[0] != '\0';
    h->limit = h->trusted ? gw->max_streams : 1;
    if (service != GW_APNS)
        h->limit = gw->opts.fcm_streams;
    h->born_ms = h->used_ms = gw_now_ms();
    h->session = new_session(h);
    iv[0] = (nghttp2_settings_entry){NGHTTP2_SETTINGS_HEADER_TABLE_SIZE, 4096};
    iv[1] = (nghttp2_settings_entry){NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, h->limit};
    iv[2] = (nghttp2_settings_entry){NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE,
                                     gw->opts.initial_window};
    iv[3] =
        (nghttp2_settings_entry){NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, GW_HEADER_LIST_MAX};
    nghttp2_submit_settings(h->session, NGHTTP2_FLAG_NONE, iv, 4);
    if (service == GW_FCM)
        gw_h2_watch_life(h);
    return h;
}

void gw_h2_free(struct gw_h2 **hp)
{
    struct gw_h2 *h = *hp;

    if (h == NULL)
        return;
    while (!TAILQ_EMPTY(&h->streams))
        gw_stream_free(TAILQ_FIRST(&h->streams));
    nghttp2_session_del(h->session);
    if (h->goaway_timer != NULL)
        event_free(h->goaway_timer);
    if (h->life_timer != NULL)
        event_free(h->life_timer);
    h->magic = 0;
    free(h);
    *hp = NULL;
}

void gw_h2_input(struct gw_h2 *h, const uint8_t *data, size_t len)
{
    ssize_t n = nghttp2_session_mem_recv(h->session, data, len);

    /* Raised only now: what came together was sent under the old limit. */
    gw_h2_update_limit(h);
    if (n >= 0 || h->fate != GW_H2_RUN)
        return;
    gw_stats_violation(&h->gw->stats, "%s", nghttp2_strerror((int)n));
    h->fate = GW_H2_CLOSE;
}

size_t gw_h2_output(struct gw_h2 *h, const uint8_t **data_out)
{
    ssize_t n = nghttp2_session_mem_send(h->session, data_out);

    if (n >= 0)
        return (size_t)n;
    gw_stats_violation(&h->gw->stats, "sending: %s", nghttp2_strerror((int)n));
    h->fate = GW_H2_CUT;
    return 0;
}

enum gw_h2_fate gw_h2_fate(const struct gw_h2 *h)
{
    if (h->fate == GW_H2_RUN && !nghttp2_session_want_read(h->session) &&
        !nghttp2_session_want_write(h->session))
        return GW_H2_CLOSE;
    return h->fate;
}

void gw_h2_update_limit(struct gw_h2 *h)
{
    if (h->trusted && h->service == GW_APNS)
        gw_h2_set_limit(h, h->gw->max_streams);
}
