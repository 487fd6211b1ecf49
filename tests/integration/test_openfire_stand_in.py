# SPDX-License-Identifier: Apache-2.0
"""The stand-in's habits, seen by a bare component: what the other tests rely on.

Each is one of Openfire's, read in its source; no sidecar here.
"""

import time
import xml.etree.ElementTree as ET

import pytest

from harness.clients import Client, new_id
from harness.component import Component, StreamRefused
from harness.openfire import COMPONENT, OpenfireStandIn
from harness.openfire.commands import ADMIN, COMMANDS, FORMS, NOTIFICATION, PRESENCES
from harness.procs import wait_until

EVENT = "http://jabber.org/protocol/packet#event"
ALL = {"packet_type": "message", "direction": "incoming", "processed": "true"}


@pytest.fixture
def server(own_workspace):
    return OpenfireStandIn(own_workspace).start()


@pytest.fixture
def probe(server):
    component = Component(server.component_port, COMPONENT, server.secret)
    yield component
    component.close()


@pytest.fixture
def login(server, loop):
    def make(user, resource="r1"):
        server.register(user, "password")
        return Client(loop, server, user, "password", resource).login()
    yield make
    loop.close_clients()


def ask(probe, payload, sender=COMPONENT, iq_id=None):
    """Sends it and returns the id."""
    iq_id = iq_id or new_id("x" * 40)
    probe.send(f'<iq type="set" id="{iq_id}" from="{sender}" to="e.test">{payload}</iq>')
    return iq_id


def answer(probe, iq_id, timeout=5):
    return probe.inbox.wait_for(lambda s: s.get("id") == iq_id, timeout, "an answer")


def command(node, inner="", session=""):
    return f'<command xmlns="{COMMANDS}" node="{node}"{session}>{inner}</command>'


def begin(probe, node, sender=COMPONENT):
    """The session attribute of a command that was begun."""
    begun = answer(probe, ask(probe, command(node), sender))
    return f' sessionid="{begun.find(f"{{{COMMANDS}}}command").get("sessionid")}"'


def submit(probe, node, fields):
    """The id of the second stage."""
    rows = "".join(f'<field var="{var}"><value>{value}</value></field>'
                   for var, value in {"FORM_TYPE": ADMIN, **fields}.items())
    form = f'<x xmlns="{FORMS}" type="submit">{rows}</x>'
    return ask(probe, command(node, form, begin(probe, node)))


def subscribe(probe):
    assert answer(probe, submit(probe, NOTIFICATION, ALL)).get("type") == "result"


def copies(probe):
    """(copy, embedded stanza) in the order they came."""
    found = [s.find(f"{{{EVENT}}}copy") for s in probe.inbox.snapshot()]
    return [(copy, copy[0]) for copy in found if copy is not None]


def wait_copies(probe, count):
    return wait_until(lambda: len(copies(probe)) >= count and copies(probe), 5,
                      f"{count} copies")


def test_a_message_is_copied_once_in_no_namespace(server, probe, login):
    subscribe(probe)
    alice, bob = login("alice"), login("bob")
    login("bob", "r2")
    message_id = alice.send_chat(bob.bare, "hi")
    (copy, message), = wait_copies(probe, 1)
    assert (copy.get("incoming"), copy.get("processed")) == ("true", "true")
    assert message.tag == "message" and message.find("body").text == "hi"
    assert (message.get("id"), message.get("from")) == (message_id, alice.jid)
    server.settle(alice)
    assert len(copies(probe)) == 1


def test_what_is_delivered_from_the_store_is_not_copied(server, probe, login):
    subscribe(probe)
    server.register("bob", "password")
    alice = login("alice")
    message_id = alice.send_chat("bob@e.test", "hi")
    wait_copies(probe, 1)
    bob = login("bob")
    bob.wait_id(message_id)
    server.settle(bob)
    assert len(copies(probe)) == 1


def test_a_copy_shows_what_became_of_the_stanza(server, probe):
    subscribe(probe)
    server.fan_out("<message from='r@conference.e.test/al' type='groupchat' id='g'/>",
                   ["a@x.test/1", "a@x.test/2", "a@x.test/3"])
    names = [message.get("to") for _, message in wait_copies(probe, 3)
             if message.get("type") == "groupchat"]
    assert names == ["a@x.test/3"] * 3


