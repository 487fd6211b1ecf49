// SPDX-License-Identifier: Apache-2.0
/* What outbox.c (collecting, timing, deciding), outbox_send.c (sending), outbox_settle.c
 * (settling) and their test share. */
#ifndef APNS_OUTBOX_INT_H
#define APNS_OUTBOX_INT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>

#include "apns/outbox.h"
#include "apns/outbox_set.h"
#include "apns/outbox_sql.h"
#include "base/buf.h"

#define OUTBOX_MAGIC 0x6f757462u
#define OUTBOX_SQL_AGAIN_MS 1000     /* after a statement failed */
#define OUTBOX_ROUND_MS 30000        /* of upkeep */
#define OUTBOX_REASONS_MAX 64        /* others are not remembered */
#define OUTBOX_MEMORY_DELAY_MS 60000 /* longer waits are spent in the database */
#define OUTBOX_INHERITS_MS 120000    /* what was due when a worker died is loaded within it */
#define OUTBOX_ROUND_SOON_MS 1000    /* while there is more to load, or after a failure */

struct crypt_hmac;
struct event;
struct event_base;
struct push_opts;
struct push_request;
struct push_verdict;

struct outbox;
struct outbox_job;
/* r is NULL when it failed. */
typedef void (*outbox_job_fn)(struct outbox *o, struct outbox_job *job,
                              const struct pg_result *r);

/* A statement whose answer is awaited.  It outlives the outbox when that goes first. */
struct outbox_job {
    struct outbox *o; /* NULL: nobody listens any more */
    LIST_ENTRY(outbox_job) all;
    outbox_job_fn done;
    void *arg;
    size_t n;
    struct entry *entries[]; /* fetch and settle */
};

/* An entry of a transaction that is not committed yet. */
struct outbox_pending {
    STAILQ_ENTRY(outbox_pending) next;
    struct outbox_row row; /* its strings are in text */
    char text[];
};

struct outbox_txn {
    LIST_ENTRY(outbox_txn) all;
    struct pg *conn;
    STAILQ_HEAD(outbox_pendings, outbox_pending) pending;
    size_t n;
    unsigned asked; /* statements without an answer */
    bool lost;      /* an answer did not come: what it added is not known */
    bool unheld;    /* there was no room in memory for what it adds */
};

struct outbox {
    unsigned magic;
    struct event_base *base;
    const struct push_opts *push;
    struct outbox_hooks hooks;
    struct outbox_gateway_ops gateways;
    struct crypt_hmac *names; /* what devices and services are told instead of ours */
    struct token_keys *tokens;
    bool damage_told; /* of a token that does not open */
    size_t memory_max;
    struct outbox_sql *sql;
    struct outbox_set *set;
    struct event *timer;
    struct buf payload;
    LIST_HEAD(outbox_jobs, outbox_job) jobs;
    LIST_HEAD(outbox_txns, outbox_txn) txns;
    size_t pending_n;
    bool paused;
    bool draining; /* nothing begins any more */
    enum { LEAVE_NOT, LEAVE_ASKED, LEAVE_DONE } left;
    bool started;

    /* Outcomes to be stored; settling: the first of them are with PostgreSQL now. */
    struct outbox_outcome *outcomes;
    struct entry **outcome_entries;
    size_t outcomes_n;
    size_t outcomes_cap;
    bool settling;

    /* Why decisions were taken: a few constants, which entries name by number. */
    const char *reasons[OUTBOX_REASONS_MAX];
    size_t reasons_n;

    int64_t sql_again_ms;        /* no statement before this: the last one failed, */
    enum pg_failure sql_failure; /* so */
    bool sql_up;

    /* Upkeep: one statement at a time, in turn. */
    int64_t upkeep_ms; /* when the next round begins */
    bool upkeep_running;
    bool upkeep_soon;       /* another round is to come soon after the one that runs */
    bool claimed;           /* once: from then on others may take it from us */
    bool more;              /* the pass over what is due is not at its end */
    int64_t pass_ms;        /* when it began */
    struct outbox_place at; /* where it stands */
    size_t hold_at;         /* where among our entries those are looked for that it shall not
                               meet again */
    bool released;          /* something to load has just been made */
    bool unheld;            /* the same, but the pass that goes on may meet it */
    bool reconcile;         /* entries may be ours without our knowing */
    size_t apps_written;    /* so many of them */
    int64_t inherits_until_ms; /* what is loaded before may have been sent by a dead worker */
    int64_t walk_again_ms;  /* what dead workers held is looked for once more; 0: that was */
    struct outbox_key walk; /* where it stands */
    int64_t depth_ms;       /* not counted again before this */
    int64_t stored;
    int64_t retry;
    int64_t parked;
    int64_t oldest_us;
};

