// SPDX-License-Identifier: Apache-2.0
/*
 * IQ requests that are ours to answer: addressed to the component, or to a user and delegated
 * to it (XEP-0355).  A handler is given the request and ends it exactly once, now or later; a
 * request that nobody ends is answered "wait" after 25 s, before the server gives up on us.
 * Handlers see one shape; how an answer travels is decided here.
 */
#ifndef COMPONENT_IQ_H
#define COMPONENT_IQ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/event.h"
#include "base/jid.h"

struct adapter;
struct arena;
struct buf;
struct stanza;
struct iq_table;

#define IQ_ANSWER_WITHIN_MS 25000 /* ejabberd's own limit is 32 s */
#define IQ_REPEAT_WITHIN_MS 20000 /* a read this young is done again by the next worker */
#define IQ_OPEN_MAX 1000          /* more are answered "wait" at once */

/* Read-only to handlers.  Owns its arena, in which handlers build what they answer. */
struct iq_request {
    struct jid asker;        /* prepared; the session that asked */
    const char *asker_text;  /* as it came */
    struct jid account;      /* whose data it is about, prepared, without resource */
    bool own_account;        /* the asker is that account: anything else is for iq_forbid */
    bool guest;              /* of push.accept_from: only what is open to these is for him */
    bool delegated;          /* came through the server, addressed to the account */
    bool is_set;             /* type: set, or else get */
    const struct stanza *iq; /* <iq xmlns='jabber:client'>, a copy in arena */
    const struct stanza *payload; /* its one child element */
    struct arena *arena;
    struct place place;
    unsigned link;
    uint64_t epoch;
    int64_t received_us;
};

/* Each of these ends the request and frees it: do not touch it afterwards.  On a request that
 * has ended already (deadline, connection lost) they only free it. */
void iq_reply(struct iq_request *r, const struct stanza *payload); /* NULL: empty result */
/* type and condition as RFC 6120 section 8.3 writes them; text may be NULL. */
void iq_error(struct iq_request *r, const char *type, const char *condition, const char *text);
/* The same with an application's condition beside the standard one. */
void iq_error_app(struct iq_request *r, const char *type, const char *condition,
                  const char *app_condition, const char *app_ns);
void iq_forbid(struct iq_request *r); /* auth, forbidden */
/* The database is away, and the like: wait, internal-server-error. */
void iq_later(struct iq_request *r, const char *text);

/* Sends a message to the asker from the address of the archive he asked, before the answer:
 * from the account (through XEP-0356) when delegated, else from us.  Of message only the type
 * and the children count: from, to, id and the hint <no-store/> are added.  False when it was
 * not sent (the asker's session has gone, the request has ended, or the server has not granted
 * it and the asker has been told "wait"): send no more, and end the request as usual. */
bool iq_send_message(struct iq_request *r, const struct stanza *message);
/* The same with the message's children as finished XML in the namespace jabber:client. */
bool iq_send_children(struct iq_request *r, const void *xml, size_t len);
/* The asker's session has gone, or the request has ended: further messages would go to his
 * other sessions or nowhere. */
bool iq_asker_gone(const struct iq_request *r);

/* Called when the request ends from outside; after fn the request is freed, and the handler
 * must not touch it.  Without it the request stays, ended, until the handler ends it. */
typedef void (*iq_cancel_fn)(void *ctx, struct iq_request *r);
void iq_on_cancel(struct iq_request *r, iq_cancel_fn fn, void *ctx);

/* What follows is between this file, questions.c and service*.c. */

#define IQ_DIRECTLY ""

struct iq_ops {
    /* Finished stanzas. */
    void (*send)(void *ctx, unsigned link, uint64_t epoch, const uint8_t *data, size_t len);
    /* The XEP-0356 namespace in which host lets us send messages, IQ_DIRECTLY when it takes
     * them without an envelope, NULL when it does not let us. */
    const char *(*privilege)(void *ctx, unsigned link, const char *host);
    void (*opened)(void *ctx, const struct place *p);
    /* It was answered, or its connection is over. */
    void (*done)(void *ctx, const struct place *p);
    void *ctx;
};

/* Where a request came from, and when. */
struct iq_origin {
    struct place place;
    uint64_t epoch;
    int64_t received_us;
    int64_t age_ms; /* how long ago that was */
    int64_t now_ms;
};

enum iq_open_result {
    IQ_OPENED,   /* *out is for a handler */
    IQ_ANSWERED, /* it had to be refused, and has been */
    IQ_IGNORED,  /* nothing that can be answered */
};

/* Borrows adapter and ops. */
struct iq_table *iq_table_new(const struct adapter *adapter, const struct iq_ops *ops);
/* Cancels what is open: neither answered nor done, for the next worker finds it open. */
void iq_table_free(struct iq_table **t);

/* An <iq type='get|set'> to the component. */
enum iq_open_result iq_open_direct(struct iq_table *t, const struct stanza *iq,
                                   const struct iq_origin *o, struct iq_request **out);
/* outer is from exactly a server host and has <delegation> of delegation_ns. */
enum iq_open_result iq_open_delegated(struct iq_table *t, const struct stanza *outer,
                                      const char *delegation_ns, const struct iq_origin *o,
                                      struct iq_request **out);

void iq_link_lost(struct iq_table *t, unsigned link);
void iq_session_gone(struct iq_table *t, const struct jid *who);
void iq_tick(struct iq_table *t, int64_t now_ms);
int64_t iq_deadline(const struct iq_table *t); /* INT64_MAX when nothing is open */
size_t iq_open_count(const struct iq_table *t);

/* An attribute as it stands in a tag that is being written; nothing when value is NULL. */
void iq_write_attr(struct buf *out, const char *name, const char *value);
/* The namespace that a child of what we send need not name. */
const char *iq_outer_ns(const struct adapter *a);

#endif
