// SPDX-License-Identifier: Apache-2.0
/*
 * XEP-0490: an account keeps in a node of its own, for its other devices, up to which message
 * of each chat it has displayed everything.  It is the owner's word only where the server says
 * that it comes from the owner: a request of one of his sessions to his own address, or what
 * his own bare address tells his sessions.  Everybody can write the same elements into a
 * message in his own name.  The same goes for bookmarks.
 */
#include <string.h>

#include "base/stanza.h"
#include "component/adapter_int.h"
#include "component/ns.h"

static bool is_node(const struct stanza *el)
{
    const char *node = stanza_get(el, "node");
    return node && strcmp(node, NS_MDS) == 0;
}

/* The archive's id in the item, NULL when it is not of that archive. */
static const char *id_of(const struct stanza *item, const char *owner)
{
    struct jid by;
    const struct stanza *displayed = stanza_child(item, "displayed", NS_MDS);
    const struct stanza *id = stanza_child(displayed, "stanza-id", NS_SID);
    if (!id || !jid_parse(&by, stanza_get(id, "by")) || !jid_is_bare(&by) ||
        strcmp(by.bare, owner) != 0)
        return NULL;
    return stanza_get(id, "id");
}

/* The item's id is the chat's address; a full one is somebody in a room, whose messages lie
 * with the room's. */
static enum err_kind take_items(const struct adapter_look *l, const struct stanza *items,
                                const char *ns, const char *owner, struct err *e)
{
    const struct stanza *item = stanza_child(items, "item", ns);
    for (size_t n = 0; item && n < ADAPTER_ITEMS_MAX;
         item = stanza_sibling(item, "item", ns), n++) {
        struct jid chat;
        if (!jid_parse(&chat, stanza_get(item, "id")))
            continue;
        const char *id = id_of(item, owner);
        bool in_room = !id && l->a->opts->groupchat && jid_is_bare(&chat);
        if (in_room)
            id = id_of(item, chat.bare);
        if (!id || !*id)
            continue;
        struct event ev =
            adapter_event(l, in_room ? EVENT_ROOM_MARKER : EVENT_DISPLAYED, items);
        ev.ref = id;
        enum err_kind k = adapter_own_word(l, &ev, owner, &chat, e);
        if (k)
            return k;
    }
    return ERR_NONE;
}

enum err_kind adapter_displayed_request(const struct adapter_look *l, const struct stanza *iq,
                                        struct err *e)
{
    struct jid from, to;
    const char *type = stanza_get(iq, "type"), *to_text = stanza_get(iq, "to");
    const struct stanza *pubsub = stanza_child(iq, "pubsub", NS_PUBSUB);
    const struct stanza *publish = stanza_child(pubsub, "publish", NS_PUBSUB);
    if (!pubsub || !type || strcmp(type, "set") != 0 ||
        !jid_parse(&from, stanza_get(iq, "from")) || !adapter_is_local(l->a, &from))
        return ERR_NONE;
    if (to_text &&
        (!jid_parse(&to, to_text) || !jid_is_bare(&to) || !jid_same_bare(&to, &from)))
        return ERR_NONE;
    if (!publish || !is_node(publish))
        return adapter_bookmarks(l, publish ? publish : stanza_child(pubsub, "retract", NULL),
                                 from.bare, e);
    return take_items(l, publish, NS_PUBSUB, from.bare, e);
}

enum err_kind adapter_displayed_told(const struct adapter_look *l,
                                     const struct stanza *message, struct err *e)
{
    struct jid from, to;
    const char *type = stanza_get(message, "type");
    const struct stanza *items = stanza_child(stanza_child(message, "event", NS_PUBSUB_EVENT),
                                              "items", NS_PUBSUB_EVENT);
    if (!items || (type && strcmp(type, "error") == 0) ||
        !jid_parse(&from, stanza_get(message, "from")) || !jid_is_bare(&from) ||
        !adapter_is_local(l->a, &from) || !jid_parse(&to, stanza_get(message, "to")) ||
        !jid_same_bare(&to, &from))
        return ERR_NONE;
    if (!is_node(items))
        return adapter_bookmarks(l, items, from.bare, e);
    return take_items(l, items, NS_PUBSUB_EVENT, from.bare, e);
}
