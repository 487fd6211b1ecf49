# SPDX-License-Identifier: Apache-2.0
"""Devices' tokens in the database: sealed with a key that is not in it, for every gateway."""

import base64
import secrets

import pytest

from harness import webpush
from harness.procs import wait_until
from harness.world import APP

pytestmark = pytest.mark.skipif(webpush.missing() is not None, reason=str(webpush.missing()))

ANDROID, WEB = "chat.android", "chat.web"
NO_KEY = "no key for the token"


class Fleet:
    """A user with a device of each kind; the phone has a second token, for calls."""

    def __init__(self, world, label):
        self.world, self.user = world, world.user(label)
        client = world.login(self.user, "phone")
        self.phone, self.calls = world.token(), world.token()
        client.command(world.component, "register-device",
                       {"provider": APP, "device-token": self.phone,
                        "device-second-token": self.calls})
        client.logout()
        self.android = world.android(self.user, ANDROID)
        self.browser = world.browser(self.user, WEB)

    @property
    def secrets(self):
        return [self.phone, self.calls, self.android, *self.browser.secrets]

    def wait(self, count, timeout=15):
        self.world.gateway.wait(self.phone, count, timeout)
        self.world.gateway.wait_fcm(self.android, count, timeout)
        self.browser.wait(count, timeout)


@pytest.fixture
def world(make_world):
    world = make_world(apps=(APP,), fcm_apps={ANDROID: {}}, webpush_apps={WEB: {}},
                       app_settings={APP: {"calls": True, "apns.voip": True}})
    yield world
    world.assert_sound()


def set_keys(world, *lines):
    """The first seals; then the service works with them."""
    path = world.sidecar.folder / "token.key"
    path.write_text("".join(f"{line}\n" for line in lines))
    path.chmod(0o600)
    world.sidecar.secrets += [line for line in lines if len(line) == 64]
    world.sidecar.configure({"push.token_key_file": "token.key"})
    world.sidecar.reload_and_wait()


def new_key():
    return secrets.token_hex(32)


def shown(world, needles):
    """Which of them a dump of the database shows, in whatever writing."""
    dump = world.postgres.dump(world.database)
    assert "COPY xs.device " in dump
    return {needle for needle in needles
            for written in (needle, needle.encode().hex(),
                            base64.b64encode(needle.encode()).decode())
            if written in dump}


def test_no_dump_shows_a_token(world):
    alice = world.login(world.user("alice"))
    before = Fleet(world, "bob")
    assert shown(world, before.secrets) == set(before.secrets)  # without a key
    set_keys(world, new_key())
    wait_until(lambda: shown(world, before.secrets) == set(), 15, "what is there gets sealed")
    after = Fleet(world, "carol")
    assert shown(world, after.secrets) == set()
    for number, fleet in enumerate((before, after, before), 1):
        alice.send_chat(fleet.user.bare, world.body())
        fleet.wait(2 if number == 3 else 1)
    # Looked up by what is not shown: registered again it is the same, and it can go.
    client = world.login(after.user)
    world.register_device(client, after.phone)
    assert world.oracle.registrations(after.user.bare) == 3
    client.command(world.component, "unregister-device",
                   {"provider": APP, "device-token": after.phone})
    assert world.oracle.registrations(after.user.bare) == 2
    assert shown(world, before.secrets + after.secrets) == set()


def test_the_token_for_calls_is_sealed_too(world):
    alice = world.login(world.user("alice"))
    voips = []

    def phone():
        user = world.user("bob")
        client = world.login(user, "phone")
        voips.append(world.token())
        client.command(world.component, "register-device",
                       {"provider": APP, "device-token": world.token(),
                        "device-second-token": voips[-1]})
        client.logout()
        world.away(user)
        return user

    users = [phone()]
    assert shown(world, voips) == set(voips)
    set_keys(world, new_key())
    wait_until(lambda: shown(world, voips) == set(), 15, "what is there gets sealed")
    users.append(phone())
    assert shown(world, voips) == set()
    for user, voip in zip(users, voips):
        alice.send_chat(user.bare, None, extra="<propose xmlns='urn:xmpp:jingle-message:0' id='s'>"
                        "<description xmlns='urn:xmpp:jingle:apps:rtp:1' media='audio'/></propose>")
        assert world.gateway.wait(voip, 1)[0].header("apns-push-type") == "voip"


