# SPDX-License-Identifier: Apache-2.0
"""What is archived: as the account wants it, as the sender asks, and what stays of it later."""

import pytest

from harness.clients import NS, error_of
from harness.procs import wait_until

pytestmark = pytest.mark.servers("ejabberd", "prosody")  # the users' own addresses
RETRACT = "urn:xmpp:message-retract:1"


@pytest.fixture
def pair(world):
    """Two fresh accounts, both online."""
    return world.login(world.user("alice")), world.login(world.user("bob"))


def prefs_xml(mode=None, always=(), never=()):
    lists = "".join(
        f"<{name}>{''.join(f'<jid>{jid}</jid>' for jid in jids)}</{name}>"
        for name, jids in (("always", always), ("never", never)) if jids)
    default = f" default='{mode}'" if mode else ""
    return f"<prefs xmlns='{NS['mam']}'{default}>{lists}</prefs>"


def prefs_of(answer):
    """(default, always, never)"""
    prefs = answer.find("mam:prefs", NS)
    return (prefs.get("default"),
            *([jid.text for jid in prefs.find(f"mam:{name}", NS)] for name in ("always", "never")))


# Preferences (XEP-0441).


def test_preferences_are_told_set_and_honoured_at_once(world, pair):
    sender, receiver = pair
    assert prefs_of(receiver.iq("get", prefs_xml())) == ("always", [], [])
    _, kept = world.exchange(sender, receiver)
    answer = receiver.iq("set", prefs_xml("always", never=[sender.bare.upper()]))
    assert prefs_of(answer) == ("always", [], [sender.bare])
    assert prefs_of(receiver.iq("get", prefs_xml())) == prefs_of(answer)
    _, unkept = world.exchange(sender, receiver)
    assert receiver.mam_page().bodies == [kept]
    assert sender.mam_page().bodies == [kept, unkept]
    assert world.oracle.unread(receiver.bare, sender.bare) == 2
    receiver.iq("set", prefs_xml("always"))
    _, again = world.exchange(sender, receiver)
    assert receiver.mam_page().bodies == [kept, again]


def test_what_is_not_archived_is_pushed_all_the_same(world):
    bob = world.user("bob")
    token = world.phone(bob)
    client = world.login(bob)
    client.iq("set", prefs_xml("never"))
    client.logout()
    world.away(bob)
    sender = world.login(world.user("alice"))
    sender.send_chat(bob.bare, world.body())
    assert world.gateway.wait(token, 1)[0].badge == 1
    assert world.login(bob).mam_page().results == []


@pytest.mark.needs("rosters")
def test_the_roster_decides(world, pair):
    friend, receiver = pair
    stranger = world.login(world.user("carol"))
    receiver.iq("set", "<query xmlns='jabber:iq:roster'>"
                       f"<item jid='{friend.bare}'/></query>")
    assert prefs_of(receiver.iq("set", prefs_xml("roster"))) == ("roster", [], [])
    # The first message makes the sidecar ask for the roster.
    world.exchange(friend, receiver)
    wait_until(lambda: world.oracle.has_roster(receiver.bare), 10, "the roster is known")
    world.exchange(stranger, receiver)
    _, last = world.exchange(friend, receiver)
    assert receiver.mam_page({"with": stranger.bare}).results == []
    assert receiver.mam_page().bodies[-1] == last
    # A contact from now on.
    receiver.iq("set", "<query xmlns='jabber:iq:roster'>"
                       f"<item jid='{stranger.bare}'/></query>")
    _, body = world.exchange(stranger, receiver)
    assert receiver.mam_page({"with": stranger.bare}).bodies == [body]
    wait_until(lambda: world.oracle.has_roster(receiver.bare), 10, "the roster is known again")
    other = world.login(world.user("dave"))
    world.exchange(other, receiver)
    _, body = world.exchange(stranger, receiver)
    assert receiver.mam_page().bodies[-1] == body
    assert receiver.mam_page({"with": other.bare}).results == []


@pytest.mark.parametrize("ask", [("get", prefs_xml()), ("set", prefs_xml("never"))])
def test_preferences_of_others_are_forbidden(pair, ask):
    alice, bob = pair
    for owner in (bob.bare, "nobody@e.test"):
        assert error_of(alice.ask(*ask, owner)) == ("auth", "forbidden")
    assert prefs_of(bob.iq("get", prefs_xml())) == ("always", [], [])


# What the sender asks for, and what he takes back.


def test_hints(world, pair):
    sender, receiver = pair
    hint = "<{} xmlns='urn:xmpp:hints'/>"
    _, plain = world.exchange(sender, receiver, extra=hint.format("no-copy"))
    world.exchange(sender, receiver, extra=hint.format("no-store"))
    assert world.oracle.unread(receiver.bare) == 1
    world.exchange(sender, receiver, extra=hint.format("no-permanent-store"))
    assert world.oracle.unread(receiver.bare) == 2
    assert receiver.mam_page().bodies == sender.mam_page().bodies == [plain]


def test_a_retracted_message_leaves_a_tombstone_in_its_place(world, pair):
    sender, receiver = pair
    message_id, _ = world.exchange(sender, receiver)
    _, kept = world.exchange(sender, receiver)
    before = receiver.mam_page()
    retraction = sender.send_chat(
        receiver.bare, None, extra=f"<retract xmlns='{RETRACT}' id='{message_id}'/>"
                                   "<store xmlns='urn:xmpp:hints'/>")
    receiver.wait_id(retraction)
    world.drain(sender)
    for client in pair:
        page = client.mam_page()
        assert page.bodies == [None, kept, None]
        grave = page.results[0].message
        assert grave.get("id") == message_id and grave.get("from") == sender.jid
        assert grave.find(f"{{{RETRACT}}}retracted").get("id") == retraction
        assert page.results[2].message.get("id") == retraction
    assert receiver.mam_page().ids[:2] == before.ids
    assert world.oracle.unread(receiver.bare) == 1
    assert f"{RETRACT}#tombstone" in receiver.disco_info(receiver.bare)[1]
