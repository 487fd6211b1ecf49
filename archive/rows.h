// SPDX-License-Identifier: Apache-2.0
/*
 * From one event to what it changes in each local owner's archive: a pure function of event,
 * keys and settings, so that reading the spool again gives the same.  It knows no database
 * and no earlier event.
 */
#ifndef ARCHIVE_ROWS_H
#define ARCHIVE_ROWS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/event.h"

struct archive_opts;
struct ident;
struct rows;
struct stanza;

/* xs.message.flags */
enum row_flag {
    ROW_COUNTED = 1, /* raises unread while it lies after the read position */
    ROW_OUTGOING = 2,
    ROW_RETRACTED = 4,
    ROW_ENCRYPTED = 8,
    ROW_GROUPCHAT = 16,
    ROW_HIDDEN = 32,  /* in no page: bounced, or nothing of it is kept */
    ROW_LATE = 64,    /* came with a delay, unknown until then */
    ROW_UNKEPT = 128, /* body and stanza are empty: it was not archived, and only waits to be
                       * read, or its owner has removed it */
    ROW_PROVISIONAL = 256,  /* of a message that only its server's publish has told of */
    ROW_FOR_MEMBERS = 512,  /* of a room: something to read for whoever is in it */
    ROW_UNCONFIRMED = 1024, /* and hidden: the room has not told anybody of it */
    ROW_SILENT = 2048,      /* counted, and no push for it */
};
/* In SQL: not hidden.  Written so that a planner takes it for true of nearly all rows, as it
 * is: of "flags & 32 = 0" it expects one in 200, and prefers to sort the owner's whole
 * archive. */
#define ROW_SHOWN "flags & 32 <> 32"

/* What a message is, whoever looks at it. */
struct content {
    bool store;  /* belongs into archives */
    bool counts; /* something to read: raises the count where it comes in, stored or not */
    const char *uncounted; /* else why not, in a word or two */
    bool encrypted;
    const char *body;     /* NULL when there is none */
    const char *retracts; /* id of the message that this one takes back, NULL */
};
void rows_classify(const struct stanza *m, struct content *out);
/* The same for what is said in a room.  A subject alone is none (XEP-0045 section 8.1). */
void rows_classify_room(const struct stanza *m, struct content *out);
/* Elements that a server may put on a copy, so that two copies differ by them. */
bool rows_is_added_by_servers(const struct stanza *el);

enum write_kind {
    WRITE_ROW,    /* a message into the archive */
    WRITE_BOUNCE, /* the row with ref has failed */
    /* The unconfirmed rows with ref and content are the room's own word, and of whom it calls
     * peer_resource; body is that as marked words. */
    WRITE_CONFIRM,
    /* These three are of a room; content is what it calls the member as a peer. */
    WRITE_MEMBER,     /* stanza is the account that belongs to it by flags, peer_jid its name,
                       * peer_resource and body as above when it tells */
    WRITE_NO_MEMBER,  /* it does so no longer by flags */
    WRITE_ROOM_READ,  /* the member has read up to the row with ref; without one, all of it */
    WRITE_ROOMS_READ, /* the owner has read all rooms that it belongs to */
    WRITE_NOTIFY,     /* a bookmark of the owner has the room content as flags say */
    WRITE_RETRACT,    /* the row with ref was taken back, by the message with the id body; peer
                       * 0: by the owner, a room */
    WRITE_MARK,       /* the owner has read up to the row with ref */
    WRITE_PEER_MARK,  /* the peer has read up to the row with ref */
    WRITE_READ,       /* the owner has read everything, of one peer or of all (peer 0) */
    WRITE_READ_TO,    /* the owner has read up to the row low of one peer */
    WRITE_PREFS,      /* the owner's mode (flags) and lists: always is body, never peer_jid */
    WRITE_ROSTER_OLD, /* the owner's contacts are no longer what we know */
    WRITE_ROSTER,     /* the owner's contacts, hashes of 8 bytes big-endian, in stanza */
    WRITE_CALL,       /* call, for the owner */
    /* These have no owner.  The stream number ref to the server peer_jid ended at stamp_us,
     * because of body; the stream number ref began at stamp_us. */
    WRITE_GAP_BEGIN,
    WRITE_GAP_END,
    /* Without an owner: a stanza is put aside because of body, with its bytes when flags is
     * not 0.  Its length is content. */
    WRITE_ASIDE,
};

/* One change of one owner's archive.  Strings and bytes are good until the next call. */
struct write {
    enum write_kind kind;
    uint8_t owner[OWNER_BYTES];
    const char *owner_jid;
    uint64_t peer;
    const char *peer_jid;
    const char *peer_resource; /* of WRITE_ROW, and the nick of the two above */
    uint64_t ref;              /* of this row, or of the row meant */
    bool again;                /* out of quarantine, see ingest_again */
    /* WRITE_ROW only: */
    uint64_t content;
    unsigned flags;
    bool own;         /* the owner sent it, so the account is real */
    bool reads;       /* the owner's own message: reads what came before it */
    bool nick;        /* comes in, and says what its sender is called (XEP-0172) */
    bool undelivered; /* a copy of it means that it did not get through */
    bool has_id;
    int64_t stamp_us;  /* the server's delay stamp, 0 when none */
    int64_t passed_us; /* see struct event */
    /* The same identity with an id in [low, high], or with this very stamp and above low, is
     * the same message. */
    int64_t low;
    int64_t high;
    const char *body;
    const uint8_t *stanza;
    size_t stanza_len;
    uint64_t
        alias; /* CONFIRM: the room's own reference, RETRACT: it may be that, too; 0: none */
    struct call_change call; /* of WRITE_CALL */
};

#define WRITES_MAX 6

/* Makes a row of a message that is not archived but waits to be read. */
void rows_unkeep(struct write *w);

/* Borrows both until rows_free. */
struct rows *rows_new(struct ident *ident, const struct archive_opts *opts);
void rows_free(struct rows **r);

/* Number of writes; 0 when the event is nothing for an archive. */
size_t rows_from_event(struct rows *r, const struct event *ev, struct write out[WRITES_MAX]);

#endif
