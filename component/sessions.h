// SPDX-License-Identifier: Apache-2.0
/*
 * Who is online, as far as presence, the server's list and the stanzas that pass tell: the
 * resources of local accounts, each with the time it was last seen.  Only accounts with a
 * session are held.  It asks nobody, and pings nobody (that would wake hibernating phones).
 */
#ifndef COMPONENT_SESSIONS_H
#define COMPONENT_SESSIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/jid.h"

struct buf;
struct sessions;

/* Sessions are forgotten when nothing was seen of them for this long: servers do not always
 * tell of one that died. */
#define SESSIONS_FORGET_US (24 * 3600 * INT64_C(1000000))
#define SESSIONS_ACCOUNTS_MAX 2000000 /* then the account silent longest is forgotten */
#define SESSIONS_PER_ACCOUNT_MAX 32
/* A stanza that a session sent may come to us after its goodbye, by another node of a cluster:
 * for so long it is no sign of life. */
#define SESSIONS_ECHO_US (5 * INT64_C(1000000))

enum session_state {
    SESSION_OFFLINE,
    SESSION_UNKNOWN, /* too early to say: counts as online */
    SESSION_ONLINE,
};

enum session_show { SHOW_AVAILABLE, SHOW_CHAT, SHOW_AWAY, SHOW_XA, SHOW_DND };

#define SESSION_PRIORITY_UNKNOWN 128    /* seen, but without a presence of its own */
#define SESSION_LINK_UNKNOWN UINT32_MAX /* it is on one of several nodes */

struct session {
    const char *resource;
    int priority; /* -128 to 127, or unknown */
    enum session_show show;
    unsigned link;     /* whose node it is on */
    int64_t seen_us;   /* its last stanza; 0: none was seen */
    int64_t listed_us; /* when the server last listed it, 0: never */
    int64_t
        stuck_us; /* when the server last said that something did not get through; 0: never */
};

struct sessions *sessions_new(void);
void sessions_free(struct sessions **s);

/* A stanza of that resource passed: it is alive.  Adds it when it is new and has not just
 * gone; only then link matters, for a copy may come by the node of the other side. */
void sessions_seen(struct sessions *s, const struct jid *who, unsigned link, int64_t at_us);
/* Its presence, told by its own node. */
void sessions_available(struct sessions *s, const struct jid *who, unsigned link, int priority,
                        enum session_show show, int64_t at_us);
/* The server lists it: it is there, which says nothing of when it was last alive.  link
 * matters when it is new. */
void sessions_listed(struct sessions *s, const struct jid *who, unsigned link, int64_t at_us);
/* Its presence, told by somebody else, which is no sign of life; nothing for one that is not
 * there. */
void sessions_describe(struct sessions *s, const struct jid *who, int priority,
                       enum session_show show);
/* An account has no session any more; borrowed for the call, which must not come back here. */
typedef void (*sessions_gone_fn)(void *ctx, const char *bare);
/* The list of a host that came by this link was complete: forgets the host's sessions that
 * were neither listed nor seen since then, but for those of other links' nodes, which know
 * better while they are cut off from this one.  gone may be NULL. */
void sessions_unlisted(struct sessions *s, const char *host, unsigned link, int64_t since_us,
                       sessions_gone_fn gone, void *ctx);
/* False: it has been seen later than that, on another node; it stays. */
bool sessions_gone(struct sessions *s, const struct jid *who, int64_t at_us);
/* The server could not hand something to that session: its connection is lost, though it may
 * come back.  Of a resource without a session this says nothing: that it is not there is
 * known, and the others may well be. */
void sessions_stuck(struct sessions *s, const char *bare, const char *resource, int64_t at_us);
/* Those of its node are gone, or out of our sight. */
void sessions_link_lost(struct sessions *s, unsigned link);
/* Forgets what was silent too long. */
void sessions_sweep(struct sessions *s, int64_t now_us);

/* ONLINE when a resource with a priority that is not negative was seen or listed within
 * stale_after_us; else OFFLINE.  *seen_us_out (may be NULL) is the newest sign of any
 * resource, 0 for none. */
enum session_state sessions_state(const struct sessions *s, const char *bare, int64_t now_us,
                                  int64_t stale_after_us, int64_t *seen_us_out);
bool sessions_has(const struct sessions *s, const struct jid *who);
/* When that resource was last seen, 0 when nothing was. */
int64_t sessions_seen_at(const struct sessions *s, const char *bare, const char *resource);
/* When any other resource (NULL: any) was last seen, 0 when there is none. */
int64_t sessions_others_seen_at(const struct sessions *s, const char *bare,
                                const char *resource);
/* When that session was last said to be stuck; 0 when it was seen since. */
int64_t sessions_stuck_at(const struct sessions *s, const char *bare, const char *resource);
/* Walks the sessions of an account; NULL to start, NULL at the end. */
const struct session *sessions_next(const struct sessions *s, const char *bare,
                                    const struct session *after);
size_t sessions_accounts(const struct sessions *s);

/* For the worker's snapshot. */
void sessions_save(const struct sessions *s, struct buf *out);
/* Adds what was saved, except for links that are no more (links_n and up).  False when the
 * bytes are not a list of sessions; *data and *len move past it. */
bool sessions_load(struct sessions *s, const uint8_t **data, size_t *len, unsigned links_n);

#endif
