# SPDX-License-Identifier: Apache-2.0
"""Pushes through FCM: what a message says, what each answer leads to, and access tokens."""

import hashlib

import pytest

from harness.clients import form_fields
from harness.gateway import PROJECT
from harness.procs import wait_until

ANDROID, DATA = "chat.android", "chat.data"
STOPPED = ("app.PERMISSION_DENIED", "app.NOT_FOUND", "app.UNAUTHENTICATED")
APPS = ()
FCM_APPS = {ANDROID: {}, DATA: {"form": "data"}, "app.bare": {}, **{app: {} for app in STOPPED}}
SETTINGS = {"push.settle": "200ms"}


@pytest.fixture
def token(world, bob):
    """bob's phone: registered by a session that has ended."""
    return world.android(bob, ANDROID)


def write(world, sender, recipient, **options):
    return sender.send_chat(recipient.bare, world.body(), **options)


def app_status(world, app):
    return next(shown for shown in world.sidecar.status()["apps"] if shown["id"] == app)


def parked(world, user):
    return [reason for (reason,) in world.oracle.query(
        "SELECT o.reason FROM xs.outbox o JOIN xs.account a USING (owner)"
        " WHERE a.jid = %s AND o.state = 3", (user.bare,))]


def registrations(world, user):
    return world.oracle.registrations(user.bare)


def reload(world):
    """A new worker, and with it a new access token."""
    old = world.sidecar.worker_pid()
    world.sidecar.reload()
    world.sidecar.wait_new_worker(old)
    world.sidecar.wait_ready()


# What a message says.


def test_a_phone_that_is_away_gets_the_count(world, alice, bob, token):
    for number in range(1, 4):
        write(world, alice, bob)
        assert world.gateway.wait_fcm(token, number)[-1].count == number
    first, _, last = world.gateway.wait_fcm(token, 3)
    assert last.headers[":path"] == f"/v1/projects/{PROJECT}/messages:send"
    assert last.notification["title"] == alice.user and last.notification["body"]
    assert last.android["priority"] == "high"
    assert 3600 < int(last.android["ttl"].rstrip("s")) <= 12 * 3600
    assert last.android["collapse_key"] == first.android["collapse_key"]
    assert last.android["notification"]["tag"] == last.android["collapse_key"]
    assert last.data == {"badge": "3", "conversation": last.android["collapse_key"]}
    aps = last.message["apns"]["payload"]["aps"]
    assert aps["badge"] == 3 and aps["sound"] == "default" and aps["mutable-content"] == 1
    assert world.gateway.device(token)["badge"] == 3
    assert len(world.gateway.device(token)["notifications"]) == 1


def test_the_app_shows_it_itself(world, alice, bob):
    token = world.android(bob, DATA)
    write(world, alice, bob)
    message = world.gateway.wait_fcm(token)[0]
    assert not message.notification and "notification" not in message.android
    assert message.android["priority"] == "high"
    assert message.data["badge"] == "1" and message.data["title"] == alice.user
    assert message.data["body"]


def test_p2_names_the_account_as_its_app_does(world, alice, bob):
    phone = world.login(bob, "android")
    token = world.fcm_token()
    command = phone.command(world.component, "register-push-fcm",
                            {"token": token, "device-id": "92afd7a91cdba9a0", "app": ANDROID})
    answer = form_fields(command.find("{jabber:x:data}x"))
    world.sidecar.secrets.append(answer["secret"])
    assert answer["jid"] == world.component and answer["node"]
    phone.logout()
    world.away(bob)
    write(world, alice, bob)
    message = world.gateway.wait_fcm(token)[0]
    name = hashlib.sha1(f"{bob.bare}\092afd7a91cdba9a0".encode()).hexdigest()
    assert message.data == {"account": name, "badge": "1"}
    assert message.android["collapse_key"] == name[:6]
    assert message.android["priority"] == "high"
    assert message.message.keys() == {"token", "data", "android"}
    # The same installation with a new token, then none any more.
    again = world.login(bob, "android")
    other = world.fcm_token()
    again.command(world.component, "register-push-fcm",
                  {"token": other, "android-id": "92afd7a91cdba9a0", "app": ANDROID})
    assert registrations(world, bob) == 1
    again.command(world.component, "unregister-push-fcm",
                  {"device-id": "92afd7a91cdba9a0", "app": ANDROID})
    assert registrations(world, bob) == 0


def test_what_was_read_elsewhere_is_a_silent_count(world, alice, bob, token):
    laptop = world.login(bob, "laptop", presence=False)
    message_id = write(world, alice, bob)
    world.gateway.wait_fcm(token)
    laptop.send_xml("<presence/>")
    laptop.displayed(alice.bare, message_id)
    silent = world.gateway.wait_fcm(token, 2)[1]
    assert silent.data == {"badge": "0"} and not silent.notification
    assert silent.android["priority"] == "normal"
    assert silent.message["apns"]["headers"]["apns-priority"] == "5"
    assert world.gateway.device(token)["badge"] == 0


