# SPDX-License-Identifier: Apache-2.0
"""When a push is due, what it says, and what each answer of the gateway leads to."""

import contextlib
import re
import signal
import time

import pytest

from harness.clients import new_id, submit_form
from harness.ejabberd import HOST
from harness.procs import wait_until
from harness.world import APP

# The other apps are for tests that stop one.
APPS = (APP, "app.wave", "app.small", "app.InvalidProviderToken", "app.Forbidden",
        "app.TopicDisallowed", "app.SomethingNew", "app.BadTopic")
SETTLE, CONFIRM, ELSEWHERE = 0.4, 2.5, 1.5
SETTINGS = {"push.settle": "400ms", "push.confirm_after": "2500ms",
            "push.while_active_elsewhere": "1500ms"}

UUID = re.compile(r"^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$")


@pytest.fixture
def token(world, bob):
    """bob's phone: registered by a session that has ended."""
    return world.phone(bob)


@pytest.fixture
def configure(world):
    """Other settings for this test: the worker is replaced by one that has read them."""
    changed = {}

    def apply(settings):
        for dotted in settings:
            section, key = dotted.split(".")
            changed.setdefault(dotted, world.sidecar.settings[section].get(key))
        reload(settings)

    def reload(settings):
        old = world.sidecar.worker_pid()
        world.sidecar.configure(settings)
        world.sidecar.reload()
        world.sidecar.wait_new_worker(old)
        world.sidecar.wait_ready()

    yield apply
    reload(changed)


@pytest.fixture
def patient(configure):
    """A push of this test that waits for an answer never comes: one that comes is sent "now"."""
    configure({"push.confirm_after": "10m"})


def confirm_now(configure):
    """What a patient test has waiting is decided by the next worker, after the usual time."""
    configure({"push.confirm_after": SETTINGS["push.confirm_after"]})


def seconds_since(started, push):
    """By the gateway's clock, however late we look."""
    return push.time_ms / 1000 - started


def in_flight(world, app=APP):
    """How many pushes wait for the gateway's answer."""
    return sum(shown["in_flight"] for shown in world.sidecar.status()["apps"]
               if shown["id"] == app)


def replace_worker(world):
    """Kills the worker; returns when the next one has taken over."""
    world.sidecar.wait_new_worker(world.sidecar.kill_worker())
    world.sidecar.wait_ready()


def parked(world, user):
    """The reasons of the user's parked pushes."""
    return [reason for (reason,) in world.oracle.query(
        "SELECT o.reason FROM xs.outbox o JOIN xs.account a USING (owner)"
        " WHERE a.jid = %s AND o.state = 3", (user.bare,))]


def write(world, sender, recipient, text="hello", **options):
    return sender.send_chat(recipient.bare, world.body(text), **options)


# When: nobody online.


@pytest.mark.servers()
@pytest.mark.needs("live-presence", "snapshot")
def test_offline_is_pushed_now_to_all_devices(world, patient, alice, bob):
    tokens = [world.phone(bob, resource) for resource in ("phone", "tablet")]
    started = time.time()
    write(world, alice, bob)
    for token in tokens:
        push = world.gateway.wait(token, 1)[0]
        assert push.badge == 1 and seconds_since(started, push) > SETTLE * 0.9


@pytest.mark.servers()
def test_retracted_while_settling(world, alice, bob, token):
    with world.held(alice):
        message_id = write(world, alice, bob)
        alice.send_chat(bob.bare, None, extra=(
            f"<retract xmlns='urn:xmpp:message-retract:1' id='{message_id}'/>"
            "<store xmlns='urn:xmpp:hints'/>"))
    world.drain(alice)
    assert world.oracle.unread(bob.bare) == 0
    world.no_push(token, SETTLE + 1)


@pytest.mark.servers()
@pytest.mark.needs("blocked")
def test_a_bounced_message_is_not_pushed(world, alice, bob, token):
    blocker = world.login(bob)
    blocker.block(alice.bare)
    blocker.logout()
    world.away(bob)
    message_id = write(world, alice, bob)
    alice.wait_for(lambda s: s.get("id") == message_id and s.get("type") == "error")
    world.no_push(token, SETTLE + 1)


