// SPDX-License-Identifier: Apache-2.0
/*
 * XEP-0492: a bookmark of a room (XEP-0402) may say when its owner wants to be told of what is
 * said there.  Of several settings the one for phones is taken, as that is what pushes are
 * for; a bookmark without one, or one that is gone, leaves it to what is set for all rooms.
 */
#include <string.h>

#include "base/stanza.h"
#include "component/adapter_int.h"
#include "component/ns.h"

/* How well the setting fits a phone: 0 not at all, 3 best (XEP-0492 section 3). */
static int fit_of(const struct stanza *setting)
{
    const char *category = stanza_get(setting, "identity-category");
    const char *type = stanza_get(setting, "identity-type");
    if (!category)
        return type ? 0 : 1;
    if (strcmp(category, "client") != 0)
        return 0;
    return !type ? 2 : strcmp(type, "phone") == 0 ? 3 : 0;
}

static enum event_notify notify_of(const struct stanza *item)
{
    static const struct {
        const char *name;
        enum event_notify notify;
    } settings[] = {
        {"always", NOTIFY_ALWAYS}, {"on-mention", NOTIFY_MENTION}, {"never", NOTIFY_NEVER}};
    const struct stanza *conference = stanza_child(item, "conference", NS_BOOKMARKS);
    const struct stanza *extensions = stanza_child(conference, "extensions", NS_BOOKMARKS);
    const struct stanza *notify = stanza_child(extensions, "notify", NS_NOTIFY);
    if (!notify)
        notify = stanza_child(extensions, "notify", NS_NOTIFY_0);
    enum event_notify best = NOTIFY_AS_SET;
    int best_fit = 0;
    for (size_t i = 0; notify && i < sizeof settings / sizeof *settings; i++) {
        const struct stanza *s = stanza_child(notify, settings[i].name, notify->ns);
        for (; s; s = stanza_sibling(s, settings[i].name, notify->ns))
            if (fit_of(s) > best_fit) {
                best_fit = fit_of(s);
                best = settings[i].notify;
            }
    }
    return best;
}

/* An item that was published, or the name of one that was taken away. */
enum err_kind adapter_bookmarks(const struct adapter_look *l, const struct stanza *items,
                                const char *owner, struct err *e)
{
    const char *node = stanza_get(items, "node");
    if (!l->a->opts->groupchat || !node || strcmp(node, NS_BOOKMARKS) != 0)
        return ERR_NONE;
    const struct stanza *item = stanza_child(items, NULL, NULL);
    for (size_t n = 0; item && n < ADAPTER_ITEMS_MAX;
         item = stanza_sibling(item, NULL, NULL), n++) {
        struct jid room;
        if (!jid_parse(&room, stanza_get(item, "id")) || !jid_is_bare(&room) ||
            room.local_len == 0)
            continue;
        struct event ev = adapter_event(l, EVENT_NOTIFY, items);
        ev.notify = notify_of(item);
        enum err_kind k = adapter_own_word(l, &ev, owner, &room, e);
        if (k)
            return k;
    }
    return ERR_NONE;
}
