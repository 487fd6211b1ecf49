// SPDX-License-Identifier: Apache-2.0
/*
 * Everything XMPP that the worker does with what its links read: events for the archive, IQ
 * requests for handlers, discovery, commands, permissions and sessions.  It is told bytes made
 * stanzas, places and times; it sends through a callback and waits for nothing, least of all
 * for a database.  It knows no socket, no spool and no table.
 */
#ifndef COMPONENT_SERVICE_H
#define COMPONENT_SERVICE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/event.h"
#include "component/adapter.h"
#include "component/adhoc.h"
#include "component/iq.h"
#include "component/opts.h"
#include "component/questions.h"
#include "component/sessions.h"

struct buf;
struct cursor_piece;
struct service;
struct stanza;

/* Which reading of the stream this is.  REPLAY: a new worker goes again over what the one
 * before it had passed, to know permissions and sessions; nothing is sent but answers to
 * requests that are still open. */
enum service_pass { SERVICE_LIVE, SERVICE_REPLAY };

struct service_events {
    /* Whole stanzas for the link, to be dropped when that epoch is over. */
    void (*send)(void *ctx, unsigned link, uint64_t epoch, const uint8_t *data, size_t len);
    /* Called from service_stanza, in both passes; e is borrowed for the call. */
    void (*event)(void *ctx, const struct event *e);
    /* The roster of this account (bare JID) changes.  May be NULL. */
    void (*roster_changed)(void *ctx, const char *account);
    /* A request is ours and not answered yet; it has been answered; the worker before us left
     * it open (asked in REPLAY only).  The first two may be called many times a second. */
    void (*request_opened)(void *ctx, const struct place *p);
    void (*request_done)(void *ctx, const struct place *p);
    bool (*request_is_open)(void *ctx, const struct place *p);
    /* That account has no session any more, as the server's list shows; may be NULL. */
    void (*gone)(void *ctx, const char *bare);
    /* Copies of that time, by the server's clock, seem to have been dropped; may be NULL. */
    void (*copies_lost)(void *ctx, int64_t from_us, int64_t to_us);
    /* The server has not told us our permissions: a new connection may cure it. */
    void (*reconnect)(void *ctx, unsigned link, uint64_t epoch, const char *why);
    void *ctx;
};

/* Borrows opts until service_free.  echo_key: the installation's, the same for ever. */
struct service *service_new(const struct component_opts *opts,
                            const uint8_t echo_key[ADAPTER_KEY_BYTES],
                            const struct service_events *events);
void service_free(struct service **s);

/* Before the first stanza: what we offer.  Strings are borrowed.
 * A request whose payload has that name (NULL: any) and namespace goes to fn. */
typedef void (*service_request_fn)(void *ctx, struct iq_request *r);
void service_handle(struct service *s, const char *name, const char *ns, service_request_fn fn,
                    void *ctx);
/* Requests in that namespace are also taken from push.accept_from. */
void service_welcome(struct service *s, const char *ns);
/* A feature in disco#info: of the component's own address (ns NULL), or of what we do in a
 * namespace that a server may delegate.  Such a one is shown on the users' addresses and the
 * host's, and on our own for users of a host that has not delegated ns. */
void service_feature(struct service *s, const char *ns, const char *feature);
/* A namespace we serve on the users' addresses.  One that is not named here is refused when
 * the server offers to delegate it. */
void service_delegate(struct service *s, const char *ns);

/* The spool's OPEN and CLOSE records.  opened_us: receive time of the record. */
void service_opened(struct service *s, unsigned link, uint64_t epoch, int64_t opened_us);
void service_closed(struct service *s, unsigned link, uint64_t epoch);
/* REPLAY of that link is over (also when there was nothing to replay): from now on what was
 * left to do is done, and deadlines count. */
void service_live(struct service *s, unsigned link);

/* One stanza of link p->spool.  Borrows st for the call, except for strings of events, which
 * are added to its arena.  REJECT when a message was too large or its addresses are none:
 * quarantine it. */