def test_a_full_queue_loses_copies_and_says_nothing(server, probe):
    subscribe(probe)
    server.copier.capacity = 50
    server.pour(f"<message from='a@e.test/1' to='b@e.test' type='headline' id='f{n}'/>"
                for n in range(100)).result(60)
    wait_until(lambda: server.copier.lost, 5, "some are lost")
    last = "<message from='a@e.test/1' to='b@e.test' type='headline' id='last'/>"
    # Copies that go out fill the queue, too: it takes a batch or two until there is room.
    wait_until(lambda: server.pour([last]) and any(m.get("id") == "last"
                                                   for _, m in copies(probe)),
               5, "it goes on", interval=0.1)
    assert len([m for _, m in copies(probe) if m.get("id") != "last"]) < 100


def test_a_form_that_misses_a_field_is_never_answered(probe):
    silent = submit(probe, NOTIFICATION, {"packet_type": "message", "direction": "incoming"})
    time.sleep(0.5)
    assert silent not in [s.get("id") for s in probe.inbox.snapshot()]


def test_only_exactly_the_component_may(probe):
    for sender in f"{COMPONENT}/x", f"a@{COMPONENT}":
        refused = answer(probe, ask(probe, command(NOTIFICATION), sender))
        assert b"forbidden" in ET.tostring(refused)
    unknown = answer(probe, ask(probe, command(ADMIN + "#nothing")))
    assert b"item-not-found" in ET.tostring(unknown)


def test_a_hundred_unfinished_commands_are_too_many(probe):
    session = [begin(probe, NOTIFICATION) for _ in range(100)][0]
    assert b"not-allowed" in ET.tostring(answer(probe, ask(probe, command(NOTIFICATION))))
    cancel = command(NOTIFICATION, "", session + ' action="cancel"')
    assert b"bad-request" in ET.tostring(answer(probe, ask(probe, cancel)))  # it worked
    begin(probe, NOTIFICATION)


def test_the_list_holds_presences_as_text(probe, login):
    login("alice")
    listed = answer(probe, submit(probe, PRESENCES, {}))
    values = [value.text for value in listed.iter(f"{{{FORMS}}}value")]
    assert [ET.fromstring(text).get("from") for text in values] == ["alice@e.test/r1"]


def test_the_subscription_ends_with_the_connection(server, probe, login):
    subscribe(probe)
    server.linger = 3600
    probe.close()
    wait_until(lambda: not server.copier.subscriptions, 5, "it has ended")
    with pytest.raises(StreamRefused, match="conflict"):  # the name is not free at once
        Component(server.component_port, COMPONENT, server.secret)


def test_answers_go_to_who_asked_with_that_id_last(server, probe):
    rival = Component(server.component_port, "rival.e.test", server.secret)
    ping = '<ping xmlns="urn:xmpp:ping"/>'
    # Ours is still on its way to a component that does not answer it.
    probe.send(f'<iq type="get" id="1" from="{COMPONENT}" to="rival.e.test">{ping}</iq>')
    rival.inbox.wait_for(lambda s: s.get("id") == "1", 5)
    rival.send(f'<iq type="get" id="1" from="rival.e.test" to="{COMPONENT}">{ping}</iq>')
    probe.inbox.wait_for(lambda s: s.get("id") == "1", 5)
    rival.send(f'<iq type="result" id="1" from="rival.e.test" to="{COMPONENT}"/>')
    stolen = rival.inbox.wait_for(lambda s: s.get("type") == "result", 5, "the answer")
    assert stolen.get("to") == COMPONENT
    rival.close()


@pytest.mark.parametrize("domain, secret, condition", [
    ("e.test", None, "internal-server-error"),
    ("other.e.test", "wrong", "not-authorized"),
])
def test_who_is_refused(server, domain, secret, condition):
    with pytest.raises(StreamRefused, match=condition):
        Component(server.component_port, domain, secret or server.secret)
