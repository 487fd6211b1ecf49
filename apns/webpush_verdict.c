// SPDX-License-Identifier: Apache-2.0
#include "apns/webpush_verdict.h"

#include <stdio.h>

#define RETRY_AFTER_MAX_S (60 * 60) /* a longer order is not believed */
#define HOLD_MS 60000               /* 429 without an order */
#define SERVER_ERROR_MS 10000
#define NO_ANSWER_MS 2000
#define NOT_PUBLIC_MS (15 * 60 * 1000)

struct row {
    int first, last; /* statuses */
    enum webpush_step step;
    enum webpush_sign sign;
    enum push_reaction reaction;
    const char *reason;
};

/* The first row that fits counts. */
static const struct row rows[] = {
    {200, 299, WEBPUSH_FINAL, WEBPUSH_WORKS, PUSH_DONE, ""}, /* 201, 202 */
    {300, 399, WEBPUSH_FINAL, WEBPUSH_REFUSES, PUSH_PARK, "redirect not followed"},
    {400, 400, WEBPUSH_FINAL, WEBPUSH_REFUSES, PUSH_PARK, "bad request"},
    {401, 401, WEBPUSH_RENEW, WEBPUSH_REFUSES, PUSH_PARK, "VAPID refused"},
    {403, 403, WEBPUSH_RENEW, WEBPUSH_REFUSES, PUSH_PARK, "VAPID refused"},
    {404, 404, WEBPUSH_FINAL, WEBPUSH_WORKS, PUSH_DROP_DEVICE, "subscription unknown"},
    {410, 410, WEBPUSH_FINAL, WEBPUSH_WORKS, PUSH_DROP_DEVICE, "subscription gone"},
    {408, 408, WEBPUSH_FINAL, WEBPUSH_FAILS, PUSH_RETRY, "request timeout"},
    {413, 413, WEBPUSH_SHORTER, WEBPUSH_WORKS, PUSH_PARK, "too large"},
    {425, 425, WEBPUSH_FINAL, WEBPUSH_FAILS, PUSH_RETRY, "too early"},
    {429, 429, WEBPUSH_FINAL, WEBPUSH_HOLDS, PUSH_RETRY, "too many requests"},
    {400, 499, WEBPUSH_FINAL, WEBPUSH_REFUSES, PUSH_PARK, "refused"},
    {500, 599, WEBPUSH_FINAL, WEBPUSH_FAILS, PUSH_RETRY, "server error"},
};

static const struct row unknown = {
    0, 0, WEBPUSH_FINAL, WEBPUSH_FAILS, PUSH_RETRY, "unknown status"};

static int64_t order_ms(const struct webpush_answer *a, int64_t otherwise_ms)
{
    if (a->retry_after_s < 0)
        return otherwise_ms;
    return (a->retry_after_s > RETRY_AFTER_MAX_S ? RETRY_AFTER_MAX_S : a->retry_after_s) *
           1000;
}

/* A name may mean something else tomorrow: the push is tried until it is too old. */
static void judge_silence(const struct webpush_answer *a, struct push_verdict *out)
{
    out->reaction = PUSH_RETRY;
    out->retry_after_ms = a->refused_address ? NOT_PUBLIC_MS : NO_ANSWER_MS;
    snprintf(out->reason, sizeof out->reason, a->refused_address ? "address is %s" : "%s",
             a->error);
}

enum webpush_step webpush_judge(const struct webpush_answer *a, enum webpush_sign *sign_out,
                                struct push_verdict *out)
{
    const struct row *r = &unknown;
    *out = (struct push_verdict){.status = a->status};
    *sign_out = WEBPUSH_FAILS;
    if (a->status == 0) {
        judge_silence(a, out);
        return a->lost ? WEBPUSH_AGAIN : WEBPUSH_FINAL;
    }
    for (size_t i = 0; i < sizeof rows / sizeof *rows && r == &unknown; i++)
        if (a->status >= rows[i].first && a->status <= rows[i].last)
            r = &rows[i];
    *sign_out = r->sign;
    out->reaction = r->reaction;
    if (r->reaction == PUSH_DONE)
        out->status = 200; /* by which the outbox, and what it has stored, know it */
    if (r->reason[0])
        snprintf(out->reason, sizeof out->reason, "%d %s", a->status, r->reason);
    if (a->status == 503 && a->retry_after_s >= 0)
        *sign_out = WEBPUSH_HOLDS;
    if (*sign_out == WEBPUSH_HOLDS)
        out->retry_after_ms = order_ms(a, HOLD_MS);
    else if (r->reaction == PUSH_RETRY)
        out->retry_after_ms = order_ms(a, SERVER_ERROR_MS);
    return r->step;
}
