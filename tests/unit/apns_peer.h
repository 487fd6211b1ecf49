// SPDX-License-Identifier: Apache-2.0
/*
 * The other end for tests of the APNs client: an nghttp2 server session that remembers every
 * request and answers only what it is told to.  Bytes in, bytes out; included by the tests.
 */
#ifndef TESTS_UNIT_APNS_PEER_H
#define TESTS_UNIT_APNS_PEER_H

#include <nghttp2/nghttp2.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"

#define PEER_REQUESTS_MAX 4096

struct peer_request {
    int32_t stream_id;
    size_t fields, body_len, never_indexed;
    bool ended, answered;
    int status;     /* of the answer, also of one that has only begun; 0: none */
    bool refused;   /* not looked at: RST_STREAM or GOAWAY has said so */
    bool over;      /* nothing more is said to it */
    uint32_t reset; /* code of the client's RST_STREAM + 1 */
    char method[8], scheme[8], authority[64], path[160], authorization[512], apns_id[40];
    char type[16], topic[64], expiration[24], priority[4], collapse_id[72];
    char body[5200];
    const char *answer; /* what is still to be sent of the answer's body */
    bool trailers;
};

struct peer {
    nghttp2_session *session;
    struct peer_request *requests[PEER_REQUESTS_MAX];
    size_t n;              /* requests so far */
    size_t open, open_max; /* streams open at once, by our count */
    size_t pings, goaways;
    void (*on_request)(struct peer *p, struct peer_request *r);
    void *ctx;
};

static void peer_copy(char *out, size_t size, const uint8_t *value, size_t len)
{
    if (len >= size)
        abort();
    memcpy(out, value, len);
    out[len] = '\0';
}

static int peer_on_begin(nghttp2_session *session, const nghttp2_frame *frame, void *ctx)
{
    struct peer *p = ctx;
    if (frame->hd.type != NGHTTP2_HEADERS || p->n == PEER_REQUESTS_MAX)
        return 0;
    struct peer_request *r = calloc(1, sizeof *r);
    if (!r)
        abort();
    r->stream_id = frame->hd.stream_id;
    p->requests[p->n++] = r;
    p->open++;
    if (p->open > p->open_max)
        p->open_max = p->open;
    nghttp2_session_set_stream_user_data(session, r->stream_id, r);
    return 0;
}

static int peer_on_header(nghttp2_session *session, const nghttp2_frame *frame,
                          const uint8_t *name, size_t name_len, const uint8_t *value,
                          size_t value_len, uint8_t flags, void *ctx)
{
    (void)ctx;
    struct peer_request *r =
        nghttp2_session_get_stream_user_data(session, frame->hd.stream_id);
    if (!r)
        return 0;
    const struct {
        const char *name;
        char *out;
        size_t size;
    } fields[] = {
        {":method", r->method, sizeof r->method},
        {":scheme", r->scheme, sizeof r->scheme},
        {":authority", r->authority, sizeof r->authority},
        {":path", r->path, sizeof r->path},
        {"authorization", r->authorization, sizeof r->authorization},
        {"apns-id", r->apns_id, sizeof r->apns_id},
        {"apns-push-type", r->type, sizeof r->type},
        {"apns-topic", r->topic, sizeof r->topic},
        {"apns-expiration", r->expiration, sizeof r->expiration},
        {"apns-priority", r->priority, sizeof r->priority},
        {"apns-collapse-id", r->collapse_id, sizeof r->collapse_id},
    };
    r->fields++;
    r->never_indexed += (flags & NGHTTP2_NV_FLAG_NO_INDEX) != 0;
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++)
        if (name_len == strlen(fields[i].name) && memcmp(name, fields[i].name, name_len) == 0)
            peer_copy(fields[i].out, fields[i].size, value, value_len);
    return 0;
}

static int peer_on_data(nghttp2_session *session, uint8_t flags, int32_t stream_id,
                        const uint8_t *data, size_t len, void *ctx)
{
    (void)flags;
    (void)ctx;
    struct peer_request *r = nghttp2_session_get_stream_user_data(session, stream_id);
    if (!r || r->body_len + len > sizeof r->body)
        abort();
    memcpy(r->body + r->body_len, data, len);
    r->body_len += len;
    return 0;
}

static int peer_on_frame(nghttp2_session *session, const nghttp2_frame *frame, void *ctx)
{
    struct peer *p = ctx;
    struct peer_request *r =
        nghttp2_session_get_stream_user_data(session, frame->hd.stream_id);
    if (frame->hd.type == NGHTTP2_PING && !(frame->hd.flags & NGHTTP2_FLAG_ACK))
        p->pings++;
    if (frame->hd.type == NGHTTP2_GOAWAY)
        p->goaways++;
    if (!r)
        return 0;
    if (frame->hd.type == NGHTTP2_RST_STREAM)
        r->reset = frame->rst_stream.error_code + 1;
    if ((frame->hd.type == NGHTTP2_HEADERS || frame->hd.type == NGHTTP2_DATA) &&
        (frame->hd.flags & NGHTTP2_FLAG_END_STREAM)) {
        r->ended = true;
        if (p->on_request)
            p->on_request(p, r);
    }
    return 0;
}

static int peer_on_close(nghttp2_session *session, int32_t stream_id, uint32_t code, void *ctx)
{
    (void)code;
    struct peer *p = ctx;
    if (nghttp2_session_get_stream_user_data(session, stream_id))
        p->open--;
    return 0;
}

