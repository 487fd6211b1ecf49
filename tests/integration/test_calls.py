# SPDX-License-Identifier: Apache-2.0
"""Calls (XEP-0353) ring at once, or not at all; messages that only wake an app."""

import contextlib
import json
import time

import pytest

from harness.clients import new_id
from harness.procs import wait_until
from harness.webpush import missing
from harness.world import APP

pytestmark = pytest.mark.servers("ejabberd", "prosody")
JMI = "urn:xmpp:jingle-message:0"
VOIP, QUIET, WAKE = "chat.calls", "chat.quiet", "chat.wake"
APPS = (APP, VOIP, QUIET, WAKE)
FCM_APPS = {"chat.android": {"form": "notification"}}
WEBPUSH_APPS = {"chat.web": {}}
APP_SETTINGS = {
    APP: {"calls": True},
    VOIP: {"calls": True, "apns.voip": True},
    WAKE: {"apns.push_type": "background"},
    "chat.android": {"calls": True},
    "chat.web": {"calls": True},
}
# What others wait for does not delay a call.
SETTINGS = {"push.settle": "3s", "push.confirm_after": "20s"}


def propose(client, to, session, media=("audio",), store=True):
    text = "".join(f"<description xmlns='urn:xmpp:jingle:apps:rtp:1' media='{kind}'/>"
                   for kind in media)
    hint = "<store xmlns='urn:xmpp:hints'/>" if store else ""
    return client.send_chat(to, None,
                            extra=f"<propose xmlns='{JMI}' id='{session}'>{text}</propose>{hint}")


@contextlib.contextmanager
def no_message_is_faster(world, alice, phone):
    """alice calls meanwhile: yields a list that gets the call's push to the phone.  It is sent
    before that of a message that came just before the call."""
    carol = world.user("carol")
    token, pushes = world.phone(carol), []
    with world.held(alice):
        alice.send_chat(carol.bare, world.body())
        yield pushes
    pushes += world.gateway.wait(phone, 1)
    assert pushes[0].time_ms < world.gateway.wait(token, 1)[0].time_ms


def say(client, to, word, session):
    client.send_chat(to, None, extra=f"<{word} xmlns='{JMI}' id='{session}'/>"
                                     "<store xmlns='urn:xmpp:hints'/>")


def reasons(world, user):
    """What became of the user's calls, oldest first."""
    return [reason for (reason,) in world.oracle.query(
        "SELECT coalesce(p.reason, p.status::text) FROM xs.push_log p JOIN xs.account a"
        " USING (owner) WHERE a.jid = %s AND p.peer < -1 ORDER BY p.at", (user.bare,))]


def wait_reasons(world, user, *wanted):
    wait_until(lambda: reasons(world, user) == list(wanted), 10,
               f"{wanted} (now {reasons(world, user)})")


@pytest.fixture
def phone(world, bob):
    return world.phone(bob)


def voip_phone(world, user):
    """Both tokens of the user's iPhone; the app has gone away."""
    client = world.login(user, "phone")
    token, voip = world.token(), world.token()
    client.command(world.component, "register-device",
                   {"provider": VOIP, "device-token": token, "device-second-token": voip})
    client.logout()
    world.away(user)
    return token, voip


def test_a_call_rings_at_once_and_is_nothing_unread(world, alice, bob, phone):
    session = new_id("call")
    with no_message_is_faster(world, alice, phone) as pushes:
        propose(alice, bob.bare, session)
    push = pushes[0]
    assert push.alert == {"title": alice.user, "body": "Incoming call"}
    assert push.payload["call"] == {"id": session, "media": ["audio"], "from": alice.bare,
                                    "account": bob.bare}
    assert push.header("apns-push-type") == "alert"
    assert push.header("apns-priority") == "10"
    assert 0 < int(push.header("apns-expiration")) - time.time() <= 45
    assert push.badge == 0
    world.drain(alice)
    assert world.oracle.unread(bob.bare) == 0
    assert len(world.oracle.rows(bob.bare)) == 1  # it says <store/>
    world.no_push(phone, 3.5, since=1)


def test_what_is_not_to_be_stored_rings_and_is_not_archived(world, alice, bob, phone):
    propose(alice, bob.bare, new_id("call"), media=("audio", "video"), store=False)
    assert world.gateway.wait(phone, 1)[0].payload["call"]["media"] == ["audio", "video"]
    world.drain(alice)
    assert world.oracle.rows(bob.bare) == []
    assert world.oracle.rows(alice.bare) == []


def test_it_rings_though_somebody_is_online(world, alice, bob, phone):
    here = world.login(bob, "laptop")
    with no_message_is_faster(world, alice, phone):
        message = propose(alice, bob.bare, new_id("call"))
        here.wait_id(message)


