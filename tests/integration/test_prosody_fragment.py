# SPDX-License-Identifier: Apache-2.0
"""config/prosody makes a real Prosody show a component what the adapter expects.

No sidecar here: a bare component looks at what arrives, and for whom.
"""

import pytest

from harness.clients import MDS, Client, new_id
from harness.component import CLIENT_NS, FORWARD_NS, Component
from harness.ejabberd import COMPONENT, HOST, REMOTE_HOST
from harness.procs import wait_until

KIND = "prosody"
PRIVILEGE = "urn:xmpp:privilege:2"
DELEGATION = "urn:xmpp:delegation:2"


@pytest.fixture(scope="module")
def probe(server):
    component = Component(server.component_port, COMPONENT, server.secret, ["urn:xmpp:mam:2"])
    yield component
    component.close()


@pytest.fixture
def login(server, loop):
    def make(user, resource="r1", host=HOST, **options):
        server.register(user, "password", host)
        return Client(loop, server, user, "password", resource, host=host).login(**options)
    yield make
    loop.close_clients()


def copies(probe):
    """[(out or in, the stanza)] of what was forwarded, in order."""
    return [(stanza.get("to").partition("@")[0], inner) for stanza in probe.inbox.snapshot()
            for inner in stanza.findall(f"{{{FORWARD_NS}}}forwarded/*")
            if stanza.get("from") == HOST]


def sides(probe, client, stanza_id):
    """The copies of that stanza, once those of what the client sends next have come."""
    last = client.send_chat(client.bare, "settle")
    wait_until(lambda: any(s.get("id") == last for _, s in copies(probe)), 5, "the last copy")
    return [side for side, stanza in copies(probe) if stanza.get("id") == stanza_id]


def test_permissions_and_namespaces_are_announced(probe):
    def announced(namespace, element):
        return lambda s: s.find(f"{{{namespace}}}{element}") is not None
    privilege = probe.inbox.wait_for(announced(PRIVILEGE, "privilege"), 5, "privileges")
    assert {p.get("access"): p.get("type") for p in privilege.iter(f"{{{PRIVILEGE}}}perm")} \
        == {"message": "outgoing", "roster": "get", "presence": "managed_entity"}
    delegation = probe.inbox.wait_for(announced(DELEGATION, "delegation"), 5, "delegation")
    names = {d.get("namespace") for d in delegation.iter(f"{{{DELEGATION}}}delegated")}
    assert {"urn:xmpp:mam:2", "urn:xmpp:mam:1", "urn:xmpp:archive", "urn:xmpp:inbox:1"} <= names


def test_a_message_has_a_copy_for_each_local_side(probe, login):
    alice, bob, rob = login("alice"), login("bob"), login("rob", host=REMOTE_HOST)
    assert sides(probe, alice, alice.send_chat(bob.bare, "hello")) == ["out", "in"]
    assert sides(probe, alice, alice.send_chat(rob.bare, "hello")) == ["out"]
    message_id = rob.send_chat(bob.bare, "hello")
    bob.wait_id(message_id)
    assert sides(probe, alice, message_id) == ["in"]
    bob.block(alice.bare)
    assert sides(probe, alice, alice.send_chat(bob.bare, "blocked")) == ["out"]
    assert sides(probe, alice, alice.send_chat(f"nobody@{HOST}", "hello")) == ["out"]
    assert sides(probe, alice, alice.send_chat(HOST, "hello")) == ["out"]


def test_what_else_is_copied(probe, login):
    carol = login("carol")
    asked = [("<query xmlns='jabber:iq:roster'><item jid='x@e.test'/></query>", ["out"]),
             ("<pubsub xmlns='http://jabber.org/protocol/pubsub'><publish node='{}'><item id='x'>"
              "<x xmlns='urn:example'/></item></publish></pubsub>".format(MDS), ["out"]),
             ("<pubsub xmlns='http://jabber.org/protocol/pubsub'><publish node='other'><item>"
              "<x xmlns='urn:example'/></item></publish></pubsub>", [])]
    for payload, expected in asked:
        started = carol.iq_start("set", payload)
        carol.iq_finish(started)
        assert sides(probe, carol, started[0]) == expected, payload


def result_for(probe, recipient, kind="result"):
    """Sent in the account's name, as a page is; its id."""
    message_id = new_id(kind)
    probe.send(f"<message from='{COMPONENT}' to='{HOST}'><privilege xmlns='{PRIVILEGE}'><forwarded"
               f" xmlns='{FORWARD_NS}'><message xmlns='{CLIENT_NS}' id='{message_id}'"
               f" from='{recipient.partition('/')[0]}' to='{recipient}'>"
               "<result xmlns='urn:xmpp:mam:2' id='1'/></message></forwarded></privilege></message>")
    return message_id


def test_our_own_results_are_neither_copied_nor_kept(server, probe, login):
    dave = login("dave")
    message_id = result_for(probe, dave.jid)
    dave.wait_id(message_id)
    assert sides(probe, dave, message_id) == []
    dave.logout()
    server.wait_no_session("dave")
    message_id = result_for(probe, dave.jid)
    alice = login("alice2")
    kept = alice.send_chat(dave.bare, "is kept")
    assert sides(probe, alice, message_id) == []
    wait_until(lambda: server.offline_count("dave") == 1, 5, "the message is in the store")
    assert login("dave", "next").wait_id(kept) is not None
    # Of anybody else the same payload hides nothing.
    forged = alice.send_chat(dave.bare, "hello", extra="<result xmlns='urn:xmpp:mam:2' id='1'/>")
    assert sides(probe, alice, forged) == ["out", "in"]


def test_nobody_hears_of_a_sidecar_that_is_away(server, loop):
    server.register("erin", "password")
    server.register("frank", "password")
    erin, frank = (Client(loop, server, user, "password").login() for user in ("erin", "frank"))
    probe = Component(server.component_port, COMPONENT, server.secret)
    assert sides(probe, erin, erin.send_chat(frank.bare, "seen")) == ["out", "in"]
    probe.close()
    wait_until(lambda: not server.component_is_connected(), 5, "the component is gone")
    last = erin.send_chat(frank.bare, "unseen")
    frank.wait_id(last)
    erin.iq("get", "<ping xmlns='urn:xmpp:ping'/>")
    assert [m for m in erin.messages() if m.get("type") == "error"] == []
    probe = Component(server.component_port, COMPONENT, server.secret)
    assert sides(probe, erin, last) == []
    assert sides(probe, erin, erin.send_chat(frank.bare, "seen again")) == ["out", "in"]
    probe.close()
    loop.close_clients()
