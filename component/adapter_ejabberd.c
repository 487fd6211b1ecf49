// SPDX-License-Identifier: Apache-2.0
/*
 * ejabberd's mod_service_log: a copy of every stanza that a local session sends and of every
 * one that it receives, without a mark which of the two it is, in
 * <message from='HOST' to='US' id='RANDOM'><forwarded>STANZA</forwarded></message>.
 */
#include <string.h>

#include "base/stanza.h"
#include "component/adapter.h"
#include "component/ns.h"

/* What the forwarded stanza itself forwards is its sender's business: one level only. */
static struct stanza *inner_of(const struct stanza *st)
{
    return stanza_child(stanza_child(st, "forwarded", NS_FORWARD), NULL, NS_CLIENT);
}

bool adapter_ejabberd_copies_message(const struct adapter *a, const struct stanza *head)
{
    const struct stanza *inner = adapter_is_envelope(a, head, NULL) ? inner_of(head) : NULL;
    return inner && strcmp(inner->name, "message") == 0;
}

enum err_kind adapter_ejabberd(const struct adapter *a, struct stanza *st,
                               const struct place *p, int64_t received_us,
                               const struct adapter_sink *sink, struct err *e)
{
    if (!adapter_is_envelope(a, st, NULL))
        return ERR_NONE;
    struct stanza *inner = inner_of(st);
    if (!inner)
        return ERR_NONE;
    adapter_liveness(a, inner, received_us, sink);
    if (strcmp(inner->name, "iq") == 0) {
        adapter_roster(a, inner, sink);
        enum err_kind k =
            a->opts->groupchat ? adapter_room_iq(a, inner, p, received_us, sink, e) : ERR_NONE;
        return k ? k : adapter_displayed_request(a, inner, p, received_us, sink, e);
    }
    if (strcmp(inner->name, "presence") == 0 && a->opts->groupchat)
        return adapter_room_presence(a, inner, p, received_us, sink, e);
    if (strcmp(inner->name, "message") != 0)
        return ERR_NONE;
    return adapter_message(a, inner, p, received_us, sink, e);
}