@pytest.mark.servers()
@pytest.mark.needs("pushes")
def test_each_message_raises_the_badge(world, alice, bob, token):
    for number in range(1, 4):
        write(world, alice, bob)
        assert world.gateway.wait(token, number)[-1].badge == number


@pytest.mark.servers()
def test_a_burst_is_collapsed(world, alice, bob, token):
    """At most one entry per device and conversation; the last push has the whole count."""
    with world.held(alice):
        for _ in range(50):
            write(world, alice, bob)
    wait_until(lambda: world.gateway.pushes(token) and
               world.gateway.pushes(token)[-1].badge == 50, 10, "badge 50")
    pushes = world.gateway.pushes(token)
    assert len(pushes) < 10
    assert len({push.header("apns-collapse-id") for push in pushes}) == 1


# When: somebody online.


@pytest.mark.servers()
def test_the_only_session_silent(world, alice, bob):
    """The phone's own session is there but says nothing: pushed at confirm_after."""
    phone = world.login(bob, "phone")
    token = world.register_device(phone)
    started = time.time()
    phone.wait_id(write(world, alice, bob))
    push, = world.gateway.wait(token, 1)
    assert seconds_since(started, push) > CONFIRM * 0.9


@pytest.mark.servers()
def test_the_only_session_answers_with_anything(world, alice, bob):
    """A stanza of the device's own resource: it has the message."""
    phone = world.login(bob, "phone")
    token = world.register_device(phone)
    with world.held(alice):
        phone.wait_id(write(world, alice, bob))
        world.spooled(alice)  # before the answer
        alice.wait_id(phone.send_chat(alice.bare, None,
                                      extra="<received xmlns='urn:xmpp:receipts' id='x'/>"))
    world.no_push(token, CONFIRM + 1)


@pytest.mark.servers()
def test_read_before_confirm(world, configure, patient, alice, bob, token):
    laptop = world.login(bob, "laptop")
    message_id = write(world, alice, bob)
    laptop.wait_id(message_id)
    world.drain(alice)  # read in the same transaction it would never have been due
    laptop.displayed(alice.bare, message_id)
    world.drain(laptop)
    confirm_now(configure)
    world.no_push(token, CONFIRM + ELSEWHERE + 1)


@pytest.mark.servers()
@pytest.mark.needs("live-presence")
def test_active_elsewhere_waits_longer(world, alice, bob, token):
    laptop = world.login(bob, "laptop")
    started = time.time()
    message_id = write(world, alice, bob)
    laptop.wait_id(message_id)
    laptop.send_xml("<presence><show>chat</show></presence>")
    push, = world.gateway.wait(token, 1)
    assert seconds_since(started, push) > (CONFIRM + ELSEWHERE) * 0.9


@pytest.mark.servers()
@pytest.mark.needs("live-presence")
def test_never_while_active_elsewhere(world, configure, alice, bob, token):
    configure({"push.while_active_elsewhere": "never"})
    laptop = world.login(bob, "laptop")
    laptop.wait_id(write(world, alice, bob))
    world.no_push(token, CONFIRM + 1)


@pytest.mark.servers()
def test_a_session_that_vanished(world, alice, bob, token):
    """The server says nothing of it: found out at confirm_after at the latest."""
    laptop = world.login(bob, "laptop")
    laptop.drop()
    world.away(bob)
    write(world, alice, bob)
    world.gateway.wait(token, 1)


@pytest.mark.servers()
@pytest.mark.needs("goodbyes")
def test_who_has_gone_without_a_word_is_away(world, patient, alice, bob, token):
    world.login(bob, "laptop").drop()
    world.away(bob)
    write(world, alice, bob)
    assert world.gateway.wait(token, 1)[0].badge == 1


