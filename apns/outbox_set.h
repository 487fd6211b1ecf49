// SPDX-License-Identifier: Apache-2.0
/*
 * The outbox's entries in memory: found by key and by account, ordered by time, queued by app,
 * one at a time per device.  It knows neither SQL nor gateways.
 */
#ifndef APNS_OUTBOX_SET_H
#define APNS_OUTBOX_SET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>

#include "apns/brake.h"

struct apns_app_opts;
struct gateway;

enum entry_state {
    ENTRY_TIMED,    /* until due_ms: then decided             -> READY, SETTLING */
    ENTRY_READY,    /* for its device's turn and for room     -> FETCHING, SETTLING, TIMED */
    ENTRY_FETCHING, /* what to send is being read             -> READY, FLYING, SETTLING */
    ENTRY_FLYING,   /* the gateway has it                     -> READY, SETTLING */
    ENTRY_SETTLING, /* what became of it is being stored      -> TIMED, or out of memory */
};
#define ENTRY_STATES 5
#define ENTRY_DECISIONS 3

struct outbox_account {
    struct outbox_account *hash_next;
    uint8_t owner[16];
    LIST_HEAD(outbox_entries, entry) entries;
    char jid[];
};

/* Of a device with more than one to send: who has the turn, and who waits for it. */
struct outbox_slot {
    struct entry *turn;
    TAILQ_HEAD(outbox_waiting, entry) waiting;
};

/* An app by its id; lives as long as the set, configured or not. */
struct outbox_app {
    struct outbox_app *next;
    const struct apns_app_opts *opts;      /* NULL: not configured */
    struct gateway *gateway;               /* NULL: none */
    TAILQ_HEAD(outbox_ready, entry) ready; /* entries that have their device's turn */
    size_t by_state[ENTRY_STATES];
    unsigned fetches; /* statements in flight */
    size_t fetch_max; /* entries of one, while some cannot be read; 0: as many as fit */
    bool stopped;     /* the gateway said so; until it has room again */
    uint64_t answered;
    uint64_t accepted;
    struct brake brake;
    bool braked; /* something may be parked by it */
    char id[];
};

/* What is under way for an entry, from reading the counts until the answer. */
struct outbox_flight {
    int64_t gen;
    int64_t newest_id;
    int64_t sent_us;
    int badge;
    bool alert;
    bool shows; /* what the app may have to take back later */
    bool voip;  /* to the registration's token for calls */
    uint8_t apns_id[16];
    const char *note; /* why it is only a badge, or where it went; a constant or NULL */
    struct outbox_app *through; /* whose gateway has it */
    /* Of a badge: conversations whose notifications are to go; all: every one of the app's. */
    bool withdraw_all;
    size_t withdraw_n;
    uint64_t withdraw[];
};

struct entry {
    struct entry *hash_next;
    struct entry *turn_next; /* in the hash of those that have their device's turn */
    LIST_ENTRY(entry) of_account;
    TAILQ_ENTRY(entry) queued; /* in app->ready or slot->waiting */
    struct outbox_account *account;
    struct outbox_app *app;
    struct outbox_slot *slot; /* NULL: no other waits for the device */
    struct outbox_flight *flight;
    int64_t due_ms;     /* monotonic */
    int64_t counted_us; /* oldest message this push is for */
    int64_t newest_us;
    int64_t again_us; /* oldest that came while its end was being stored; 0: none */
    int64_t gen;      /* as far as known */
    int64_t newest_id;
    uint64_t peer;
    uint8_t device[16];
    uint32_t heap_at; /* index + 1; 0: not in the heap */
    enum entry_state state;
    uint16_t asked;
    uint16_t attempts;
    /* The last ones' reasons, newest first: see outbox_reason; 0: none. */
    uint8_t decisions[ENTRY_DECISIONS];
    bool loaded;    /* the database says that it waits, and we have it all the same */
    bool turn;      /* of its device: READY and later; in TIMED only when the device is held */
    bool keep_turn; /* no other push to this device before this one's next try */
    bool elsewhere; /* its app's gateway did not know the token: to the other environment's */
    bool voip_refused; /* its token for calls: an alert is to tell of this one */
    bool inherited;    /* the worker before us may have sent it: what the phone shows is not
                          known */
    char resource[];
};

struct outbox_set;

struct outbox_set *outbox_set_new(void);
void outbox_set_free(struct outbox_set **s);
size_t outbox_set_count(const struct outbox_set *s);

struct entry *outbox_set_find(const struct outbox_set *s, const uint8_t owner[16],
                              const uint8_t device[16], uint64_t peer);
/* In TIMED, not yet in the heap.  Must not be there. */
struct entry *outbox_set_add(struct outbox_set *s, const uint8_t owner[16],
                             const uint8_t device[16], uint64_t peer, const char *jid,
                             const char *resource, const char *app);
/* Takes it from wherever it is and frees it; its device's turn passes on. */
void outbox_set_remove(struct outbox_set *s, struct entry *e);
struct outbox_account *outbox_set_account(const struct outbox_set *s, const uint8_t owner[16]);

/* The only writer of e->loaded. */
void outbox_set_loaded(struct outbox_set *s, struct entry *e, bool loaded);
/* Loaded ones whose end is not being stored, at most max, from a place on that begins as 0.
 * Who comes while the place moves may be left out. */
size_t outbox_set_find_loaded(const struct outbox_set *s, size_t *place, struct entry **out,
                              size_t max);

/* The only writer of e->state. */
void outbox_set_state(struct entry *e, enum entry_state state);

/* The heap of times. */
void outbox_set_time(struct outbox_set *s, struct entry *e, int64_t due_ms);
void outbox_set_untime(struct outbox_set *s, struct entry *e);
struct entry *outbox_set_next(const struct outbox_set *s); /* NULL: none */

/* Into its app's queue when its device is free (or its own), else behind the others. */
void outbox_set_queue(struct outbox_set *s, struct entry *e);
/* Back to the front of its app's queue; it still has its device's turn. */
void outbox_set_requeue(struct entry *e);
/* Out of the queue it waits in; keeps its turn. */
void outbox_set_unqueue(struct entry *e);
/* Another push to its device has read what it says and is not settled. */
bool outbox_set_is_behind(const struct outbox_set *s, const struct entry *e);
/* Its device is free for the next. */
void outbox_set_pass_turn(struct outbox_set *s, struct entry *e);

/* Found or made. */
struct outbox_app *outbox_set_app(struct outbox_set *s, const char *id);
struct outbox_app *outbox_set_apps(const struct outbox_set *s); /* first; then ->next */

#endif
