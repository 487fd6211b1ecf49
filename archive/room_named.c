// SPDX-License-Identifier: Apache-2.0
#include "archive/room_named.h"

#include <string.h>

#include "base/hex.h"
#include "base/stanza.h"

#define NS_REFERENCE "urn:xmpp:reference:0"
#define NS_REPLY "urn:xmpp:reply:0"
#define SCHEME "xmpp:"
#define URI_MAX (3 * JID_PART_MAX + 3)

/* RFC 5122: xmpp:JID, with ?query or #fragment behind it, %-encoded. */
static bool jid_of_uri(const char *uri, struct jid *out)
{
    char text[URI_MAX + 1];
    size_t n = 0;
    if (!uri || strncmp(uri, SCHEME, sizeof SCHEME - 1) != 0)
        return false;
    for (const char *at = uri + sizeof SCHEME - 1; *at && *at != '?' && *at != '#'; at++) {
        if (n == URI_MAX)
            return false;
        int high = *at == '%' ? hex_digit(at[1]) : -1;
        int low = high >= 0 ? hex_digit(at[2]) : -1;
        if (high == 0 && low == 0)
            return false;
        text[n] = *at;
        if (low >= 0) {
            text[n] = (char)(high * 16 + low);
            at += 2;
        }
        n++;
    }
    text[n] = '\0';
    return jid_parse(out, text);
}

void room_named_begin(struct room_named *n, const struct stanza *message)
{
    *n = (struct room_named){.at = message->first};
}

bool room_named_next(struct room_named *n, struct jid *out)
{
    while (n->at && n->n < ROOM_NAMED_MAX) {
        const struct stanza *el = n->at;
        n->at = el->next;
        if (!el->name)
            continue;
        const char *type = stanza_get(el, "type");
        bool mentions = stanza_is(el, "reference", NS_REFERENCE) && type &&
                        strcmp(type, "mention") == 0 && jid_of_uri(stanza_get(el, "uri"), out);
        bool answers =
            stanza_is(el, "reply", NS_REPLY) && jid_parse(out, stanza_get(el, "to"));
        n->n += mentions || answers;
        if (mentions || answers)
            return true;
    }
    return false;
}
