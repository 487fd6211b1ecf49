# SPDX-License-Identifier: Apache-2.0
"""One logical message, one row per owner, one count, one push: however the server copies it.

A test for each kind of event that copies show, and for each payload that a
sender can forge.
"""

import pytest

from harness.clients import body_of, new_id
from harness.component import Component
from harness.ejabberd import HOST, REMOTE_HOST, ROOMS
from harness.oracle import HIDDEN
from harness.procs import wait_until

pytestmark = pytest.mark.servers()
RESUME_TIMEOUT = 10  # a client that is slow comes back in it
SERVER = {"ejabberd": {"with_muc": True, "with_mam_never": True, "resume_timeout": RESUME_TIMEOUT},
          "prosody": {"with_muc": True, "resume_timeout": RESUME_TIMEOUT},
          "generic": {"with_muc": True, "resume_timeout": RESUME_TIMEOUT}}
SETTINGS = {"push.confirm_after": "1s"}


@pytest.fixture
def alice(world):
    return world.user("alice")


def ids(world, user):
    """How often each stanza id is in the user's archive."""
    return world.oracle.stanza_ids(user.bare)


def assert_stored(world, message_id, *owners, times=1):
    for owner in owners:
        assert ids(world, owner)[message_id] == times, owner


def assert_failed(world, jid, message_id):
    """The recipient's own server refused it: whatever row there is does not show or count."""
    assert all(row.flags & HIDDEN for row in world.oracle.rows(jid)
               if row.stanza_id == message_id)
    assert world.oracle.unread(jid) == 0
    world.oracle.assert_sound()


def assert_counts(world, user, unread):
    assert world.oracle.unread(user.bare) == unread
    world.oracle.assert_sound()


# Between local users.


@pytest.mark.needs("copies")
def test_online_recipient(world, alice, bob):
    sender, receiver = world.login(alice), world.login(bob)
    message_id, body = world.exchange(sender, receiver)
    assert_stored(world, message_id, alice, bob)
    assert world.oracle.with_body(bob.bare, body)
    assert_counts(world, bob, 1)
    assert_counts(world, alice, 0)


def test_type_normal_is_archived_and_counted(world, alice, bob):
    sender, receiver = world.login(alice), world.login(bob)
    message_id, _ = world.exchange(sender, receiver, kind="normal")
    assert_stored(world, message_id, alice, bob)
    assert_counts(world, bob, 1)


@pytest.mark.parametrize("what, kind, extra", [
    ("headline", "headline", "<body>news</body>"),
    ("composing", "chat", "<composing xmlns='http://jabber.org/protocol/chatstates'/>"),
    ("receipt", "chat", "<received xmlns='urn:xmpp:receipts' id='x'/>"),
    ("no-store", "chat", "<body>off the record</body><no-store xmlns='urn:xmpp:hints'/>"),
])
def test_what_is_no_message_is_not_archived(world, alice, bob, what, kind, extra):
    token = world.phone(bob)
    sender, receiver = world.login(alice), world.login(bob)
    message_id = sender.send_chat(bob.bare, None, new_id(what), kind=kind, extra=extra)
    receiver.wait_id(message_id)
    world.drain(sender)
    assert_stored(world, message_id, alice, bob, times=0)
    assert_counts(world, bob, 0)
    world.no_push(token, 1.5)


@pytest.mark.needs("all-resources")
def test_several_resources(world, alice, bob):
    sender = world.login(alice)
    receivers = [world.login(bob, resource) for resource in ("a", "b", "c")]
    message_id = sender.send_chat(bob.bare, world.body())
    for receiver in receivers:
        receiver.wait_id(message_id)
    world.drain(sender)
    assert_stored(world, message_id, alice, bob)
    assert_counts(world, bob, 1)


def test_carbons_on_both_sides(world, alice, bob):
    sender, receiver = world.login(alice), world.login(bob)
    laptop = world.login(alice, "laptop", carbons=True)
    tablet = world.login(bob, "tablet", priority=-1, carbons=True)
    message_id = sender.send_chat(receiver.jid, world.body())
    receiver.wait_id(message_id)

    def carbon(stanza):
        return any(inner.get("id") == message_id for inner in
                   stanza.iter("{jabber:client}message") if inner is not stanza)
    laptop.wait_for(carbon, what="a sent carbon")
    tablet.wait_for(carbon, what="a received carbon")
    world.drain(sender)
    assert_stored(world, message_id, alice, bob)
    assert_counts(world, bob, 1)


