# SPDX-License-Identifier: Apache-2.0
"""Rooms (XEP-0045) and subscriptions to them (MucSub), as people use them."""

from .clients import new_id


def make_room(world, owner, nick="owner", **fields):
    """A new room of the client's, with so many fields of its configuration."""
    room = f"{new_id('room')}@{world.server.rooms}"
    owner.join(room, nick)
    rows = "".join(f"<field var='{name}'><value>{value}</value></field>"
                   for name, value in fields.items())
    owner.iq("set", "<query xmlns='http://jabber.org/protocol/muc#owner'>"
                    "<x xmlns='jabber:x:data' type='submit'><field var='FORM_TYPE'><value>"
                    "http://jabber.org/protocol/muc#roomconfig</value></field>"
                    f"{rows}</x></query>", room)
    return room


def say(world, client, room, body=None, **options):
    """Says something and waits for the room to have said it; the message's id."""
    message_id = client.send_chat(room, body or world.body(), kind="groupchat", **options)
    client.wait_id(message_id)
    return message_id


def subscribe(client, room, nick):
    client.iq("set", f"<subscribe xmlns='urn:xmpp:mucsub:0' nick='{nick}'>"
                     "<event node='urn:xmpp:mucsub:nodes:messages'/></subscribe>", room)


def leave(client, room, nick):
    since = len(client.inbox)
    client.send_xml(f"<presence to='{room}/{nick}' type='unavailable'/>")
    client.wait_for(lambda s: s.get("type") == "unavailable" and s.get("from") == f"{room}/{nick}",
                    what="goodbye", since=since)


def admit(owner, room, account):
    """The owner makes the account a member of the room."""
    owner.iq("set", "<query xmlns='http://jabber.org/protocol/muc#admin'>"
                    f"<item affiliation='member' jid='{account.bare}'/></query>", room)


def member(world, owner, room, account, nick):
    """The account belongs to the room by its rank, has been there under the nick, and is away."""
    admit(owner, room, account)
    client = world.login(account, "visit")
    client.join(room, nick)
    leave(client, room, nick)
    client.logout()
    world.away(account)
