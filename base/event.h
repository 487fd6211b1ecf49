// SPDX-License-Identifier: Apache-2.0
/*
 * What the layers tell each other about messages: the adapter's events, and the changes of
 * unread state that follow from them.  Plain data; nothing here knows a server or a table.
 */
#ifndef BASE_EVENT_H
#define BASE_EVENT_H

#include <stdbool.h>
#include <stdint.h>

struct stanza;

#define OWNER_BYTES 16

/* Where a stanza stands in the spool of one link: bytes [begin, end). */
struct place {
    unsigned spool; /* index of the link */
    uint64_t begin;
    uint64_t end;
};

enum event_kind {
    EVENT_MESSAGE, /* a message stanza of a local user, or to one */
    EVENT_BOUNCE,  /* the server refused a message: ref names it, from is who could not get it
                    */
    EVENT_MARKER,  /* the sender has displayed everything up to the message ref */
    EVENT_DISPLAYED, /* the account from says of itself that it has displayed, in its chat with
                        to, everything up to the message that its archive calls ref */
    EVENT_GROUPCHAT, /* a message of a local user to the room to, which has not said yet
                        whether it takes it */
    EVENT_REFLECTED, /* the room from has told one of its members of a message */
    EVENT_ROOM_MARKER, /* the sender has displayed everything in the room to, up to the message
                          that it or its sender calls ref */
    EVENT_MODERATED,   /* the room from has taken back the message that it calls ref */
    EVENT_MEMBER,    /* to belongs to the room from, by bond; from_resource is the nick there,
                        "" when it is not told */
    EVENT_NO_MEMBER, /* no longer */
    EVENT_NOTIFY,    /* from wants to be told of the room to as notify says */
};

/* What makes a member of somebody who is not there: a rank in the room (XEP-0045), or a
 * subscription to it (MucSub). */
enum event_bond { BOND_NONE = 0, BOND_AFFILIATION = 1, BOND_SUBSCRIPTION = 2 };

/* When somebody wants to be told of what is said in a room. */
enum event_notify {
    NOTIFY_AS_SET = 0, /* as it is for all his rooms */
    NOTIFY_ALWAYS = 1,
    NOTIFY_MENTION = 2, /* when it names him */
    NOTIFY_NEVER = 3,
};

/* One logical happening as one copy shows it; the same one may be seen again in another copy.
 * Addresses are prepared, strings live as long as the stanza, which is borrowed for the call.
 */
struct event {
    enum event_kind kind;
    const char *from;          /* bare */
    const char *from_resource; /* "" when none */
    const char *to;            /* bare */
    const char *to_resource;
    bool from_local; /* of xmpp.domains */
    bool to_local;
    const char *id;       /* the stanza's id, NULL when none */
    const char *ref;      /* marker, bounce, displayed: the id of the message meant */
    enum event_bond bond; /* of MEMBER and NO_MEMBER */
    enum event_notify notify;
    int64_t received_us; /* when the link read it */
    int64_t delayed_us;  /* stamp of a <delay/> from exactly our server, 0 when none */
    int64_t passed_us;   /* when our server had it, as its own archive says; else 0 */
    bool undelivered;    /* our server says that it could not hand it to a session of the
                            recipient */
    struct place place;
    const struct stanza *stanza; /* the <message xmlns='jabber:client'>; of DISPLAYED whatever
                                    told it */
};

/* A call that has not been answered for so long is over, and is told to nobody any more. */
#define CALL_LIFE_MS 45000

/* A call to an owner (XEP-0353) has begun, or is over: answered, refused, taken back, or its
 * message was refused.  Strings and numbers are those of the proposal. */
struct call_change {
    bool begins;
    uint64_t peer;       /* hash of who calls; 0 of one that is over: whoever it was */
    uint64_t hash;       /* of peer and session; begins only */
    uint64_t message;    /* reference of the proposal's message; 0: none, or not meant by it */
    const char *jid;     /* who calls, bare; begins only */
    const char *session; /* NULL of one that is over: message says which */
    const char *media;   /* "audio", "video" or "audio,video", a constant; begins only */
    const char *over;    /* of one that is over: how, for people, a constant */
};

/* What one committed batch did to one conversation of one owner (peer 0: to the total only),
 * or, with call, that and nothing else. */
struct unread_change {
    uint8_t owner[OWNER_BYTES];
    const char *owner_jid;
    uint64_t peer;
    int64_t newest_id;   /* newest counted row of this batch; undelivered: of the conversation;
                            0 when there is none */
    unsigned counted;    /* rows that raised the count */
    bool undelivered;    /* a row that was counted before did not get through after all */
    bool lowered;        /* the account's total fell */
    bool emptied;        /* something in the conversation was unread, and nothing is now */
    int64_t received_us; /* of the newest counted row, or of the call; what was asked for
                            counts from when the server had it */
    const struct call_change *call; /* NULL: of no call */
};

#endif