@pytest.mark.needs("pushes")
def test_offline_recipient_gets_row_count_and_push(world, alice, bob):
    token = world.phone(bob)
    sender = world.login(alice)
    message_id = sender.send_chat(bob.bare, world.body())
    world.drain(sender)
    assert_stored(world, message_id, alice, bob)
    assert_counts(world, bob, 1)
    assert [push.badge for push in world.gateway.wait(token, 1)] == [1]


def test_offline_then_delivered_is_not_archived_again(world, alice, bob):
    token = world.phone(bob)
    sender = world.login(alice)
    sent = [sender.send_chat(bob.bare, world.body()) for _ in range(3)]
    world.gateway.wait(token, 1)
    wait_until(lambda: world.gateway.pushes(token)[-1].badge == 3, 10, "a push with badge 3")
    wait_until(lambda: world.oracle.outbox(bob.bare) == 0, 5, "no other is on its way")
    seen = len(world.gateway.pushes(token))
    receiver = world.login(bob)
    for message_id in sent:
        receiver.wait_id(message_id)
    world.drain(receiver)
    for message_id in sent:
        assert_stored(world, message_id, alice, bob)
    assert_counts(world, bob, 3)
    world.no_push(token, 1.5, since=seen)


@pytest.mark.needs("late")
def test_delayed_delivery_of_a_message_that_was_never_seen(world, alice, bob):
    """Sent while the sidecar was away: the copy at login is the first one."""
    world.known_offline(bob)
    world.sidecar.stop()
    sender = world.login(alice)
    body = world.body()
    message_id = sender.send_chat(bob.bare, body)
    wait_until(lambda: world.ejabberd.offline_count(bob.name) == 1, 5, "it is stored offline")
    world.sidecar.start()
    receiver = world.login(bob)
    receiver.wait_id(message_id)
    world.drain(receiver)
    assert_stored(world, message_id, alice, bob)
    assert_counts(world, alice, 0)
    assert "urn:xmpp:delay" in world.oracle.with_body(bob.bare, body)[0].stanza
    assert_counts(world, bob, 1)


@pytest.mark.needs("stream-management", "quick-end")
def test_stream_management_resends(world, alice, bob):
    """A session that died unnoticed: copied as received, stored offline, delivered again."""
    sender = world.login(alice)
    receiver = world.login(bob, sm=True)
    receiver.drop()
    message_id = sender.send_chat(bob.bare, world.body())
    world.away(bob)  # the resumption time is over
    again = world.login(bob)
    again.wait_id(message_id)
    world.drain(again)
    assert_stored(world, message_id, alice, bob)
    assert_counts(world, bob, 1)


@pytest.mark.needs("stream-management")
def test_stream_management_resumed(world, alice, bob):
    sender = world.login(alice)
    receiver = world.login(bob, sm=True)
    receiver.drop()
    message_id = sender.send_chat(bob.bare, world.body())
    assert receiver.resume()
    receiver.wait_id(message_id)
    world.drain(sender)
    assert_stored(world, message_id, alice, bob)
    assert_counts(world, bob, 1)


@pytest.mark.parametrize("resources", [
    1, pytest.param(3, marks=pytest.mark.needs("all-resources"))])
def test_note_to_self(world, alice, resources):
    token = world.phone(alice)
    clients = [world.login(alice, f"r{i}") for i in range(resources)]
    message_id = clients[0].send_chat(alice.bare, world.body("note"))
    for client in clients:
        client.wait_id(message_id)
    world.drain(clients[0])
    assert_stored(world, message_id, alice)
    assert_counts(world, alice, 0)
    world.no_push(token, 1.5)


def test_without_to(world, alice):
    """The server fills in the sender's own address."""
    client = world.login(alice)
    message_id = client.send_chat(None, world.body("note"))
    client.wait_id(message_id)
    world.drain(client)
    assert_stored(world, message_id, alice)
    assert_counts(world, alice, 0)


