# SPDX-License-Identifier: Apache-2.0
"""What a notification calls who wrote: the account's own name for a contact, the sender's name
for itself, or the address."""

from xml.sax.saxutils import escape, quoteattr

import pytest

from harness.procs import wait_until

pytestmark = [pytest.mark.servers("ejabberd", "prosody"), pytest.mark.needs("rosters")]


def nick(name):
    return f"<nick xmlns='http://jabber.org/protocol/nick'>{escape(name)}</nick>"


def call(client, contact, name):
    """Sets the contact's name in the client's roster."""
    client.iq("set", "<query xmlns='jabber:iq:roster'>"
                     f"<item jid='{contact.bare}' name={quoteattr(name)}/></query>")


def names(world, user):
    """The names that are kept for the account, None while its roster was not read."""
    read = world.oracle.query(
        "SELECT 1 FROM xs.account JOIN xs.registration USING (owner)"
        " WHERE jid = %s AND names_at IS NOT NULL", (user.bare,))
    kept = world.oracle.query("SELECT name FROM xs.account JOIN xs.contact_name USING (owner)"
                              " WHERE jid = %s ORDER BY 1", (user.bare,))
    return [name for (name,) in kept] if read else None


def wait_names(world, user, expected):
    wait_until(lambda: names(world, user) == expected, 10, f"the names {expected} are known")


def phone_of(world, user, **contacts):
    """Gives the contacts names, and registers a phone; both are known then."""
    client = world.login(user)
    for name, contact in contacts.items():
        call(client, contact, name)
    token = world.register_device(client)
    client.logout()
    world.away(user)
    wait_names(world, user, sorted(contacts))
    return token


def title(world, sender, user, token, **options):
    seen = len(world.gateway.accepted(token))
    sender.send_chat(user.bare, world.body(), **options)
    return world.gateway.wait(token, seen + 1)[-1].alert["title"]


def test_a_contact_is_called_as_the_account_calls_it(world, alice, bob):
    token = phone_of(world, bob, Ally=alice, Someone=world.user("carol"))
    assert title(world, alice, bob, token) == "Ally"
    assert title(world, alice, bob, token, extra=nick("Queen of Wonderland")) == "Ally"
    client = world.login(bob)
    call(client, alice, "\u202eAl \u200bice\n")
    client.logout()
    world.away(bob)
    wait_names(world, bob, ["Al ice", "Someone"])
    assert title(world, alice, bob, token) == "Al ice"


def test_a_stranger_is_called_as_it_calls_itself(world, alice, bob):
    carol = world.login(world.user("carol"))
    token = phone_of(world, bob, Ally=alice)
    assert title(world, carol, bob, token) == carol.user
    assert title(world, carol, bob, token, extra=nick("\u202eCarol\u2069\n C.")) == "Carol C."
    # Said once, it counts while that waits to be read.
    assert title(world, carol, bob, token) == "Carol C."


@pytest.mark.parametrize("name", ["alice@example.org", "ALLY", "\u200b", "Al\u200bly"])
def test_a_stranger_is_not_called_like_another(world, alice, bob, name):
    carol = world.login(world.user("carol"))
    token = phone_of(world, bob, Ally=alice)
    assert title(world, carol, bob, token, extra=nick(name)) == carol.user


def test_names_that_are_old_are_read_again_and_no_push_waits(world, alice, bob):
    token = phone_of(world, bob, Ally=alice)
    world.oracle.query("WITH n AS (DELETE FROM xs.contact_name) UPDATE xs.registration"
                       " SET names_at = now() - interval '25 h' RETURNING 1")
    assert title(world, alice, bob, token) == alice.user
    wait_names(world, bob, ["Ally"])
    assert title(world, alice, bob, token) == "Ally"


def test_names_go_with_the_last_device(world, alice, bob):
    token = phone_of(world, bob, Ally=alice)
    client = world.login(bob)
    client.command(world.component, "unregister-device",
                   {"provider": "org.example.chat", "device-token": token})
    assert names(world, bob) is None
    assert world.oracle.query(
        "SELECT count(*) FROM xs.contact_name JOIN xs.account USING (owner) WHERE jid = %s",
        (bob.bare,)) == [(0,)]
