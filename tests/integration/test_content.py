# SPDX-License-Identifier: Apache-2.0
"""What is archived: as the account wants it, as the sender asks, and what stays of it later."""

import pytest

from harness.clients import NS, error_of
from harness.procs import wait_until


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


@pytest.mark.parametrize("ask", [("get", prefs_xml()), ("set", prefs_xml("never"))])
def test_preferences_of_others_are_forbidden(pair, ask):
    alice, bob = pair
    for owner in (bob.bare, "nobody@e.test"):
        assert error_of(alice.ask(*ask, owner)) == ("auth", "forbidden")
    assert prefs_of(bob.iq("get", prefs_xml())) == ("always", [], [])