def test_pushkit_gets_calls_and_the_other_token_messages(world, alice, bob):
    token, voip = voip_phone(world, bob)
    session = new_id("call")
    propose(alice, bob.bare, session)
    push = world.gateway.wait(voip, 1)[0]
    assert push.header("apns-push-type") == "voip"
    assert push.header("apns-topic") == f"{VOIP}.voip"
    assert push.header("apns-priority") == "10"
    assert push.payload["aps"] == {}
    assert push.payload["call"]["id"] == session
    alice.send_chat(bob.bare, world.body())
    assert world.gateway.wait(token, 1)[0].header("apns-topic") == VOIP
    assert len(world.gateway.pushes(voip)) == 1


def test_register_push_apns_takes_the_second_token_too(world, alice, bob):
    client, voip = world.login(bob, "phone"), world.token()
    world.register_push_apns(client, app=VOIP, **{"voip-token": voip})
    propose(alice, bob.bare, new_id("call"))
    world.gateway.wait(voip, 1)


def test_pushkits_token_is_only_for_the_account_that_said_it(world, alice, bob):
    token, voip = voip_phone(world, bob)
    mallory, other = world.login(world.user("mallory"), "phone"), world.token()
    said = {"provider": VOIP, "device-token": token}
    for calls, more in enumerate(({"device-second-token": other}, {}), 1):
        mallory.command(world.component, "register-device", {**said, **more})
        propose(alice, bob.bare, new_id("call"))
        assert world.gateway.wait(voip, calls)[-1].header("apns-push-type") == "voip"
        if more:
            propose(alice, mallory.bare, new_id("call"))
            world.gateway.wait(other, 1)
    mallory.command(world.component, "unregister-device", said)
    propose(alice, bob.bare, new_id("call"))
    world.gateway.wait(voip, 3)
    assert len(world.gateway.pushes(other)) == 1


def test_an_alert_tells_where_pushkits_token_is_gone(world, alice, bob):
    token, voip = voip_phone(world, bob)
    world.gateway.expire(voip, int(time.time() * 1000) + 60000)
    propose(alice, bob.bare, new_id("call"))
    push = world.gateway.wait(token, 1)[0]
    assert push.header("apns-push-type") == "alert"
    assert "call" in push.payload
    assert [push.status for push in world.gateway.pushes(voip)] == [410]
    assert world.oracle.registrations(bob.bare) == 1
    propose(alice, bob.bare, new_id("call"))
    world.gateway.wait(token, 2)
    assert len(world.gateway.pushes(voip)) == 1


@pytest.mark.parametrize("word", ["retract", "finish"])
def test_a_call_that_was_taken_back_does_not_ring(world, alice, bob, phone, word):
    session = new_id("call")
    with world.held(alice):
        propose(alice, bob.bare, session)
        say(alice, bob.bare, word, session)
    wait_reasons(world, bob, "the caller took it back" if word == "retract"
                 else "the caller ended it")
    world.no_push(phone, 1)


@pytest.mark.parametrize("word", ["proceed", "reject", "accept"])
def test_a_call_that_another_device_has_taken_does_not_ring(world, alice, bob, phone, word):
    here, session = world.login(bob, "laptop"), new_id("call")
    with world.held(here):
        message = propose(alice, bob.bare, session)
        here.wait_id(message)
        say(here, bob.bare if word == "accept" else alice.bare, word, session)
    wait_reasons(world, bob, "the account has rejected it" if word == "reject"
                 else "the account has answered it")
    world.no_push(phone, 1)


@pytest.mark.needs("blocked")
def test_who_is_blocked_does_not_make_a_phone_ring(world, alice, bob, phone):
    client = world.login(bob, "laptop")
    client.block(alice.bare)
    client.logout()
    world.away(bob)
    propose(alice, bob.bare, new_id("call"))
    world.drain(alice)
    world.no_push(phone, 3)


def test_an_app_that_does_not_ask_is_told_of_no_call(world, alice, bob):
    token = world.phone(bob, app=QUIET)
    propose(alice, bob.bare, new_id("call"))
    world.drain(alice)
    world.no_push(token, 4)
    alice.send_chat(bob.bare, world.body())
    world.gateway.wait(token, 1)


def test_muted_callers_do_not_ring(world, alice, bob):
    laptop = world.login(bob, "laptop")
    token = world.register_device(laptop)
    world.exchange(alice, laptop)  # a conversation, which can be muted
    laptop.iq("set", f"<query xmlns='erlang-solutions.com:xmpp:inbox:0#conversation'"
                     f" jid='{alice.bare}'><mute>3600</mute></query>")
    propose(alice, bob.bare, new_id("call"))
    wait_reasons(world, bob, "muted")
    world.no_push(token, 0.5)


