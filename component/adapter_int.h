// SPDX-License-Identifier: Apache-2.0
/* Between adapter.c, one adapter for each kind of server, and what these share. */
#ifndef COMPONENT_ADAPTER_INT_H
#define COMPONENT_ADAPTER_INT_H

#include <stdbool.h>
#include <stdint.h>

#include "component/adapter.h"

struct arena;

/* A stanza of the server's is being looked at: where it stands, and who is told. */
struct adapter_look {
    const struct adapter *a;
    struct place place;
    int64_t received_us;
    const struct adapter_sink *sink;
};

/* st is a message of exactly a server host to exactly us, or to local at us when local is not
 * NULL.  Anybody can send us the same in his own name, and errors quote what we sent. */
bool adapter_is_envelope(const struct adapter *a, const struct stanza *st, const char *local);
/* What the forwarded stanza itself forwards is its sender's business: one level only. */
struct stanza *adapter_forwarded(const struct stanza *st);

/* A copy of a message that the server made, out of its envelope. */
MUST_CHECK enum err_kind adapter_message(const struct adapter_look *l, struct stanza *message,
                                         struct err *e);
/* One that the server's archive told of, which passed at that time: a late delivery. */
MUST_CHECK enum err_kind adapter_late_message(const struct adapter_look *l,
                                              struct stanza *message, int64_t passed_us,
                                              struct err *e);
/* A copy of an IQ: one that changes the roster of a local account. */
void adapter_roster(const struct adapter_look *l, const struct stanza *iq);
/* A copy of presence: what a session tells all its contacts. */
void adapter_presence(const struct adapter_look *l, const struct stanza *presence,
                      int64_t at_us);

/* adapter_groupchat.c: a copy of a message of type groupchat, what a room tells of those who
 * have lost their rank, and the event by which it tells a subscriber of a message (MucSub). */
MUST_CHECK enum err_kind adapter_groupchat(const struct adapter_look *l,
                                           struct stanza *message, struct err *e);
MUST_CHECK enum err_kind adapter_room_expels(const struct adapter_look *l,
                                             const struct stanza *message,
                                             const struct jid *from, const struct jid *to,
                                             struct err *e);
MUST_CHECK enum err_kind adapter_mucsub(const struct adapter_look *l,
                                        const struct stanza *message, const struct jid *from,
                                        const struct jid *to, struct err *e);
/* Copies of presence and of an IQ: who belongs to a room. */
MUST_CHECK enum err_kind adapter_room_presence(const struct adapter_look *l,
                                               const struct stanza *presence, struct err *e);
MUST_CHECK enum err_kind adapter_room_iq(const struct adapter_look *l, const struct stanza *iq,
                                         struct err *e);

/* adapter_displayed.c: what an account publishes of what it has displayed, out of its own
 * request to its own address or its own address's notification; nothing for anything else. */
MUST_CHECK enum err_kind adapter_displayed_request(const struct adapter_look *l,
                                                   const struct stanza *iq, struct err *e);
MUST_CHECK enum err_kind adapter_displayed_told(const struct adapter_look *l,
                                                const struct stanza *message, struct err *e);
/* adapter_bookmarks.c: when an account wants to be told of rooms, as its bookmarks say
 * (XEP-0402, XEP-0492); items are the account's own word, published, retracted or told; NULL:
 * nothing. */
MUST_CHECK enum err_kind adapter_bookmarks(const struct adapter_look *l,
                                           const struct stanza *items, const char *owner,
                                           struct err *e);

/* What the sender has displayed, NULL when the message does not say; and whether it says
 * anything else. */
const char *adapter_marker_ref(const struct stanza *message);
bool adapter_has_content(const struct stanza *message);

/* An event of this stanza without addresses, and then with them: REJECT when the arena is
 * full. */
struct event adapter_event(const struct adapter_look *l, enum event_kind kind,
                           const struct stanza *stanza);
MUST_CHECK enum err_kind adapter_address(struct event *ev, const struct jid *from,
                                         const struct jid *to, struct err *e);
/* What the local account owner says itself of one of its chats: REJECT as above, or told. */
MUST_CHECK enum err_kind adapter_own_word(const struct adapter_look *l, struct event *ev,
                                          const char *owner, const struct jid *chat,
                                          struct err *e);

/* One for each kind of server. */
MUST_CHECK enum err_kind adapter_ejabberd(const struct adapter_look *l, struct stanza *st,
                                          struct err *e);
bool adapter_ejabberd_copies_message(const struct adapter *a, const struct stanza *head);
MUST_CHECK enum err_kind adapter_openfire(const struct adapter_look *l, struct stanza *st,
                                          struct err *e);
bool adapter_openfire_copies_message(const struct adapter *a, const struct stanza *head);
MUST_CHECK enum err_kind adapter_prosody(const struct adapter_look *l, struct stanza *st,
                                         struct err *e);
bool adapter_prosody_copies_message(const struct adapter *a, const struct stanza *head);
MUST_CHECK enum err_kind adapter_generic(const struct adapter_look *l, struct stanza *st,
                                         struct err *e);
bool adapter_generic_copies_message(const struct adapter *a, const struct stanza *head);
bool adapter_generic_hears(const struct adapter *a, const char *from);

#endif
