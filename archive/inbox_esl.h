// SPDX-License-Identifier: Apache-2.0
/*
 * The list of conversations in the dialect of MongooseIM (open extension "Inbox"): the list by
 * a form, its reset, and a conversation's properties: its box, until when it is muted, whether
 * it is read.
 */
#ifndef ARCHIVE_INBOX_ESL_H
#define ARCHIVE_INBOX_ESL_H

#include "archive/request.h"

#define NS_INBOX_ESL "erlang-solutions.com:xmpp:inbox:0"
#define NS_INBOX_ESL_CONVERSATION NS_INBOX_ESL "#conversation"

struct archive_opts;
struct ingest;
struct lookups;

/* answer may be called before this returns; the others are borrowed until then. */
void inbox_esl_ask(struct lookups *lookups, const struct archive_opts *opts,
                   const struct archive_request *r, const struct archive_answer *answer);
/* Of one conversation: <reset/> in the first namespace, everything in the second. */
void inbox_esl_conversation_ask(struct lookups *lookups, struct ingest *ingest,
                                const struct archive_opts *opts,
                                const struct archive_request *r,
                                const struct archive_answer *answer);

#endif
