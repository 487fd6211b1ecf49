// SPDX-License-Identifier: Apache-2.0
#include "apns/webpush_origin.h"

#include <limits.h>
#include <stdio.h>

#define BAD_MAX 3 /* in a row, then it is left alone */
#define BACKOFF_MIN_MS 5000
#define BACKOFF_MAX_MS (10 * 60 * 1000)
#define STREAMS 50         /* at once, over HTTP/2 */
#define TOKEN_RENEWED_S 60 /* a token younger than this was refused for another reason */

void origin_init(struct origin_state *o)
{
    *o = (struct origin_state){.failed_ms = INT64_MIN};
    backoff_init(&o->backoff, BACKOFF_MIN_MS, BACKOFF_MAX_MS);
}

unsigned origin_in_flight_max(const struct origin_state *o)
{
    if (o->bad > 1)
        return 1;
    if (!o->proven)
        return 2;
    return o->http2 ? STREAMS : ORIGIN_CONNECTIONS;
}

unsigned origin_items_max(const struct origin_state *o)
{
    if (!o->proven)
        return ORIGIN_ITEMS_NEW;
    return o->slow ? ORIGIN_ITEMS_SLOW : UINT_MAX;
}

bool origin_is_small(const struct origin_state *o)
{
    return !o->proven || o->slow;
}

bool origin_note_queue(struct origin_state *o, int64_t oldest_ms, int64_t now_ms)
{
    if (oldest_ms < 0)
        o->slow = false;
    if (oldest_ms < 0 || o->slow || now_ms - oldest_ms < ORIGIN_SLOW_MS)
        return false;
    o->slow = true;
    return true;
}

bool origin_is_held(const struct origin_state *o, int64_t now_ms)
{
    return now_ms < o->held_until_ms;
}

static void hold(struct origin_state *o, int64_t until_ms)
{
    if (until_ms > o->held_until_ms)
        o->held_until_ms = until_ms;
}

bool origin_note(struct origin_state *o, enum webpush_sign sign, const struct push_verdict *v,
                 int64_t sent_ms, int64_t now_ms, uint64_t random)
{
    bool was_held = origin_is_held(o, now_ms);
    if (sign == WEBPUSH_WORKS) {
        o->proven = true;
        o->bad = 0;
        o->reason[0] = '\0';
        backoff_reset(&o->backoff);
        return false;
    }
    snprintf(o->reason, sizeof o->reason, "%s", v->reason);
    if (sign == WEBPUSH_HOLDS) {
        hold(o, now_ms + v->retry_after_ms);
        return !was_held && origin_is_held(o, now_ms);
    }
    if (sent_ms < o->failed_ms)
        return false;
    o->failed_ms = now_ms;
    o->bad++;
    /* One that refuses does answer; it is no less known for it. */
    if (sign == WEBPUSH_FAILS && o->bad > 1)
        o->proven = false;
    if (o->bad < BAD_MAX)
        return false;
    hold(o, now_ms + backoff_next_ms(&o->backoff, random));
    return !was_held;
}

const char *origin_authorization(struct origin_state *o, const struct vapid *v,
                                 const char *origin, int64_t real_s)
{
    int64_t age_s = real_s - o->token_s;
    if (o->token_s == 0 || age_s < 0 || age_s > VAPID_LIFE_S / 2) {
        vapid_authorization(v, origin, real_s, o->authorization);
        o->token_s = real_s;
    }
    return o->authorization;
}

bool origin_renew(struct origin_state *o, int64_t real_s)
{
    int64_t age_s = real_s - o->token_s;
    if (age_s >= 0 && age_s < TOKEN_RENEWED_S)
        return false;
    o->token_s = 0;
    return true;
}