def test_nothing_rings_in_quiet_hours_but_who_is_always_heard(world, alice, bob, phone):
    laptop, carol = world.login(bob, "laptop"), world.login(world.user("carol"))
    now = time.gmtime(time.time() - 3600)
    form = laptop.command(world.component, "notification-settings")
    laptop.command(world.component, "notification-settings",
                   {"quiet-from": time.strftime("%H:%M", now),
                    "quiet-to": time.strftime("%H:%M", time.gmtime(time.time() + 7200)),
                    "time-zone": "UTC", "always": carol.bare},
                   action="complete", session=form.get("sessionid"))
    propose(alice, bob.bare, new_id("call"))
    wait_reasons(world, bob, "quiet hours")
    assert world.gateway.pushes(phone) == []
    propose(carol, bob.bare, new_id("call"))
    assert world.gateway.wait(phone, 1)[0].payload["call"]["from"] == carol.bare


def test_who_shows_no_sender_shows_none_of_a_call(world, alice, bob, phone):
    laptop = world.login(bob, "laptop")
    form = laptop.command(world.component, "notification-settings")
    laptop.command(world.component, "notification-settings", {"content": "none"},
                   action="complete", session=form.get("sessionid"))
    propose(alice, bob.bare, new_id("call"))
    push = world.gateway.wait(phone, 1)[0]
    assert push.alert == {"body": "Incoming call"}
    assert set(push.payload["call"]) == {"id", "media"}


def test_a_call_never_rings_late(world, alice, bob, phone):
    world.gateway.script(phone, {"status": 503, "reason": "ServiceUnavailable",
                                 "retry_after": 900})
    propose(alice, bob.bare, new_id("call"))
    wait_reasons(world, bob, "ServiceUnavailable")
    assert world.oracle.outbox(bob.bare) == 0
    world.no_push(phone, 1, since=1)


def test_a_lost_connection_is_tried_again_within_seconds(world, alice, bob, phone):
    world.gateway.script(phone, {"cut": "before_answer"})
    propose(alice, bob.bare, new_id("call"))
    push = world.gateway.wait(phone, 1)[0]
    assert "call" in push.payload


def test_android_rings_by_its_app(world, alice, bob):
    token, session = world.android(bob, "chat.android"), new_id("call")
    propose(alice, bob.bare, session)
    message = world.gateway.wait_fcm(token)[0]
    assert message.data["call"] == session
    assert message.data["call_from"] == alice.bare
    assert message.data["call_media"] == "audio"
    assert message.android["priority"].lower() == "high"
    assert 0 < int(message.android["ttl"].rstrip("s")) <= 45
    assert message.notification == {}
    assert message.message["apns"]["payload"]["call"]["id"] == session


@pytest.mark.skipif(missing() is not None, reason=str(missing()))
def test_a_browser_is_told_urgently(world, alice, bob):
    subscription, session = world.browser(bob, "chat.web"), new_id("call")
    propose(alice, bob.bare, session)
    push = subscription.wait(1)[0]
    assert push.headers["urgency"] == "high"
    assert 0 < int(push.headers["ttl"]) <= 45
    assert push.data["call"] == {"id": session, "media": ["audio"], "from": alice.bare,
                                 "account": bob.bare}


def test_a_message_only_wakes_an_app_that_wants_no_more(world, alice, bob):
    token = world.phone(bob, app=WAKE)
    world.known_offline(bob)
    alice.send_chat(bob.bare, world.body())
    push = world.gateway.wait(token, 1)[0]
    assert push.header("apns-push-type") == "background"
    assert push.header("apns-priority") == "5"
    assert push.payload["aps"] == {"content-available": 1}
    assert push.payload["unread"] == 1
    # What it reads elsewhere is on the icon all the same.
    laptop = world.login(bob, "laptop")
    laptop.command(world.component, "mark-all-read")
    laptop.logout()
    wait_until(lambda: world.gateway.accepted(token)[-1].badge == 0, 15, "the icon is told")


# explain


