// SPDX-License-Identifier: Apache-2.0
/*
 * The provider token of one team and key: a JWT signed with ES256, made again before it is
 * too old and never made again too soon (Apple counts: at least every 60 minutes, at most
 * every 20).  It asks no clock: the caller passes seconds since 1970, which the token shows,
 * and a clock that never goes back, by which the 20 minutes are kept.
 */
#ifndef APNS_JWT_H
#define APNS_JWT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

#define JWT_TEXT_MAX 512      /* of "bearer " and a token, with its NUL */
#define JWT_RENEW_S (48 * 60) /* the age at which a token is replaced */
#define JWT_MIN_S (20 * 60)   /* no new one sooner than this after the last */

struct jwt;

/* key_pem: an unencrypted PKCS#8 or SEC1 P-256 private key; nothing is borrowed.
 * CONFIG, with what is wrong, when the key or the ids are no good. */
MUST_CHECK enum err_kind jwt_new(const char *key_pem, const char *key_id, const char *team_id,
                                 struct jwt **out, struct err *e);
void jwt_free(struct jwt **j);

/* "bearer <token>", renewed when it is due.  The text stays readable until the second next
 * renewal, so requests in flight may point to it. */
const char *jwt_authorization(struct jwt *j, int64_t real_s, int64_t mono_ms, size_t *len_out);

/* The same in steps, for who shares tokens with others: whether a new one is due; signing one
 * without using it; using one, whoever signed it; the one in use, and its text (NULL: none, or
 * it is too old). */
struct jwt_token {
    int64_t iat_s;
    char text[JWT_TEXT_MAX];
};
bool jwt_is_due(const struct jwt *j, int64_t real_s, int64_t mono_ms);
void jwt_sign(const struct jwt *j, int64_t real_s, struct jwt_token *out);
void jwt_use(struct jwt *j, const struct jwt_token *t, int64_t real_s, int64_t mono_ms);
void jwt_present(const struct jwt *j, struct jwt_token *out);
const char *jwt_text(const struct jwt *j, int64_t real_s, size_t *len_out);

/* Which token jwt_authorization gave last: 1, 2, ... */
unsigned jwt_serial(const struct jwt *j);

/* The service says that the present token has expired or is wrong.  True when a new one was
 * made.  Apple's 20 minutes hold for each connection, and the caller opens a new one, so one
 * renewal out of turn is allowed; a second within 20 minutes is not. */
bool jwt_may_renew(struct jwt *j, int64_t mono_ms); /* the count alone */
bool jwt_renew(struct jwt *j, int64_t real_s, int64_t mono_ms);

/* The service says that we renewed too often: back to the token before this one.  False when
 * there is none, or it is too old; then wait until jwt_renewable_ms. */
bool jwt_revert(struct jwt *j, int64_t real_s);

/* From when on (of the clock that never goes back) a renewal is in turn. */
int64_t jwt_renewable_ms(const struct jwt *j);

#endif