@pytest.mark.servers()
@pytest.mark.needs("undelivered")
def test_the_servers_own_sign_of_trouble(world, patient, alice, bob):
    """mod_push publishes for a hibernating session: no waiting for confirm_after."""
    phone = world.login(bob, "phone", sm=True)
    token, answer = world.register_push_apns(phone, app=APP)
    phone.enable_push(answer["jid"], answer["node"], answer["secret"])
    phone.drop()
    write(world, alice, bob)
    assert world.gateway.wait(token, 1)[0].badge == 1
    # The publish was only a hint: it makes no second push.
    world.away(bob)
    world.no_push(token, 1.5, since=1)


@pytest.mark.servers()
@pytest.mark.needs("undelivered")
def test_a_sign_of_trouble_is_for_the_device_that_is_in_it(world, patient, alice, bob):
    """The tablet is there: it has its time to answer."""
    phone = world.login(bob, "phone", sm=True)
    token, answer = world.register_push_apns(phone, app=APP)
    phone.enable_push(answer["jid"], answer["node"], answer["secret"])
    tablet = world.login(bob, "tablet")
    other = world.register_device(tablet)
    phone.drop()
    tablet.wait_id(write(world, alice, bob))
    assert world.gateway.wait(token, 1)[0].badge == 1
    assert world.gateway.pushes(other) == []


@pytest.mark.servers()
def test_a_user_cannot_forge_the_servers_sign(world, patient, alice, bob):
    phone = world.login(bob, "phone")
    token, answer = world.register_push_apns(phone, app=APP)
    phone.wait_id(write(world, alice, bob))
    options = submit_form({"secret": answer["secret"]})
    refused = alice.ask("set", (
        f"<pubsub xmlns='http://jabber.org/protocol/pubsub'><publish node='{answer['node']}'/>"
        f"<publish-options>{options}</publish-options></pubsub>"), world.component)
    assert refused.get("type") == "error"
    world.no_push(token, SETTLE + 1)


@pytest.mark.servers()
@pytest.mark.needs("undelivered")
def test_a_publish_for_an_offline_user_makes_no_second_push(world, alice, bob):
    phone = world.login(bob, "phone")
    token, answer = world.register_push_apns(phone, app=APP)
    phone.enable_push(answer["jid"], answer["node"], answer["secret"])
    phone.logout()
    world.away(bob)
    write(world, alice, bob)
    world.gateway.wait(token, 1)
    world.no_push(token, 2, since=1)


@pytest.mark.servers()
@pytest.mark.needs("snapshot")
def test_the_snapshot_at_connect(make_world):
    """Who is online when the sidecar connects is asked, not guessed."""
    world = make_world(start=False, settings=SETTINGS)
    alice, bob = world.login(world.user("alice")), world.user("bob")
    laptop = world.login(bob, "laptop")
    world.sidecar.start()
    token = world.register_device(world.login(bob, "phone", presence=False))
    started = time.time()
    laptop.wait_id(write(world, alice, bob))
    push, = world.gateway.wait(token, 1)
    assert seconds_since(started, push) > CONFIRM * 0.9


# What: headers and payload.


def test_headers_and_payload(world, alice, bob, token):
    write(world, alice, bob)
    push = world.gateway.wait(token, 1)[0]
    assert push.header(":path") == f"/3/device/{token}"
    assert push.header("apns-topic") == APP
    assert push.header("apns-push-type") == "alert"
    assert push.header("apns-priority") in (None, "10")
    assert int(push.header("apns-expiration")) > time.time() + 600
    assert UUID.match(push.apns_id)
    assert 0 < len(push.header("apns-collapse-id").encode()) <= 64
    assert push.badge == 1 and push.alert and push.sound == "default"
    assert push.thread


def test_conversations_have_threads_of_their_own(world, alice, bob, token):
    carol = world.login(world.user("carol"))
    for sender in (alice, carol, alice):
        seen = len(world.gateway.pushes(token))
        write(world, sender, bob)
        world.gateway.wait(token, seen + 1)
    first, second, third = world.gateway.pushes(token)
    assert first.thread == third.thread != second.thread
    ids = [push.header("apns-collapse-id") for push in (first, second, third)]
    assert ids[0] == ids[2] != ids[1]
    assert len({push.apns_id for push in (first, second, third)}) == 3
    # An account or an address can be read from neither.
    assert not any(name in text for name in (bob.name, alice.user, HOST)
                   for text in (*ids, first.thread))