MUST_CHECK enum err_kind service_stanza(struct service *s, uint64_t epoch, struct stanza *st,
                                        const struct place *p, int64_t received_us,
                                        enum service_pass pass, struct err *e);

/* A stanza that is passed over, of which only the first start tags are known (base/xml_head.h,
 * SERVICE_HEAD_DEPTH of them): a request that is ours is answered with an error.  over_limit:
 * the asker's fault, or else ours. */
#define SERVICE_HEAD_DEPTH 5 /* iq, delegation, forwarded, iq and what it asks */
void service_refuse(struct service *s, const struct stanza *head, const struct cursor_piece *p,
                    enum service_pass pass, bool over_limit);

/* Deadlines, on the monotonic clock of base/clock.h. */
void service_tick(struct service *s, int64_t now_ms);
int64_t service_deadline(const struct service *s); /* INT64_MAX: none */

/* Asks somebody; payload is borrowed for the call.  fn is called exactly once: with the answer
 * (type result or error), or NULL when there was none in time or the link was lost. */
void service_ask(struct service *s, unsigned link, const char *to, const char *type,
                 const struct stanza *payload, int64_t within_ms, iq_answer_fn fn, void *ctx);

/* While an answer is given: where it ends in its link's spool. */
uint64_t service_looked_at(const struct service *s);

/* Sessions; UNKNOWN while a link is younger than 2 minutes (or lost that recently), its list
 * of who is online did not come, and nothing is known of the account. */
enum session_state service_session_state(const struct service *s, const char *bare,
                                         int64_t now_us, int64_t stale_after_us,
                                         int64_t *seen_us_out);
const struct sessions *service_sessions(const struct service *s);
/* See sessions_stuck: told by who knows whose registration the server's publish named. */
void service_session_stuck(struct service *s, const char *bare, const char *resource,
                           int64_t at_us);
/* For classifying again from the spool. */
const struct adapter *service_adapter(const struct service *s);

/* Whether the server sends copies of messages by this link. */
enum service_copies {
    SERVICE_COPIES_CONFIGURED, /* its own settings decide, and we are not told */
    SERVICE_COPIES_ASKED,
    SERVICE_COPIES_SENT,
    SERVICE_COPIES_REFUSED, /* or not answered: it is asked again */
};

/* The account's host lets us read its users' rosters, by that link. */
bool service_grants_rosters(const struct service *s, const char *bare, unsigned *link_out);

/* What status shows of one link. */
struct service_link_status {
    bool up;
    bool live;
    bool messages_granted; /* by every host: results can be sent as users */
    bool presence_granted;
    unsigned namespaces_delegated; /* of those we serve, by the host with fewest */
    bool sessions_listed;          /* the server's list of who is online came */
    size_t accounts_online;        /* of all links */
    size_t requests_open;
    enum service_copies copies;
    int64_t copies_since_us;    /* of SENT */
    const char *copies_trouble; /* of REFUSED, with what to do; a constant, or NULL */
    unsigned copies_busiest;    /* in COPY_FLOW_PERIOD_US, where the server says when */
    unsigned copies_losses;     /* times at which some seem to have been lost, and the last */
    int64_t copies_lost_from_us;
    int64_t copies_lost_to_us;
};
void service_link_status(const struct service *s, unsigned link,
                         struct service_link_status *out);

/* The server's own nodes.  Each needs a link of its own, for copies, presence and queries of
 * its users come by no other. */
struct service_nodes {
    unsigned running;  /* as the server says, 0: it does not */
    unsigned links;    /* configured */
    unsigned links_up; /* of these */
    const char *names; /* of the running ones, good until the next tick */
};
void service_nodes(const struct service *s, struct service_nodes *out);

/* The state that belongs to the links' epochs, for the next worker. */
void service_save(const struct service *s, struct buf *out);
/* False when the bytes are no such state of this version: start from the spool's beginning.
 * Call before service_opened. */
MUST_CHECK bool service_load(struct service *s, const uint8_t *data, size_t len);

#endif
