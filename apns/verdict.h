// SPDX-License-Identifier: Apache-2.0
/*
 * What an answer of APNs means: every status and reason has one row, and what has no row has
 * a rule (an unknown 403 is a wrong setting, an unknown 4xx our mistake, a 5xx the service's).
 * Pure functions: no connection, no clock, no counting.
 */
#ifndef APNS_VERDICT_H
#define APNS_VERDICT_H

#include <stddef.h>
#include <stdint.h>

#include "apns/gateway.h"

#define VERDICT_BODY_MAX 512 /* an answer's body; what is longer is not read */

/* What the gateway does before the outbox hears anything. */
enum verdict_step {
    VERDICT_FINAL,       /* nothing: the verdict is the outbox's */
    VERDICT_RESEND,      /* not looked at: again at once on another connection */
    VERDICT_RENEW_TOKEN, /* a new provider token on a new connection, once */
    VERDICT_RECONNECT,   /* once more on a new connection */
    VERDICT_TOKEN_HOLD,  /* the provider token changed too often: the one before, or wait */
    VERDICT_HOLD_ALL,    /* too much for the service: nothing is sent for retry_after_ms */
    VERDICT_ALARM,       /* final, and a person must hear of it */
};

struct verdict_opts {
    int64_t server_error_ms; /* 5xx without Retry-After: not before */
    int64_t device_hold_ms;  /* TooManyRequests without Retry-After */
    int64_t no_answer_ms;    /* timeout, connection lost */
};

struct verdict_answer {
    int status;
    int64_t retry_after_s; /* -1 when the header was missing */
    const uint8_t *body;
    size_t body_len;
};

/* Fills out with what the outbox hears when the step is FINAL, or did not help. */
enum verdict_step verdict_of_answer(const struct verdict_answer *a,
                                    const struct verdict_opts *o, struct push_verdict *out);

/* No answer, for the reason given: RETRY. */
void verdict_of_silence(const char *reason, const struct verdict_opts *o,
                        struct push_verdict *out);

/* The reason in a JSON body or GOAWAY debug data, reduced to letters, digits and a few
 * marks so that it may be logged; "" when there is none. */
void verdict_reason(const uint8_t *body, size_t len, char *out, size_t out_size);

/* What verdict_reason does to a text; and the delay that the service orders, else another. */
void verdict_word(const char *text, char *out, size_t out_size);
int64_t verdict_delay_ms(const struct verdict_answer *a, int64_t otherwise_ms);

const char *push_reaction_name(enum push_reaction r);

#endif
