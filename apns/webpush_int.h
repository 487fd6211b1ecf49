// SPDX-License-Identifier: Apache-2.0
/* What webpush.c (birth, submitting, status) and webpush_turn.c (whatever happens) share. */
#ifndef APNS_WEBPUSH_INT_H
#define APNS_WEBPUSH_INT_H

#include <sys/queue.h>

#include "apns/crew.h"
#include "apns/subscription.h"
#include "apns/webpush.h"
#include "apns/webpush_http.h"
#include "apns/webpush_origin.h"

#define WEBPUSH_MAGIC 0x77656270u
#define WEBPUSH_TOPIC_MAX 32 /* RFC 8030 section 5.4 */

struct event;
struct map;

/* One push: queued, being encrypted, sent, or with a verdict that has not been told. */
struct piece {
    struct crew_job job;     /* first: the crew gives back its address */
    TAILQ_ENTRY(piece) next; /* in its origin's queue, or among those to be told */
    LIST_ENTRY(piece) all;
    struct webpush *webpush;
    struct origin *origin; /* NULL: judged before it had one */
    void *ctx;
    int64_t queued_ms, sent_ms;
    int64_t expiration_s;
    size_t pad_to;
    bool high;                     /* urgency */
    bool is_small;                 /* counted in items_small */
    bool judged;                   /* verdict is what is to be told */
    bool short_now, renewed, lost; /* each is done once */
    char topic[WEBPUSH_TOPIC_MAX + 1];
    char id[37];
    struct subscription to;
    struct push_verdict verdict; /* while it is to be told */
    const uint8_t *plain, *brief;
    size_t plain_len, brief_len; /* brief_len 0: there is none */
    uint8_t *body;               /* NULL: not encrypted */
    size_t body_len;
    uint8_t text[];
};
TAILQ_HEAD(pieces, piece);

struct origin {
    TAILQ_ENTRY(origin) by_use;  /* the one used last is last */
    TAILQ_ENTRY(origin) by_wait; /* when waiting */
    bool waiting;                /* has a queue */
    bool counted_new;            /* when it became active it had shown nothing yet */
    unsigned items, in_flight;
    struct pieces queue;
    struct origin_state state;
    char name[SUBSCRIPTION_ORIGIN_BYTES];
};
TAILQ_HEAD(origins, origin);

struct webpush {
    unsigned magic;
    struct event_base *base;
    const struct webpush_opts *opts;
    struct webpush_tuning tuning;
    struct gateway_events events;
    struct gateway *owner;
    struct vapid *vapid;
    struct webpush_http *http;
    struct crew *crew; /* NULL: nothing was to be encrypted yet */
    struct event *wake, *timer;
    struct map *origins;
    struct origins by_use, by_wait;
    struct pieces told; /* verdicts to be told in the next turn */
    LIST_HEAD(all_pieces, piece) all;
    size_t items, items_small, in_flight;
    unsigned active, active_new;
    bool had_room, closing, in_turn;
    int64_t log_again_ms;
    char trouble[96]; /* the last service that was left alone, and why */
    struct gateway_status counted;
    char log_prefix[128];
};

struct webpush *webpush_of(void *ctx);
/* What can be begun or told now. */
void webpush_turn(struct webpush *w);
/* For webpush_http_opts.done. */
void webpush_answered(void *ctx, void *post_ctx, const struct webpush_answer *a);
/* The verdict, and the end of the piece. */
void webpush_finish(struct webpush *w, struct piece *p, const struct push_verdict *v);
/* In the next turn: for those who must not be told now. */
void webpush_tell_later(struct webpush *w, struct piece *p, enum push_reaction reaction,
                        int64_t retry_after_ms, const char *reason);

#endif
