// SPDX-License-Identifier: Apache-2.0
/*
 * ejabberd's mod_service_log: a copy of every stanza that a local session sends and of every
 * one that it receives, without a mark which of the two it is, in
 * <message from='HOST' to='US' id='RANDOM'><forwarded>STANZA</forwarded></message>.
 */
#include <string.h>

#include "base/stanza.h"
#include "component/adapter_int.h"
#include "component/ns.h"

bool adapter_ejabberd_copies_message(const struct adapter *a, const struct stanza *head)
{
    const struct stanza *inner =
        adapter_is_envelope(a, head, NULL) ? adapter_forwarded(head) : NULL;
    return inner && strcmp(inner->name, "message") == 0;
}

enum err_kind adapter_ejabberd(const struct adapter_look *l, struct stanza *st, struct err *e)
{
    bool rooms = l->a->opts->groupchat;
    struct stanza *inner = adapter_is_envelope(l->a, st, NULL) ? adapter_forwarded(st) : NULL;
    if (!inner)
        return ERR_NONE;
    adapter_liveness(l->a, inner, l->received_us, l->sink);
    if (strcmp(inner->name, "iq") == 0) {
        adapter_roster(l, inner);
        enum err_kind k = rooms ? adapter_room_iq(l, inner, e) : ERR_NONE;
        return k ? k : adapter_displayed_request(l, inner, e);
    }
    if (strcmp(inner->name, "presence") == 0 && rooms)
        return adapter_room_presence(l, inner, e);
    if (strcmp(inner->name, "message") != 0)
        return ERR_NONE;
    return adapter_message(l, inner, e);
}
