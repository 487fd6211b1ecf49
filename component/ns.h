// SPDX-License-Identifier: Apache-2.0
/* The namespaces the component layer speaks, in one place. */
#ifndef COMPONENT_NS_H
#define COMPONENT_NS_H

#include <stddef.h> /* so that the header is a translation unit of its own */

#define NS_CLIENT "jabber:client"
#define NS_COMPONENT "jabber:component:accept"
#define NS_STREAMS "http://etherx.jabber.org/streams"
#define NS_STREAM_ERRORS "urn:ietf:params:xml:ns:xmpp-streams"
#define NS_STANZA_ERRORS "urn:ietf:params:xml:ns:xmpp-stanzas"
#define NS_FORWARD "urn:xmpp:forward:0"
#define NS_DELAY "urn:xmpp:delay"
#define NS_CARBONS "urn:xmpp:carbons:2"
#define NS_MARKERS "urn:xmpp:chat-markers:0"
#define NS_HINTS "urn:xmpp:hints"
#define NS_SID "urn:xmpp:sid:0"
#define NS_RECEIPTS "urn:xmpp:receipts"
#define NS_CHATSTATES "http://jabber.org/protocol/chatstates"
#define NS_MAM "urn:xmpp:mam:2"
#define NS_MAM_1 "urn:xmpp:mam:1"
#define NS_INBOX_ESL "erlang-solutions.com:xmpp:inbox:0"
#define NS_RSM "http://jabber.org/protocol/rsm"
#define NS_PING "urn:xmpp:ping"
#define NS_VERSION "jabber:iq:version"
#define NS_DISCO_INFO "http://jabber.org/protocol/disco#info"
#define NS_DISCO_ITEMS "http://jabber.org/protocol/disco#items"
#define NS_COMMANDS "http://jabber.org/protocol/commands"
#define NS_DELEGATION_1 "urn:xmpp:delegation:1"
#define NS_DELEGATION_2 "urn:xmpp:delegation:2"
#define NS_PRIVILEGE_1 "urn:xmpp:privilege:1"
#define NS_PRIVILEGE_2 "urn:xmpp:privilege:2"
#define NS_PUSH "urn:xmpp:push:0"
#define NS_UNIFIED_PUSH "http://gultsch.de/xmpp/drafts/unified-push"
#define NS_ROSTER "jabber:iq:roster"
#define NS_MDS "urn:xmpp:mds:displayed:0"
#define NS_BOOKMARKS "urn:xmpp:bookmarks:1"
#define NS_NOTIFY "urn:xmpp:notification-settings:1"
#define NS_NOTIFY_0 "urn:xmpp:notification-settings:0"
#define NS_PUBSUB "http://jabber.org/protocol/pubsub"
#define NS_PUBSUB_EVENT "http://jabber.org/protocol/pubsub#event"
#define NS_MUC_USER "http://jabber.org/protocol/muc#user"
#define NS_MUCSUB "urn:xmpp:mucsub:0"
#define NS_PACKET_EVENT "http://jabber.org/protocol/packet#event" /* Openfire's copies */

#endif