def test_a_phone_that_was_off_shows_the_count_of_now(world, alice, bob, token):
    world.gateway.set_online(token, False)
    for number in range(1, 4):
        write(world, alice, bob)
        world.gateway.wait_fcm(token, number)
    world.gateway.set_online(token, True)
    shown = world.gateway.device(token)
    assert shown["badge"] == 3 and len(shown["notifications"]) == 1
    # Off again; what was read meanwhile is not brought back by what was stored.
    world.gateway.set_online(token, False)
    write(world, alice, bob)
    world.gateway.wait_fcm(token, 4)
    laptop = world.login(bob, "laptop", presence=False)
    laptop.command(world.component, "mark-all-read")
    world.gateway.wait_fcm(token, 5)
    world.gateway.set_online(token, True)
    assert world.gateway.device(token)["badge"] == 0


# What each answer leads to.


def test_an_unregistered_device_is_dropped(world, alice, bob, token):
    world.gateway.expire(token, 0)
    write(world, alice, bob)
    wait_until(lambda: registrations(world, bob) == 0, 10, "the device is dropped")
    write(world, alice, bob)
    world.no_push(token, 1, since=1)


@pytest.mark.parametrize("reason", ["SENDER_ID_MISMATCH", "message.token"])
def test_a_device_that_is_not_ours_is_dropped_while_others_are_accepted(
        world, alice, bob, reason):
    carol = world.user("carol")
    good, bad = world.android(carol, ANDROID), world.android(bob, ANDROID)
    for _ in range(2):
        seen = len(world.gateway.fcm_messages(good))
        write(world, alice, carol)
        world.gateway.wait_fcm(good, seen + 1)
    if reason == "SENDER_ID_MISMATCH":
        world.gateway.script(bad, {"status": 403, "reason": reason})
    else:
        world.gateway.script(bad, {"status": 400, "reason": "INVALID_ARGUMENT",
                                   "field": reason})
    write(world, alice, bob)
    wait_until(lambda: registrations(world, bob) == 0, 10, "the device is dropped")
    assert registrations(world, carol) == 1


def test_a_message_that_is_wrong_is_parked(world, alice, bob, token):
    world.gateway.script(token, {"status": 400, "reason": "INVALID_ARGUMENT",
                                 "field": "message.data"})
    write(world, alice, bob)
    wait_until(lambda: parked(world, bob) == ["INVALID_ARGUMENT"], 10, "it is parked")
    assert registrations(world, bob) == 1
    write(world, alice, bob)  # and the next one goes
    assert world.gateway.wait_fcm(token)[0].count == 2


PASSING = (
    {"status": 500, "reason": "INTERNAL", "retry_after": 1},
    {"status": 503, "reason": "UNAVAILABLE", "retry_after": 1},
    {"status": 503, "reason": "UNAVAILABLE", "retry_after": 2, "retry_as_date": True},
    {"status": 502, "body": "<html>Bad Gateway</html>", "retry_after": 1},
    {"status": 429, "reason": "QUOTA_EXCEEDED", "retry_after": 1},
    {"status": 429, "reason": "RESOURCE_EXHAUSTED", "retry_after": 1},
)


def test_what_may_pass_is_tried_again_not_before_its_time(world, alice):
    phones = []
    for answer in PASSING:
        user = world.user("bob")
        token = world.android(user, ANDROID)
        world.gateway.script(token, answer)
        phones.append((user, token))
    for user, _ in phones:
        write(world, alice, user)
    for (user, token), answer in zip(phones, PASSING):
        assert world.gateway.wait_fcm(token, timeout=30)[0].count == 1, answer
        first, last = world.gateway.fcm_messages(token)
        assert first.status == answer["status"]
        assert last.time_ms - first.time_ms > 800, answer
        assert registrations(world, user) == 1


def test_a_lost_connection_and_a_refused_stream_are_not_noticed(world, alice, bob, token):
    for action in ({"cut": "before_answer"}, {"refuse_stream": True},
                   {"goaway": {"reason": "session_timeout", "last": "before"}},
                   {"goaway": {"reason": "max_age", "last": "after"}}):
        seen = len([m for m in world.gateway.fcm_messages(token) if m.status == 200])
        world.gateway.script(token, action)
        write(world, alice, bob)
        assert world.gateway.wait_fcm(token, seen + 1)[-1].count == seen + 1


def test_a_missing_apns_key_is_an_alarm_and_stops_nobody_else(world, alice, bob, token):
    world.sidecar.allow_error("THIRD_PARTY_AUTH_ERROR")
    carol = world.user("carol")
    other = world.android(carol, ANDROID)
    world.gateway.script(token, {"status": 401, "reason": "THIRD_PARTY_AUTH_ERROR"})
    write(world, alice, bob)
    world.sidecar.wait_log("level=error.*THIRD_PARTY_AUTH_ERROR")
    write(world, alice, carol)
    world.gateway.wait_fcm(other)
    assert registrations(world, bob) == 1 and parked(world, bob) == []
    assert app_status(world, ANDROID)["state"] == "up"