/* Everything that time or room now allows; the timer's callback, and a test's. */
void outbox_run(struct outbox *o);
/* outbox_run on the next turn of the loop. */
void outbox_soon(struct outbox *o);

struct outbox_job *outbox_job_new(struct outbox *o, size_t entries, outbox_job_fn done);
/* The pg_result_fn of all statements; ctx is a job. */
void outbox_job_result(void *ctx, const struct pg_result *r, const struct pg_error *e);

/* An entry that is ours by what PostgreSQL says.  NULL: it was here already. */
struct entry *outbox_adopt(struct outbox *o, const struct outbox_row *row);
/* Asks the policy about an entry in TIMED. */
void outbox_decide(struct outbox *o, struct entry *e);
/* The entry waits for in_ms, then is decided. */
void outbox_retime(struct outbox *o, struct entry *e, int64_t in_ms);

/* outbox_send.c */
void outbox_pump(struct outbox *o, struct outbox_app *app);
/* What was read of it, or sent, is not what is wanted: it is read once more. */
void outbox_back_to_ready(struct entry *e);

/* outbox_settle.c */
void outbox_key_of(const struct entry *e, struct outbox_key *key_out);
int64_t outbox_retry_delay_ms(const struct entry *e);
void outbox_flush_outcomes(struct outbox *o);
/* The entry ends, waits or is parked without a push; from TIMED, READY or FETCHING. */
void outbox_settle(struct outbox *o, struct entry *e, enum outbox_action action,
                   int64_t delay_ms, int status, int badge, const char *reason);

/* outbox_route.c: the app whose gateway the entry goes through, its own or that of the other
 * environment. */
struct outbox_app *outbox_route(const struct outbox *o, const struct entry *e,
                                const struct outbox_fetched *f);
/* True when the other one is to be asked before the verdict is believed: send it again. */
bool outbox_route_elsewhere(const struct outbox *o, struct entry *e,
                            const struct push_verdict *v);
/* Writes down what was learned by that of the device's token. */
void outbox_route_accepted(struct outbox *o, const struct entry *e);

/* outbox_withdraw.c: some app takes notifications back. */
bool outbox_withdraws(const struct outbox *o);
/* What the flight shows, or takes back; flight has room for f's list. */
void outbox_withdraw_take(struct outbox_flight *flight, const struct entry *e,
                          const struct outbox_fetched *f);
void outbox_withdraw_accepted(struct outbox *o, const struct entry *e);
/* Before the first n outcomes are stored: what of them was shown.  False: nothing; done is not
 * called then. */
bool outbox_withdraw_note(struct outbox *o, size_t n, outbox_job_fn done);
/* What the worker before us may have shown and has been read since goes into f's list. */
void outbox_withdraw_inherited(const struct entry *e, struct outbox_fetched *f);
/* A badge that is not needed, because the device itself has read. */
void outbox_withdraw_read_there(struct outbox *o, const struct entry *e);

/* PostgreSQL says we hold it, and we know nothing of it. */
void outbox_release_unknown(struct outbox *o, const struct outbox_key *key);

/* outbox_upkeep.c; soon: within a second.  inherits: what is found now may have been sent by
 * the worker before us.  leave, once all is settled: true when the next one knows it. */
bool outbox_inherits(const struct outbox *o);
bool outbox_leave(struct outbox *o);
void outbox_upkeep_soon(struct outbox *o);
void outbox_upkeep(struct outbox *o, int64_t now_ms);

/* outbox_text.c: the whole request but the token, which is f's.  Borrows from o and f. */
void outbox_compose(struct outbox *o, const struct entry *e, const struct outbox_fetched *f,
                    bool alert, char collapse_id[65], struct push_request *out);
void outbox_apns_id(const struct outbox *o, const struct entry *e, int64_t gen,
                    uint8_t out[16]);

#endif
