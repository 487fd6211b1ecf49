// SPDX-License-Identifier: Apache-2.0
/*
 * The provider tokens of all apps of this process: one for each team and key, shared by all
 * connections, and through PostgreSQL by all processes and with those that come after them.
 * Without PostgreSQL the one in memory is used, renewed in time, and offered again later.  In
 * the database it is sealed with the private key that signed it.
 */
#ifndef APNS_PROVIDER_TOKEN_H
#define APNS_PROVIDER_TOKEN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>

#include "base/err.h"

struct pg_pool;
struct provider_token;
struct provider_tokens;

/* pool: borrowed; NULL: in memory only. */
struct provider_tokens *provider_tokens_new(struct pg_pool *pool);
/* After the pool: what it still has to answer comes here. */
void provider_tokens_free(struct provider_tokens **p);

/* The one of this team and key; lives as long as its owner.  CONFIG as jwt_new. */
MUST_CHECK enum err_kind provider_token_find(struct provider_tokens *p, const char *key_pem,
                                             const char *key_id, const char *team_id,
                                             struct provider_token **out, struct err *e);

/* Whoever wants to hear that there is one again, after there was none. */
struct provider_listener {
    LIST_ENTRY(provider_listener) next;
    void (*changed)(void *ctx);
    void *ctx;
};
void provider_token_listen(struct provider_token *t, struct provider_listener *l);
void provider_token_unlisten(struct provider_listener *l);

/* "bearer <token>", readable until the second next renewal; NULL: listen. */
const char *provider_token_authorization(struct provider_token *t, int64_t real_s,
                                         int64_t mono_ms, size_t *len_out,
                                         unsigned *serial_out);
/* There is none, and one is being asked for. */
bool provider_token_waits(const struct provider_token *t);
/* The service refuses the one with this serial.  True: there is, or will be, another. */
bool provider_token_renew(struct provider_token *t, unsigned serial, int64_t real_s,
                          int64_t mono_ms);
/* It was changed too often: true when there is an older one to use, else wait until then. */
bool provider_token_revert(struct provider_token *t, unsigned serial, int64_t real_s,
                           int64_t *until_ms_out);

#endif
