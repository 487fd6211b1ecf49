# SPDX-License-Identifier: Apache-2.0
"""A server of which only XEP-0114 is known: a Prosody without any module for us.  What passes is
forwarded by whom xmpp.copies_from names.  Other tests run on such a server, too (marked so); there
the server itself forwards."""

import datetime

import pytest

from harness.clients import new_id
from harness.component import Component
from harness.ejabberd import HOST
from harness.procs import wait_until

KIND = "generic"
SERVER = {"generic": {"forwards": False}}
COPIER = f"other.{HOST}"
SETTINGS = {"xmpp.copies_from": [COPIER, f"bot@{HOST}"], "xmpp.client_namespace": True}


@pytest.fixture
def copier(world):
    component = Component(world.server.component_port, COPIER, world.server.secret)
    yield component
    component.close()


def message(world, sender, recipient, body, message_id):
    return (f"<message xmlns='jabber:client' from='{sender}' to='{recipient}' type='chat'"
            f" id='{message_id}'><body>{body}</body></message>")


def forward(world, inner, sender=None):
    """The envelope of XEP-0297, as a component writes it or a client."""
    from_text = f" from='{sender}'" if sender else ""
    stamp = datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
    return (f"<message to='{world.component}'{from_text} id='{new_id('f')}'><forwarded"
            f" xmlns='urn:xmpp:forward:0'><delay xmlns='urn:xmpp:delay' stamp='{stamp}'/>"
            f"{inner}</forwarded></message>")


def test_history_and_devices_are_there_before_anybody_forwards(world):
    bob = world.login(world.user("bob"))
    world.register_device(bob)
    assert world.oracle.registrations(bob.bare) == 1
    page = bob.mam_page()
    assert page.results == [] and page.complete
    assert bob.mam_error(rsm="<after>unknown</after>") == ("cancel", "item-not-found")
    assert "urn:xmpp:mam:2" in bob.disco_info(world.component)[1]
    stranger = world.login(world.remote_user())
    assert stranger.mam_error() == ("auth", "forbidden")
    assert world.sidecar.http("/readyz")[0] == 200


def test_a_component_forwards(world, copier):
    """Twice, as it does who sees both sides: each owner has the message once."""
    alice, bob = world.login(world.user("alice")), world.user("bob")
    token = world.phone(bob)
    body, message_id = world.body(), new_id()
    for _ in range(2):
        copier.send(forward(world, message(world, alice.jid, bob.bare, body, message_id), COPIER))
    world.oracle.wait_body(bob.bare, body)
    assert world.gateway.wait(token, 1)[0].badge == 1
    world.drain(alice)
    assert world.oracle.stanza_ids(alice.bare) == world.oracle.stanza_ids(bob.bare) \
        == {message_id: 1}
    for client in (alice, world.login(bob)):
        page = client.mam_page()
        assert page.bodies == [body]
        assert page.results[0].outer.get("from") == world.component


def test_an_account_forwards(world):
    alice, bob = world.user("alice"), world.login(world.user("bob"))
    world.server.ensure("bot", "password")
    bot = world.client(type(alice)("bot", HOST, "password")).login()
    bodies = [world.body(f"number {n}") for n in range(60)]
    for body in bodies:
        bot.send_xml(forward(world, message(world, f"{alice.bare}/x", bob.bare, body, new_id())))
    world.drain(bot)
    assert world.oracle.unread(bob.bare) == 60
    assert [entry.body for entry in bob.mam_walk(page=25)] == bodies
    bot.send_xml(forward(world, f"<message xmlns='jabber:client' from='{bob.jid}' type='chat'"
                                f" to='{alice.bare}' id='{new_id()}'><displayed"
                                " xmlns='urn:xmpp:chat-markers:0'"
                                f" id='{bob.mam_page(rsm='<before/>').results[-1].message.get('id')}'"
                                "/></message>"))
    world.drain(bot)
    assert world.oracle.unread(bob.bare) == 0


@pytest.mark.parametrize("who", ["user", "server's other user", "another component's user"])
def test_nobody_else_forwards(world, copier, who):
    victim, bob = world.user("victim"), world.user("bob")
    inner = message(world, f"{victim.bare}/x", bob.bare, "never said", new_id("forged"))
    if who == "another component's user":
        copier.send(forward(world, inner, f"somebody@{COPIER}"))
    client = world.login(world.user("mallory") if who == "user" else world.remote_user("mallory"))
    client.send_xml(forward(world, inner))
    world.drain(world.login(bob))
    assert world.oracle.count(victim.bare) == world.oracle.count(bob.bare) == 0


def test_where_nobody_forwards_the_servers_publishes_make_the_pushes(make_world):
    """XEP-0357, as for any app: mod_cloud_notify tells of what it did not deliver."""
    world = make_world(options={"forwards": False}, settings={"push.settle": "100ms"})
    alice, bob = world.login(world.user("alice")), world.user("bob")
    phone = world.login(bob, "phone")
    token, answer = world.register_push_apns(phone)
    phone.enable_push(answer["jid"], answer["node"], answer["secret"])
    phone.wait_id(alice.send_chat(bob.bare, world.body()))
    phone.logout()
    world.away(bob)
    assert world.gateway.pushes(token) == []  # it was delivered
    for number in (1, 2):
        alice.send_chat(bob.bare, world.body())
        assert alice.user in str(world.gateway.wait(token, number)[-1].payload)
    assert world.oracle.count(bob.bare) == 0
    # What was accepted is not held against the registration.
    world.login(bob).iq("set", f"<disable xmlns='urn:xmpp:push:0' jid='{answer['jid']}'"
                               f" node='{answer['node']}'/>")


def test_who_says_so_to_the_component_is_online(world):
    """Directed presence (RFC 6121 section 4.6): the server tells us when it ends, too."""
    def online():
        return world.sidecar.status()["links"][0]["accounts_online"]
    before = online()
    bob = world.login(world.user("bob"))
    bob.send_xml(f"<presence to='{world.component}'/>")
    wait_until(lambda: online() == before + 1, 5, "bob is online")
    bob.drop()
    wait_until(lambda: online() == before, 5, "bob has gone")