@pytest.mark.parametrize("content", ["none", "count", "sender", "body"])
def test_what_a_notification_may_show(world, configure, alice, bob, token, content):
    configure({"push.content": content})
    body = world.body("See you at nine")
    alice.send_chat(bob.bare, body)
    push = world.gateway.wait(token, 1)[0]
    assert push.badge == 1
    text = str(push.payload)
    assert (body in text) == (content == "body")
    assert (alice.user in text) == (content in ("sender", "body"))


def test_bodies_that_do_not_fit_or_cannot_be_read(world, configure, alice, bob, token):
    configure({"push.content": "body"})
    alice.send_chat(bob.bare, "改" * 5000)
    push = world.gateway.wait(token, 1)[0]  # the gateway refuses bad UTF-8 and over 4096 bytes
    assert push.badge == 1
    assert "改改改" in str(push.payload) and "�" not in str(push.payload)
    alice.send_chat(bob.bare, "fallback for clients without OMEMO", extra=(
        "<encrypted xmlns='eu.siacs.conversations.axolotl'><header sid='1'><key rid='2'>AA=="
        "</key><iv>AA==</iv></header><payload>AAAA</payload></encrypted>"
        "<store xmlns='urn:xmpp:hints'/>"))
    push = world.gateway.wait(token, 2)[1]
    assert push.badge == 2 and push.alert
    assert "fallback" not in str(push.payload)


def test_a_key_transport_message_is_not_counted(world, alice, bob, token):
    alice.send_chat(bob.bare, None, extra=(
        "<encrypted xmlns='eu.siacs.conversations.axolotl'><header sid='1'><key rid='2'>AA=="
        "</key><iv>AA==</iv></header></encrypted><store xmlns='urn:xmpp:hints'/>"))
    world.drain(alice)
    assert world.oracle.unread(bob.bare) == 0
    world.no_push(token, SETTLE + 1)


# Reactions to the gateway's answers.


def test_accepted_leaves_nothing_behind(world, alice, bob, token):
    write(world, alice, bob)
    world.gateway.wait(token, 1)
    wait_until(lambda: world.oracle.outbox(bob.bare) == 0, 5, "the outbox is empty")
    assert [status for status, _ in world.oracle.push_log(bob.bare)] == [200]


def test_410_newer_than_the_registration(world, alice, bob, token):
    world.gateway.expire(token, int(time.time() * 1000) + 1000)
    write(world, alice, bob)
    assert world.gateway.wait_seen(token, 1)[0].status == 410
    wait_until(lambda: world.oracle.registrations(bob.bare) == 0, 5, "it is dropped")
    write(world, alice, bob)
    world.no_push(token, SETTLE + 1, since=1)
    assert world.oracle.outbox(bob.bare) == 0


def test_410_older_than_the_registration(world, alice, bob, token):
    """The app was installed anew since: Apple speaks of the past."""
    world.gateway.expire(token, 1000)
    write(world, alice, bob)
    first, second = world.gateway.wait_seen(token, 2)[:2]  # the gateway will know soon
    assert [first.status, second.status] == [410, 410]
    assert second.apns_id == first.apns_id
    assert world.oracle.registrations(bob.bare) == 1
    assert world.oracle.outbox(bob.bare) == 1
    # Nothing of it is left for the tests that follow.
    world.login(bob).command(world.component, "unregister-device",
                             {"provider": APP, "device-token": token})


def test_410_takes_the_token_from_all_its_accounts(world, alice):
    token, accounts = world.token(), world.users(2, "bob")
    for user in accounts:
        client = world.login(user, "phone")
        world.register_device(client, token)
        client.logout()
        world.away(user)
    world.gateway.expire(token, int(time.time() * 1000) + 1000)
    write(world, alice, accounts[0])
    world.gateway.wait_seen(token, 1)
    for user in accounts:
        wait_until(lambda user=user: world.oracle.registrations(user.bare) == 0, 5, "dropped")


