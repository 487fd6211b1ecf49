# SPDX-License-Identifier: Apache-2.0
"""One app's or one service's trouble is no other's: neither its queue nor its time."""

import statistics
import time

import pytest

from harness.procs import wait_until

GOOD, BAD, WAVE = "org.example.good", "org.example.bad", "org.example.wave"
ANDROID = "org.example.android"
APPS = (GOOD, BAD, WAVE)  # nothing of the last one is ever accepted
FCM_APPS = {ANDROID: {}}
SETTINGS = {"push.settle": "200ms"}
BURST = 30


@pytest.fixture
def people(world):
    """Each with a device of either app and an Android phone: (user, good, bad, android)."""
    made = []
    for user in world.users(6, "person"):
        client = world.login(user, "phone")
        tokens = [world.register_device(client, provider=app) for app in (GOOD, BAD)]
        tokens.append(world.register_device(client, world.fcm_token(),
                                                   provider=ANDROID))
        client.logout()
        world.away(user)
        made.append((user, *tokens))
    return made


def app_status(world, app):
    (shown,) = [shown for shown in world.sidecar.status()["apps"] if shown["id"] == app]
    return shown


def latencies(world, alice, people, number):
    """From writing to the push at the good app, for so many messages, one after the other."""
    seconds = []
    for n in range(number):
        user, token = people[n % len(people)][:2]
        seen = len(world.gateway.accepted(token))
        start = time.time()
        alice.send_chat(user.bare, world.body())
        push = world.gateway.wait(token, seen + 1, timeout=10)[-1]
        seconds.append(push.time_ms / 1000 - start)
    return seconds


@pytest.fixture
def usual(world, alice):
    """How long it takes here without trouble, for somebody who has the good app alone."""
    user = world.user("usual")
    return latencies(world, alice, [(user, world.phone(user, app=GOOD))], 5)


def assert_untouched(world, alice, people, usual):
    """The good app is as quick as ever, and nothing of it waits."""
    seconds = sorted(latencies(world, alice, people, 12))
    assert statistics.median(seconds) < 3 * statistics.median(usual) + 0.5, (seconds, usual)
    # The machine itself may have stood still once.
    assert seconds[-2] < 3 * max(usual) + 2, (seconds, usual)
    shown = app_status(world, GOOD)
    assert (shown["state"], shown["reason"], shown["brake"]) == ("up", "", False)
    wait_until(lambda: app_status(world, GOOD)["ready"] == 0 ==
               app_status(world, GOOD)["in_flight"], 5, "nothing of it waits")


@pytest.mark.parametrize("trouble", [
    {"status": 503, "reason": "ServiceUnavailable"},
    {"status": 429, "reason": "TooManyRequests"},
    {"cut": "before_answer"},
    {"silence": True}], ids=["503", "429", "cut", "silent"])
def test_an_app_in_trouble_leaves_the_other_untouched(world, alice, people, usual, trouble):
    for _, _, bad, _ in people:
        world.gateway.script(bad, {**trouble, "times": -1})
    for n in range(BURST):
        alice.send_chat(people[n % len(people)][0].bare, world.body())
    assert_untouched(world, alice, people, usual)
    assert all(world.gateway.accepted(bad) == [] for _, _, bad, _ in people)
    # Not each of them: a service that has accepted nothing takes one at a time.
    wait_until(lambda: any(world.gateway.pushes(bad) for _, _, bad, _ in people), 5, "one is tried")


def test_a_service_that_is_away_leaves_the_other_untouched(world, alice, people, usual):
    world.gateway.down(service="fcm")
    for n in range(BURST):
        alice.send_chat(people[n % len(people)][0].bare, world.body())
    assert_untouched(world, alice, people, usual)
    wait_until(lambda: app_status(world, ANDROID)["state"] == "backoff", 20, "FCM is away")
    world.gateway.down(False, service="fcm")
    for user, _, _, android in people:
        world.gateway.wait_fcm(android, timeout=90)


def test_a_wave_of_bad_tokens_stops_one_app_and_deletes_nobody(world, alice, people, usual):
    """Nobody of that app is accepted: its devices stay, and so do its pushes."""
    world.sidecar.allow_error(f"app={WAVE} many pushes are rejected for their device")
    tokens = [world.phone(user, "tablet", app=WAVE) for user, *_ in people]
    registered = sum(world.oracle.registrations(user.bare) for user, *_ in people)
    assert registered == 4 * len(people)
    for token in tokens:
        world.gateway.script(token, {"status": 400, "reason": "BadDeviceToken", "times": -1})
    for user, *_ in people:
        alice.send_chat(user.bare, world.body())
    for token in tokens:
        world.gateway.wait_seen(token, 1)
    wait_until(lambda: app_status(world, WAVE)["brake"], 10, "the brake is on")
    assert_untouched(world, alice, people, usual)
    assert sum(world.oracle.registrations(user.bare) for user, *_ in people) == registered
    assert "BRAKE" in world.sidecar.command("status").stdout
    world.sidecar.wait_log(f"app={WAVE} many pushes .* check topic and environment, which is "
                           "production: builds from Xcode have tokens of the sandbox")
    wait_until(lambda: world.oracle.value(
        "SELECT count(*) FROM xs.outbox o JOIN xs.device d USING (device)"
        " WHERE d.app = %s AND o.state = 3 AND o.reason = 'BadDeviceToken'", (WAVE,)) == len(people),
        10, "its pushes are parked")
