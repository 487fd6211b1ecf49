// SPDX-License-Identifier: Apache-2.0
/*
 * The token endpoint of the FCM side: assertions of one service account (RS256, RFC 7523) are
 * exchanged for access tokens, which end or are revoked.
 */
#ifndef GATEWAY_OAUTH_H
#define GATEWAY_OAUTH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct gw_oauth;
struct gw_request;
struct gw_text;

#define GW_OAUTH_PATH "/token"

struct gw_oauth *gw_oauth_new(void);
void gw_oauth_free(struct gw_oauth **o);
/* PROJECT:EMAIL:KID:public-key.pem; false with a text on stderr. */
bool gw_oauth_set_account(struct gw_oauth *o, const char *spec);
bool gw_oauth_has_account(const struct gw_oauth *o);
const char *gw_oauth_project(const struct gw_oauth *o);

/* A request to GW_OAUTH_PATH: the HTTP status; the JSON of the answer is added to out. */
int gw_oauth_exchange(struct gw_oauth *o, const struct gw_request *r, struct gw_text *out);
/* 200 for "Bearer ..." of a token that is good now, else 401.  number_out: which one. */
int gw_oauth_check(struct gw_oauth *o, const char *authorization, unsigned *number_out);

/* Life of the tokens from now on. */
void gw_oauth_set_life(struct gw_oauth *o, int64_t seconds);
/* How much our clock is ahead of the machine's. */
void gw_oauth_set_clock(struct gw_oauth *o, int64_t seconds);
int64_t gw_oauth_now_s(const struct gw_oauth *o);
/* All tokens given out are void. */
void gw_oauth_revoke(struct gw_oauth *o);
void gw_oauth_reset(struct gw_oauth *o);
/* Members of a JSON object, without braces. */
void gw_oauth_write(const struct gw_oauth *o, struct gw_text *out);

#endif
