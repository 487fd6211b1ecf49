// SPDX-License-Identifier: Apache-2.0
/*
 * Provider tokens: ES256 signatures (raw r||s or DER), the claims, the binding of a
 * connection to its first team, and how often a connection may change its token.
 * Tokens that were found good are kept, so that a signature is verified once.
 */
#ifndef GATEWAY_JWT_CHECK_H
#define GATEWAY_JWT_CHECK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct evp_pkey_st;
struct gw_jwts;

/* raw: r and s, 32 bytes each (RFC 7518 section 3.4). */
bool gw_es256_verify(struct evp_pkey_st *key, const uint8_t raw[64], const char *text,
                     size_t len);

/* Belongs to one connection; starts as {0}. */
struct gw_binding {
    char cert_topics[512]; /* not empty: the client showed a certificate; the user id, then
                              what its list of topics names, each before a comma */
    char team[32];
    unsigned jwt, jwt_before; /* numbers; tokens still in flight at a change are good */
    int64_t iat;              /* of jwt */
    bool refused;             /* got ExpiredProviderToken while refusals were sticky */
};

enum gw_jwt_result { GW_JWT_OK, GW_JWT_INVALID, GW_JWT_EXPIRED, GW_JWT_TOO_MANY };

struct gw_jwts *gw_jwts_new(void);
void gw_jwts_free(struct gw_jwts **j);
/* KID:TEAM:public-key.pem[:topic,topic]; false with a text on stderr. */
bool gw_jwts_add_key(struct gw_jwts *j, const char *spec);
size_t gw_jwts_keys(const struct gw_jwts *j);

/* number_out is set for each token with a good signature, whatever the result. */
enum gw_jwt_result gw_jwts_check(struct gw_jwts *j, struct gw_binding *b, const char *text,
                                 const char *bundle, int64_t now_s, unsigned *number_out);
/* Treats all tokens seen so far as expired; with sticky, a connection that was told so
 * is refused for good, also with a new token. */
void gw_jwts_expire(struct gw_jwts *j, bool sticky);
/* Different tokens with a good signature since the last reset. */
unsigned gw_jwts_count(const struct gw_jwts *j);
void gw_jwts_reset(struct gw_jwts *j);

#endif
