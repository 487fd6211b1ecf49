// SPDX-License-Identifier: Apache-2.0
#include "base/xml_intern.h"

#include <assert.h>
#include <string.h>

#define LONGEST 255

struct word {
    const char *text;
    uint8_t len;
};
/* clang-format off */
#define W(s) {(s), sizeof(s) - 1}
/* clang-format on */

static const struct word words[] = {
    W("message"),
    W("presence"),
    W("iq"),
    W("body"),
    W("subject"),
    W("thread"),
    W("x"),
    W("query"),
    W("item"),
    W("items"),
    W("c"),
    W("error"),
    W("text"),
    W("show"),
    W("status"),
    W("priority"),
    W("photo"),
    W("delay"),
    W("forwarded"),
    W("sent"),
    W("received"),
    W("private"),
    W("request"),
    W("markable"),
    W("displayed"),
    W("acknowledged"),
    W("active"),
    W("composing"),
    W("paused"),
    W("inactive"),
    W("gone"),
    W("origin-id"),
    W("stanza-id"),
    W("store"),
    W("no-store"),
    W("no-copy"),
    W("no-permanent-store"),
    W("set"),
    W("max"),
    W("after"),
    W("before"),
    W("first"),
    W("last"),
    W("count"),
    W("fin"),
    W("result"),
    W("field"),
    W("value"),
    W("command"),
    W("pubsub"),
    W("publish"),
    W("publish-options"),
    W("notification"),
    W("event"),
    W("retract"),
    W("delegation"),
    W("delegated"),
    W("attribute"),
    W("privilege"),
    W("privileged_iq"),
    W("perm"),
    W("namespace"),
    W("identity"),
    W("feature"),
    W("ping"),
    W("replace"),
    W("reply"),
    W("fallback"),
    W("reactions"),
    W("reaction"),
    W("encrypted"),
    W("encryption"),
    W("header"),
    W("key"),
    W("iv"),
    W("payload"),
    W("log"),
    W("addresses"),
    W("address"),
    W("nick"),
    W("html"),
    W("url"),
    W("occupant-id"),
    W("offline"),
    W("idle"),
    W("vcard"),
    W("vCard"),
    W("bind"),
    W("to"),
    W("from"),
    W("id"),
    W("type"),
    W("xml:lang"),
    W("stamp"),
    W("by"),
    W("node"),
    W("ver"),
    W("hash"),
    W("var"),
    W("name"),
    W("jid"),
    W("affiliation"),
    W("role"),
    W("code"),
    W("label"),
    W("action"),
    W("sessionid"),
    W("queryid"),
    W("category"),
    W("complete"),
    W("subscription"),
    W("ask"),
    W("access"),
    W("since"),
    W("rid"),
    W("sid"),
    W("prekey"),
    W("direction"),
    W("index"),
    W("jabber:component:accept"),
    W("jabber:client"),
    W("jabber:server"),
    W("jabber:x:data"),
    W("jabber:x:oob"),
    W("jabber:x:conference"),
    W("jabber:iq:roster"),
    W("jabber:iq:version"),
    W("jabber:iq:last"),
    W("jabber:iq:private"),
    W("jabber:iq:register"),
    W("jabber:x:delay"),
    W("jabber:x:event"),
    W("vcard-temp"),
    W("vcard-temp:x:update"),
    W("http://etherx.jabber.org/streams"),
    W("urn:ietf:params:xml:ns:xmpp-stanzas"),
    W("urn:xmpp:forward:0"),
    W("urn:xmpp:delay"),
    W("urn:xmpp:sid:0"),
    W("urn:xmpp:hints"),
    W("urn:xmpp:carbons:2"),
    W("urn:xmpp:receipts"),
    W("urn:xmpp:chat-markers:0"),
    W("urn:xmpp:mam:2"),
    W("urn:xmpp:mam:1"),
    W("urn:xmpp:mam:tmp"),
    W("urn:xmpp:archive"),
    W("urn:xmpp:inbox:1"),
    W("urn:xmpp:push:0"),
    W("urn:xmpp:privilege:1"),
    W("urn:xmpp:privilege:2"),
    W("urn:xmpp:delegation:1"),
    W("urn:xmpp:delegation:2"),
    W("urn:xmpp:ping"),
    W("urn:xmpp:message-correct:0"),
    W("urn:xmpp:reply:0"),
    W("urn:xmpp:fallback:0"),
    W("urn:xmpp:reactions:0"),
    W("urn:xmpp:eme:0"),
    W("urn:xmpp:idle:1"),
    W("urn:xmpp:occupant-id:0"),
    W("urn:xmpp:jingle-message:0"),
    W("urn:xmpp:message-retract:1"),
    W("eu.siacs.conversations.axolotl"),
    W("urn:xmpp:omemo:2"),
    W("http://jabber.org/protocol/chatstates"),
    W("http://jabber.org/protocol/caps"),
    W("http://jabber.org/protocol/disco#info"),
    W("http://jabber.org/protocol/disco#items"),
    W("http://jabber.org/protocol/muc"),
    W("http://jabber.org/protocol/muc#user"),
    W("http://jabber.org/protocol/pubsub"),
    W("http://jabber.org/protocol/pubsub#event"),
    W("http://jabber.org/protocol/commands"),
    W("http://jabber.org/protocol/rsm"),
    W("http://jabber.org/protocol/nick"),
    W("http://jabber.org/protocol/address"),
};
#define WORDS (sizeof words / sizeof words[0])
static_assert(WORDS < 255, "a slot is one byte");

static unsigned hash(const char *text, size_t len)
{
    const unsigned char *s = (const unsigned char *)text;
    unsigned h = (unsigned)len * 37 + s[0] * 5u + s[len / 2] * 17u + s[len - 1] * 29u;
    return (h ^ h >> 9) % XML_INTERN_SLOTS;
}

void xml_intern_init(struct xml_intern *t)
{
    memset(t->slots, 0, sizeof t->slots);
    for (size_t i = 0; i < WORDS; i++) {
        unsigned h = hash(words[i].text, words[i].len);
        while (t->slots[h])
            h = (h + 1) % XML_INTERN_SLOTS;
        t->slots[h] = (uint8_t)(i + 1);
    }
}

const char *xml_intern_find(const struct xml_intern *t, const char *text, size_t len)
{
    if (len == 0 || len > LONGEST)
        return NULL;
    for (unsigned h = hash(text, len); t->slots[h]; h = (h + 1) % XML_INTERN_SLOTS) {
        const struct word *w = &words[t->slots[h] - 1];
        if (w->len == len && memcmp(w->text, text, len) == 0)
            return w->text;
    }
    return NULL;
}
