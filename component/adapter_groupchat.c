// SPDX-License-Identifier: Apache-2.0
/*
 * What is said in rooms (XEP-0045).  Of all copies of one message the one addressed to the
 * room tells who said it; that the room has let it pass is known when it tells a member of it,
 * in a message of its own or in an event of MucSub.  Both are matched by what was said, so a
 * room can speak for itself only, and a user for nobody but himself.
 */
#include <string.h>

#include "base/arena.h"
#include "base/stanza.h"
#include "component/adapter.h"
#include "component/ns.h"

#define NODE_MESSAGES "urn:xmpp:mucsub:nodes:messages"

/* No account of ours and none of our own addresses. */
static bool may_be_room(const struct adapter *a, const struct jid *j)
{
    return j->local_len > 0 && !adapter_serves(a, j) &&
           strcmp(jid_domain(j), a->opts->component) != 0;
}

/* To an occupant alone nobody may say anything of this type (XEP-0045 section 7.5). */
static bool is_said(const struct adapter *a, const struct jid *from, const struct jid *to)
{
    return adapter_is_local(a, from) && !jid_is_bare(from) && jid_is_bare(to) &&
           may_be_room(a, to);
}

static bool is_told(const struct adapter *a, const struct jid *from, const struct jid *to)
{
    return may_be_room(a, from) && !jid_is_bare(from) && adapter_is_local(a, to);
}

enum err_kind adapter_groupchat(const struct adapter *a, struct stanza *message,
                                const struct place *p, int64_t received_us,
                                const struct adapter_sink *sink, struct err *e)
{
    struct jid from, to;
    const char *to_text = stanza_get(message, "to");
    if (!jid_parse(&from, stanza_get(message, "from")) ||
        (to_text && !jid_parse(&to, to_text)))
        return err_set(e, ERR_REJECT, "copy of a message with an address that is none");
    bool said = to_text && is_said(a, &from, &to);
    if (!said && (!to_text || !is_told(a, &from, &to)))
        return ERR_NONE;
    struct event ev = {
        .kind = said ? EVENT_GROUPCHAT : EVENT_REFLECTED,
        .from_local = said,
        .to_local = !said,
        .id = stanza_get(message, "id"),
        .received_us = received_us,
        .place = *p,
        .stanza = message,
    };
    if (!adapter_fill_addresses(&ev, message->arena, &from, &to))
        return err_set(e, ERR_REJECT, "copy of a message that is too large");
    sink->event(sink->ctx, &ev);
    return ERR_NONE;
}

/* <message from=ROOM to=MEMBER><event><items node><item><message from=ROOM/NICK ...>: the
 * inner one counts only in the name of the room that sends it. */
static struct stanza *inner_of(const struct stanza *message)
{
    const struct stanza *items = stanza_child(stanza_child(message, "event", NS_PUBSUB_EVENT),
                                              "items", NS_PUBSUB_EVENT);
    const char *node = stanza_get(items, "node");
    if (!node || strcmp(node, NODE_MESSAGES) != 0)
        return NULL;
    struct stanza *inner =
        stanza_child(stanza_child(items, "item", NS_PUBSUB_EVENT), "message", NS_CLIENT);
    const char *type = stanza_get(inner, "type");
    return type && strcmp(type, "groupchat") == 0 ? inner : NULL;
}

enum err_kind adapter_mucsub(const struct adapter *a, const struct stanza *message,
                             const struct jid *from, const struct jid *to,
                             const struct place *p, int64_t received_us,
                             const struct adapter_sink *sink, struct err *e)
{
    struct jid occupant;
    struct stanza *inner = jid_is_bare(from) && may_be_room(a, from) && adapter_is_local(a, to)
                               ? inner_of(message)
                               : NULL;
    if (!inner || !jid_parse(&occupant, stanza_get(inner, "from")) ||
        !jid_same_bare(&occupant, from) || jid_is_bare(&occupant))
        return ERR_NONE;
    struct event ev = {
        .kind = EVENT_REFLECTED,
        .to_local = true,
        .id = stanza_get(inner, "id"),
        .received_us = received_us,
        .place = *p,
        .stanza = inner,
    };
    if (!adapter_fill_addresses(&ev, inner->arena, &occupant, to))
        return err_set(e, ERR_REJECT, "copy of a message that is too large");
    sink->event(sink->ctx, &ev);
    return ERR_NONE;
}