def test_a_new_key_takes_over_from_the_old(world):
    alice = world.login(world.user("alice"))
    old, new = new_key(), new_key()
    set_keys(world, old)
    fleet = Fleet(world, "bob")
    (kept,) = {row[0] for row in world.oracle.query("SELECT sealed_by FROM xs.device")}
    set_keys(world, new, old)
    world.sidecar.wait_log("devices' tokens are sealed with the first key now n=4")
    ((changed, devices),) = world.oracle.query(
        "SELECT sealed_by, count(*) FROM xs.device GROUP BY 1")
    assert changed not in (0, kept) and devices == 3
    set_keys(world, new)
    alice.send_chat(fleet.user.bare, world.body())
    fleet.wait(1)
    set_keys(world, "none", new)
    wait_until(lambda: shown(world, fleet.secrets) == set(fleet.secrets), 15, "all is as before")
    alice.send_chat(fleet.user.bare, world.body())
    fleet.wait(2)


def test_without_the_key_pushes_wait_and_nothing_is_lost(world):
    world.sidecar.allow_error("there are devices' tokens under a key that push.token_key_file")
    alice = world.login(world.user("alice"))
    key = new_key()
    set_keys(world, key)
    fleet = Fleet(world, "bob")
    world.sidecar.configure({"push.token_key_file": None})
    world.sidecar.reload_and_wait()
    alice.send_chat(fleet.user.bare, world.body())
    wait_until(lambda: world.oracle.query("SELECT count(*) FROM xs.outbox WHERE reason = %s",
                                          (NO_KEY,)) == [(3,)], 15, "the pushes wait")
    assert world.sidecar.command("queue").stdout.count(NO_KEY) == 3
    set_keys(world, new_key())  # the wrong one
    newcomer = Fleet(world, "carol")
    alice.send_chat(newcomer.user.bare, world.body())
    newcomer.wait(1)
    assert world.oracle.outbox(fleet.user.bare) == 3
    assert world.oracle.registrations(fleet.user.bare) == 3
    assert world.gateway.pushes(fleet.phone) == []
    # Each worker has told once.
    told = "there are devices' tokens under a key"
    wait_until(lambda: world.sidecar.log_text().count(told) >= 2, 10, "the second has told, too")
    assert world.sidecar.log_text().count(told) == 2
    wrong = (world.sidecar.folder / "token.key").read_text().strip()
    set_keys(world, wrong, key)
    assert world.sidecar.command("queue", "retry", "--reason", NO_KEY).returncode == 0
    fleet.wait(1, 40)  # a running worker looks every half a minute
    wait_until(lambda: world.oracle.query("SELECT count(DISTINCT sealed_by) FROM xs.device")
               == [(1,)], 15, "all are under one key")


@pytest.mark.parametrize("content, mode, complaint", [
    ("0123456789abcdef", 0o600, "line 1: expected a key of 64 hex digits"),
    ("\x00" * 32, 0o600, "is not a text file"),
    ("ab" * 32, 0o644, "everybody on this machine may read"),
])
def test_what_is_wrong_with_the_key_is_told(make_world, content, mode, complaint):
    world = make_world(start=False)
    path = world.sidecar.folder / "token.key"
    path.write_text(content)
    path.chmod(mode)
    world.sidecar.configure({"push.token_key_file": "token.key"})
    done = world.sidecar.command("check")
    assert done.returncode == 78
    assert complaint in done.stderr and content not in done.stderr
    assert str(world.sidecar.config) in done.stderr