static ssize_t peer_read_answer(nghttp2_session *session, int32_t stream_id, uint8_t *out,
                                size_t max, uint32_t *flags, nghttp2_data_source *source,
                                void *ctx)
{
    (void)ctx;
    struct peer_request *r = source->ptr;
    size_t len = strlen(r->answer);
    if (len > max)
        len = max;
    memcpy(out, r->answer, len);
    r->answer += len;
    if (*r->answer == '\0') {
        *flags |= NGHTTP2_DATA_FLAG_EOF;
        if (r->trailers) {
            nghttp2_nv trailer = {.name = (uint8_t[]){"x-end"},
                                  .value = (uint8_t[]){"yes"},
                                  .namelen = 5,
                                  .valuelen = 3,
                                  .flags = 0};
            *flags |= NGHTTP2_DATA_FLAG_NO_END_STREAM;
            if (nghttp2_submit_trailer(session, stream_id, &trailer, 1) != 0)
                abort();
        }
    }
    return (ssize_t)len;
}

static inline void peer_init(struct peer *p, const nghttp2_settings_entry *settings, size_t n)
{
    nghttp2_session_callbacks *cb = NULL;
    nghttp2_option *option = NULL;
    if (nghttp2_session_callbacks_new(&cb) != 0 || nghttp2_option_new(&option) != 0)
        abort();
    *p = (struct peer){.on_request = p->on_request, .ctx = p->ctx};
    nghttp2_session_callbacks_set_on_begin_headers_callback(cb, peer_on_begin);
    nghttp2_session_callbacks_set_on_header_callback(cb, peer_on_header);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(cb, peer_on_data);
    nghttp2_session_callbacks_set_on_frame_recv_callback(cb, peer_on_frame);
    nghttp2_session_callbacks_set_on_stream_close_callback(cb, peer_on_close);
    nghttp2_option_set_no_closed_streams(option, 1);
    nghttp2_option_set_max_send_header_block_length(option, 16 << 20); /* for evil answers */
    if (nghttp2_session_server_new2(&p->session, cb, p, option) != 0 ||
        nghttp2_submit_settings(p->session, 0, settings, n) != 0)
        abort();
    nghttp2_option_del(option);
    nghttp2_session_callbacks_del(cb);
}

static inline void peer_deinit(struct peer *p)
{
    nghttp2_session_del(p->session);
    for (size_t i = 0; i < p->n; i++)
        free(p->requests[i]);
    p->n = 0;
    p->session = NULL;
}

/* body may be "": then the headers end the stream. */
static inline void peer_answer_with(struct peer *p, struct peer_request *r, int status,
                                    const char *body, const char *name, const char *value)
{
    char text[4];
    snprintf(text, sizeof text, "%d", status);
    nghttp2_nv nv[2] = {{.name = (uint8_t[]){":status"},
                         .value = (uint8_t *)text,
                         .namelen = 7,
                         .valuelen = 3,
                         .flags = 0}};
    if (name)
        nv[1] = (nghttp2_nv){.name = (uint8_t *)(uintptr_t)name,
                             .value = (uint8_t *)(uintptr_t)value,
                             .namelen = strlen(name),
                             .valuelen = strlen(value),
                             .flags = 0};
    nghttp2_data_provider data = {.source = {.ptr = r}, .read_callback = peer_read_answer};
    r->answer = body;
    r->answered = r->over = true;
    r->status = status;
    if (nghttp2_submit_response(p->session, r->stream_id, nv, name ? 2 : 1,
                                *body ? &data : NULL) != 0)
        abort();
}

static inline void peer_answer(struct peer *p, struct peer_request *r, int status,
                               const char *body)
{
    peer_answer_with(p, r, status, body, NULL, NULL);
}

/* The head of an answer, whose body is still to come. */
static inline void peer_begin_answer(struct peer *p, struct peer_request *r, int status)
{
    char text[4];
    snprintf(text, sizeof text, "%d", status);
    const nghttp2_nv nv = {.name = (uint8_t[]){":status"},
                           .value = (uint8_t *)text,
                           .namelen = 7,
                           .valuelen = 3,
                           .flags = 0};
    r->status = status;
    if (nghttp2_submit_headers(p->session, 0, r->stream_id, NULL, &nv, 1, NULL) != 0)
        abort();
}

/* Its body, which is not "". */
static inline void peer_end_answer(struct peer *p, struct peer_request *r, const char *body)
{
    nghttp2_data_provider data = {.source = {.ptr = r}, .read_callback = peer_read_answer};
    r->answer = body;
    r->answered = r->over = true;
    if (nghttp2_submit_data(p->session, NGHTTP2_FLAG_END_STREAM, r->stream_id, &data) != 0)
        abort();
}

static inline void peer_set(struct peer *p, int32_t id, uint32_t value)
{
    const nghttp2_settings_entry entry = {id, value};
    if (nghttp2_submit_settings(p->session, 0, &entry, 1) != 0)
        abort();
}

static inline void peer_goaway(struct peer *p, int32_t last_id, uint32_t code,
                               const char *data)
{
    if (nghttp2_submit_goaway(p->session, 0, last_id, code, (const uint8_t *)data,
                              strlen(data)) != 0)
        abort();
}

static inline void peer_reset(struct peer *p, struct peer_request *r, uint32_t code)
{
    r->over = true;
    if (nghttp2_submit_rst_stream(p->session, 0, r->stream_id, code) != 0)
        abort();
}

/* Appends what the server has to send. */
static inline void peer_output(struct peer *p, struct buf *out)
{
    const uint8_t *data;
    for (ssize_t n; (n = nghttp2_session_mem_send(p->session, &data)) > 0;)
        buf_add(out, data, (size_t)n);
}

#endif
