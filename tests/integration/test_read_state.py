# SPDX-License-Identifier: Apache-2.0
"""What moves the read position, what does not, and what the phone hears of it."""

import pytest

from harness.clients import StanzaError, new_id
from harness.procs import wait_until

pytestmark = pytest.mark.servers()
SETTINGS = {"push.confirm_after": "30s"}  # the recipients here are online: no alerts
PEP = {"modules": {"mod_caps": {}, "mod_pubsub": {"plugins": ["flat", "pep"]}}}
SERVER = {"ejabberd": {"extra": PEP}}


@pytest.fixture
def chat(world):
    """alice writes to bob, both online: (alice, bob)."""
    return world.login(world.user("alice")), world.login(world.user("bob"))


def send(world, sender, recipient, count=1):
    """Ids of messages that are archived and counted."""
    sent = []
    for _ in range(count):
        sent.append(sender.send_chat(recipient.bare, world.body()))
        recipient.wait_id(sent[-1])
    world.drain(sender)
    return sent


def unread(world, client, peer=None):
    return world.oracle.unread(client.bare, peer.bare if peer else None)


@pytest.mark.needs("read-state")
def test_a_marker_reads_up_to_its_message(world, chat):
    alice, bob = chat
    sent = send(world, alice, bob, 3)
    assert unread(world, bob) == 3
    bob.displayed(alice.bare, sent[1])
    world.drain(bob)
    assert unread(world, bob) == unread(world, bob, alice) == 1
    bob.displayed(alice.bare, sent[2])
    world.drain(bob)
    assert unread(world, bob) == 0


def test_the_position_never_goes_back(world, chat):
    alice, bob = chat
    sent = send(world, alice, bob, 3)
    for index in (2, 0, 1, 2):
        bob.displayed(alice.bare, sent[index])
        world.drain(bob)
        assert unread(world, bob) == 0


@pytest.mark.parametrize("marker", ["unknown-id", "", "x" * 2000])
def test_an_unknown_marker_changes_nothing(world, chat, marker):
    alice, bob = chat
    send(world, alice, bob, 2)
    bob.displayed(alice.bare, marker)
    world.drain(bob)
    assert unread(world, bob) == 2


def test_a_marker_is_for_one_conversation(world, chat):
    alice, bob = chat
    carol = world.login(world.user("carol"))
    send(world, alice, bob, 2)
    sent = send(world, carol, bob, 2)
    bob.displayed(carol.bare, sent[1])
    world.drain(bob)
    assert unread(world, bob, alice) == 2
    assert unread(world, bob, carol) == 0
    # An id of another conversation is unknown in this one.
    bob.displayed(alice.bare, sent[1])
    world.drain(bob)
    assert unread(world, bob) == 2


def test_the_peers_marker_is_not_the_owners(world, chat):
    alice, bob = chat
    sent = send(world, alice, bob, 2)
    alice.displayed(bob.bare, sent[1])
    world.drain(alice)
    assert unread(world, bob) == 2


def test_a_stranger_cannot_read_for_the_owner(world, chat):
    alice, bob = chat
    sent = send(world, alice, bob, 2)
    mallory = world.login(world.user("mallory"))
    for to in (alice.bare, bob.bare):
        mallory.displayed(to, sent[1])
    mallory.send_xml(
        f"<message to='{world.component}'><forwarded xmlns='urn:xmpp:forward:0'>"
        f"<message xmlns='jabber:client' from='{bob.jid}' to='{alice.bare}' id='{new_id()}'>"
        f"<displayed xmlns='urn:xmpp:chat-markers:0' id='{sent[1]}'/></message>"
        "</forwarded></message>")
    world.drain(mallory)
    assert unread(world, bob) == 2


def test_an_own_message_reads_what_came_before(world, chat):
    alice, bob = chat
    send(world, alice, bob, 3)
    send(world, bob, alice, 1)
    assert unread(world, bob) == 0
    assert unread(world, alice) == 1


def test_an_own_message_reads_nothing_where_that_is_switched_off(make_world):
    world = make_world(settings={"read.own_message_reads": False})
    alice, bob = world.login(world.user("alice")), world.login(world.user("bob"))
    send(world, alice, bob, 3)
    send(world, bob, alice, 1)
    assert unread(world, bob) == 3
    world.oracle.assert_sound()


