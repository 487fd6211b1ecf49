// SPDX-License-Identifier: Apache-2.0
/*
 * A page of an account's conversations, whatever the protocol: which of them, in which order,
 * and the totals.  The list is sorted when it is asked for: an index that every new message
 * changes would cost each of them more than a list costs.
 */
#ifndef ARCHIVE_INBOX_LIST_H
#define ARCHIVE_INBOX_LIST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "archive/ident.h"
#include "archive/request.h"
#include "base/rsm.h"

struct archive_opts;
struct buf;
struct lookups;
struct pg_result;

/* xs.conversation.box */
enum inbox_box { INBOX_ANY_BOX = -1, INBOX_ACTIVE = 0, INBOX_ARCHIVED = 1 };

/* When its last message was archived is a conversation's time. */
struct inbox_query {
    bool unread_only;
    bool with_messages;
    bool oldest_first;
    enum inbox_box box;
    int64_t start_us; /* both inclusive; 0 and INT64_MAX: any */
    int64_t end_us;
    struct rsm rsm;
};

struct inbox_entry {
    const char *jid; /* of the peer, bare */
    int64_t unread;
    enum inbox_box box;
    int64_t muted_until_us; /* 0: not muted now, INT64_MAX: until it is unmuted */
    const char *id;         /* the archive id of its last message */
    int64_t at_us;          /* when that was archived */
    const void *xml;        /* of it, NULL when it was not asked for */
    size_t xml_len;
};

/* Of the conversations in the box and the time that were asked for. */
struct inbox_totals {
    int64_t conversations;
    int64_t with_unread;
    int64_t unread; /* messages */
};

struct inbox_protocol {
    /* The children of the message that tells of one conversation. */
    void (*entry)(const struct archive_request *r, const struct inbox_entry *entry,
                  struct buf *out);
    /* The answer, to which the result set is added. */
    struct stanza *(*fin)(const struct archive_request *r, const struct inbox_query *q,
                          const struct inbox_totals *totals);
};

/* answer may be called before this returns; lookups and opts are borrowed until then. */
void inbox_list(struct lookups *lookups, const struct archive_opts *opts,
                const struct inbox_protocol *protocol, const struct inbox_query *q,
                const struct archive_request *r, const struct archive_answer *answer);

/* inbox_entry.muted_until_us out of two columns: whether it is muted, and until when. */
int64_t inbox_muted_until(const struct pg_result *r, int row, int muted);

/* An attribute of el. */
void inbox_set_number(struct stanza *el, const char *name, int64_t value);

#endif