def test_the_same_id_with_another_text_is_another_message(world, alice, bob):
    """Some clients count their ids from 1 in every session."""
    sender, receiver = world.login(alice), world.login(bob)
    for text in ("first", "second"):
        body = world.body(text)
        sender.send_chat(bob.bare, body, "1")
        receiver.wait_message(body)
    world.drain(sender)
    assert_stored(world, "1", alice, bob, times=2)
    assert_counts(world, bob, 2)


def test_without_ids_different_texts_are_different_messages(world, alice, bob):
    sender, receiver = world.login(alice), world.login(bob)
    bodies = [world.body(text) for text in ("one", "two")]
    for body in bodies:
        sender.send_chat(bob.bare, body, "")
        receiver.wait_message(body)
    world.drain(sender)
    for owner in (alice, bob):
        assert [row.body for row in world.oracle.rows(owner.bare)] == bodies
    assert_counts(world, bob, 2)


# Across servers.


def test_remote_to_online(world, bob):
    remote = world.remote_user()
    receiver = world.login(bob)
    body = world.body()
    message_id = world.login(remote).send_chat(bob.bare, body)
    receiver.wait_message(body)
    world.drain(receiver)
    assert_stored(world, message_id, bob)
    assert world.oracle.count(remote.bare) == 0
    assert_counts(world, bob, 1)


@pytest.mark.servers("ejabberd")
def test_remote_to_offline_is_archived_at_login(world, bob):
    """ejabberd copies nothing before.  mod_push publishes, without a word for whom or which
    message: that is accepted, and makes no push of its own."""
    client = world.login(bob)
    token, answer = world.register_push_apns(client)
    client.enable_push(answer["jid"], answer["node"], answer["secret"])
    client.logout()
    world.away(bob)
    remote = world.login(world.remote_user())
    body = world.body()
    message_id = remote.send_chat(bob.bare, body)
    wait_until(lambda: world.ejabberd.offline_count(bob.name) == 1, 5, "it is stored offline")
    world.no_push(token, 1.5)
    assert world.oracle.count(bob.bare) == 0
    receiver = world.login(bob)
    receiver.wait_message(body)
    world.drain(receiver)
    assert_stored(world, message_id, bob)
    assert_counts(world, bob, 1)
    # A publish that is refused costs the registration; then this would be item-not-found.
    receiver.iq("set", f"<disable xmlns='urn:xmpp:push:0' jid='{answer['jid']}'"
                       f" node='{answer['node']}'/>")


@pytest.mark.needs("remote-offline")
def test_remote_to_offline_is_archived_and_pushed_at_once(world, bob):
    token = world.phone(bob)
    remote = world.login(world.remote_user())
    message_id = remote.send_chat(bob.bare, world.body())
    assert world.gateway.wait(token, 1)[0].badge == 1
    assert_stored(world, message_id, bob)
    receiver = world.login(bob)
    receiver.wait_id(message_id)
    world.drain(receiver)
    assert_stored(world, message_id, bob)
    assert_counts(world, bob, 1)


def test_another_component_to_online(world, bob):
    other = Component(world.ejabberd.component_port, "other.e.test", world.ejabberd.secret)
    receiver = world.login(bob)
    body = world.body()
    other.send_chat("bot@other.e.test", bob.bare, body, "from-component")
    receiver.wait_message(body)
    world.drain(receiver)
    other.close()
    assert_stored(world, "from-component", bob)
    assert_counts(world, bob, 1)


def test_local_to_remote(world, alice):
    remote = world.remote_user()
    receiver = world.login(remote)
    sender = world.login(alice)
    body = world.body()
    message_id = sender.send_chat(remote.bare, body)
    receiver.wait_message(body)
    world.drain(sender)
    assert_stored(world, message_id, alice)
    assert world.oracle.count(remote.bare) == 0
    assert_counts(world, alice, 0)


# Our own echoes.


def test_archive_results_are_not_archived_again(world, alice, bob):
    sender, receiver = world.login(alice), world.login(bob)
    world.exchange(sender, receiver)
    before = world.oracle.total_rows()
    for _ in range(3):
        assert len(receiver.mam_page(rsm="<max>10</max>").results) == 1
    world.drain(receiver)
    assert world.oracle.total_rows() == before
    assert_counts(world, bob, 1)


