// SPDX-License-Identifier: Apache-2.0
/*
 * The durable queue of pushes: one entry per device and conversation (peer 0: a badge only),
 * written in the transaction that counted the message, sent only after its COMMIT.  Every
 * entry ends answered, waiting for its next try, or parked with its reason; after a crash a
 * device may get one push twice, with the same apns-id.  It does not know who is online: a
 * callback decides whether a push is wanted.
 */
#ifndef APNS_OUTBOX_H
#define APNS_OUTBOX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/event.h"

struct event_base;
struct gateway;
struct outbox;
struct pg;
struct pg_pool;
struct push_opts;
struct push_request;
struct push_verdict;
struct token_keys;

#define OUTBOX_DEVICE_BYTES 16
#define OUTBOX_KEY_BYTES 32
/* As if a conversation, of an alert that is about none: xs.test_push. */
#define OUTBOX_TEST_PEER UINT64_MAX
/* As if conversations, of calls (xs.call.entry): so many numbers below OUTBOX_TEST_PEER.  That
 * a conversation's hash is one of them is as likely as to guess 48 bits. */
#define OUTBOX_CALLS UINT64_C(65536)
/* So many calls of one minute are told to one account, of one caller, as xs.call_begin says.
 */
#define CALLS_MAX 16
#define CALLS_OF_CALLER_MAX 4
bool outbox_is_call(uint64_t peer);
uint64_t outbox_call_peer(uint64_t hash);
#define OUTBOX_MEMORY_MAX 200000 /* entries held; the others wait in the database */
#define OUTBOX_FETCHES 2         /* statements that read what is pushed, at a time and app */

/* What the policy is asked about.  Borrowed for the call. */
struct outbox_candidate {
    const char *account;  /* bare JID */
    const char *resource; /* that registered the device; "" when not known */
    const char *app;
    const uint8_t *owner;  /* OWNER_BYTES */
    const uint8_t *device; /* OUTBOX_DEVICE_BYTES */
    uint64_t peer;         /* 0: only the badge changed, because something was read; see
                              outbox_is_call */
    int64_t counted_us;    /* link's receive time of the oldest message this push is for */
    int64_t newest_us;     /* and of the newest; for a badge both are when the total fell */
    unsigned asked;        /* how often it was asked before; 0: settle has just passed */
    unsigned attempts;     /* how often it was sent before, without success */
};

enum outbox_answer {
    OUTBOX_NOW,
    OUTBOX_WAIT, /* ask again after again_ms */
    OUTBOX_SKIP, /* the device itself was there: it needs neither alert nor badge */
};
struct outbox_decision {
    enum outbox_answer answer;
    int64_t again_ms;   /* of WAIT; at least 10 */
    const char *reason; /* one or two words for `explain`, a constant; NULL: none */
};

struct outbox_hooks {
    /* Asked when settle has passed (a badge: 2 s after the total fell), again after each WAIT
     * and before each new try.  Read, bounced, retracted and muted need not be looked at:
     * the outbox does, at the moment of sending. */
    struct outbox_decision (*decide)(void *ctx, const struct outbox_candidate *c);
    /* Something only a person can mend; text is one line.  May be NULL. */
    void (*alarm)(void *ctx, const char *app, const char *text);
    /* A push to the account shows a sender, by names that were not read from its roster for a
     * day, or never.  It does not wait for them.  May be NULL. */
    void (*names)(void *ctx, const char *account);
    void *ctx;
};

/* The gateways as the outbox uses them; gateway.h fits, tests put their own here. */
struct outbox_gateway_ops {
    size_t (*room)(const struct gateway *g);
    bool (*submit)(struct gateway *g, const struct push_request *r);
};

struct outbox_opts {
    const struct push_opts *push; /* borrowed until outbox_free or outbox_reload */
    struct pg_pool *pool;         /* borrowed */
    /* Borrowed: reads what to send, while answers are stored and what is due is loaded by
     * pool. NULL, and while it is down: pool does this too. */
    struct pg_pool *reads;
    const uint8_t *key; /* of OUTBOX_KEY_BYTES; what collapse ids are made with; copied */
    struct token_keys *tokens; /* what opens devices' tokens; borrowed */
    uint8_t worker[16];        /* who holds leases: new for every worker process */
    struct outbox_hooks hooks;
    struct outbox_gateway_ops gateways; /* all NULL: gateway.h's functions */
    size_t memory_max;                  /* 0: OUTBOX_MEMORY_MAX */
};

/* Never NULL.  Starts paused and without gateways. */
struct outbox *outbox_new(struct event_base *base, const struct outbox_opts *opts);
/* Free the gateways first: their last verdicts still come here.  Entries stay in the database.
 */
void outbox_free(struct outbox **o);

/* The gateway of push->apps[app]; NULL takes it away. */
void outbox_set_gateway(struct outbox *o, size_t app, struct gateway *g);
/* These two are for struct gateway_events; ctx is the outbox. */
void outbox_verdict(void *ctx, void *request_ctx, const struct push_verdict *v);
void outbox_room(void *ctx, struct gateway *g);
/* New settings: all gateways are forgotten, entries find their app again by its id. */
void outbox_reload(struct outbox *o, const struct push_opts *push);

/* Takes the entries of dead workers over, then loads what is due; tries until PostgreSQL lets
 * it.  Call it once, when the schema is known to be right. */
void outbox_start(struct outbox *o);
/* While paused entries are only collected: ingest is behind, counts are not those of now. */
void outbox_pause(struct outbox *o, bool pause);
/* Somebody has left entries in the database that are due: they are not to wait for the next
 * round. */
void outbox_look(struct outbox *o);
/* Before an orderly end: no push begins any more.  True once none is on its way and every
 * answer is stored, so that the next worker sends nothing twice; ask again until then. */
bool outbox_drain(struct outbox *o);

/* Adds entries to the open transaction on conn, for owners with devices; conn, changes and n
 * are ingest_hooks.batch's.  outbox_committed must follow, once, whatever happened. */
void outbox_batch(struct outbox *o, struct pg *conn, const struct unread_change *changes,
                  size_t n);
void outbox_committed(struct outbox *o, struct pg *conn, bool ok);

/* The server has shown that something did not reach the account: its waiting entries are
 * decided again now. */
void outbox_reconsider(struct outbox *o, const uint8_t owner[OWNER_BYTES]);

struct outbox_app_status {
    const char *app;
    size_t waiting;   /* in memory: for time to pass, or for a decision */
    size_t ready;     /* for room at the gateway */
    size_t in_flight; /* from reading the counts until the answer is stored */
    uint64_t answered;
    uint64_t accepted;
    bool brake; /* too many rejections: rejected devices are kept, their pushes parked */
};
struct outbox_status {
    size_t held; /* in memory, all apps */
    /* As the database had it less than a minute ago (-1: not known yet). */
    int64_t stored; /* all entries */
    int64_t retry;
    int64_t parked;
    int64_t oldest_us; /* when the oldest entry that is not parked was counted; 0: none */
    bool paused;
    bool database_up; /* the last statement was answered */
};
void outbox_get_status(const struct outbox *o, struct outbox_status *out);
void outbox_get_app_status(const struct outbox *o, size_t app, struct outbox_app_status *out);

#endif
