// SPDX-License-Identifier: Apache-2.0
#include "sidecar/policy.h"

#include "apns/opts.h"

#define US_PER_MS 1000
/* A read is seen in the same stanza that shows its resource alive; what the total's fall is
 * dated with may be later by the time the archive took. */
#define READER_SLACK_US (5 * INT64_C(1000000))
#define AGAIN_MIN_MS 10
/* The server's sign is about the same message as the copy, and comes about when it does:
 * before it only where both come from different nodes. */
#define SIGN_SLACK_US (2 * INT64_C(1000000))

/* The message and we have the time from one clock: one that was set back by an hour must not
 * make a push wait for an hour. */
#define CLOCK_SLACK_US INT64_C(1000000)

static struct outbox_decision now(const char *reason)
{
    return (struct outbox_decision){OUTBOX_NOW, 0, reason};
}

static struct outbox_decision wait_until(int64_t due_us, int64_t now_us, const char *reason)
{
    int64_t ms = (due_us - now_us) / US_PER_MS + 1;
    return (struct outbox_decision){OUTBOX_WAIT, ms < AGAIN_MIN_MS ? AGAIN_MIN_MS : ms,
                                    reason};
}

/* The badge fell because something was read: every device but the reader's is told.  The
 * reader is who was seen last; another that was in use a moment before has read nothing. */
static struct outbox_decision decide_badge(const struct outbox_candidate *c,
                                           const struct policy_presence *p)
{
    if (p->own_seen_us > 0 && p->own_seen_us >= c->counted_us - READER_SLACK_US &&
        p->own_seen_us >= p->others_seen_us)
        return (struct outbox_decision){OUTBOX_SKIP, 0, "read here"};
    return now("read elsewhere");
}

struct outbox_decision policy_decide(const struct push_opts *opts,
                                     const struct outbox_candidate *c,
                                     const struct policy_presence *p, int64_t now_us)
{
    if (c->peer == OUTBOX_TEST_PEER)
        return now("test");
    if (outbox_is_call(c->peer)) /* whoever is online hears it as well */
        return now("call");
    if (c->peer == 0)
        return decide_badge(c, p);
    if (p->state == SESSION_OFFLINE)
        return now("offline");
    if (p->stuck_us > 0 && p->stuck_us >= c->counted_us - SIGN_SLACK_US)
        return now("not delivered");
    int64_t confirm_us = c->counted_us + opts->confirm_after_ms * US_PER_MS;
    if (c->counted_us > now_us + CLOCK_SLACK_US)
        return now("the clock was set back");
    if (now_us < confirm_us)
        return wait_until(confirm_us, now_us,
                          p->state == SESSION_ONLINE ? "online" : "unknown");
    if (p->own_seen_us > c->counted_us)
        return (struct outbox_decision){OUTBOX_SKIP, 0, "device active"};
    if (p->others_seen_us <= now_us - POLICY_ACTIVE_US)
        return now("unconfirmed");
    if (opts->while_active_elsewhere_ms < 0) /* never: until it is idle, or all is read */
        return wait_until(p->others_seen_us + POLICY_ACTIVE_US, now_us, "active elsewhere");
    int64_t elsewhere_us = confirm_us + opts->while_active_elsewhere_ms * US_PER_MS;
    if (now_us < elsewhere_us)
        return wait_until(elsewhere_us, now_us, "active elsewhere");
    return now("unconfirmed");
}
