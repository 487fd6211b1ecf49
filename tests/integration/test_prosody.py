# SPDX-License-Identifier: Apache-2.0
"""On Prosody: copies by mod_firewall, the archive on the users' own addresses by delegation.
What holds on other servers, too, is in the tests that are marked so.  Rules named G:
docs/servers.md."""

import pytest

from harness.clients import MDS, new_id
from harness.procs import wait_until

KIND = "prosody"


@pytest.fixture
def pair(world):
    """Two fresh accounts, both online."""
    return world.login(world.user("alice")), world.login(world.user("bob"))


def test_g2_g3_features_are_shown_once_where_clients_look(world, pair):
    client = pair[0]
    for address in (client.bare, world.ejabberd.host):
        features = client.disco_info(address)[1]
        assert {"urn:xmpp:mam:2", "urn:xmpp:mam:2#extended", "urn:xmpp:mam:1"} <= set(features)
        assert len(features) == len(set(features))
    assert not [f for f in client.disco_info(world.component)[1] if f.startswith("urn:xmpp:mam")]


@pytest.mark.parametrize("to", ["nobody", "own", "own, in odd case"])
def test_g4_g8_a_page_comes_from_the_archive_that_was_asked(world, pair, to):
    alice, bob = pair
    _, body = world.exchange(alice, bob)
    address = {"nobody": None, "own": bob.bare, "own, in odd case": bob.bare.upper()}[to]
    page = bob.mam_page(to=address)
    assert page.bodies == [body] and page.complete and page.stable
    outer = page.results[0].outer
    assert outer.get("from") == bob.bare and outer.get("to") == bob.jid


def test_g5_refusals_reach_the_client(world, pair):
    alice, bob = pair
    for owner in (bob.bare, f"nobody@{world.ejabberd.host}", world.ejabberd.host):
        assert alice.mam_error(to=owner) == ("auth", "forbidden"), owner
    assert alice.mam_error({"colour": "blue"}) == ("cancel", "feature-not-implemented")
    assert alice.mam_error(rsm="<after>unknown</after>") == ("cancel", "item-not-found")
    stranger = world.login(world.remote_user())
    assert stranger.mam_error(to=world.component) == ("auth", "forbidden")


def test_g10_an_envelope_of_a_user_is_nothing(world, pair):
    alice, bob = pair
    inner = (f"<forwarded xmlns='urn:xmpp:forward:0'><message xmlns='jabber:client'"
             f" from='{alice.bare}/x' to='{bob.bare}' id='forged'><body>forged</body>"
             "</message></forwarded>")
    for node in ("in@", "out@", ""):
        alice.send_xml(f"<message to='{node}{world.component}'>{inner}</message>")
    alice.send_xml(f"<iq type='set' id='{new_id('f')}' to='{world.component}'>"
                   f"<delegation xmlns='urn:xmpp:delegation:2'>{inner}</delegation></iq>")
    world.drain(alice)
    assert world.oracle.count(bob.bare) == 0
    assert not world.oracle.with_body(alice.bare, "forged")


def test_who_is_away_gets_a_push_and_everything_comes_back_after_a_restart(world, pair):
    alice = pair[0]
    bob = world.user("bob")
    token = world.phone(bob)
    alice.send_chat(bob.bare, world.body())
    assert world.gateway.wait(token, 1)[0].badge == 1
    world.sidecar.restart()
    body = world.body("after")
    alice.send_chat(bob.bare, body)
    assert world.gateway.wait(token, 2)[1].badge == 2
    assert world.login(bob).mam_page().bodies[-1] == body


def test_what_was_displayed_on_one_device_is_read(world, pair):
    """XEP-0490: the request is shown, and what the account's other devices are told of it."""
    alice, bob = pair
    sent = [world.exchange(alice, bob)[0] for _ in range(3)]
    ids = bob.archive_ids()
    laptop = world.another(bob, "laptop")
    bob.publish_displayed(alice.bare, ids[sent[0]])  # makes the node
    laptop.iq("set", "<pubsub xmlns='http://jabber.org/protocol/pubsub'><subscribe"
                     f" node='{MDS}' jid='{laptop.jid}'/></pubsub>", bob.bare)
    world.drain(laptop)
    assert world.oracle.unread(bob.bare) == 2
    bob.publish_displayed(alice.bare, ids[sent[1]])
    wait_until(lambda: world.oracle.unread(bob.bare) == 1, 5, "the second is read")
    mallory = world.login(world.user("mallory"))
    mallory.send_xml(
        f"<message to='{bob.jid}' type='headline' id='{new_id()}'><event"
        f" xmlns='http://jabber.org/protocol/pubsub#event'><items node='{MDS}'>"
        f"<item id='{alice.bare}'><displayed xmlns='{MDS}'><stanza-id xmlns='urn:xmpp:sid:0'"
        f" by='{bob.bare}' id='{ids[sent[2]]}'/></displayed></item></items></event></message>")
    world.drain(mallory)
    assert world.oracle.unread(bob.bare) == 1


def test_a_message_longer_than_the_server_takes_of_us_ends_no_connection(world, pair):
    """Prosody closes a component's stream at a stanza of more than 512 KiB.  What is short for
    the client that writes it may be longer than that for us."""
    alice, bob = pair
    connects = world.sidecar.status()["links"][0]["connects"]
    sent = {}
    for kilobytes in (95, 150, 0):  # of which each byte becomes five
        body = "&" * (kilobytes * 1024) + world.body()
        stanza_id = sent[kilobytes] = new_id("long")
        alice.send_xml(f"<message to='{bob.bare}' type='chat' id='{stanza_id}'>"
                       f"<body><![CDATA[{body}]]></body></message>")
    world.drain(alice)
    wait_until(lambda: world.oracle.count(bob.bare) == 3, 10, "all are archived")
    for _ in range(2):
        page = bob.mam_page()
        assert page.complete
        ids = [entry.message.get("id") for entry in page.results]
        assert ids == [sent[95], sent[150], sent[0]]
        assert len(page.bodies[0]) > 95 * 1024 and len(page.bodies[1]) < 100
    assert world.sidecar.status()["links"][0]["connects"] == connects
