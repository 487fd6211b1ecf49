// SPDX-License-Identifier: Apache-2.0
/*
 * Names for owners, peers, messages and archive rows, all keyed, so that nothing stored or
 * shown can be guessed or linked without the keys, and no sender chooses a collision.  The
 * keys are made once by the first migration and live in xs.setting.
 */
#ifndef ARCHIVE_IDENT_H
#define ARCHIVE_IDENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/event.h"

struct pg_result;
struct pg_statement;
struct ident;

#define ARCHIVE_ID_BYTES 37 /* a UUID as text */

/* Row ids are the time of archiving: microseconds since 2020 UTC in the upper 56 bits. */
#define IDENT_EPOCH_US INT64_C(1577836800000000)
int64_t
ident_id_from_us(int64_t real_us); /* the first id of that microsecond; 0 before 2020 */
int64_t ident_us_from_id(int64_t id);

#define IDENT_LANES_MAX 256

struct ident_keys {
    uint8_t owner[32];
    uint8_t hash[16];
    uint8_t archive[16];
    unsigned lanes; /* a power of two up to IDENT_LANES_MAX */
};

/* Never NULL.  The keys are copied. */
struct ident *ident_new(const struct ident_keys *keys);
void ident_free(struct ident **i);
/* Reads the keys; run ident_statement (no parameters) and pass its result.  CONFIG when a key
 * is missing or broken. */
extern const struct pg_statement ident_statement;
MUST_CHECK enum err_kind ident_keys_read(struct ident_keys *out, const struct pg_result *r,
                                         struct err *e);

/* A key for another purpose, from the same root: the same for the life of the database. */
void ident_derive(const struct ident *i, const char *purpose, uint8_t out[32]);

/* bare is a prepared bare JID. */
void ident_owner(struct ident *i, const char *bare, uint8_t owner_out[OWNER_BYTES]);
unsigned ident_lane(const struct ident *i, const uint8_t owner[OWNER_BYTES]);
unsigned ident_lanes(const struct ident *i);
/* Never 0; differs per owner, so that two archives cannot be joined by it. */
uint64_t ident_peer(const struct ident *i, const uint8_t owner[OWNER_BYTES], const char *bare);
/* Of a message by its stanza id, as markers, bounces and retractions name it. */
uint64_t ident_ref(const struct ident *i, uint64_t peer, bool outgoing, const char *id);
/* Of a message without an id: its content stands for it. */
uint64_t ident_ref_of_body(const struct ident *i, uint64_t peer, bool outgoing, uint64_t body);
/* As xs.message.ref_id has it: the owner's first half, then the reference. */
void ident_ref_key(const uint8_t owner[OWNER_BYTES], uint64_t ref, uint8_t out[16]);
uint64_t ident_content(const struct ident *i, const void *content, size_t len);

/* The id of a row as clients see it: opaque, and worth nothing to another owner. */
void ident_archive_id(const struct ident *i, const uint8_t owner[OWNER_BYTES], int64_t id,
                      char out[ARCHIVE_ID_BYTES]);
/* False when text is not an id of this owner. */
bool ident_archive_id_parse(const struct ident *i, const uint8_t owner[OWNER_BYTES],
                            const char *text, int64_t *id_out);
/* Two numbers as clients see a place in some other list: opaque.  It is bound to no owner:
 * whoever unseals one looks whether he has such a place. */
void ident_seal(const struct ident *i, int64_t a, uint64_t b, char out[ARCHIVE_ID_BYTES]);
bool ident_unseal(const struct ident *i, const char *text, int64_t *a_out, uint64_t *b_out);

#endif