def test_bad_device_token(world, alice, bob, token):
    """Others are accepted, so it is the device's fault: asked once and never again."""
    carol = world.user("carol")
    other = world.phone(carol)
    write(world, alice, carol)
    world.gateway.wait(other, 1)
    world.gateway.script(token, {"status": 400, "reason": "BadDeviceToken", "times": -1})
    write(world, alice, bob)
    world.gateway.wait_seen(token, 1)
    wait_until(lambda: world.oracle.registrations(bob.bare) == 0, 5, "it is dropped")
    assert world.oracle.push_log(bob.bare) == [(400, "BadDeviceToken")]
    write(world, alice, bob)
    world.no_push(token, SETTLE + 1, since=1)
    assert world.oracle.outbox(bob.bare) == 0
    # The rest of the fleet is unharmed.
    write(world, alice, carol)
    world.gateway.wait(other, 2)


def test_bad_device_token_where_nobody_is_accepted(world, alice, bob):
    """It may be our environment or topic: the few devices of a new app are kept."""
    token = world.phone(bob, app="app.small")
    world.gateway.script(token, {"status": 400, "reason": "BadDeviceToken", "times": 1})
    write(world, alice, bob)
    world.gateway.wait_seen(token, 1)
    wait_until(lambda: parked(world, bob) == ["BadDeviceToken"], 5, "its push is parked")
    assert world.oracle.registrations(bob.bare) == 1
    write(world, alice, bob)
    assert world.gateway.wait(token, 1)[0].badge == 2
    wait_until(lambda: world.oracle.outbox(bob.bare) == 0, 5, "it is settled")


def test_expired_provider_token(world, alice, bob, token):
    """A new provider token on a new connection; the push is not lost."""
    write(world, alice, bob)
    first = world.gateway.wait(token, 1)[0]
    world.gateway.expire_jwt(stick_to_connection=True)
    write(world, alice, bob)
    pushes = world.gateway.wait_seen(token, 3)
    assert [push.status for push in pushes] == [200, 403, 200]
    assert pushes[1].reason == "ExpiredProviderToken"
    assert pushes[2].connection != first.connection
    assert pushes[2].jwt != first.jwt
    assert pushes[2].badge == 2


def test_too_many_requests_for_one_device(world, alice, bob, token):
    world.gateway.script(token, {"status": 429, "reason": "TooManyRequests", "retry_after": 1})
    carol = world.user("carol")
    other = world.phone(carol)
    write(world, alice, bob)
    world.gateway.wait_seen(token, 1)
    write(world, alice, carol)
    world.gateway.wait(other, 1)  # only this device is held
    push = world.gateway.wait(token, 1, timeout=30)[0]
    assert push.badge == 1


@pytest.mark.parametrize("reason", ["InternalServerError", "ServiceUnavailable"])
def test_5xx_is_tried_again(world, alice, bob, token, reason):
    status = 500 if reason == "InternalServerError" else 503
    world.gateway.script(token, {"status": status, "reason": reason, "retry_after": 1},
                         {"hold": True})
    write(world, alice, bob)
    first = world.gateway.wait_seen(token, 1)[0]
    assert world.oracle.outbox(bob.bare) == 1
    assert world.oracle.registrations(bob.bare) == 1
    world.gateway.release()
    second = world.gateway.wait(token, 1, timeout=30)[0]
    assert second.badge == 1
    assert second.apns_id == first.apns_id
    wait_until(lambda: world.oracle.outbox(bob.bare) == 0, 5, "it is settled")


def test_shutdown_moves_to_another_connection(world, alice, bob, token):
    world.gateway.script(token, {"status": 503, "reason": "Shutdown"})
    write(world, alice, bob)
    second = world.gateway.wait(token, 1)[0]
    first = world.gateway.pushes(token)[0]
    assert second.connection != first.connection


