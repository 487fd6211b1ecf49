// SPDX-License-Identifier: Apache-2.0
/*
 * One HTTP/2 client session with a push service: pushes in, bytes out, bytes in, outcomes
 * out.  It never opens a stream above the limit of the service and gives every push back
 * exactly once, also when the session dies.  It knows no socket, no clock, no header's
 * meaning and no meaning of an answer.
 */
#ifndef APNS_H2_H
#define APNS_H2_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

#define H2_FIELDS_MAX 6

struct buf;
struct h2;

/* What requests of one protocol have in common. */
struct h2_protocol {
    const char *fields[H2_FIELDS_MAX]; /* names beside pseudo-headers and authorization */
    size_t fields_n;
    unsigned varying;  /* bit i: field i is another each time, and only its name is indexed */
    bool proves_first; /* one stream, whatever the service allows, until the first answer */
};

struct h2_opts {
    const struct h2_protocol *protocol; /* borrowed */
    const char *authority;              /* borrowed */
    unsigned streams_max;               /* our own limit beside the peer's */
    unsigned timeouts_max;              /* in a row: the connection is dead */
    int64_t request_timeout_ms;         /* from h2_submit */
    int64_t quiet_ping_ms;              /* nothing heard while pushes are open: ask for life */
    int64_t idle_ping_ms; /* nothing to do for so long: keep it alive; 0: never */
    int64_t ping_ack_ms;  /* the answer to either must come within */
};

enum h2_outcome {
    H2_ANSWERED, /* status, retry_after_s or retry_at_s, and body are filled */
    H2_REFUSED,  /* the service did not look at it: safe to send again */
    H2_RESET,    /* the service broke the stream: unknown whether it was processed */
    H2_TIMEOUT,  /* no answer in time: unknown */
    H2_LOST,     /* the session ended under it: unknown */
};

struct h2_text {
    const char *s;
    size_t len;
};

/* Belongs to the caller, who may not touch it between h2_submit and its H2_EV_PUSH. */
struct h2_push {
    struct h2_text path, authorization;
    struct h2_text fields[H2_FIELDS_MAX]; /* as the protocol names them; len 0: left out */
    const uint8_t *payload;
    size_t payload_len; /* not 0 */
    uint8_t *body;      /* room for that of the answer; the rest of it is dropped */
    size_t body_max;

    enum h2_outcome outcome;
    int status;            /* 0 unless H2_ANSWERED */
    int64_t retry_after_s; /* -1: no such header with a number */
    int64_t retry_at_s;    /* -1: no such header with a date; seconds since 1970 */
    size_t body_len;
    bool cut; /* the body ended before its end, and before body_max: a word may be missing */

    /* h2.c's own */
    struct h2_push *prev, *next;
    int64_t deadline_ms;
    size_t payload_sent;
    int32_t stream_id;
    bool timed_out, not_sent, ended;
};

enum h2_event_kind {
    H2_EV_READY,  /* the peer's first SETTINGS came: pushes may be submitted */
    H2_EV_PUSH,   /* push has its outcome and is the caller's again */
    H2_EV_GOAWAY, /* no new pushes here; those the peer still answers will be answered */
};

struct h2_event {
    enum h2_event_kind kind;
    struct h2_push *push;
    char reason[64]; /* H2_EV_GOAWAY: the service's word or the name of the code */
};

/* Copies opts.  Never NULL. */
struct h2 *h2_new(const struct h2_opts *opts, int64_t now_ms);
/* All pushes must have been given back (h2_lose). */
void h2_free(struct h2 **h);

/* Feeds bytes of the peer, cut anywhere.  PEER: the session is beyond repair. */
MUST_CHECK enum err_kind h2_input(struct h2 *h, const uint8_t *data, size_t len,
                                  int64_t now_ms, struct err *e);
/* Appends what is to be sent, whole frames, until out holds target bytes or more. */
MUST_CHECK enum err_kind h2_output(struct h2 *h, struct buf *out, size_t target,
                                   struct err *e);
/* Times out pushes, asks for life.  PEER: the peer is silent for too long. */
MUST_CHECK enum err_kind h2_tick(struct h2 *h, int64_t now_ms, struct err *e);
/* When h2_tick has something to do next. */
int64_t h2_deadline(const struct h2 *h);
bool h2_next_event(struct h2 *h, struct h2_event *out);

/* Whether a payload of so many bytes may be submitted now: stream limit, the connection's
 * window, GOAWAY.  Without open streams one push is always let through. */
bool h2_can_take(const struct h2 *h, size_t payload_len);
/* Only when h2_can_take said so.  False: nothing was taken, the session takes no more. */
bool h2_submit(struct h2 *h, struct h2_push *p, int64_t now_ms);

/* The session is over: every open push becomes H2_LOST (or H2_TIMEOUT when it was late). */
void h2_lose(struct h2 *h);
/* Says GOAWAY to the peer; open pushes may still be answered. */
void h2_leave(struct h2 *h);

bool h2_ready(const struct h2 *h);
bool h2_accepting(const struct h2 *h); /* neither side said GOAWAY */
bool h2_over(const struct h2 *h);      /* nothing more to read or write: close it */
size_t h2_open_count(const struct h2 *h);
bool h2_has_done(const struct h2 *h);     /* pushes wait in h2_next_event */
unsigned h2_limit(const struct h2 *h);    /* streams it would open now */
uint64_t h2_answered(const struct h2 *h); /* pushes answered so far */

#endif