def explain(world, user, name):
    done = world.sidecar.command("explain", user.bare, name, "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def explained(world, user, name, tries=1):
    """Once so much was tried for each device that was told."""
    return wait_until(lambda: (now := explain(world, user, name))["devices"] and
                      any(d["tries"] for d in now["devices"]) and
                      all(len(d["tries"]) == tries for d in now["devices"]
                          if d["untold_because"] is None) and now, 5, "the answers are stored")


def archive_ids(world, user):
    """By the stanzas' own."""
    rows = world.sidecar.command("history", user.bare, "--json").stdout
    return {row["stanza_id"]: row["id"] for row in json.loads(rows)}


def test_explain_tells_of_a_call_that_was_answered(world, alice, bob, phone):
    quiet = world.phone(bob, app=QUIET, resource="old phone")
    voiceless = world.phone(bob, app=VOIP, resource="tablet")
    session, laptop = new_id("call"), world.login(bob, "laptop")
    message = propose(alice, bob.bare, session)
    world.gateway.wait(phone, 1)
    world.gateway.wait(voiceless, 1)
    answer = laptop.send_chat(alice.bare, None, extra=f"<proceed xmlns='{JMI}' id='{session}'/>"
                                                      "<store xmlns='urn:xmpp:hints'/>")
    world.drain(laptop)
    told = explained(world, bob, session)
    call = told["call"]
    assert (call["session"], call["from"], call["media"]) == (session, alice.bare, "audio")
    assert call["over_because"] == "the account has answered it"
    assert call["at"] < call["over_at"] and call["untold_because"] is None
    devices = {device["app"]: device for device in told["devices"]}
    assert set(devices) == {APP, QUIET, VOIP} and told["devices_now"] == 3
    tried, = devices[APP]["tries"]
    assert (tried["status"], tried["reason"], tried["decision"]) == (200, None, "call")
    assert tried["apns_id"] == world.gateway.pushes(phone)[0].header("apns-id").lower()
    assert devices[VOIP]["tries"][0]["reason"] == "it has no token for calls"
    assert devices[QUIET]["tries"] == []
    assert devices[QUIET]["untold_because"] == \
        "its app is not told of calls, by today's settings"
    # By whichever of its messages, and as text; no token is in it.
    ids = archive_ids(world, bob)
    for name in (message, ids[message], answer, ids[answer]):
        again = explain(world, bob, name)
        assert (again["call"], again["devices"]) == (call, told["devices"])
        assert again["message"]["peer"] == alice.bare
    text = world.sidecar.command("explain", bob.bare, session).stdout
    assert f"{call['over_at']}: the account has answered it" in text
    assert "not told: its app is not told of calls" in text and tried["apns_id"] in text
    assert not any(token in text for token in (phone, quiet, voiceless))
    # Of who calls, and of a stranger, there is nothing to tell.
    mine = explain(world, alice, message)
    assert mine["call"]["untold_because"] == "the account itself calls"
    assert mine["devices"] == []
    assert world.sidecar.command("explain", world.login(world.user("mallory")).bare,
                                 session).returncode != 0


def test_explain_tells_why_a_call_did_not_ring(world, alice, bob, phone):
    laptop, session = world.login(bob, "laptop"), new_id("call")
    with world.held(laptop):
        laptop.wait_id(propose(alice, bob.bare, session, store=False))
        laptop.send_chat(bob.bare, None, extra=f"<reject xmlns='{JMI}' id='{session}'/>")
    told = explained(world, bob, session)
    assert "message" not in told
    assert told["call"]["over_because"] == "the account has rejected it"
    tried, = told["devices"][0]["tries"]
    assert (tried["reason"], tried["apns_id"]) == ("the account has rejected it", None)
    text = world.sidecar.command("explain", bob.bare, session).stdout
    assert "not sent the account has rejected it  because: call" in text
    # One that no service took in time.
    world.gateway.script(phone, {"status": 503, "reason": "ServiceUnavailable",
                                 "retry_after": 900})
    session = new_id("call")
    message = propose(alice, bob.bare, session)
    told = explained(world, bob, message)
    assert told["call"]["over_because"] is None
    assert [(t["status"], t["reason"]) for t in told["devices"][0]["tries"]] == \
        [(503, "ServiceUnavailable")]
    # What was tried is known longer than the call.
    world.oracle.query("DELETE FROM xs.call RETURNING 1")
    later = explain(world, bob, message)
    assert later["devices"] == told["devices"]
    assert later["call"]["session"] == session and later["call"]["untold_because"] is None


def test_explain_tells_why_a_call_was_not_to_be_told(world, alice, bob):
    def why(message):
        world.drain(alice)
        told = explain(world, bob, message)
        assert told["devices"] == []
        return told["call"]["untold_because"]

    nobody = "the account has no device of an app that is told of calls"
    laptop = world.login(bob, "laptop") # or the call would come again, with the phone
    early = propose(alice, bob.bare, new_id("call"))
    laptop.wait_id(early)
    assert why(early) == nobody
    assert nobody in world.sidecar.command("explain", bob.bare, early).stdout
    laptop.logout()
    token = world.phone(bob)
    assert why(early).startswith("not known: it came late, or the account had no device then")
    calls = [propose(alice, bob.bare, new_id("call")) for _ in range(5)]
    world.gateway.wait(token, 4)
    assert why(calls[4]) == \
        "as many calls of this caller as are told had come within a minute"
