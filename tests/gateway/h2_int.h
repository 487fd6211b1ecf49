// SPDX-License-Identifier: Apache-2.0
/*
 * Shared by h2.c, which turns frames into requests, and answer.c, which decides about a
 * complete request and answers it, or misbehaves as a script says.
 */
#ifndef GATEWAY_H2_INT_H
#define GATEWAY_H2_INT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>

#include "tests/gateway/h2.h"
#include "tests/gateway/jwt_check.h"
#include "tests/gateway/pushes.h"
#include "tests/gateway/request.h"
#include "tests/gateway/script.h"

struct event;
struct nghttp2_session;

enum { GW_H2_MAGIC = 0x67773268, GW_ANSWER_MAX = 1024 };

enum gw_stream_state {
    GW_STREAM_RECEIVING, /* → GW_STREAM_WAITING, GW_STREAM_ANSWERED, GW_STREAM_GONE */
    GW_STREAM_WAITING,   /* for its script's delay → GW_STREAM_ANSWERED, GW_STREAM_GONE */
    GW_STREAM_ANSWERED,  /* or never will be; end */
    GW_STREAM_GONE       /* reset or refused; end */
};

struct gw_stream {
    struct gw_h2 *h2;
    int32_t id;
    enum gw_stream_state state;
    struct gw_push_origin origin;
    struct gw_request request;
    struct gw_push push;
    struct gw_action action;
    struct event *timer;
    char answer[GW_ANSWER_MAX];
    size_t answer_len, answer_sent;
    TAILQ_ENTRY(gw_stream) next;
};

struct gw_h2 {
    uint32_t magic;
    struct gateway *gw;
    enum gw_service service;
    struct nghttp2_session *session;
    struct gw_binding binding;
    uint32_t conn_id;
    enum gw_h2_fate fate;
    uint32_t limit; /* last announced */
    bool trusted;   /* the last answer was 200 */
    TAILQ_HEAD(, gw_stream) streams;
    size_t n_streams;
    int32_t highest_answered;
    int32_t last_id; /* streams above it are not processed: a GOAWAY said so */
    struct event *goaway_timer;
    struct event *life_timer; /* FCM's */
    int64_t born_ms, used_ms;
    unsigned idle_pings;
    gw_h2_pump_fn pump;
    void *conn;
};

/* The whole request is here: check it and answer, or what a script says instead. */
void gw_stream_complete(struct gw_stream *s);
void gw_stream_reset(struct gw_stream *s, uint32_t code);
void gw_stream_free(struct gw_stream *s);
void gw_h2_goaway(struct gw_h2 *h, int32_t last_id, uint32_t code, const char *text);
/* FCM's timer: for when the connection is to be asked to go. */
void gw_h2_watch_life(struct gw_h2 *h);
/* Announces it, unless it was the last announced. */
void gw_h2_set_limit(struct gw_h2 *h, uint32_t limit);

#endif
