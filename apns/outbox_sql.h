// SPDX-License-Identifier: Apache-2.0
/*
 * The outbox's statements: arguments to arrays, rows to structs.  Most of the
 * work is done by the functions of the schema.
 */
#ifndef APNS_OUTBOX_SQL_H
#define APNS_OUTBOX_SQL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "apns/payload.h"
#include "base/notice.h"
#include "store/pg.h"

struct push_opts;
struct unread_change;
struct outbox_sql;

#define OUTBOX_BATCH_MAX 512 /* entries read or settled by one statement */
#define OUTBOX_REASON_BYTES 96

/* Keeps the arrays' memory between calls.  reads: see outbox_opts.  worker: 16 bytes, copied.
 */
struct outbox_sql *outbox_sql_new(struct pg_pool *pool, struct pg_pool *reads,
                                  const uint8_t worker[16]);
void outbox_sql_free(struct outbox_sql **q);

struct outbox_key {
    uint8_t owner[16];
    uint8_t device[16];
    uint64_t peer;
};

/* An entry this worker holds now: of add, add_badges and load.  Strings live as long as r. */
struct outbox_row {
    uint8_t owner[16];
    uint8_t device[16];
    uint64_t peer;
    int64_t due_ms; /* from now */
    uint16_t attempts;
    int64_t counted_us;
    int64_t gen;
    int64_t newest_id;
    const char *jid;
    const char *resource;
    const char *app;
};
/* Where a pass over what is due stands: behind this one. */
struct outbox_place {
    int64_t due_us;
    struct outbox_key key;
};
void outbox_sql_row(const struct pg_result *r, int row, struct outbox_row *out);

/* Which of the changes: what was counted, or what was counted before and did not get through.
 */
enum outbox_sql_kind { OUTBOX_SQL_COUNTED, OUTBOX_SQL_UNDELIVERED };

/* Of one batch, added to its open transaction. */
struct outbox_changes {
    struct pg *conn;
    const struct unread_change *all;
    size_t n;
    bool held; /* false: there is no room in memory, so that they wait in the database */
    pg_result_fn cb;
};

/* False when there was nothing to send: cb is not called. */
bool outbox_sql_add(struct outbox_sql *q, const struct outbox_changes *c,
                    enum outbox_sql_kind kind, int64_t settle_ms, void *ctx);
bool outbox_sql_add_badges(struct outbox_sql *q, const struct outbox_changes *c,
                           int64_t wait_ms, void *ctx);

/* For conversations of which nothing is unread any more, where they were shown. */
bool outbox_sql_add_read(struct outbox_sql *q, const struct outbox_changes *c, int64_t wait_ms,
                         void *ctx);
/* Calls begin, for apps that ask for them.  Or they are over: then cb hears no rows. */
bool outbox_sql_add_calls(struct outbox_sql *q, const struct outbox_changes *c,
                          int64_t settle_ms, const struct push_opts *push, void *ctx);
bool outbox_sql_end_calls(struct outbox_sql *q, const struct outbox_changes *c, void *ctx);

/* Of APNs, whose the token is. */
enum outbox_environment { OUTBOX_AS_APP, OUTBOX_PRODUCTION, OUTBOX_SANDBOX };

struct outbox_fetched {
    size_t n; /* which of the keys, from 0 */
    int64_t gen;
    int64_t newest_id;
    int64_t counted_us;
    bool registered;
    const char *token; /* "" while it is sealed */
    const uint8_t *sealed;
    size_t sealed_len;
    int32_t sealed_by; /* the key's id, see token_keys.h */
    int badge_sent;
    int badge;
    int unread; /* of the conversation */
    bool muted;
    const char *peer_jid;
    const char *nick; /* who has said it, in a room; NULL: it was not in a room */
    bool encrypted;
    const char *body;         /* NULL: none, or not asked for */
    const char *account_name; /* what the app knows the account by; NULL: nothing */
    int content;              /* enum push_content: no more than that, says the account */
    const char *notice;       /* the stanza, when the peer is a service of push.notices */
    size_t notice_len;
    const char *contact; /* the account's name for the peer; NULL: none, or not asked for */
    const char *said;    /* a stanza in which the peer names itself; NULL: none */
    size_t said_len;
    const char *contacts; /* beside that: the account's names, one to a line */
    bool names_old;       /* these were not read from its roster of late */
    bool quiet;           /* its quiet hours, for this conversation */
    enum outbox_environment environment;
    /* Of peer 0: conversations that were shown there and have been read.  complete: of
     * nothing else that was shown there anything is unread. */
    uint64_t withdraw[PAYLOAD_WITHDRAW_MAX];
    size_t withdraw_n;
    bool withdraw_complete;
    bool call;        /* one that is not over: peer_jid calls, muted and quiet are of him */
    const char *over; /* how a call ended; NULL: none has, as far as is known */
    uint64_t conversation; /* of the call: with who calls */
    const char *session;
    const char *media;
    const char *voip_token; /* the registration's for calls; NULL: none, sealed, or no call */
    const uint8_t *voip_sealed;
    size_t voip_sealed_len;
    int32_t voip_sealed_by;
};
struct outbox_fetch {
    bool text;         /* bodies, too */
    bool names;        /* senders, too */
    bool withdraws;    /* what was shown, too */
    bool since_opened; /* badges of an app that counts so */
    const struct notice_list *notices;
    const struct outbox_key *keys;
    size_t n;
};
void outbox_sql_fetch(struct outbox_sql *q, const struct outbox_fetch *what, pg_result_fn cb,
                      void *ctx);
