# SPDX-License-Identifier: Apache-2.0
"""Rooms of an Openfire that is installed: the copies of a broadcast all name its last receiver."""

import pytest

from harness.oracle import COUNTED, HIDDEN, OUTGOING
from harness.procs import wait_until
from harness.rooms import make_room, say

pytestmark = [pytest.mark.servers("openfire"), pytest.mark.needs("rooms")]
SETTINGS = {"archive.groupchat": "room", "push.confirm_after": "1s"}


@pytest.fixture
def alice(world):
    return world.login(world.user("alice"))


@pytest.fixture
def bob(world):
    return world.login(world.user("bob"))


@pytest.fixture
def room(world, alice, bob):
    made = make_room(world, alice, "al")
    bob.join(made, "bo")
    return made


def test_what_is_said_is_one_row_of_the_room(world, alice, bob, room):
    said = say(world, alice, room, world.body("question"))
    answered = say(world, bob, room, world.body("answer"))
    for client in alice, bob:
        client.wait_id(answered)
    world.drain(alice, 30)
    rows = world.oracle.rows(room)
    assert [(row.stanza_id, row.peer) for row in rows] == [(said, alice.bare), (answered, bob.bare)]
    assert [row.flags & HIDDEN for row in rows] == [0, 0]
    assert world.oracle.count(bob.bare) == world.oracle.count(alice.bare) == 0


def test_what_one_says_to_another_in_private(world, alice, bob, room):
    body = world.body("private")
    alice.send_chat(f"{room}/bo", body, extra="<x xmlns='http://jabber.org/protocol/muc#user'/>")
    bob.wait_message(body)
    world.drain(alice, 30)
    own, = world.oracle.with_body(alice.bare, body)
    theirs, = world.oracle.with_body(bob.bare, body)
    assert (own.flags, theirs.flags) == (OUTGOING, COUNTED)


def test_what_was_said_in_a_room_meanwhile_is_not_filled_in(make_world):
    """That is in the rooms' own archive, and in no form that we would know again."""
    world = make_world(options={"monitoring": True},
                       settings={**SETTINGS, "archive.fill_gaps": "monitoring"})
    alice, bob = world.login(world.user("alice")), world.login(world.user("bob"))
    room = make_room(world, alice, "al")
    bob.join(room, "bo")

    def say_all(text):
        say(world, alice, room, f"{text} in the room")
        for extra in "", "<x xmlns='http://jabber.org/protocol/muc#user'/>":
            alice.send_chat(f"{room}/bo", f"{text} in private {len(extra)}", extra=extra)
        alice.send_chat(bob.bare, f"{text} outside")
        bob.wait_message(f"{text} outside", 20)

    say_all("seen")
    world.drain(alice, 30)
    before = [row.body for row in world.oracle.rows(bob.bare)]
    assert len(before) == 3
    world.sidecar.stop()
    say_all("missed")
    world.server.settle(alice)  # or their copies would still come
    world.sidecar.start()
    wait_until(lambda: world.oracle.value("SELECT count(*) FROM xs.fill WHERE done_at NOTNULL"),
               90, "the gap is filled", 0.3)
    world.drain(alice, 30)
    assert [row.body for row in world.oracle.rows(bob.bare)] == [*before, "missed outside"]
    assert [row.body for row in world.oracle.rows(room)] == ["seen in the room"]