@pytest.mark.parametrize("app,status", zip(STOPPED, (403, 404, 401)))
def test_a_wrong_setting_stops_the_app_and_keeps_its_devices(world, alice, bob, app, status):
    world.sidecar.allow_error(f"app={app} stopped")
    token = world.android(bob, app)
    world.gateway.script(token, {"status": status, "reason": app.removeprefix("app."),
                                 "times": 2})
    write(world, alice, bob)
    shown = wait_until(lambda: (s := app_status(world, app))["state"] == "stopped" and s, 20,
                       "the app is stopped")
    assert app.removeprefix("app.") in shown["reason"]
    assert registrations(world, bob) == 1 and parked(world, bob) == []


def test_a_path_that_is_nothing_is_not_the_devices_fault(world, alice, bob):
    """A 404 without FCM's own word: the project."""
    app = "app.bare"
    world.sidecar.allow_error(f"app={app} stopped")
    token = world.android(bob, app)
    world.gateway.script(token, {"status": 404})
    write(world, alice, bob)
    wait_until(lambda: app_status(world, app)["state"] == "stopped", 10, "the app is stopped")
    assert registrations(world, bob) == 1


# The gateway away.


def test_the_gateway_down_and_back(world, alice, bob, token):
    write(world, alice, bob)
    world.gateway.wait_fcm(token)
    world.gateway.down(service="fcm")
    for _ in range(2):
        write(world, alice, bob)
    wait_until(lambda: app_status(world, ANDROID)["state"] == "backoff", 15, "it is noticed")
    world.gateway.down(False, service="fcm")
    wait_until(lambda: world.gateway.wait_fcm(token)[-1].count == 3, 30, "the last count")
    assert parked(world, bob) == []


# Access tokens.


def test_one_token_serves_everybody(world, alice, bob, token):
    before = world.gateway.stats()["oauth_issued"]
    for number in range(1, 6):
        write(world, alice, bob)
        world.gateway.wait_fcm(token, number)
    assert len({m.jwt for m in world.gateway.fcm_messages(token)}) == 1
    assert world.gateway.stats()["oauth_issued"] - before <= 1


def test_a_token_that_is_refused_is_replaced_once(world, alice, bob, token):
    write(world, alice, bob)
    first = world.gateway.wait_fcm(token)[0]
    world.gateway.oauth(expire_now=True)
    write(world, alice, bob)
    second = world.gateway.wait_fcm(token, 2, timeout=20)[1]
    assert second.count == 2 and second.jwt > first.jwt > 0
    assert [m.status for m in world.gateway.fcm_messages(token)] == [200, 401, 200]
    assert app_status(world, ANDROID)["state"] == "up"


def test_a_token_is_renewed_before_it_ends(world, alice, bob, token):
    """One of so short a life at its half: whoever used it until its end would be refused."""
    world.gateway.oauth(life_s=24)
    reload(world)
    write(world, alice, bob)
    first = world.gateway.wait_fcm(token)[0]
    count = 1
    while world.gateway.wait_fcm(token, count)[-1].jwt == first.jwt:
        write(world, alice, bob)
        count += 1
        world.gateway.wait_fcm(token, count)
    assert {m.status for m in world.gateway.fcm_messages(token)} == {200}


def test_a_token_service_that_is_away_is_asked_again(world, alice, bob, token):
    world.gateway.script_oauth({"status": 503, "times": 2 * len(FCM_APPS)})
    reload(world)
    write(world, alice, bob)
    assert world.gateway.wait_fcm(token, timeout=20)[0].count == 1
    world.sidecar.wait_log("no access token: 503 retry_ms=")
    assert registrations(world, bob) == 1


def test_an_account_that_is_refused_stops_the_app_with_a_clear_reason(world, alice, bob, token):
    world.sidecar.allow_error("access token refused: 400 invalid_grant")
    world.gateway.script_oauth({"status": 400, "times": len(FCM_APPS),
                                "body": '{"error":"invalid_grant","error_description":"x"}'})
    reload(world)
    write(world, alice, bob)
    shown = wait_until(lambda: (s := app_status(world, ANDROID))["state"] == "stopped" and s, 10,
                       "the app is stopped")
    assert shown["reason"] == "access token refused: 400 invalid_grant"
    assert registrations(world, bob) == 1 and world.gateway.fcm_messages(token) == []
    wait_until(lambda: all(app_status(world, app)["state"] == "stopped" for app in FCM_APPS), 20,
               "all have had their answer")
    reload(world)  # what was wrong is mended
    assert world.gateway.wait_fcm(token, timeout=20)[0].count == 1


def test_a_clock_that_is_wrong_is_named_and_does_no_harm(world, alice, bob, token):
    world.gateway.oauth(clock_s=-7200)
    reload(world)
    write(world, alice, bob)
    assert world.gateway.wait_fcm(token, timeout=20)[0].count == 1
    found = world.sidecar.wait_log(r"the clock of this machine is (\d+) s fast")
    assert 7190 <= int(found.group(1)) <= 7260  # the answer has been on its way for a while
