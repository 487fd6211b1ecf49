// SPDX-License-Identifier: Apache-2.0
/*
 * What an answer of a Web Push service means: for the push, and for the service it came from.
 * Each status has one row (RFC 8030 sections 5 and 8.4, RFC 8291, RFC 8292 section 4.2); pure
 * functions.
 */
#ifndef APNS_WEBPUSH_VERDICT_H
#define APNS_WEBPUSH_VERDICT_H

#include "apns/gateway.h"
#include "apns/webpush_http.h"

/* What is done before the outbox hears anything. */
enum webpush_step {
    WEBPUSH_FINAL,   /* nothing: the verdict is the outbox's */
    WEBPUSH_AGAIN,   /* once more: its topic replaces what may have arrived */
    WEBPUSH_SHORTER, /* once more without the text */
    WEBPUSH_RENEW,   /* once more with another token */
};

/* What it says of the service. */
enum webpush_sign {
    WEBPUSH_WORKS,
    WEBPUSH_FAILS,   /* no answer, or a 5xx: more of them and it is left alone for a while */
    WEBPUSH_REFUSES, /* it does not like us, or what we send: the same */
    WEBPUSH_HOLDS,   /* it wants to be left alone for retry_after_ms */
};

/* Fills out with what the outbox hears when the step is FINAL, or did not help. */
enum webpush_step webpush_judge(const struct webpush_answer *a, enum webpush_sign *sign_out,
                                struct push_verdict *out);

#endif