@pytest.mark.parametrize("betrayal", [
    {"refuse_stream": True},
    {"goaway": {"last": "before"}},
    {"goaway": {"last": "before", "reason": "Shutdown"}},
    {"goaway": {"last": "before", "reason": "IdleTimeout"}},
    {"cut": "before_answer"},
    {"reset_stream": 8},
    {"reset_stream": 2},
], ids=str)
def test_unanswered_is_sent_again(world, alice, bob, token, betrayal):
    """Not processed, or not known to be: again, under the same apns-id."""
    world.gateway.script(token, betrayal)
    write(world, alice, bob)
    second = world.gateway.wait(token, 1, timeout=30)[0]
    first = world.gateway.pushes(token)[0]
    assert first.status != 200
    assert second.apns_id == first.apns_id
    assert second.badge == 1
    wait_until(lambda: world.oracle.outbox(bob.bare) == 0, 5, "it is settled")


@pytest.mark.parametrize("betrayal", [
    {"goaway": {"last": "after"}},
    {"two_step_goaway": True, "gap_ms": 300},
    {"cut": "after_answer"},
], ids=str)
def test_answered_is_not_sent_again(world, alice, bob, token, betrayal):
    world.gateway.script(token, betrayal)
    write(world, alice, bob)
    world.gateway.wait(token, 1)
    world.no_push(token, 1, since=1)
    # The next one finds a connection.
    write(world, alice, bob)
    assert world.gateway.wait(token, 2, timeout=15)[1].badge == 2


@pytest.mark.slow
def test_silence(world, alice, bob, token):
    """One stream that is never answered holds up nobody and is given up in the end."""
    world.gateway.script(token, {"silence": True})
    carol = world.user("carol")
    other = world.phone(carol)
    write(world, alice, bob)
    first = world.gateway.wait_seen(token, 1)[0]
    write(world, alice, carol)
    world.gateway.wait(other, 1, timeout=15)
    second = world.gateway.wait(token, 1, timeout=60)[0]
    assert second.apns_id == first.apns_id


def test_the_gateway_is_away(world, alice, bob, token):
    world.gateway.down()
    write(world, alice, bob)
    write(world, alice, bob)
    world.drain(alice)
    time.sleep(SETTLE + 1)
    assert world.oracle.outbox(bob.bare) == 1
    world.gateway.down(False)
    push = world.gateway.wait(token, 1, timeout=40)[-1]
    assert push.badge == 2


@pytest.mark.parametrize("reason", ["PayloadTooLarge", "BadCollapseId", "PayloadEmpty"])
def test_a_mistake_of_ours_is_neither_retried_nor_held_against_the_device(world, alice, bob,
                                                                          token, reason):
    status = 413 if reason == "PayloadTooLarge" else 400
    world.gateway.script(token, {"status": status, "reason": reason, "times": 1})
    write(world, alice, bob)
    world.gateway.wait_seen(token, 1)
    wait_until(lambda: parked(world, bob) == [reason], 5, "its push is parked")
    world.no_push(token, 1, since=1)
    assert world.oracle.registrations(bob.bare) == 1
    assert world.oracle.push_log(bob.bare) == [(status, reason)]
    # The next message finds the way, with the whole count.
    write(world, alice, bob)
    assert world.gateway.wait(token, 1)[0].badge == 2


@pytest.mark.parametrize("status, reason", [
    (403, "InvalidProviderToken"), (403, "Forbidden"), (400, "TopicDisallowed"),
    (403, "SomethingNew"), (400, "BadTopic")])
def test_a_configuration_error_stops_the_app_and_keeps_the_devices(world, alice, bob, token,
                                                                    status, reason):
    app = f"app.{reason}"
    said = f"level=error process=worker gateway app={app} stopped: {reason}; one push is tried"
    world.sidecar.allow_error(said)
    wrong = world.phone(bob, "tablet", app=app)
    if reason == "InvalidProviderToken":
        replace_worker(world)  # the token is shared; this one has not renewed it out of turn
    world.gateway.script(wrong, {"status": status, "reason": reason, "times": -1})
    write(world, alice, bob)
    # InvalidProviderToken deserves one try with a fresh token.
    tries = 2 if reason == "InvalidProviderToken" else 1
    world.gateway.wait_seen(wrong, tries)
    world.sidecar.wait_log(said)
    wait_until(lambda: world.oracle.outbox(bob.bare) == 1, 5, "only this app's push is left")
    write(world, alice, bob)
    assert world.gateway.wait(token, 2)[1].badge == 2  # the other app does not suffer
    world.no_push(wrong, 1, since=tries)
    assert world.oracle.registrations(bob.bare) == 2
    assert world.oracle.outbox(bob.bare) == 1 and parked(world, bob) == []
    (shown,) = [shown for shown in world.sidecar.status()["apps"] if shown["id"] == app]
    assert (shown["state"], shown["reason"]) == ("stopped", reason)
    assert reason in world.sidecar.command("status").stdout