void outbox_sql_fetched(const struct pg_result *r, int row, struct outbox_fetched *out);

enum outbox_action {
    OUTBOX_END = 0,
    OUTBOX_HOLD = 1,
    OUTBOX_RELEASE = 2,
    OUTBOX_PARK = 3,
    OUTBOX_PARK_BRAKED = 4, /* until others are accepted */
};
#define OUTBOX_NO_LOG (-1)
#define OUTBOX_BADGE_UNKNOWN (-1) /* the phone made its own */
#define OUTBOX_BADGE_SAME (-2)    /* the phone was told none */

struct outbox_outcome {
    struct outbox_key key;
    int64_t gen;
    int64_t newest_id;
    enum outbox_action action;
    int64_t delay_ms;
    int attempts;
    int status;
    int badge;
    bool shown;                         /* a notification that the app may have to take back */
    uint8_t apns_id[16];                /* zero: nothing was sent */
    char decision[OUTBOX_REASON_BYTES]; /* why it was tried then; "": not decided */
    char reason[OUTBOX_REASON_BYTES];
};
/* The result's rows name those that did not end, because something happened meanwhile. */
void outbox_sql_settle(struct outbox_sql *q, const struct outbox_outcome *outcomes, size_t n,
                       pg_result_fn cb, void *ctx);
/* Index from 0; its generation now, and when its newest message was counted. */
size_t outbox_sql_kept(const struct pg_result *r, int row, int64_t *gen_out,
                       int64_t *counted_us_out);

/* Writes down where the shown ones of these were shown. */
void outbox_sql_shown(struct outbox_sql *q, const struct outbox_outcome *outcomes, size_t n,
                      pg_result_fn cb, void *ctx);
/* The device has been told to take these back (peer 0: all), or it has read by itself. */
void outbox_sql_withdrawn(struct outbox_sql *q, const struct outbox_key *key,
                          const uint64_t *peers, size_t n, pg_result_fn cb, void *ctx);
void outbox_sql_read_there(struct outbox_sql *q, const struct outbox_key *key, pg_result_fn cb,
                           void *ctx);

/* Registrations of before before_us go; columns: how many went, is this owner's still there.
 */
void outbox_sql_drop(struct outbox_sql *q, const struct outbox_outcome *outcome,
                     int64_t before_us, pg_result_fn cb, void *ctx);

/* Writes down whose the device's token is. */
void outbox_sql_environment(struct outbox_sql *q, const uint8_t device[16], bool sandbox,
                            pg_result_fn cb, void *ctx);

/* The registration's token for calls is no longer good, if it was said before before_us. */
void outbox_sql_voip_gone(struct outbox_sql *q, const uint8_t owner[16],
                          const uint8_t device[16], int64_t before_us, pg_result_fn cb,
                          void *ctx);

/* One number: OUTBOX_CLAIM_*.  Only who has the claim loads; a worker that begins takes it
 * from whoever has it, a later claim from one that has not claimed for two minutes. */
enum outbox_claim {
    OUTBOX_CLAIM_OTHERS = 0,
    OUTBOX_CLAIM_KEPT = 1,
    OUTBOX_CLAIM_TAKEN = 2,
    OUTBOX_CLAIM_FOUND = 3, /* after one that has left, or nobody */
};
void outbox_sql_claim(struct outbox_sql *q, bool begins, pg_result_fn cb, void *ctx);
/* The claim is nobody's: what was sent is settled. */
void outbox_sql_leave(struct outbox_sql *q, pg_result_fn cb, void *ctx);
/* What is due and waits, behind a place, in the order of its keys; nothing is written.  The
 * place moves to the last of them with outbox_sql_passed. */
void outbox_sql_load(struct outbox_sql *q, int64_t ahead_ms, const struct outbox_place *behind,
                     unsigned limit, pg_result_fn cb, void *ctx);
void outbox_sql_passed(const struct pg_result *r, struct outbox_place *place);
/* Writes down that these, which were loaded, are in this worker's hands. */
void outbox_sql_hold(struct outbox_sql *q, const struct outbox_key *keys, size_t n,
                     pg_result_fn cb, void *ctx);
/* Rows: owner, device, peer, mine; a page is full when it has limit rows. */
void outbox_sql_walk(struct outbox_sql *q, const uint8_t owner[16], const uint8_t device[16],
                     uint64_t peer, unsigned limit, pg_result_fn cb, void *ctx);
/* Some of what the brake has parked is due now; answers with how many. */
void outbox_sql_give_back(struct outbox_sql *q, const char *app, unsigned n, pg_result_fn cb,
                          void *ctx);
void outbox_sql_wake(struct outbox_sql *q, const char *app, pg_result_fn cb, void *ctx);
/* One row: how many were forgotten, at most limit. */
void outbox_sql_purge(struct outbox_sql *q, int64_t history_ms, unsigned limit,
                      pg_result_fn cb, void *ctx);
/* Writes down what the app's icon counts. */
void outbox_sql_app(struct outbox_sql *q, const char *app, enum push_badge badge,
                    pg_result_fn cb, void *ctx);
/* One row: all, waiting, parked, and when the oldest that is not parked was counted. */
void outbox_sql_depth(struct outbox_sql *q, pg_result_fn cb, void *ctx);

#endif