def test_a_marker_from_a_session_without_presence(world, chat):
    alice, bob = chat
    sent = send(world, alice, bob, 2)
    quiet = world.another(bob, "quiet", presence=False)
    quiet.displayed(alice.bare, sent[1])
    world.drain(quiet)
    assert unread(world, bob) == 0


def test_a_marker_that_overtakes_its_message_counts_when_it_comes(world, chat):
    """In a cluster the two come by different links, in any order."""
    alice, bob = chat
    send(world, alice, bob, 1)
    message_id = new_id("early")
    bob.displayed(alice.bare, message_id)
    world.drain(bob)
    assert unread(world, bob) == 1
    alice.send_chat(bob.bare, world.body(), message_id)
    bob.wait_id(message_id)
    world.drain(alice)
    assert unread(world, bob) == 0


def test_acknowledged_of_old_clients_is_displayed(world, chat):
    alice, bob = chat
    sent = send(world, alice, bob, 2)
    bob.send_chat(alice.bare, None, extra="<acknowledged xmlns='urn:xmpp:chat-markers:0'"
                                          f" id='{sent[1]}'/>")
    world.drain(bob)
    assert unread(world, bob) == 0


def test_a_received_marker_reads_nothing(world, chat):
    alice, bob = chat
    sent = send(world, alice, bob, 1)
    bob.send_chat(alice.bare, None, extra="<received xmlns='urn:xmpp:chat-markers:0'"
                                          f" id='{sent[0]}'/>")
    world.drain(bob)
    assert unread(world, bob) == 1


def test_a_retracted_message_does_not_count(world, chat):
    alice, bob = chat
    sent = send(world, alice, bob, 2)
    message_id = alice.send_chat(bob.bare, None, extra="<retract"
                                 f" xmlns='urn:xmpp:message-retract:1' id='{sent[0]}'/>")
    bob.wait_id(message_id)
    world.drain(alice)
    assert unread(world, bob) == 1
    # Only its sender takes it back, and only once.
    mallory = world.login(world.user("mallory"))
    for client, target in ((mallory, sent[1]), (alice, sent[0])):
        message_id = client.send_chat(bob.bare, None, extra="<retract"
                                      f" xmlns='urn:xmpp:message-retract:1' id='{target}'/>")
        bob.wait_id(message_id)
        world.drain(client)
    assert unread(world, bob) == 1


def test_what_does_not_count(world, chat):
    """Corrections and reactions are archived, and are nothing new to read."""
    alice, bob = chat
    first, = send(world, alice, bob, 1)
    extras = {
        "keys": "<encrypted xmlns='eu.siacs.conversations.axolotl'><header sid='1'/></encrypted>"
                "<store xmlns='urn:xmpp:hints'/>",
        "correction": f"<body>{world.body()}</body>"
                      f"<replace xmlns='urn:xmpp:message-correct:0' id='{first}'/>",
        "reaction": f"<reactions xmlns='urn:xmpp:reactions:0' id='{first}'>"
                    "<reaction>👋</reaction></reactions><store xmlns='urn:xmpp:hints'/>",
        "receipt": f"<received xmlns='urn:xmpp:receipts' id='{first}'/>",
    }
    for name, extra in extras.items():
        message_id = alice.send_chat(bob.bare, None, new_id(name), extra=extra)
        bob.wait_id(message_id)
    world.drain(alice)
    assert unread(world, bob) == 1
    kept = [row.stanza_id.rstrip("0123456789") for row in world.oracle.rows(bob.bare)[1:]]
    assert kept == ["keys", "correction", "reaction"]


def test_an_encrypted_message_counts(world, chat):
    alice, bob = chat
    message_id = alice.send_chat(
        bob.bare, None, extra="<encrypted xmlns='eu.siacs.conversations.axolotl'><header sid='1'/>"
                              "<payload>AAAA</payload></encrypted><store xmlns='urn:xmpp:hints'/>")
    bob.wait_id(message_id)
    world.drain(alice)
    assert unread(world, bob) == 1


# XEP-0490: what one device of an account tells the others.