def test_a_wave_of_rejections_deletes_nobody(world, alice):
    """A wrong environment or key rejects everybody: that is no reason to delete everybody."""
    app = "app.wave"
    said = f"level=error process=worker outbox app={app} many pushes are rejected"
    world.sidecar.allow_error(said)
    people = world.users(12, "wave")
    tokens = []
    for user in people:
        client = world.login(user, "phone")
        tokens.append(world.register_device(client, provider=app))
        client.logout()
    for user in people:
        world.away(user)
    write(world, alice, people[0])
    world.gateway.wait(tokens[0], 1)  # it worked once
    for token in tokens:
        world.gateway.script(token, {"status": 400, "reason": "BadDeviceToken", "times": -1})
    for user in people:
        write(world, alice, user)
    for token in tokens[1:]:
        world.gateway.wait_seen(token, 1)
    world.sidecar.wait_log(said)
    wait_until(lambda: all(world.oracle.outbox(user.bare) == len(parked(world, user))
                           for user in people), 10, "all is settled")
    kept = sum(world.oracle.registrations(user.bare) for user in people)
    assert kept >= len(people) - 5
    assert sum(len(parked(world, user)) for user in people) == kept
    # The mistake is mended and the worker replaced: it tries one, then all come back.
    world.gateway.reset()
    left = [token for user, token in zip(people, tokens) if world.oracle.registrations(user.bare)]
    replace_worker(world)
    for token in left:
        assert world.gateway.wait(token, 1, timeout=30)[0].badge == 1 + (token == tokens[0])
    wait_until(lambda: not any(world.oracle.outbox(user.bare) for user in people), 10,
               "nothing is parked")
    assert sum(world.oracle.registrations(user.bare) for user in people) == kept


# Streams and connections.


def test_many_pushes_share_a_connection_within_its_limit(world, alice):
    people = world.users(15, "many")
    tokens = []
    for user in people:
        client = world.login(user, "phone")
        tokens.append(world.register_device(client))
        client.logout()
    for user in people:
        world.away(user)
    world.gateway.max_streams(5)
    for token in tokens:
        world.gateway.script(token, {"delay_ms": 100})
    with world.held(alice):
        for user in people:
            write(world, alice, user)
    for token in tokens:
        assert world.gateway.wait(token, 1, timeout=20)[0].badge == 1
    stats = world.gateway.stats()
    assert 1 < stats["max_concurrent_streams"] <= 5
    assert stats["violations"] == []
    assert stats["streams_refused"] == 0


def test_a_message_that_comes_while_its_predecessor_is_in_flight(world, alice, bob, token):
    world.gateway.script(token, {"hold": True})
    write(world, alice, bob)
    wait_until(lambda: in_flight(world) == 1, 5, "the first is on its way", 0.05)
    write(world, alice, bob)
    world.drain(alice)
    time.sleep(SETTLE + 0.5)  # it would be sent by now
    released = time.time()
    world.gateway.release()
    pushes = world.gateway.wait(token, 2, timeout=15)
    assert [push.badge for push in pushes] == [1, 2]
    # One badge in flight per device: the second waited for the first's answer.
    assert seconds_since(released, pushes[1]) >= -0.001


def test_the_worker_dies_with_a_push_in_flight(world, alice, bob, token):
    """At most one duplicate, under the same apns-id; never none."""
    world.gateway.script(token, {"silence": True})
    write(world, alice, bob)
    first = world.gateway.wait_seen(token, 1)[0]
    assert in_flight(world) == 1
    replace_worker(world)
    wait_until(lambda: world.oracle.outbox(bob.bare) == 0, 10, "the entry is settled")
    pushes = world.gateway.pushes(token)
    assert [push.status for push in pushes] == [0, 200]
    assert pushes[1].apns_id == first.apns_id
    assert pushes[1].header("apns-collapse-id") == first.header("apns-collapse-id")


