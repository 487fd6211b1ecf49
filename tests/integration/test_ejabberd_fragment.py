# SPDX-License-Identifier: Apache-2.0
"""config/ejabberd/ejabberd.yml makes a real ejabberd show a component what the adapter expects.

No sidecar here: a bare component looks at what arrives.  When an ejabberd
release changes its habits, these tests say so before the others get confusing.
"""

import pytest

from harness.clients import CLIENT, Client, body_of, new_id
from harness.component import COMPONENT_NS, Component, StreamRefused
from harness.ejabberd import COMPONENT, HOST, REMOTE_HOST, ROOMS
from harness.procs import wait_until

SERVER = {"ejabberd": {"with_muc": True, "with_mam_never": True}}

PRIVILEGE = "urn:xmpp:privilege:1"
DELEGATION = "urn:xmpp:delegation:1"


@pytest.fixture(scope="module")
def probe(ejabberd):
    component = Component(ejabberd.component_port, COMPONENT, ejabberd.secret,
                          ["urn:xmpp:mam:2"])
    yield component
    component.close()


@pytest.fixture
def login(ejabberd, loop):
    """login("alice"): a client of an account that is made when it is new."""
    known = set()

    def make(user, resource="r1", host=HOST, **options):
        if (user, host) not in known:
            ejabberd.register(user, "password", host)
            known.add((user, host))
        sm = options.pop("sm", False)
        return Client(loop, ejabberd, user, "password", resource, host=host, sm=sm).login(**options)

    yield make
    loop.close_clients()
    for user, host in known:
        ejabberd.wait_no_session(user) if host == HOST else None
        ejabberd.unregister(user, host)


def copies_of(probe, message_id, expected, settle_client):
    """The copies with that id, once there are as many as expected and no more come."""
    def found():
        return [copy for copy in probe.copies() if copy.get("id") == message_id]
    wait_until(lambda: len(found()) >= expected, 5,
               f"{expected} copies of {message_id} (there are {len(found())})")
    # A later message's copies come after all of the earlier one's.
    last = settle_client.send_chat(settle_client.bare, "settle")
    wait_until(lambda: any(c.get("id") == last for c in probe.copies()), 5, "the last copy")
    assert len(found()) == expected
    return found()


def test_permissions_and_delegation_are_announced(probe):
    def announced(namespace, element):
        return lambda s: s.find(f"{{{namespace}}}{element}") is not None
    privilege = probe.inbox.wait_for(announced(PRIVILEGE, "privilege"), 5, "privileges")
    access = {p.get("access"): p.get("type") for p in privilege.iter(f"{{{PRIVILEGE}}}perm")}
    assert access == {"message": "outgoing", "roster": "get", "presence": "managed_entity"}
    delegation = probe.inbox.wait_for(announced(DELEGATION, "delegation"), 5, "delegation")
    names = [d.get("namespace") for d in delegation.iter(f"{{{DELEGATION}}}delegated")]
    assert names == ["urn:xmpp:mam:2"]


def test_a_second_component_with_a_wrong_secret_is_refused(ejabberd, probe):
    with pytest.raises(StreamRefused, match="not-authorized"):
        Component(ejabberd.component_port, COMPONENT, "wrong")


@pytest.mark.parametrize("kind", ["chat", "normal", "headline"])
def test_a_message_between_online_users_is_copied_twice(probe, login, kind):
    alice, bob = login("alice"), login("bob")
    message_id = alice.send_chat(bob.bare, "hello", kind=kind)
    first, second = copies_of(probe, message_id, 2, alice)
    assert first.get("from") == second.get("from") == alice.jid


def test_each_further_resource_of_equal_priority_adds_a_copy(probe, login):
    alice, bob, tablet = login("alice"), login("bob"), login("bob", "tablet")
    message_id = alice.send_chat(bob.bare, "hello")
    bob.wait_id(message_id)
    tablet.wait_id(message_id)
    copies_of(probe, message_id, 3, alice)