def test_results_for_a_session_that_left_are_not_stored_offline(world, alice, bob):
    sender, receiver = world.login(alice), world.login(bob)
    for _ in range(20):
        sender.send_chat(bob.bare, world.body())
    world.drain(sender)
    receiver.iq_start("set", receiver.mam_xml(rsm="<max>20</max>"))
    receiver.drop()
    world.away(bob)
    world.drain(sender)
    assert world.ejabberd.offline_count(bob.name) == 0


# Refused by the server.


@pytest.mark.needs("blocked")
@pytest.mark.parametrize("online", [True, False])
def test_blocked_sender(world, alice, bob, online):
    token = world.phone(bob)
    receiver = world.login(bob)
    receiver.block(alice.bare)
    if not online:
        receiver.logout()
        world.away(bob)
    sender = world.login(alice)
    message_id = sender.send_chat(bob.bare, world.body())
    sender.wait_for(lambda s: s.get("id") == message_id and s.get("type") == "error",
                    what="the bounce")
    world.drain(sender)
    assert_stored(world, message_id, alice)
    assert_failed(world, bob.bare, message_id)
    world.no_push(token, 1.5)
    receiver = receiver if online else world.login(bob)
    assert receiver.mam_page().results == []
    assert len(sender.mam_page().results) == 1


@pytest.mark.needs("refusals")
def test_user_that_does_not_exist(world, alice):
    sender = world.login(alice)
    nobody = f"{new_id('nobody')}@{HOST}"
    message_id = sender.send_chat(nobody, world.body())
    sender.wait_for(lambda s: s.get("id") == message_id and s.get("type") == "error",
                    what="the bounce")
    world.drain(sender)
    assert_stored(world, message_id, alice)
    assert_failed(world, nobody, message_id)


# A room beside.


def make_room(world, owner, name):
    room = f"{name}@{ROOMS}"
    owner.join(room, "owner")
    owner.iq("set", "<query xmlns='http://jabber.org/protocol/muc#owner'>"
                    "<x xmlns='jabber:x:data' type='submit'/></query>", room)
    return room


@pytest.mark.needs("rooms")
def test_groupchat_is_not_in_the_members_archives(world, alice, bob):
    token = world.phone(bob)
    sender, receiver = world.login(alice), world.login(bob)
    room = make_room(world, sender, new_id("room"))
    receiver.join(room, "bob")
    message_id = sender.send_chat(room, world.body(), kind="groupchat")
    receiver.wait_id(message_id)
    world.drain(sender)
    assert_stored(world, message_id, alice, bob, times=0)
    assert_counts(world, bob, 0)
    world.no_push(token, 1.5)
    # By default rooms have no archive either, and nothing is known of who is in them.
    assert world.oracle.count(room) == 0
    assert world.oracle.value("SELECT count(*) FROM xs.room_member") == 0


@pytest.mark.servers("ejabberd")
def test_the_room_keeps_its_own_archive(world, alice):
    """mod_mam: {default: never} serves the rooms, we serve the users."""
    client = world.login(alice)
    room = make_room(world, client, new_id("room"))
    body = world.body()
    client.iq("set", "<query xmlns='http://jabber.org/protocol/muc#owner'>"
                     "<x xmlns='jabber:x:data' type='submit'>"
                     "<field var='FORM_TYPE'><value>http://jabber.org/protocol/muc#roomconfig"
                     "</value></field><field var='mam'><value>1</value></field></x></query>", room)
    client.send_chat(room, body, kind="groupchat")
    stanza = client.wait_message(body)
    assert stanza.find("{urn:xmpp:sid:0}stanza-id").get("by") == room
    assert body in client.mam_page(to=room).bodies
    assert body not in client.mam_page().bodies


@pytest.mark.needs("rooms")
def test_private_message_in_a_room(world, alice, bob):
    sender, receiver = world.login(alice), world.login(bob)
    room = make_room(world, sender, new_id("room"))
    receiver.join(room, "bob")
    message_id = sender.send_chat(
        f"{room}/bob", world.body(), extra="<x xmlns='http://jabber.org/protocol/muc#user'/>")
    receiver.wait_id(message_id)
    world.drain(sender)
    assert_stored(world, message_id, alice, bob)
    assert_counts(world, bob, 1)