@pytest.mark.parametrize("signum", [signal.SIGUSR2, signal.SIGHUP])
def test_an_orderly_replacement_repeats_no_push(world, alice, bob, token, signum):
    """The old worker waits for the answer and stores it."""
    world.gateway.script(token, {"hold": True})
    write(world, alice, bob)
    wait_until(lambda: in_flight(world) == 1, 5, "it is on its way")
    old = world.sidecar.worker_pid()
    world.sidecar.process.send_signal(signum)
    time.sleep(0.3)
    world.gateway.release()
    world.sidecar.wait_new_worker(old)
    wait_until(lambda: world.oracle.outbox(bob.bare) == 0, 10, "the entry is settled")
    world.sidecar.wait_ready()
    world.no_push(token, 1, since=1)
    assert [push.status for push in world.gateway.pushes(token)] == [200]


def test_the_worker_dies_while_a_push_waits(world, configure, patient, alice):
    """The next worker knows who was online: it neither pushes at once nor forgets."""
    bob, carol, dave = world.users(3, "bob")
    offline = world.phone(dave)
    phones = [world.login(user, "phone") for user in (bob, carol)]
    silent, active = [world.register_device(phone) for phone in phones]
    for user, phone in zip((bob, carol), phones):
        phone.wait_id(write(world, alice, user))
    world.drain(alice)
    replace_worker(world)
    write(world, alice, dave)
    world.gateway.wait(offline, 1)
    phones[1].send_chat(alice.bare, None, extra="<received xmlns='urn:xmpp:receipts' id='x'/>")
    world.drain(phones[1])
    assert world.gateway.pushes(silent) == []
    confirm_now(configure)
    assert world.gateway.wait(silent, 1)[0].badge == 1
    wait_until(lambda: not any(world.oracle.outbox(user.bare) for user in (bob, carol, dave)),
               5, "all is settled")
    assert len(world.gateway.pushes(silent)) == 1
    assert world.gateway.pushes(active) == []


def test_while_the_archive_is_behind_pushes_are_only_collected(world, alice):
    """Sent afterwards, once, with the counts and read positions of that moment."""
    bob, carol = world.users(2, "bob")
    bobs, carols = world.phone(bob), world.phone(carol)
    with contextlib.closing(world.postgres.connect(world.database)) as holder:
        holder.autocommit = False
        holder.cursor().execute("SELECT FROM xs.lane FOR UPDATE")
        for _ in range(3):
            write(world, alice, bob)
        carols_id = write(world, alice, carol)
        wait_until(lambda: world.sidecar.status()["outbox"]["paused"], 15, "sending pauses")
        laptop = world.login(carol, "laptop")
        laptop.displayed(alice.bare, carols_id)
        world.spooled(laptop)
    assert world.gateway.wait(bobs, 1, timeout=20)[0].badge == 3
    world.drain(alice)
    world.no_push(bobs, 1, since=1)
    assert all(push.alert is None for push in world.gateway.pushes(carols))
    assert world.oracle.unread(carol.bare) == 0


def test_old_messages_change_the_badge_only(world, configure, alice, bob, token):
    """What waited longer than push.max_age alerts nobody."""
    configure({"push.max_age": "1s"})
    laptop = world.login(bob, "laptop")
    laptop.wait_id(write(world, alice, bob))  # due after max_age is over
    push = world.gateway.wait(token, 1, timeout=15)[0]
    assert push.badge == 1 and push.alert is None


def test_tokens_and_bodies_are_in_no_log_at_level_debug(world, alice, bob, token):
    body_id = new_id()
    body = world.body("secret")
    alice.send_chat(bob.bare, body, body_id)
    world.gateway.wait(token, 1)
    text = world.sidecar.log_text()
    assert "level=debug" in text
    assert token not in text and body.split()[-1] not in text
