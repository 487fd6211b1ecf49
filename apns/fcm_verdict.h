// SPDX-License-Identifier: Apache-2.0
/*
 * What an answer of FCM means.  The word is in whichever entry of the error's details is an
 * FcmError, in any order; without one the HTTP status decides, and a 404 of the path is never
 * taken for one of the device.  Pure functions, as in verdict.h.
 */
#ifndef APNS_FCM_VERDICT_H
#define APNS_FCM_VERDICT_H

#include "apns/verdict.h"

#define FCM_BODY_MAX 4096 /* of an answer; what is longer is not read */

enum verdict_step fcm_verdict_of_answer(const struct verdict_answer *a,
                                        const struct verdict_opts *o,
                                        struct push_verdict *out);

#endif
