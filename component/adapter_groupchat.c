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
#include "component/adapter_int.h"
#include "component/ns.h"

#define NODE_MESSAGES "urn:xmpp:mucsub:nodes:messages"
#define NS_RETRACT_0 "urn:xmpp:message-retract:0"
#define NS_RETRACT_1 "urn:xmpp:message-retract:1"
#define NS_MODERATE_0 "urn:xmpp:message-moderate:0"
#define NS_MODERATE_1 "urn:xmpp:message-moderate:1"
#define NS_FASTEN "urn:xmpp:fasten:0"

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
    return may_be_room(a, from) && adapter_is_local(a, to);
}

/* XEP-0425, both versions: the message that a moderator has taken back. */
static const char *moderated_id(const struct stanza *message)
{
    const struct stanza *retract = stanza_child(message, "retract", NS_RETRACT_1);
    if (stanza_child(retract, "moderated", NS_MODERATE_1))
        return stanza_get(retract, "id");
    const struct stanza *apply = stanza_child(message, "apply-to", NS_FASTEN);
    const struct stanza *moderated = stanza_child(apply, "moderated", NS_MODERATE_0);
    return stanza_child(moderated, "retract", NS_RETRACT_0) ? stanza_get(apply, "id") : NULL;
}

/* In the name of an occupant a room tells what he has said, in its own what it has done
 * itself. */
static void emit_told(const struct adapter_sink *sink, struct event *ev)
{
    if (*ev->from_resource) {
        sink->event(sink->ctx, ev);
        return;
    }
    ev->kind = EVENT_MODERATED;
    ev->ref = moderated_id(ev->stanza);
    if (ev->ref)
        sink->event(sink->ctx, ev);
}

enum err_kind adapter_groupchat(const struct adapter_look *l, struct stanza *message,
                                struct err *e)
{
    struct jid from, to;
    const char *to_text = stanza_get(message, "to");
    if (!jid_parse(&from, stanza_get(message, "from")) ||
        (to_text && !jid_parse(&to, to_text)))
        return err_set(e, ERR_REJECT, "copy of a message with an address that is none");
    bool said = to_text && is_said(l->a, &from, &to);
    if (!said && (!to_text || !is_told(l->a, &from, &to)))
        return ERR_NONE;
    struct event ev = adapter_event(l, said ? EVENT_GROUPCHAT : EVENT_REFLECTED, message);
    ev.from_local = said;
    ev.to_local = !said;
    ev.id = stanza_get(message, "id");
    enum err_kind k = adapter_address(&ev, &from, &to, e);
    if (k)
        return k;
    if (!said) {
        emit_told(l->sink, &ev);
        return ERR_NONE;
    }
    const char *marker = adapter_marker_ref(message);
    if (!marker || adapter_has_content(message))
        l->sink->event(l->sink->ctx, &ev);
    ev.kind = EVENT_ROOM_MARKER;
    ev.ref = marker;
    if (marker)
        l->sink->event(l->sink->ctx, &ev);
    return ERR_NONE;
}

/* Who belongs to a room by what, or does so no longer. */
struct bond {
    enum event_kind kind;
    enum event_bond by;
    const struct jid *room;
    const struct jid *member;
    const char *nick; /* NULL: not told */
};

static enum err_kind emit_bond(const struct adapter_look *l, const struct stanza *stanza,
                               const struct bond *bond, struct err *e)
{
    struct event ev = adapter_event(l, bond->kind, stanza);
    ev.bond = bond->by;
    ev.to_local = true;
    enum err_kind k = adapter_address(&ev, bond->room, bond->member, e);
    if (k)
        return k;
    ev.from_resource = bond->nick ? bond->nick : "";
    l->sink->event(l->sink->ctx, &ev);
    return ERR_NONE;
}

static bool is_none(const char *rank)
{
    return strcmp(rank, "none") == 0 || strcmp(rank, "outcast") == 0;
}

/* XEP-0045 section 7.2.2: status 110 is on what the room tells an occupant of himself.  Who
 * has a rank keeps it when he leaves; who has none is nobody there once he has left, and while
 * he is there his client gets everything. */
