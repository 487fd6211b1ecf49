# SPDX-License-Identifier: Apache-2.0
"""A badge that counts what has come since the app was opened, which the app says itself."""

import pytest

from harness.clients import StanzaError, form_fields
from harness.procs import wait_until
from harness.world import World

SINCE, ALL = "chat.since", "chat.all"


@pytest.fixture(scope="module")
def module_world(module_workspace, postgres, server, loop):
    world = World(module_workspace, postgres, loop, server, apps=(SINCE, ALL),
                  settings={"push.settle": "200ms", "limits.commands_per_minute": 1000},
                  start=False)
    for app in world.sidecar.settings["push"]["apps"]:
        if app["id"] == SINCE:
            app["badge"] = "since_opened"
    world.sidecar.configure({})
    world.sidecar.start()
    yield world
    assert world.sidecar.stop() == 0 and world.sidecar.findings() == []


class Phone:
    """One with the app that counts so, of a user who also has a tablet that counts all."""

    def __init__(self, world, user):
        self.world, self.user = world, user
        self.token, self.tablet = world.token(), world.phone(user, "tablet", app=ALL)
        self.register()

    def register(self):
        client = self.world.login(self.user, "phone")
        answer = client.command(self.world.component, "register-device",
                                {"provider": SINCE, "device-token": self.token})
        self.node = form_fields(answer.find("{jabber:x:data}x"))["node"]
        self.close(client)

    def open(self, seconds=0):
        """While it is open nothing is pushed to it: it sets its icon itself."""
        told = len(self.world.gateway.pushes(self.token))
        client = self.world.login(self.user, "phone")
        done = client.command(self.world.component, "app-opened", {"node": self.node})
        assert done.get("status") == "completed"
        self.world.no_push(self.token, seconds, since=told)
        self.close(client)

    def close(self, client):
        self.world.drain(client)
        client.logout()
        self.world.away(self.user)

    def shows(self, badge, tablet):
        """The last that was pushed, once nothing is on its way any more."""
        gateway = self.world.gateway
        wait_until(lambda: [gateway.wait(token, 1)[-1].badge
                            for token in (self.token, self.tablet)] == [badge, tablet], 8,
                   f"the phone shows {badge}, the tablet {tablet}")
        wait_until(lambda: self.world.oracle.outbox(self.user.bare) == 0, 8, "nothing waits")


def write(world, sender, recipient, count=1):
    ids = [sender.send_chat(recipient.bare, world.body()) for _ in range(count)]
    world.drain(sender)
    return ids


def test_what_was_there_is_not_counted_again(world, alice):
    bob = world.user("bob")
    phone = Phone(world, bob)
    write(world, alice, bob, 2)
    phone.shows(2, tablet=2)
    phone.open(seconds=3)
    write(world, alice, bob)
    phone.shows(1, tablet=3)
    phone.register()  # as at each start
    carol = world.login(world.user("carol"))
    last = write(world, alice, bob, 2)[-1]
    write(world, carol, bob)
    phone.shows(3, tablet=6)
    laptop = world.login(bob, "laptop", presence=False)
    laptop.send_xml("<presence/>")
    laptop.displayed(alice.bare, last)
    phone.shows(1, tablet=1)
    shown = world.sidecar.command("devices", "--json", bob.bare).stdout
    assert shown.count('"badge": 1') + shown.count('"badge":1') == 2
    laptop.command(world.component, "mark-all-read")
    phone.shows(0, tablet=0)


def test_each_account_on_the_phone_says_it_for_itself(world, alice):
    bob, dora = world.user("bob"), world.user("dora")
    phone = Phone(world, bob)
    client = world.login(dora, "phone")
    world.register_device(client, phone.token, provider=SINCE)
    phone.close(client)
    world.away(dora)
    write(world, alice, bob, 2)
    write(world, alice, dora, 3)
    phone.shows(5, tablet=2)
    phone.open()
    write(world, alice, dora)
    phone.shows(4, tablet=2)


def test_the_place_outlives_the_worker(world, alice):
    bob = world.user("bob")
    phone = Phone(world, bob)
    write(world, alice, bob)
    phone.shows(1, tablet=1)
    phone.open()
    world.sidecar.wait_new_worker(world.sidecar.kill_worker())
    world.sidecar.wait_ready()
    write(world, alice, bob)
    phone.shows(1, tablet=2)


def refused(client, to, fields):
    with pytest.raises(StanzaError) as error:
        client.command(to, "app-opened", fields)
    return error.value.kind, error.value.condition


def test_only_devices_of_the_account_are_opened(world):
    bob, mallory = world.user("bob"), world.login(world.user("mallory"))
    phone = Phone(world, bob)
    assert refused(mallory, world.component,
                   {"node": phone.node}) == ("cancel", "item-not-found")
    client = world.login(bob)
    assert refused(client, world.component,
                   {"node": "no-such-node"}) == ("cancel", "item-not-found")
    for node in ("", "x" * 5000):
        assert refused(client, world.component, {"node": node}) == ("modify", "bad-request")
    assert refused(client, world.component, {"token": phone.token}) == ("modify", "bad-request")
    asked = client.command(world.component, "app-opened")
    assert asked.get("status") == "executing"
    assert "node" in form_fields(asked.find("{jabber:x:data}x"))
    with pytest.raises(StanzaError, match="^auth/forbidden$"):
        world.login(world.remote_user()).command(world.component, "app-opened",
                                                 {"node": phone.node})
