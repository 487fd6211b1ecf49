# SPDX-License-Identifier: Apache-2.0
"""What was read elsewhere is taken off the phone: the app is told which notifications."""

import time

import pytest

from harness import webpush
from harness.procs import wait_until
from harness.world import World

pytestmark = pytest.mark.skipif(webpush.missing() is not None, reason=str(webpush.missing()))

IOS, ANDROID, WEB, PLAIN = "chat.ios", "chat.android", "chat.web", "chat.plain"


@pytest.fixture(scope="module")
def module_world(module_workspace, postgres, server, loop):
    world = World(module_workspace, postgres, loop, server, apps=(IOS, PLAIN),
                  fcm_apps={ANDROID: {}}, webpush_apps={WEB: {}},
                  settings={"push.settle": "200ms"}, start=False)
    for app in world.sidecar.settings["push"]["apps"]:
        if app["id"] != PLAIN:
            app["withdraw"] = True
    world.sidecar.configure({})
    world.sidecar.start()
    yield world
    assert world.sidecar.stop() == 0 and world.sidecar.findings() == []


class Shown:
    """What an app that can does on each of the user's devices: notifications by their names."""

    def __init__(self, world, user):
        self.world, self.user = world, user
        self.ios, self.plain = (world.phone(user, app, app=app) for app in (IOS, PLAIN))
        self.android = world.android(user, ANDROID)
        self.web = world.browser(user, WEB)

    def on_ios(self):
        shown = set()
        for push in self.world.gateway.pushes(self.ios):
            if push.alert:
                assert push.thread == push.header("apns-collapse-id")
                shown.add(push.thread)
            elif "withdraw" in push.payload:
                assert push.payload["aps"]["content-available"] == 1
                assert push.header("apns-push-type") == "alert"
                assert push.header("apns-priority") == "5"
                shown = self.rest(shown, push.payload["withdraw"], push.payload["as_of"])
        return shown

    def on_android(self):
        shown = set()
        for message in self.world.gateway.wait_fcm(self.android):
            if message.notification:
                shown.add(message.android["notification"]["tag"])
            elif "withdraw" in message.data:
                assert message.android["priority"] == "normal"
                aps = message.message["apns"]["payload"]["aps"]
                assert aps["content-available"] == 1
                shown = self.rest(shown, message.data["withdraw"].split(), message.data["as_of"])
        return shown

    def in_browser(self):
        shown = set()
        for push in self.web.wait(1):
            if "conversation" in push.data:
                shown.add(push.data["conversation"])
            elif "withdraw" in push.data:
                shown = self.rest(shown, push.data["withdraw"], push.data["as_of"])
        return shown

    @staticmethod
    def rest(shown, names, as_of):
        assert abs(int(as_of) - time.time()) < 60
        return set() if names == ["all"] else shown - set(names)

    def wait(self, expected):
        everywhere = [self.on_ios, self.on_android, self.in_browser]
        wait_until(lambda: all(look() == expected for look in everywhere), 8,
                   f"{expected} is shown everywhere")


def write(world, sender, recipient):
    message_id = sender.send_chat(recipient.bare, world.body())
    world.drain(sender)
    return message_id


def test_the_phone_forgets_what_the_laptop_has_read(world, alice):
    bob = world.user("bob")
    carol, dora = (world.login(world.user(name)) for name in ("carol", "dora"))
    shown = Shown(world, bob)
    read, named = {}, {}
    for number, sender in enumerate((alice, carol, dora), 1):
        read[sender] = write(world, sender, bob)
        named[sender] = world.gateway.wait(shown.ios, number)[-1].thread
    shown.wait(set(named.values()))
    laptop = world.login(bob, "laptop", presence=False)
    laptop.send_xml("<presence/>")
    # Two at once are one update.
    before = len(world.gateway.pushes(shown.ios))
    with world.held(laptop):
        for sender in (alice, carol):
            laptop.displayed(sender.bare, read[sender])
    shown.wait({named[dora]})
    update, = world.gateway.pushes(shown.ios)[before:]
    assert set(update.payload["withdraw"]) == {named[alice], named[carol]}
    assert update.badge == 1 and update.header("apns-expiration") == "0"
    # An app that has not asked for it gets the count, and is not woken.
    assert world.gateway.wait(shown.plain, 4)[-1].payload == {"aps": {"badge": 1}}
    laptop.displayed(dora.bare, read[dora])
    shown.wait(set())
    last = world.gateway.wait(shown.ios, before + 2)[-1]
    assert last.payload["withdraw"] == ["all"] and last.badge == 0
    assert int(last.header("apns-expiration")) > time.time() + 86400
    wait_until(lambda: world.oracle.query(
        "SELECT count(*) FROM xs.shown s JOIN xs.account a USING (owner) WHERE a.jid = %s",
        (bob.bare,)) == [(0,)], 10, "nothing is remembered of what is gone")


def test_a_list_outlives_the_worker(world, alice):
    bob = world.user("bob")
    carol = world.login(world.user("carol"))
    shown = Shown(world, bob)
    first, _ = write(world, alice, bob), write(world, carol, bob)
    world.gateway.wait(shown.ios, 2)
    names = [push.thread for push in world.gateway.pushes(shown.ios)]
    shown.wait(set(names))
    gone = [name for name, push in zip(names, world.gateway.pushes(shown.ios))
            if push.alert["title"] == alice.user]
    laptop = world.login(bob, "laptop")
    laptop.displayed(alice.bare, first)
    world.drain(laptop)
    world.sidecar.wait_new_worker(world.sidecar.kill_worker())  # within the two seconds
    world.sidecar.wait_ready()
    shown.wait(set(names) - set(gone))


def test_who_reads_on_the_phone_is_not_told(world, alice):
    bob = world.user("bob")
    carol = world.login(world.user("carol"))
    token = world.phone(bob, "phone", app=IOS)
    first, second = write(world, alice, bob), write(world, carol, bob)
    names = [push.thread for push in world.gateway.wait(token, 2)]
    phone = world.login(bob, "phone")
    phone.displayed(alice.bare, first)
    world.drain(phone)
    world.no_push(token, 3, since=2)
    phone.logout()
    world.away(bob)
    write(world, alice, bob)
    assert world.gateway.wait(token, 3)[-1].alert
    laptop = world.login(bob, "laptop")
    laptop.displayed(carol.bare, second)
    update = world.gateway.wait(token, 4)[-1]
    assert update.badge == 1 and len(update.payload["withdraw"]) == 1
    assert set(update.payload["withdraw"]) < set(names)
