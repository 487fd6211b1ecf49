// SPDX-License-Identifier: Apache-2.0
/* Settings of the archive; owned by the configuration. */
#ifndef ARCHIVE_OPTS_H
#define ARCHIVE_OPTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "archive/prefs.h"
#include "base/notice.h"

struct archive_opts {
    bool serve;                    /* answer archive queries on the users' own addresses */
    unsigned page_max;             /* messages in a page at most */
    unsigned page_default;         /* when the client names no max */
    size_t message_bytes_max;      /* a longer one fits into no stanza of ours; 0: any does */
    int64_t conversation_gap_ms;   /* a longer silence ends a collection */
    bool search;                   /* make and use the full-text index */
    bool own_message_reads;        /* read.own_message_reads */
    bool groupchat;                /* rooms have an archive of their own */
    enum prefs_mode prefs_default; /* of accounts that have not set theirs */
    bool fill_gaps;                /* from the archive of Openfire's monitoring plugin */
    int64_t check_every_ms;        /* all that has passed is compared with it; 0: never */
    struct notice_list notices;    /* push.notices */
    bool calls;                    /* somebody wants to be told of calls */
};

#endif