@pytest.mark.needs("publishes-seen")
def test_what_was_displayed_on_one_device_is_read(world, chat):
    alice, bob = chat
    sent = send(world, alice, bob, 3)
    ids = bob.archive_ids()
    bob.publish_displayed(alice.bare, ids[sent[1]])
    world.drain(bob)
    assert unread(world, bob) == unread(world, bob, alice) == 1
    # Forward only; ids of other archives, and unknown ones, say nothing.
    bob.publish_displayed(alice.bare, ids[sent[0]])
    bob.publish_displayed(alice.bare, alice.archive_ids()[sent[2]])
    bob.publish_displayed(alice.bare, "1700000000000000")
    bob.publish_displayed(alice.bare, ids[sent[2]], by=alice.bare)
    world.drain(bob)
    assert unread(world, bob) == 1
    bob.publish_displayed(alice.bare, ids[sent[2]])
    world.drain(bob)
    assert unread(world, bob) == 0


@pytest.mark.needs("publishes-seen")
def test_nobody_publishes_for_another(world, chat):
    alice, bob = chat
    sent = send(world, alice, bob, 2)
    ids = bob.archive_ids()
    mallory = world.login(world.user("mallory"))
    with pytest.raises(StanzaError):
        mallory.publish_displayed(alice.bare, ids[sent[1]], by=bob.bare, to=bob.bare)
    for kind in ("chat", "headline"):
        mallory.send_xml(
            f"<message to='{bob.jid}' type='{kind}' id='{new_id()}'><event"
            " xmlns='http://jabber.org/protocol/pubsub#event'><items"
            f" node='urn:xmpp:mds:displayed:0'><item id='{alice.bare}'>"
            "<displayed xmlns='urn:xmpp:mds:displayed:0'><stanza-id xmlns='urn:xmpp:sid:0'"
            f" by='{bob.bare}' id='{ids[sent[1]]}'/></displayed></item></items></event></message>")
    world.drain(mallory)
    assert unread(world, bob, alice) == 2


def test_mark_all_read(world, chat):
    alice, bob = chat
    carol = world.login(world.user("carol"))
    send(world, alice, bob, 3)
    send(world, carol, bob, 2)
    assert unread(world, bob) == 5
    command = bob.command(world.component, "mark-all-read")
    assert command.get("status") == "completed"
    wait_until(lambda: unread(world, bob) == 0, 5, "everything is read")
    assert unread(world, bob, alice) == unread(world, bob, carol) == 0
    send(world, alice, bob, 1)
    assert unread(world, bob) == 1


def test_mark_all_read_is_for_the_own_account(world, chat):
    alice, bob = chat
    send(world, alice, bob, 1)
    mallory = world.login(world.user("mallory"))
    mallory.command(world.component, "mark-all-read")
    with pytest.raises(StanzaError, match="^auth/forbidden$"):
        world.login(world.remote_user()).command(world.component, "mark-all-read")
    world.drain(mallory)
    assert unread(world, bob) == 1


# What the phone hears.


def offline_with_unread(world, count, bob=None):
    """bob's phone got a push with badge `count`: (alice, bob, ids, token)."""
    bob = bob or world.user("bob")
    token = world.phone(bob)
    alice = world.login(world.user("alice"))
    sent = [alice.send_chat(bob.bare, world.body()) for _ in range(count)]
    world.drain(alice)
    wait_until(lambda: world.gateway.pushes(token) and
               world.gateway.pushes(token)[-1].badge == count, 10, f"a push with badge {count}")
    wait_until(lambda: world.oracle.outbox(bob.bare) == 0, 10, "no other is on its way")
    return alice, bob, sent, token


@pytest.mark.needs("snapshot")
def test_reading_elsewhere_sends_badge_0(world):
    alice, bob, sent, token = offline_with_unread(world, 2)
    before = len(world.gateway.pushes(token))
    world.login(bob, "laptop").displayed(alice.bare, sent[-1])
    pushes = world.gateway.wait(token, before + 1, timeout=10)[before:]
    assert pushes[0].badge == 0
    assert pushes[0].alert is None and pushes[0].sound is None
    # It replaces a stored alert only when nothing is left: stored, so that it arrives.
    assert pushes[0].header("apns-expiration") != "0"
    assert world.gateway.device(token)["badge"] == 0