enum err_kind adapter_room_presence(const struct adapter_look *l,
                                    const struct stanza *presence, struct err *e)
{
    struct jid from, to;
    const char *type = stanza_get(presence, "type");
    const struct stanza *x = stanza_child(presence, "x", NS_MUC_USER);
    const char *rank = stanza_get(stanza_child(x, "item", NS_MUC_USER), "affiliation");
    if (!rank || (type && strcmp(type, "unavailable") != 0))
        return ERR_NONE;
    bool self = false;
    for (const struct stanza *s = stanza_child(x, "status", NS_MUC_USER); s;
         s = stanza_sibling(s, "status", NS_MUC_USER)) {
        const char *code = stanza_get(s, "code");
        self = self || (code && strcmp(code, "110") == 0);
    }
    if (!self || !jid_parse(&from, stanza_get(presence, "from")) ||
        !jid_parse(&to, stanza_get(presence, "to")) || jid_is_bare(&from) ||
        !is_told(l->a, &from, &to))
        return ERR_NONE;
    const struct bond bond = {is_none(rank) ? EVENT_NO_MEMBER : EVENT_MEMBER, BOND_AFFILIATION,
                              &from, &to, arena_strdup(presence->arena, from.resource)};
    return emit_bond(l, presence, &bond, e);
}

/* It is to stand in an address of the room, like any occupant's. */
static const char *nick_of(const struct stanza *subscribe)
{
    const char *nick = stanza_get(subscribe, "nick");
    return nick && strlen(nick) <= JID_PART_MAX ? nick : NULL;
}

/* That a subscription is made the room says, that it is ended who had it: the room's answer to
 * that is empty. */
enum err_kind adapter_room_iq(const struct adapter_look *l, const struct stanza *iq,
                              struct err *e)
{
    const struct adapter *a = l->a;
    struct jid from, to;
    const char *type = stanza_get(iq, "type");
    const struct stanza *ends = stanza_child(iq, "unsubscribe", NS_MUCSUB);
    const struct stanza *begins =
        type && strcmp(type, "result") == 0 ? stanza_child(iq, "subscribe", NS_MUCSUB) : NULL;
    if (!ends && !begins)
        return ERR_NONE;
    if (!jid_parse(&from, stanza_get(iq, "from")) || !jid_parse(&to, stanza_get(iq, "to")))
        return ERR_NONE;
    const struct bond begun = {EVENT_MEMBER, BOND_SUBSCRIPTION, &from, &to, nick_of(begins)};
    const struct bond ended = {EVENT_NO_MEMBER, BOND_SUBSCRIPTION, &to, &from, NULL};
    if (begins && jid_is_bare(&from) && may_be_room(a, &from) && adapter_is_local(a, &to))
        return emit_bond(l, iq, &begun, e);
    /* With an address it is a moderator who ends somebody else's. */
    if (ends && type && strcmp(type, "set") == 0 && !stanza_get(ends, "jid") &&
        jid_is_bare(&to) && may_be_room(a, &to) && adapter_is_local(a, &from))
        return emit_bond(l, iq, &ended, e);
    return ERR_NONE;
}

/* XEP-0045 section 9: that somebody who is not there has lost his rank the room tells those
 * who are.  What he is given counts when he comes: nobody is made a member by a room alone. */
enum err_kind adapter_room_expels(const struct adapter_look *l, const struct stanza *message,
                                  const struct jid *from, const struct jid *to, struct err *e)
{
    const struct stanza *x = stanza_child(message, "x", NS_MUC_USER);
    if (!x || !jid_is_bare(from) || !is_told(l->a, from, to))
        return ERR_NONE;
    const struct stanza *item = stanza_child(x, "item", NS_MUC_USER);
    for (; item; item = stanza_sibling(item, "item", NS_MUC_USER)) {
        struct jid member;
        const char *rank = stanza_get(item, "affiliation"), *jid = stanza_get(item, "jid");
        if (!rank || !is_none(rank) || !jid || !jid_parse(&member, jid) ||
            !adapter_is_local(l->a, &member))
            continue;
        const struct bond bond = {EVENT_NO_MEMBER, BOND_AFFILIATION, from, &member, NULL};
        enum err_kind k = emit_bond(l, message, &bond, e);
        if (k)
            return k;
    }
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

enum err_kind adapter_mucsub(const struct adapter_look *l, const struct stanza *message,
                             const struct jid *from, const struct jid *to, struct err *e)
{
    struct jid occupant;
    bool meant = jid_is_bare(from) && may_be_room(l->a, from) && adapter_is_local(l->a, to);
    struct stanza *inner = meant ? inner_of(message) : NULL;
    if (!inner || !jid_parse(&occupant, stanza_get(inner, "from")) ||
        !jid_same_bare(&occupant, from))
        return ERR_NONE;
    struct event ev = adapter_event(l, EVENT_REFLECTED, inner);
    ev.to_local = true;
    ev.id = stanza_get(inner, "id");
    enum err_kind k = adapter_address(&ev, &occupant, to, e);
    if (k)
        return k;
    emit_told(l->sink, &ev);
    const struct bond bond = {EVENT_MEMBER, BOND_SUBSCRIPTION, from, to, NULL};
    return emit_bond(l, message, &bond, e);
}