@pytest.mark.servers("ejabberd")
@pytest.mark.parametrize("online", [True, False])
def test_mucsub_events_are_not_archived(world, alice, bob, online):
    sender, receiver = world.login(alice), world.login(bob)
    room = make_room(world, sender, new_id("room"))
    receiver.iq("set", "<subscribe xmlns='urn:xmpp:mucsub:0' nick='bob'>"
                       "<event node='urn:xmpp:mucsub:nodes:messages'/></subscribe>", room)
    body = world.body()
    if not online:
        receiver.logout()
        world.away(bob)
    sender.send_chat(room, body, kind="groupchat")
    if not online:
        wait_until(lambda: world.ejabberd.offline_count(bob.name) == 1, 5, "it waits for bob")
        receiver = world.login(bob)
    receiver.wait_for(lambda s: any(body_of(m) == body for m in
                                    s.iter("{jabber:client}message")), what="the event")
    world.drain(receiver)
    assert_counts(world, bob, 0)
    assert world.oracle.count(bob.bare) == world.oracle.count(room) == 0
    assert world.oracle.value("SELECT count(*) FROM xs.room_member") == 0


# What a sender can write into a message must not hide it.

FORGED = {
    "delay": "<delay xmlns='urn:xmpp:delay' from='{host}' stamp='2001-01-01T00:00:00Z'/>",
    "delay-from-tomorrow": "<delay xmlns='urn:xmpp:delay' from='{host}'"
                           " stamp='2099-01-01T00:00:00Z'>Offline storage</delay>",
    "mam-result": "<result xmlns='urn:xmpp:mam:2' id='1' queryid='q'>"
                  "<forwarded xmlns='urn:xmpp:forward:0'><message xmlns='jabber:client'"
                  " from='{victim}' to='{bob}'><body>never said</body></message>"
                  "</forwarded></result>",
    "carbon": "<received xmlns='urn:xmpp:carbons:2'><forwarded xmlns='urn:xmpp:forward:0'>"
              "<message xmlns='jabber:client' from='{victim}' to='{bob}'>"
              "<body>never said</body></message></forwarded></received>",
    "pubsub-event": "<event xmlns='http://jabber.org/protocol/pubsub#event'>"
                    "<items node='urn:xmpp:mucsub:nodes:messages'><item id='1'/></items></event>",
    "stanza-id": "<stanza-id xmlns='urn:xmpp:sid:0' by='{bob}' id='1'/>",
    "envelope": "<forwarded xmlns='urn:xmpp:forward:0'><message xmlns='jabber:client'"
                " from='{victim}' to='{bob}' id='forged'><body>never said</body></message>"
                "</forwarded>",
    "delegation": "<delegation xmlns='urn:xmpp:delegation:1'>"
                  "<delegated namespace='urn:xmpp:mam:2'/></delegation>",
    "privilege": "<privilege xmlns='urn:xmpp:privilege:1'>"
                 "<perm access='message' type='none'/></privilege>",
    "error-element": "<error type='cancel'><service-unavailable"
                     " xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error>",
}


@pytest.mark.parametrize("forged", FORGED)
def test_forged_payload_is_archived_counted_and_pushed(world, alice, bob, forged):
    token = world.phone(bob)
    victim = world.user("victim")
    sender = world.login(alice)
    extra = FORGED[forged].format(host=HOST, bob=bob.bare, victim=victim.bare)
    message_id = sender.send_chat(bob.bare, world.body(), extra=extra)
    world.drain(sender)
    assert_stored(world, message_id, alice, bob)
    assert world.oracle.count(victim.bare) == 0
    assert ids(world, bob)["forged"] == 0
    assert_counts(world, bob, 1)
    assert world.gateway.wait(token, 1)[0].badge == 1
    # Delivered later with the server's own delay, it is still the same message.
    receiver = world.login(bob)
    if forged not in getattr(world.server, "never_kept", ()):
        receiver.wait_id(message_id)
    world.drain(receiver)
    assert_stored(world, message_id, alice, bob)
    assert_counts(world, bob, 1)
    # The archive's answer names only its own ids.
    entry = receiver.mam_page().results[0]
    assert body_of(entry.message) is not None
    assert not entry.stamp.startswith(("2001", "2099"))
    assert all(sid.get("by") != bob.bare or sid.get("id") == entry.archive_id
               for sid in entry.message.iter("{urn:xmpp:sid:0}stanza-id"))


