// SPDX-License-Identifier: Apache-2.0
/*
 * The list of an account's conversations (XEP-0430), newest first, each with the number of
 * unread messages in it and with its last message.
 */
#ifndef ARCHIVE_INBOX_H
#define ARCHIVE_INBOX_H

#include "archive/request.h"

#define NS_INBOX "urn:xmpp:inbox:1"

struct archive_opts;
struct lookups;

/* answer may be called before this returns; lookups and opts are borrowed until then. */
void inbox_ask(struct lookups *lookups, const struct archive_opts *opts,
               const struct archive_request *r, const struct archive_answer *answer);

#endif