def test_an_offline_recipient_leaves_one_copy_and_one_more_at_login(probe, ejabberd, login):
    alice = login("alice")
    login("bob").logout()
    ejabberd.wait_no_session("bob")
    message_id = alice.send_chat(f"bob@{HOST}", "hello")
    copies_of(probe, message_id, 1, alice)
    bob = login("bob")
    bob.wait_id(message_id)
    copies = copies_of(probe, message_id, 2, alice)
    assert copies[1].find("{urn:xmpp:delay}delay").get("from") == HOST


def test_a_remote_sender_leaves_only_the_received_copy(probe, login):
    remote, bob = login("remote", host=REMOTE_HOST), login("bob")
    message_id = remote.send_chat(bob.bare, "hello", new_id("remote"))
    bob.wait_id(message_id)
    copies_of(probe, message_id, 1, bob)


def test_carbons_are_copied_as_well(probe, login):
    alice, bob = login("alice"), login("bob")
    login("alice", "laptop", carbons=True)
    message_id = alice.send_chat(bob.bare, "hello")
    bob.wait_id(message_id)
    copies_of(probe, message_id, 2, alice)
    wait_until(lambda: any(c.find("{urn:xmpp:carbons:2}sent") is not None
                           for c in probe.copies()), 5, "a copy of the carbon")


def test_a_blocked_sender_leaves_a_copy_and_a_bounce(probe, login):
    alice, bob = login("alice"), login("bob")
    bob.block(alice.bare)
    message_id = alice.send_chat(bob.bare, "hello")
    copies = copies_of(probe, message_id, 2, bob)
    assert [copy.get("type") for copy in copies] == ["chat", "error"]


def test_presence_is_shown_and_a_lost_connection_is_not(probe, login, ejabberd):
    def presence_of(client, kind):
        return lambda s: (s.tag == f"{{{COMPONENT_NS}}}presence"
                          and s.get("from") == client.jid and s.get("type") == kind)
    bob = login("bob")
    probe.inbox.wait_for(presence_of(bob, None), 5, "available")
    bob.logout()
    probe.inbox.wait_for(presence_of(bob, "unavailable"), 5, "unavailable")
    since = len(probe.inbox)
    again = login("bob", "again")
    again.drop()
    ejabberd.wait_no_session("bob")
    assert not any(presence_of(again, "unavailable")(s) for s in probe.inbox.snapshot()[since:])


def test_a_room_copies_once_for_the_sender_and_once_for_each_local_occupant(probe, login):
    alice, bob = login("alice"), login("bob")
    room = f"tea@{ROOMS}"
    alice.join(room, "alice")
    alice.iq("set", "<query xmlns='http://jabber.org/protocol/muc#owner'>"
                    "<x xmlns='jabber:x:data' type='submit'/></query>", room)
    bob.join(room, "bob")
    message_id = alice.send_chat(room, "hello", kind="groupchat")
    bob.wait_id(message_id)
    copies_of(probe, message_id, 3, alice)


def test_a_query_to_the_own_account_is_delegated(probe, login):
    alice = login("alice")
    since = len(probe.inbox)
    alice.iq_start("set", alice.mam_xml(rsm="<max>1</max>"))
    request = probe.inbox.wait_for(
        lambda s: s.find(f"{{{DELEGATION}}}delegation") is not None, 5, "a delegated query", since)
    inner = request.find(f".//{CLIENT}iq")
    assert inner.get("from") == alice.jid and inner.get("to") == alice.bare


def test_an_offline_message_is_published_to_the_component(probe, ejabberd, login):
    alice, bob = login("alice"), login("bob")
    bob.enable_push(COMPONENT, "node-of-bob")
    bob.logout()
    ejabberd.wait_no_session("bob")
    since = len(probe.inbox)
    alice.send_chat(f"bob@{HOST}", "lunch?")
    publish = probe.inbox.wait_for(
        lambda s: s.find(".//{http://jabber.org/protocol/pubsub}publish") is not None, 5,
        "a publish", since)
    assert publish.find(".//{http://jabber.org/protocol/pubsub}publish").get("node") == "node-of-bob"
    text = [f.findtext("{jabber:x:data}value") for f in publish.iter("{jabber:x:data}field")]
    assert "lunch?" in text and body_of(publish) is None
