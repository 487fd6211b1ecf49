// SPDX-License-Identifier: Apache-2.0
/*
 * Who we are to a Web Push service (VAPID, RFC 8292): a key of our own, and a token for each
 * origin signed with it.  It keeps no token and asks no clock.
 */
#ifndef APNS_VAPID_H
#define APNS_VAPID_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

struct vapid;

/* At most a day is allowed (section 2); half of it bears with a clock that is wrong. */
#define VAPID_LIFE_S (12 * 60 * 60)
#define VAPID_PUBLIC_BYTES 88 /* base64url of the public key, with its NUL */
#define VAPID_ORIGIN_MAX 300
#define VAPID_AUTHORIZATION_BYTES 1300

/* subject: mailto: or https:, whom a push service may write to.  Nothing is borrowed. */
MUST_CHECK enum err_kind vapid_new(const char *key_pem, const char *subject,
                                   struct vapid **out, struct err *e);
void vapid_free(struct vapid **v);

/* What a client subscribes with (applicationServerKey). */
const char *vapid_public(const struct vapid *v);
/* "vapid t=..., k=...", good for VAPID_LIFE_S; origin is plain ASCII without quotes. */
void vapid_authorization(const struct vapid *v, const char *origin, int64_t real_s,
                         char out[VAPID_AUTHORIZATION_BYTES]);

#endif
