// SPDX-License-Identifier: Apache-2.0
/*
 * What a server's stanzas mean: a pure function of the stanza and the settings, so that the
 * spool can be read a second time with the same outcome.  It keeps no state and drops nothing
 * because of a payload that a sender can write; copies of one message are told apart by
 * identity, elsewhere.
 */
#ifndef COMPONENT_ADAPTER_H
#define COMPONENT_ADAPTER_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "base/event.h"
#include "base/jid.h"
#include "component/opts.h"

struct stanza;

#define ADAPTER_KEY_BYTES 16
#define ECHO_ID_BYTES 37      /* "xs-" 16 hex "-" 16 hex */
#define ADAPTER_ITEMS_MAX 256 /* of a pubsub stanza; what is behind them is not looked at */

struct adapter {
    const struct component_opts *opts; /* borrowed */
    uint8_t echo_key[ADAPTER_KEY_BYTES];
};

/* Called back during adapter_classify; all but event may be NULL.  at_us: when it happened, as
 * well as the server tells. */
struct adapter_sink {
    void (*event)(void *ctx, const struct event *e);
    /* A copy of something passed the server at that time of its own clock; may be NULL, and is
     * called only for a server that tells. */
    void (*copied)(void *ctx, int64_t server_us);
    /* A result of what adapter_ask_id names, of a message that passed the server then; may be
     * NULL. */
    void (*told)(void *ctx, const char *ask_id, int64_t server_us);
    /* That session of a local user has just sent something. */
    void (*seen)(void *ctx, const struct jid *who, int64_t at_us);
    /* That session of a local user has become unavailable. */
    void (*gone)(void *ctx, const struct jid *who, int64_t at_us);
    /* The roster of this local account is about to change, or has just changed. */
    void (*roster)(void *ctx, const struct jid *who);
    /* Its presence, where a server shows that as copies; may be NULL. */
    void (*available)(void *ctx, const struct jid *who, const struct stanza *presence,
                      int64_t at_us);
    void *ctx;
};

/* 0 to 2 events for a copy of a message (the message first, then its marker), one for each
 * chat in what an account tells its own devices of what it has displayed (XEP-0490) or wants
 * to be told of (XEP-0492), none for anything else.  Strings of events are added to the
 * stanza's arena.  REJECT when the arena is full or an address is none: park the stanza. */
MUST_CHECK enum err_kind adapter_classify(const struct adapter *a, struct stanza *st,
                                          const struct place *p, int64_t received_us,
                                          const struct adapter_sink *sink, struct err *e);

/* The server's copy of a message, as far as its first start tags show (base/xml_head.h). */
bool adapter_copies_message(const struct adapter *a, const struct stanza *head);

/* The server's own publishes (XEP-0357) mean that something was not delivered; some servers
 * publish what they deliver, too. */
bool adapter_publish_means_undelivered(const struct adapter *a);

/* Somebody shows us our users' messages: where nobody does, the server's publishes are all
 * that makes a push. */
bool adapter_sees_messages(const struct adapter *a);

/* text is exactly a server host that we serve: only then an envelope counts. */
bool adapter_is_host(const struct adapter *a, const char *text);
/* Messages of this sender may be announcements or copies. */
bool adapter_hears(const struct adapter *a, const char *from);

/* The queryid for a question to the server's own archive (XEP-0313): by it a result is known,
 * which has no sender, and only we can make one. */
void adapter_ask_id(const struct adapter *a, char out[ECHO_ID_BYTES]);
/* A message with such a result. */
bool adapter_is_told(const struct adapter *a, const struct stanza *message);
/* The part of the server that asks components what they are. */
bool adapter_is_prober(const struct adapter *a, const struct jid *j);
/* Of xmpp.domains: as a domain, and as a user's address. */
bool adapter_serves(const struct adapter *a, const struct jid *j);
bool adapter_is_local(const struct adapter *a, const struct jid *j);
/* Of push.accept_from: neither ours nor a stranger. */
bool adapter_is_guest(const struct adapter *a, const struct jid *j);

/* An id for a message that we send from one address to another.  The server shows us a copy of
 * it, and adapter_is_echo knows it again; for any other pair of addresses the id is worthless,
 * so nobody who has seen it can hide a message behind it. */
void adapter_echo_id(const struct adapter *a, const struct jid *from, const struct jid *to,
                     char out[ECHO_ID_BYTES]);
bool adapter_is_echo(const struct adapter *a, const char *id, const struct jid *from,
                     const struct jid *to);
/* The id looks like one of these; cheaper, and by itself says nothing. */
bool adapter_may_be_echo(const char *id);

/* Liveness of the sender of any copy. */
void adapter_liveness(const struct adapter *a, const struct stanza *inner, int64_t at_us,
                      const struct adapter_sink *sink);

#endif
