# SPDX-License-Identifier: Apache-2.0
"""archive.groupchat: room: what is said in a room is kept once, and the room owns it."""

import json
from xml.etree import ElementTree

import pytest

from harness.conversations import inbox
from harness.oracle import HIDDEN
from harness.procs import wait_until
from harness.rooms import leave, make_room, say, subscribe

pytestmark = pytest.mark.servers("ejabberd", "prosody")
PEP = {"modules": {"mod_caps": {}, "mod_pubsub": {"plugins": ["flat", "pep"]}}}
SERVER = {"ejabberd": {"with_muc": True, "with_mam_never": True, "extra": PEP},
          "prosody": {"with_muc": True, "room_presence": True}}
SETTINGS = {"archive.groupchat": "room", "push.confirm_after": "1s"}

GROUPCHAT, FOR_MEMBERS = 16, 512


@pytest.fixture
def alice(world):
    return world.user("alice")


@pytest.fixture
def bob(world):
    return world.user("bob")


def unread(world, user):
    """{room: count} of the rooms in which the account has something to read."""
    done = world.sidecar.command("unread", user.bare, "--json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    rooms = {entry["jid"]: entry["unread"] for entry in told["conversations"] if entry["room"]}
    assert told["unread"] >= sum(rooms.values())
    return rooms


def wait_unread(world, client, user, rooms):
    world.drain(client)
    wait_until(lambda: unread(world, user) == rooms, 5, f"{user} has {rooms} to read")


def test_what_is_said_is_one_row_of_the_room(world, alice, bob):
    clients = [world.login(alice), world.login(alice, "laptop"), world.login(bob)]
    room = make_room(world, clients[0])
    for client, nick in zip(clients[1:], ("laptop", "bob")):
        client.join(room, nick)
    body = world.body()
    said = say(world, clients[0], room, body)
    answered = say(world, clients[2], room)
    for client in clients:
        client.wait_id(answered)
    world.drain(clients[0])
    rows = world.oracle.rows(room)
    assert [(row.stanza_id, row.peer) for row in rows] == [(said, alice.bare), (answered, bob.bare)]
    assert rows[0].body == body
    assert all(row.flags == GROUPCHAT | FOR_MEMBERS for row in rows)
    assert world.oracle.count(alice.bare) == world.oracle.count(bob.bare) == 0
    assert world.oracle.unread(alice.bare) == world.oracle.unread(bob.bare) == 0


def test_what_was_said_before_somebody_came_in_is_not_said_again(world, alice, bob):
    sender = world.login(alice)
    room = make_room(world, sender)
    said = say(world, sender, room)
    world.drain(sender)
    late = world.login(bob)
    late.send_xml(f"<presence to='{room}/bob'><x xmlns='http://jabber.org/protocol/muc'/></presence>")
    late.wait_id(said)
    world.drain(late)
    assert world.oracle.stanza_ids(room) == {said: 1}
    assert world.oracle.count(bob.bare) == 0


def test_what_the_room_does_not_take_is_not_shown(world, alice, bob):
    """Only who is in a room may say something there."""
    owner, outsider = world.login(alice), world.login(bob)
    room = make_room(world, owner)
    said = outsider.send_chat(room, world.body(), kind="groupchat")
    outsider.wait_id(said)  # the refusal has the same id
    world.drain(outsider)
    assert all(row.flags & HIDDEN for row in world.oracle.rows(room))
    assert len(world.oracle.rows(room)) == 1
    assert '"hidden","unconfirmed"' in world.sidecar.command("history", room, "--json").stdout


def test_a_subject_is_no_message(world, alice):
    client = world.login(alice)
    room = make_room(world, client)
    client.send_chat(room, None, kind="groupchat", extra="<subject>news</subject>")
    client.wait_for(lambda s: s.findtext("{jabber:client}subject") == "news", what="a subject")
    world.drain(client)
    assert world.oracle.count(room) == 0


def test_a_stamp_does_not_hide_what_is_said(world, alice):
    client = world.login(alice)
    room = make_room(world, client)
    stamps = "".join(f"<delay xmlns='urn:xmpp:delay' from='{who}' stamp='2001-01-01T00:00:00Z'/>"
                     for who in (room, world.server.host))
    said = client.send_chat(room, world.body(), kind="groupchat", extra=stamps)
    client.wait_id(said)
    world.drain(client)
    assert world.oracle.stanza_ids(room) == {said: 1}


@pytest.mark.parametrize("to", ["account", "session"])
def test_groupchat_to_a_user_changes_nothing(world, alice, bob, to):
    """The type alone makes no room of an account."""
    sender, receiver = world.login(alice), world.login(bob)
    sender.send_chat(bob.bare if to == "account" else receiver.jid, world.body(),
                     kind="groupchat")
    world.drain(sender)
    assert world.oracle.count(bob.bare) == world.oracle.count(alice.bare) == 0
    assert world.oracle.unread(bob.bare) == 0


def test_a_room_elsewhere_has_an_archive_of_its_own(world, alice, bob):
    """Who calls himself a room changes the archive of that address only."""
    stranger = world.login(world.remote_user("stranger"))
    receiver = world.login(bob)
    stranger.send_chat(receiver.jid, world.body(), kind="groupchat")
    stranger.send_chat(bob.bare, world.body(), kind="groupchat")
    after = stranger.send_chat(bob.bare, world.body())
    receiver.wait_id(after)
    world.drain(receiver)
    assert world.oracle.stanza_ids(bob.bare) == {after: 1}
    assert world.oracle.unread(bob.bare) == 1


def test_a_message_taken_back_is_a_tombstone(world, alice, bob):
    sender, other = world.login(alice), world.login(bob)
    room = make_room(world, sender)
    other.join(room, "bob")
    body = world.body()
    said = say(world, sender, room, body)
    for client in (other, sender):
        world.drain(sender)
        assert len(world.oracle.with_body(room, body)) == 1  # not by somebody else
        client.wait_id(client.send_chat(
            room, None, kind="groupchat",
            extra=f"<retract xmlns='urn:xmpp:message-retract:1' id='{said}'/>"
                  "<store xmlns='urn:xmpp:hints'/>"))
    world.drain(sender)
    assert world.oracle.with_body(room, body) == []


@pytest.mark.servers("ejabberd")
def test_a_message_is_taken_back_as_the_room_calls_it(world, alice, bob):
    sender, other = world.login(alice), world.login(bob)
    room = make_room(world, sender, mam=1)
    other.join(room, "bob")
    body = world.body()
    said = say(world, sender, room, body)
    own = sender.wait_id(said).find("{urn:xmpp:sid:0}stanza-id").get("id")
    for client in (other, sender):
        world.drain(sender)
        assert len(world.oracle.with_body(room, body)) == 1  # not by somebody else
        client.wait_id(client.send_chat(
            room, None, kind="groupchat",
            extra=f"<retract xmlns='urn:xmpp:message-retract:1' id='{own}'/>"
                  "<store xmlns='urn:xmpp:hints'/>"))
    world.drain(sender)
    assert world.oracle.with_body(room, body) == []


@pytest.mark.servers("ejabberd")
def test_a_subscriber_who_is_not_in_the_room(world, alice, bob):
    """MucSub: he says something, and is told of it in an event."""
    owner, subscriber = world.login(alice), world.login(bob)
    room = make_room(world, owner)
    subscribe(subscriber, room, "bob")
    owner.send_xml(f"<presence to='{room}/owner' type='unavailable'/>")
    body = world.body()
    said = subscriber.send_chat(room, body, kind="groupchat")
    subscriber.wait_for(lambda s: any(m.get("id") == said for m in
                                      s.iter("{jabber:client}message")), what="the event")
    world.drain(subscriber)
    assert [(row.stanza_id, row.peer, row.flags) for row in world.oracle.rows(room)] == \
        [(said, bob.bare, GROUPCHAT | FOR_MEMBERS)]
    assert world.oracle.count(bob.bare) == 0


def test_history_shows_a_room(world, alice):
    client = world.login(alice)
    room = make_room(world, client)
    body = world.body()
    say(world, client, room, body)
    world.drain(client)
    done = world.sidecar.command("history", room, "--bodies")
    assert done.returncode == 0, done.stderr
    assert body in done.stdout and alice.bare in done.stdout


def test_nothing_is_said_twice_after_the_worker_died(world, alice, bob):
    sender, receiver = world.login(alice), world.login(bob)
    room = make_room(world, sender)
    receiver.join(room, "bob")
    old = world.sidecar.worker_pid()
    world.sidecar.arm("lane-committing")
    said = say(world, sender, room)
    receiver.wait_id(said)
    world.sidecar.wait_new_worker(old)
    world.drain(sender)
    assert world.oracle.stanza_ids(room) == {said: 1}
    wait_until(lambda: world.sidecar.behind() == 0, 10, "nothing is left to read")


# Who belongs to a room, and what there is to read.  MucSub is ejabberd's.


@pytest.fixture
def room_of_two(world, alice, bob):
    """(alice's session, bob's, a room of hers to which he has subscribed)"""
    sender, subscriber = world.login(alice), world.login(bob)
    room = make_room(world, sender, mam=1)
    subscribe(subscriber, room, "bob")
    return sender, subscriber, room


@pytest.mark.servers("ejabberd")
def test_what_a_subscriber_has_not_read(world, alice, bob, room_of_two):
    sender, subscriber, room = room_of_two
    subscriber.logout()
    world.away(bob)
    for _ in range(3):
        say(world, sender, room)
    wait_unread(world, sender, bob, {room: 3})
    assert unread(world, alice) == {}
    assert world.oracle.count(bob.bare) == 0


@pytest.mark.servers("ejabberd")
@pytest.mark.parametrize("by", ["the room", "the sender", "its devices"])
def test_a_marker_in_a_room_reads(world, bob, room_of_two, by):
    sender, subscriber, room = room_of_two
    ids = [say(world, sender, room) for _ in range(3)]
    own = [sender.wait_id(i).find("{urn:xmpp:sid:0}stanza-id").get("id") for i in ids]
    wait_unread(world, sender, bob, {room: 3})
    if by == "its devices":
        subscriber.publish_displayed(room, own[1], by=room)
    else:
        ref = own[1] if by == "the room" else ids[1]
        subscriber.send_chat(room, None, kind="groupchat", extra=(
            f"<displayed xmlns='urn:xmpp:chat-markers:0' id='{ref}'/>"
            "<store xmlns='urn:xmpp:hints'/>"))
    wait_unread(world, subscriber, bob, {room: 1})
    assert world.oracle.count(bob.bare) == 0


@pytest.mark.servers("ejabberd")
def test_an_answer_reads_what_came_before(world, alice, bob, room_of_two):
    sender, subscriber, room = room_of_two
    say(world, sender, room)
    wait_unread(world, sender, bob, {room: 1})
    said = subscriber.send_chat(room, world.body(), kind="groupchat")
    sender.wait_id(said)
    wait_unread(world, sender, bob, {})
    wait_unread(world, sender, alice, {room: 1})


@pytest.mark.servers("ejabberd")
def test_everything_read_reads_rooms(world, bob, room_of_two):
    sender, subscriber, room = room_of_two
    say(world, sender, room)
    wait_unread(world, sender, bob, {room: 1})
    subscriber.command(world.component, "mark-all-read")
    wait_unread(world, sender, bob, {})
    say(world, sender, room)
    wait_unread(world, sender, bob, {room: 1})
    assert world.sidecar.command("unread", bob.bare, "--mark").returncode == 0
    assert unread(world, bob) == {}


@pytest.mark.servers("ejabberd")
def test_a_room_is_a_conversation_of_its_members(world, alice, bob, room_of_two):
    sender, subscriber, room = room_of_two
    texts = [world.body(), world.body()]
    for text in texts:
        say(world, sender, room, text)
    wait_unread(world, sender, bob, {room: 2})
    private = world.body()
    sender.send_chat(bob.bare, private)
    subscriber.wait_message(private)
    world.drain(sender)
    since = len(subscriber.inbox)
    entries, fin, _ = inbox(subscriber)
    assert [(e.jid, e.unread, e.body) for e in entries] == [
        (alice.bare, 1, private), (room, 2, texts[1])]
    assert (fin.get("total"), fin.get("unread"), fin.get("all-unread")) == ("2", "2", "3")
    told = [xml for m in subscriber.messages(since) for xml in [ElementTree.tostring(m, "unicode")]
            if texts[1] in xml]
    assert len(told) == 1
    assert alice.bare not in told[0], "who said it is the room's to tell"
    subscriber.iq("set", f"<reset xmlns='erlang-solutions.com:xmpp:inbox:0' jid='{room}'/>",
                  subscriber.server.archive_address)
    wait_until(lambda: unread(world, bob) == {}, 5, "the room is read")
    entries, _, _ = inbox(subscriber)
    assert [(e.jid, e.unread) for e in entries] == [(alice.bare, 1), (room, 0)]
    entries, fin, _ = inbox(sender)  # the owner, and her own words
    assert (room, 0, texts[1]) in [(e.jid, e.unread, e.body) for e in entries]


@pytest.mark.servers("ejabberd")
def test_who_unsubscribes_has_nothing_to_read(world, bob, room_of_two):
    sender, subscriber, room = room_of_two
    say(world, sender, room)
    wait_unread(world, sender, bob, {room: 1})
    subscriber.iq("set", "<unsubscribe xmlns='urn:xmpp:mucsub:0'/>", room)
    wait_unread(world, subscriber, bob, {})
    say(world, sender, room)
    wait_unread(world, sender, bob, {})


@pytest.mark.servers("ejabberd")
def test_a_subscription_from_before_is_learnt_from_its_first_event(world, alice, bob):
    sender, subscriber = world.login(alice), world.login(bob)
    room = make_room(world, sender)
    world.sidecar.stop()
    subscribe(subscriber, room, "bob")
    world.sidecar.start()
    for _ in range(2):
        said = say(world, sender, room)
        subscriber.wait_for(lambda s: any(m.get("id") == said for m in
                                          s.iter("{jabber:client}message")), what="the event")
    wait_unread(world, sender, bob, {room: 1})


def test_who_has_a_rank_belongs_to_a_room_though_away(world, alice, bob):
    """Who has none was a visitor."""
    owner, visitor = world.login(alice), world.login(bob)
    room = make_room(world, owner, nick="al")
    visitor.join(room, "bob")
    leave(owner, room, "al")
    say(world, visitor, room)
    wait_unread(world, visitor, alice, {room: 1})
    owner.join(room, "al")
    leave(visitor, room, "bob")
    say(world, owner, room)
    world.drain(owner)
    assert world.oracle.value("SELECT count(*) FROM xs.room_member r JOIN xs.account a"
                              " ON a.owner = r.member WHERE a.jid = %s", (bob.bare,)) == 0


@pytest.mark.servers("ejabberd")
def test_nobody_is_made_a_member_by_a_user(world, alice, bob):
    """What only rooms say counts only from rooms."""
    mallory, receiver = world.login(alice), world.login(bob)
    room = make_room(world, mallory)
    event = ("<event xmlns='http://jabber.org/protocol/pubsub#event'>"
             "<items node='urn:xmpp:mucsub:nodes:messages'><item><message"
             f" xmlns='jabber:client' type='groupchat' id='f' from='{room}/x' to='{bob.bare}'>"
             "<body>x</body></message></item></items></event>")
    after = mallory.send_chat(bob.bare, world.body(), extra=event)
    receiver.wait_id(after)
    mallory.send_xml(f"<presence to='{receiver.jid}'><x xmlns='http://jabber.org/protocol/muc#user'>"
                     "<item affiliation='member' role='participant'/><status code='110'/></x>"
                     "</presence>")
    world.drain(mallory)
    assert world.oracle.value("SELECT count(*) FROM xs.room_member r JOIN xs.account a"
                              " ON a.owner = r.member WHERE a.jid = %s", (bob.bare,)) == 0
    assert world.oracle.count(room) == 0
