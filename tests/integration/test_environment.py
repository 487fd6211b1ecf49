# SPDX-License-Identifier: Apache-2.0
"""Tokens of APNs' other environment: production and sandbox, each knowing its own alone."""

import shutil

import pytest

from harness.gateway import Gateway
from harness.procs import wait_until
from harness.world import APP

SANDBOX_APP = f"{APP}.sandbox"


@pytest.fixture
def world(make_world):
    world = make_world(start=False)
    world.production, world.sandbox = (
        Gateway(world.workspace, name=name, options=options, token_any=False)
        for name, options in (("production", ()), ("sandbox", ("--sandbox",))))
    # One team has one key for both.
    for key in ("AuthKey.p8", "AuthKey.pub.pem"):
        shutil.copy(world.production.folder / key, world.sandbox.folder / key)
    apps = [world.production.start().app(APP), world.sandbox.start().app(SANDBOX_APP)]
    apps[1]["apns"] |= {"topic": APP, "environment": "sandbox"}
    world.sidecar.configure({"push.apps": apps})
    world.sidecar.start()
    yield world
    for gateway in (world.production, world.sandbox):
        assert gateway.stats()["violations"] == []


def phone(world, user, app, *gateways):
    """The user's, registered with that app; the gateways are those that know its token."""
    token = world.token()
    for gateway in gateways:
        gateway.register(token, APP)
    client = world.login(user, "phone")
    world.register_device(client, token, app)
    client.logout()
    world.away(user)
    return token


@pytest.mark.parametrize("app", [APP, SANDBOX_APP])
def test_a_token_of_the_other_environment(world, app):
    """It is found by trying, once, and the device can still be unregistered as what it is."""
    here, there = world.production, world.sandbox
    if app == SANDBOX_APP:
        here, there = there, here
    alice, bob = world.login(world.user("alice")), world.user("bob")
    token = phone(world, bob, app, there)
    alice.send_chat(bob.bare, world.body())
    first = there.wait(token, 1)[0]
    assert first.badge == 1 and first.header("apns-topic") == APP
    refused, = here.pushes(token)
    assert (refused.status, refused.reason) == (400, "BadDeviceToken")
    assert refused.apns_id == first.apns_id
    wait_until(lambda: world.oracle.outbox(bob.bare) == 0, 5, "it is settled")
    alice.send_chat(bob.bare, world.body())
    assert there.wait(token, 2)[1].badge == 2
    world.sidecar.wait_new_worker(world.sidecar.kill_worker())
    world.sidecar.wait_ready()
    alice.send_chat(bob.bare, world.body())
    assert there.wait(token, 3)[2].badge == 3
    assert len(here.pushes(token)) == 1 and len(there.pushes(token)) == 3
    wait_until(lambda: world.oracle.outbox(bob.bare) == 0, 5, "it is settled")
    assert world.oracle.push_log(bob.bare) == [(200, "to the other environment")] * 3
    world.login(bob, "phone").command(world.component, "unregister-device",
                                      {"provider": app, "device-token": token})
    assert world.oracle.registrations(bob.bare) == 0


def test_a_token_that_neither_environment_knows(world):
    alice, bob, carol = world.login(world.user("alice")), world.user("bob"), world.user("carol")
    good, bad = phone(world, carol, APP, world.production), phone(world, bob, APP)
    alice.send_chat(carol.bare, world.body())
    world.production.wait(good, 1)
    alice.send_chat(bob.bare, world.body())
    wait_until(lambda: world.oracle.registrations(bob.bare) == 0, 10, "it is dropped")
    for gateway in (world.production, world.sandbox):
        assert [push.reason for push in gateway.pushes(bad)] == ["BadDeviceToken"]
    assert world.sandbox.pushes(good) == []
