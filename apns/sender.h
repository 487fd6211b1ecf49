// SPDX-License-Identifier: Apache-2.0
/*
 * What a notification calls who wrote: as the account calls a contact, else as the sender
 * calls itself in the message (XEP-0172), else the local part of the address.  Whatever it
 * shows is one line that reads from its one end to the other, and of bounded length.
 */
#ifndef APNS_SENDER_H
#define APNS_SENDER_H

#include <stdbool.h>
#include <stddef.h>

#define SENDER_CHARS_MAX 64 /* shown; a longer name ends in an ellipsis */
#define SENDER_NAME_BYTES (4 * SENDER_CHARS_MAX + 4)

struct sender {
    const char *jid;     /* bare */
    const char *contact; /* the account's own name for it; NULL: none */
    const char *message; /* a stanza that carries a nickname; NULL: none */
    size_t message_len;
    const char *contacts; /* the account's names for all its contacts, one to a line: no
                           * stranger is called so */
};

/* Borrows from s, or is in out. */
const char *sender_name(const struct sender *s, char out[SENDER_NAME_BYTES]);

/* Text as a name is shown: no control, invisible or direction character, each white space one
 * space, none at the ends.  False when nothing is left. */
bool sender_clean(const char *text, char out[SENDER_NAME_BYTES]);

#endif
