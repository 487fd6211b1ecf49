# SPDX-License-Identifier: Apache-2.0
"""What an app shows of a message: no more than push.content, and in its own way."""

import pytest

from harness.world import World

ALL, COUNT, NONE, ANDROID = "chat.all", "chat.count", "chat.none", "chat.android"
# Apps that have the words themselves.
OWN, OWN_COUNT, OWN_ANDROID, OWN_DATA = "chat.own", "chat.own.count", "own.android", "own.data"
LOC = {"message_loc_key": "new", "count_loc_key": "unread", "encrypted_loc_key": "secret"}
OMEMO = ("<encrypted xmlns='eu.siacs.conversations.axolotl'><header sid='1'><key rid='2'>AA=="
         "</key><iv>AA==</iv></header><payload>AAAA</payload></encrypted>"
         "<store xmlns='urn:xmpp:hints'/>")


@pytest.fixture(scope="module")
def module_world(module_workspace, postgres, server, loop):
    world = World(module_workspace, postgres, loop, server,
                  apps=(ALL, COUNT, NONE, OWN, OWN_COUNT),
                  fcm_apps={ANDROID: {"channel": "messages"}, OWN_ANDROID: {},
                            OWN_DATA: {"form": "data"}}, settings={"push.content": "body"},
                  start=False)
    shown = {app["id"]: app for app in world.sidecar.settings["push"]["apps"]}
    shown[ALL] |= {"encrypted_text": "Nur für dich", "sound": "bell.caf"}
    shown[ALL]["apns"] |= {"category": "MESSAGE", "interruption_level": "time-sensitive"}
    shown[COUNT]["content"] = "count"
    shown[NONE] |= {"content": "none", "sound": ""}
    shown[ANDROID]["content"] = "sender"
    for app in (OWN, OWN_COUNT, OWN_ANDROID, OWN_DATA):
        shown[app] |= LOC
    shown[OWN_COUNT]["content"] = "count"
    world.sidecar.configure({})
    world.sidecar.start()
    yield world
    assert world.sidecar.stop() == 0 and world.sidecar.findings() == []


def test_each_app_shows_what_it_may(world, alice):
    bob = world.user("bob")
    tokens = {app: world.phone(bob, app, app=app) for app in (ALL, COUNT, NONE)}
    android = world.android(bob, ANDROID)
    body = world.body("See you at nine")
    alice.send_chat(bob.bare, body)
    pushes = {app: world.gateway.wait(token, 1)[0] for app, token in tokens.items()}
    assert pushes[ALL].alert == {"title": alice.user, "body": body}
    assert pushes[COUNT].alert == {"body": "1 unread message"}
    assert pushes[NONE].alert == {"body": "New message"}
    for app in (COUNT, NONE):
        assert alice.user not in str(pushes[app].payload) and body not in str(pushes[app].payload)
    (message,) = world.gateway.wait_fcm(android)
    assert message.notification == {"title": alice.user, "body": "New message"}
    assert message.android["notification"]["channel_id"] == "messages"
    assert (pushes[ALL].sound, pushes[NONE].sound) == ("bell.caf", None)
    aps = pushes[ALL].payload["aps"]
    assert (aps["category"], aps["interruption-level"]) == ("MESSAGE", "time-sensitive")
    assert "category" not in pushes[COUNT].payload["aps"]
    assert "interruption-level" not in pushes[COUNT].payload["aps"]


def test_what_only_its_reader_can_read_is_named_so(world, alice):
    bob = world.user("bob")
    tokens = {app: world.phone(bob, app, app=app) for app in (ALL, COUNT)}
    alice.send_chat(bob.bare, "I sent you an OMEMO encrypted message", extra=OMEMO)
    push = world.gateway.wait(tokens[ALL], 1)[0]
    assert push.alert == {"title": alice.user, "body": "Nur für dich"}
    assert push.payload["aps"]["mutable-content"] == 1
    assert "OMEMO" not in str(push.payload)
    assert world.gateway.wait(tokens[COUNT], 1)[0].alert == {"body": "1 unread message"}


def test_an_app_never_shows_more_than_the_operator_allows(world):
    kept = world.sidecar.config.read_text()
    world.sidecar.config.write_text(kept.replace("content: body", "content: none"))
    done = world.sidecar.command("check")
    world.sidecar.config.write_text(kept)
    assert done.returncode == 78
    assert "push.apps[].content: count shows more than push.content allows" in done.stderr


def test_phones_say_in_their_own_language_what_the_app_has_words_for(world, alice):
    bob = world.user("bob")
    phone, counting = (world.phone(bob, app, app=app) for app in (OWN, OWN_COUNT))
    android, own = (world.android(bob, app) for app in (OWN_ANDROID, OWN_DATA))
    alice.send_chat(bob.bare, "I sent you an OMEMO encrypted message", extra=OMEMO)
    assert world.gateway.wait(phone, 1)[0].alert == {"title": alice.user, "loc-key": "secret"}
    assert world.gateway.wait(counting, 1)[0].alert == {"loc-key": "unread", "loc-args": ["1"]}
    (message,) = world.gateway.wait_fcm(android)
    assert message.notification == {}
    shown = message.android["notification"]
    assert (shown["title"], shown["body_loc_key"]) == (alice.user, "secret")
    assert "body" not in shown
    aps = message.message["apns"]["payload"]["aps"]
    assert aps["alert"] == {"title": alice.user, "loc-key": "secret"}
    (message,) = world.gateway.wait_fcm(own)
    assert (message.data["body_loc_key"], message.data["body"]) == ("secret", "Encrypted message")
    # What somebody wrote is his own words.
    body = world.body("See you at nine")
    alice.send_chat(bob.bare, body)
    assert world.gateway.wait(phone, 2)[1].alert == {"title": alice.user, "body": body}
    assert world.gateway.wait(counting, 2)[1].alert == {"loc-key": "unread", "loc-args": ["2"]}
    assert world.gateway.wait_fcm(android, 2)[1].notification == {"title": alice.user,
                                                                  "body": body}
    assert "body_loc_key" not in world.gateway.wait_fcm(own, 2)[1].data