def test_forged_payload_from_a_remote_sender(world, bob):
    remote, receiver = world.login(world.remote_user()), world.login(bob)
    sent = []
    for payload in FORGED.values():
        extra = payload.format(host=HOST, bob=bob.bare, victim=f"someone@{HOST}")
        sent.append(remote.send_chat(bob.bare, world.body(), extra=extra))
    for message_id in sent:
        receiver.wait_id(message_id)
    world.drain(receiver)
    for message_id in sent:
        assert_stored(world, message_id, bob)
    assert_counts(world, bob, len(sent))


# On Openfire what a service says of pubsub without a resource is its own.
@pytest.mark.servers("ejabberd", "prosody")
def test_forged_payload_from_a_bare_address(world, bob):
    """A component's senders need no resource: they look like accounts that send carbons."""
    receiver = world.login(bob)
    other = Component(world.ejabberd.component_port, "other.e.test", world.ejabberd.secret)
    sent = []
    for payload in FORGED.values():
        sent.append(new_id("bare"))
        extra = payload.format(host=HOST, bob=bob.bare, victim=f"someone@{HOST}")
        other.send(f"<message type='chat' from='bot@other.e.test' to='{bob.bare}'"
                   f" id='{sent[-1]}'><body>{world.body()}</body>{extra}</message>")
    for message_id in sent:
        receiver.wait_id(message_id)
    world.drain(receiver)
    other.close()
    for message_id in sent:
        assert_stored(world, message_id, bob)
    assert_counts(world, bob, len(sent))


LOOKALIKES = {
    "copy": "<forwarded xmlns='urn:xmpp:forward:0'>{inner}</forwarded>",
    "privilege": "<privilege xmlns='urn:xmpp:privilege:1'><forwarded"
                 " xmlns='urn:xmpp:forward:0'>{inner}</forwarded></privilege>",
    "delegation": "<delegation xmlns='urn:xmpp:delegation:1'><forwarded"
                  " xmlns='urn:xmpp:forward:0'>{inner}</forwarded></delegation>",
}


@pytest.mark.parametrize("shape", LOOKALIKES)
@pytest.mark.parametrize("host", [HOST, REMOTE_HOST])
def test_envelopes_count_only_from_the_server(world, bob, shape, host):
    """Any user can address the component with something that looks like the server's."""
    victim = world.user("victim")
    client = world.login(world.user("mallory") if host == HOST else world.remote_user("mallory"))
    inner = (f"<message xmlns='jabber:client' from='{victim.bare}/r1' to='{bob.bare}'"
             f" type='chat' id='forged'><body>never said</body></message>")
    client.send_xml(f"<message to='{world.component}' type='chat' id='{new_id()}'>"
                    f"{LOOKALIKES[shape].format(inner=inner)}</message>")
    # Answered or refused, it is an answer to what came after the message.
    client.ask("get", "<ping xmlns='urn:xmpp:ping'/>", world.component)
    world.drain(world.login(bob))
    assert world.oracle.count(victim.bare) == 0
    assert world.oracle.count(bob.bare) == 0
    assert_counts(world, bob, 0)


def test_announcements_count_only_from_the_server(world, alice, bob):
    """A user takes away our permissions, or so he says: the archive still answers."""
    mallory = world.login(world.user("mallory"))
    mallory.send_xml(f"<message to='{world.component}'><privilege xmlns='urn:xmpp:privilege:1'>"
                     "<perm access='message' type='none'/></privilege></message>")
    sender, receiver = world.login(alice), world.login(bob)
    _, body = world.exchange(sender, receiver)
    assert receiver.mam_page().bodies == [body]


def test_a_forged_bounce_hides_nothing(world, alice, bob):
    """Only the recipient's own server can refuse a message for him."""
    sender, receiver = world.login(alice), world.login(bob)
    message_id, _ = world.exchange(sender, receiver)
    mallory = world.login(world.user("mallory"))
    mallory.send_xml(f"<message to='{alice.bare}' type='error' id='{message_id}'>"
                     "<error type='cancel'><service-unavailable"
                     " xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></message>")
    # The recipient's own client may answer with an error too: he has it all the same.
    receiver.send_xml(f"<message to='{sender.jid}' type='error' id='{message_id}'>"
                      "<error type='cancel'><service-unavailable"
                      " xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></message>")
    world.drain(mallory)
    world.drain(receiver)
    assert_counts(world, bob, 1)
    assert len(receiver.mam_page().results) == 1