@pytest.mark.needs("snapshot")
def test_reading_a_part_sends_the_rest_without_storing_it(world):
    alice, bob, sent, token = offline_with_unread(world, 3)
    before = len(world.gateway.pushes(token))
    world.login(bob, "laptop").displayed(alice.bare, sent[0])
    push = world.gateway.wait(token, before + 1, timeout=10)[before]
    assert push.badge == 2 and push.alert is None
    assert push.header("apns-expiration") == "0"


@pytest.mark.needs("snapshot")
def test_several_reads_make_one_update(world):
    alice, bob, sent, token = offline_with_unread(world, 5)
    before = len(world.gateway.pushes(token))
    laptop = world.login(bob, "laptop")
    with world.held(laptop):
        for message_id in sent:
            laptop.displayed(alice.bare, message_id)
    pushes = world.gateway.wait(token, before + 1, timeout=10)[before:]
    assert [push.badge for push in pushes] == [0]
    world.no_push(token, 2, since=before + 1)


@pytest.mark.needs("snapshot")
def test_the_device_that_reads_is_not_told(world):
    """It knows already; only the other devices get the update, in use or not."""
    bob = world.user("bob")
    others = [world.phone(bob, "tablet"), world.phone(bob, "old phone")]
    alice, _, sent, token = offline_with_unread(world, 1, bob)
    for other in others:
        assert world.gateway.wait(other, 1)[-1].badge == 1
    tablet, phone = world.login(bob, "tablet"), world.login(bob, "phone")
    tablet.iq("get", "<ping xmlns='urn:xmpp:ping'/>")  # it is in use, too
    phone.displayed(alice.bare, sent[0])
    for other in others:
        assert world.gateway.wait(other, 2, timeout=10)[-1].badge == 0
    world.no_push(token, 1, since=1)


@pytest.mark.needs("snapshot")
def test_mark_all_read_sends_badge_0(world):
    _, bob, _, token = offline_with_unread(world, 2)
    before = len(world.gateway.pushes(token))
    world.login(bob, "laptop").command(world.component, "mark-all-read")
    push = world.gateway.wait(token, before + 1, timeout=10)[before]
    assert push.badge == 0


@pytest.mark.needs("snapshot")
@pytest.mark.parametrize("how", [
    "marker", pytest.param("displayed", marks=pytest.mark.needs("publishes-seen"))])
def test_the_web_reads_and_the_phone_follows(world, how):
    """Two devices of one account: what is read on the one falls off the other's icon, and the
    next message is the first again."""
    alice, bob, sent, token = offline_with_unread(world, 3)
    assert world.gateway.device(token)["badge"] == 3
    web = world.login(bob, "web")
    if how == "marker":
        web.displayed(alice.bare, sent[-1])
    else:
        web.publish_displayed(alice.bare, web.archive_ids()[sent[-1]])
    wait_until(lambda: world.gateway.device(token)["badge"] == 0, 10, "the badge falls")
    assert world.oracle.unread(bob.bare) == 0
    web.logout()
    world.away(bob)
    before = len(world.gateway.pushes(token))
    alice.send_chat(bob.bare, world.body())
    push = world.gateway.wait(token, before + 1, timeout=10)[before]
    assert push.badge == 1 and push.alert is not None
    assert world.gateway.device(token)["badge"] == 1
    assert world.oracle.unread(bob.bare) == 1


@pytest.mark.servers("ejabberd")  # as slow on any: the worker looks twice a minute
@pytest.mark.slow
def test_what_is_muted_or_removed_leaves_the_icon(world):
    alice, bob, _, token = offline_with_unread(world, 2)
    carol = world.login(world.user("carol"))
    for _ in range(3):
        carol.send_chat(bob.bare, world.body())
    wait_until(lambda: world.gateway.device(token)["badge"] == 5, 10, "all are counted")
    web = world.login(bob, "web")
    web.iq("set", "<query xmlns='erlang-solutions.com:xmpp:inbox:0#conversation'"
                  f" jid='{alice.bare}'><mute>3600</mute></query>")
    wait_until(lambda: world.gateway.device(token)["badge"] == 3, 40, "alice's are not counted")
    web.iq("set", f"<remove xmlns='urn:xmpp:archive' with='{carol.bare}'/>")
    wait_until(lambda: world.gateway.device(token)["badge"] == 0, 40, "carol's are gone")
    assert world.gateway.pushes(token)[-1].alert is None
    assert world.oracle.unread(bob.bare) == 2
