# SPDX-License-Identifier: Apache-2.0
"""Device registration by ad-hoc command, in the dialects that clients speak."""

import time

import pytest

from harness.clients import NS, StanzaError, error_of, form_fields, new_id, submit_form
from harness.component import Component
from harness.procs import wait_until
from harness.world import APP

OTHER = "org.example.other"
pytestmark = pytest.mark.servers()
APPS = (APP, OTHER)
SETTINGS = {"limits.devices_per_account": 4}


@pytest.fixture
def bob(world):
    return world.login(world.user("bob"), "phone")


def form_of(command):
    return command.find("x:x", NS)


def refused(client, to, node, fields, **options):
    """(type, condition) of a command that must fail."""
    with pytest.raises(StanzaError) as error:
        client.command(to, node, fields, **options)
    return error.value.kind, error.value.condition


def gets_push(world, user, token):
    """Writes to the account and waits for the push to that token."""
    sender = world.login(world.user("sender"))
    sender.send_chat(user.bare, world.body())
    return world.gateway.wait(token, 1, timeout=15)[0]


# Discovery.


def test_disco_shows_a_push_service(world, bob):
    identities, features = bob.disco_info(world.component)
    assert ("pubsub", "push") in identities
    assert {"urn:xmpp:push:0", NS["cmd"], NS["disco"], "urn:xmpp:ping"} <= set(features)
    # Clients of the Tigase family look for their provider's name here.
    assert {APP, OTHER} <= set(features)
    assert len(features) == len(set(features))


def test_the_commands_are_listed(world, bob):
    answer = bob.iq("get", "<query xmlns='http://jabber.org/protocol/disco#items'"
                           f" node='{NS['cmd']}'/>", world.component)
    nodes = {item.get("node") for item in
             answer.iter("{http://jabber.org/protocol/disco#items}item")}
    assert {"register-device", "unregister-device", "register-push-apns",
            "unregister-push-apns", "register-push-fcm", "unregister-push-fcm",
            "register-push-webpush", "unregister-push-webpush", "v1-register-push",
            "v1-unregister-push", "app-opened", "mark-all-read"} <= nodes


# register-device: Siskin, Stork, Snikket.


@pytest.mark.needs("registration")
def test_register_device(world, bob):
    token = world.token()
    command = bob.command(world.component, "register-device",
                          {"provider": APP, "device-token": token})
    assert command.get("status") == "completed"
    assert form_of(command).get("type") == "result"
    fields = form_fields(form_of(command))
    assert len(fields["node"]) >= 22  # the node is the secret: 128 bits
    assert int(fields["max-payload-size"]) > 0
    assert "features" in fields
    assert world.oracle.registrations(bob.bare) == 1
    bob.logout()
    assert gets_push(world, bob, token).header("apns-topic") == APP


def test_the_provider_names_the_app(world, bob):
    token = world.register_device(bob, provider=OTHER)
    bob.logout()
    assert gets_push(world, bob, token).header("apns-topic") == OTHER


def test_an_app_field_wins_over_the_provider(world, bob):
    token = world.token()
    bob.command(world.component, "register-device",
                {"provider": "tigase:messenger:apns:1", "device-token": token, "app": OTHER})
    bob.logout()
    assert gets_push(world, bob, token).header("apns-topic") == OTHER


def test_registering_again_is_no_second_registration(world, bob):
    token = world.token()
    nodes = {form_fields(form_of(bob.command(
        world.component, "register-device",
        {"provider": APP, "device-token": text})))["node"]
        for text in (token, token, token.upper())}
    assert len(nodes) == 1
    assert world.oracle.registrations(bob.bare) == 1


@pytest.mark.parametrize("form", ["submit", "form", None])
def test_forms_as_they_come(world, bob, form):
    """Type missing or odd, FORM_TYPE or not, field types or not, no action."""
    token = world.token()
    text = submit_form({"FORM_TYPE": "anything", "provider": APP, "device-token": token})
    text = text.replace(" type='submit'", f" type='{form}'" if form else "")
    text = text.replace("<field var=\"provider\">", "<field var='provider' type='list-single'>")
    answer = bob.iq("set", f"<command xmlns='{NS['cmd']}' node='register-device'>{text}</command>",
                    world.component)
    assert answer.find("cmd:command", NS).get("status") == "completed"


def test_without_a_form_the_form_is_shown(world, bob):
    """Then the second step completes the session."""
    first = bob.command(world.component, "register-device")
    assert first.get("status") == "executing"
    assert form_of(first).get("type") == "form"
    assert {"provider", "device-token"} <= form_fields(form_of(first)).keys()
    second = bob.command(world.component, "register-device",
                         {"provider": APP, "device-token": world.token()},
                         action="complete", session=first.get("sessionid"))
    assert second.get("status") == "completed"
    assert second.get("sessionid") == first.get("sessionid")
    assert world.oracle.registrations(bob.bare) == 1


def test_a_session_can_be_cancelled(world, bob):
    first = bob.command(world.component, "register-device")
    cancelled = bob.command(world.component, "register-device", action="cancel",
                            session=first.get("sessionid"))
    assert cancelled.get("status") == "canceled"
    assert world.oracle.registrations(bob.bare) == 0


def test_unregister_device(world, bob):
    token = world.register_device(bob)
    command = bob.command(world.component, "unregister-device",
                          {"provider": APP, "device-token": token})
    assert command.get("status") == "completed"
    assert world.oracle.registrations(bob.bare) == 0
    assert refused(bob, world.component, "unregister-device",
                   {"provider": APP, "device-token": token}) == ("cancel", "item-not-found")
    world.loop.close_clients()
    world.ejabberd.wait_no_session(bob.user)
    world.login(world.user("sender")).send_chat(bob.bare, world.body())
    world.no_push(token, 1.5)


# register-push-apns: p2, Conversations.


def test_register_push_apns(world, bob):
    token = world.token()
    command = bob.command(world.component, "register-push-apns",
                          {"token": token, "device-id": "device", "app": APP})
    assert command.get("status") == "completed"
    assert form_of(command).get("type") == "form"
    fields = form_fields(form_of(command))
    assert fields["jid"] == world.component
    assert len(fields["node"]) >= 12 and len(fields["secret"]) >= 22
    assert fields["node"] != fields["secret"]
    bob.logout()
    assert gets_push(world, bob, token).header("apns-topic") == APP


def test_a_new_token_for_the_same_device_keeps_node_and_secret(world, bob):
    old, first = world.register_push_apns(bob, app=APP)
    new, second = world.register_push_apns(bob, app=APP)
    assert first == second and old != new
    assert world.oracle.registrations(bob.bare) == 1
    bob.logout()
    gets_push(world, bob, new)
    assert world.gateway.pushes(old) == []


def test_another_device_has_another_node(world, bob):
    _, first = world.register_push_apns(bob, device_id="one", app=APP)
    _, second = world.register_push_apns(bob, device_id="two", app=APP)
    assert first["node"] != second["node"] and first["secret"] != second["secret"]
    assert world.oracle.registrations(bob.bare) == 2


def test_android_id_is_a_device_id(world, bob):
    bob.command(world.component, "register-push-apns",
                {"token": world.token(), "android-id": "92afd7a91cdba9a0", "app": APP})
    assert world.oracle.registrations(bob.bare) == 1


def test_unregister_push_apns(world, bob):
    fields = {"device-id": "device-1", "app": APP}
    world.register_push_apns(bob, app=APP)
    assert refused(bob, world.component, "unregister-push-apns",
                   {**fields, "app": OTHER}) == ("cancel", "item-not-found")
    assert world.oracle.registrations(bob.bare) == 1
    command = bob.command(world.component, "unregister-push-apns", fields)
    assert command.get("status") == "completed" and form_of(command) is None
    assert world.oracle.registrations(bob.bare) == 0
    assert refused(bob, world.component, "unregister-push-apns",
                   fields) == ("cancel", "item-not-found")


# v1-register-push: mod_push_appserver, old Monal.


def test_v1_register_push(world, bob):
    """The node is the client's own id; the secret is ours, and stays with a new token."""
    node, token = new_id("device"), world.token()
    fields = {"FORM_TYPE": "https://github.com/tmolitor-stud-tu/mod_push_appserver/"
                           "#v1-register-push", "type": "apns", "node": node, "app": APP}
    answers = [form_fields(form_of(bob.command(world.component, "v1-register-push",
                                               {**fields, "token": text})))
               for text in (world.token(), token)]
    world.sidecar.secrets += [answer["secret"] for answer in answers]
    assert answers[0] == answers[1]
    assert answers[0]["jid"] == world.component and answers[0]["node"] == node
    assert len(answers[0]["secret"]) >= 22
    assert world.oracle.registrations(bob.bare) == 1
    bob.logout()
    assert gets_push(world, bob, token).header("apns-topic") == APP


def test_v1_unregister_push(world, bob):
    node = new_id("device")
    fields = {"type": "apns", "node": node, "app": APP}
    answer = form_fields(form_of(bob.command(world.component, "v1-register-push",
                                             {**fields, "token": world.token()})))
    world.sidecar.secrets.append(answer["secret"])
    command = bob.command(world.component, "v1-unregister-push", fields)
    assert command.get("status") == "completed"
    assert form_fields(form_of(command))["node"] == node
    assert world.oracle.registrations(bob.bare) == 0
    assert refused(bob, world.component, "v1-unregister-push",
                   fields) == ("cancel", "item-not-found")


# Refusals.


@pytest.mark.parametrize("node, fields", [
    ("register-device", {"provider": APP}),
    ("register-device", {"provider": APP, "device-token": ""}),
    ("register-device", {"provider": APP, "device-token": "not hexadecimal"}),
    ("register-device", {"provider": APP, "device-token": "ab" * 4000}),
    ("register-push-apns", {"device-id": "device", "app": APP}),
    ("register-push-apns", {"token": "", "device-id": "device", "app": APP}),
    ("register-push-apns", {"token": "ab" * 32, "app": APP}),
    ("register-push-apns", {"token": "ab" * 32, "device-id": "", "app": APP}),
    ("unregister-device", {"provider": APP}),
    ("unregister-push-apns", {}),
])
def test_incomplete_forms(world, bob, node, fields):
    assert refused(bob, world.component, node, fields) == ("modify", "bad-request")
    assert world.oracle.registrations(bob.bare) == 0


@pytest.mark.parametrize("node, fields", [
    ("register-device", {"provider": "org.example.unknown", "device-token": "ab" * 32}),
    ("register-device", {"provider": "fcm-xmpp-api", "device-token": "ab" * 32}),
    ("register-device", {"provider": APP, "app": "org.example.unknown",
                         "device-token": "ab" * 32}),
    ("register-push-apns", {"token": "ab" * 32, "device-id": "device", "app": "unknown"}),
])
def test_an_app_that_is_not_served(world, bob, node, fields):
    assert refused(bob, world.component, node, fields) == ("cancel", "item-not-found")
    assert world.oracle.registrations(bob.bare) == 0


@pytest.mark.parametrize("node, fields", [
    ("register-device", {"provider": "tigase:messenger:apns:1", "device-token": "ab" * 32}),
    ("register-device", {"device-token": "ab" * 32}),
    ("register-push-apns", {"token": "ab" * 32, "device-id": "device"}),
    ("unregister-push-apns", {"device-id": "device"}),
])
def test_an_app_that_cannot_be_told(world, bob, node, fields):
    """Two apps of the gateway are configured: the client can mend it by naming one."""
    assert refused(bob, world.component, node, fields) == ("modify", "item-not-found")
    assert world.oracle.registrations(bob.bare) == 0


def test_group_chats_are_not_registered(world, bob):
    fields = {"token": "ab" * 32, "device-id": "device", "app": APP, "muc": "room@rooms.e.test"}
    assert refused(bob, world.component, "register-push-apns",
                   fields) == ("cancel", "feature-not-implemented")


def test_an_unknown_command(world, bob):
    assert refused(bob, world.component, "no-such-command", {}) == ("cancel", "item-not-found")


def test_a_foreign_session(world, bob):
    first = bob.command(world.component, "register-device")
    mallory = world.login(world.user("mallory"))
    other = world.another(bob, "laptop")
    for client in (mallory, other):
        assert refused(client, world.component, "register-device",
                       {"provider": APP, "device-token": world.token()}, action="complete",
                       session=first.get("sessionid")) == ("cancel", "not-allowed")
    assert world.oracle.registrations(mallory.bare) == 0
    assert world.oracle.registrations(bob.bare) == 0


@pytest.mark.parametrize("node, fields", [
    ("register-device", {"provider": APP, "device-token": "ab" * 32}),
    ("register-push-apns", {"token": "ab" * 32, "device-id": "device", "app": APP}),
    ("unregister-device", {"provider": APP, "device-token": "ab" * 32}),
    ("mark-all-read", None),
])
def test_only_accounts_of_our_domains(world, node, fields):
    """No more than five: one domain's strangers get no more refusals in ten seconds."""
    stranger = world.login(world.remote_user())
    assert refused(stranger, world.component, node, fields) == ("auth", "forbidden")
    assert world.oracle.registrations(stranger.bare) == 0


def test_nobody_unregisters_for_another(world, bob):
    token = world.register_device(bob)
    mallory = world.login(world.user("mallory"))
    assert refused(mallory, world.component, "unregister-device",
                   {"provider": APP, "device-token": token}) == ("cancel", "item-not-found")
    assert world.oracle.registrations(bob.bare) == 1


# Limits.


def test_devices_per_account(world, bob):
    """The oldest gives way: somebody who installs an app anew must not be locked out."""
    tokens = [world.register_device(bob) for _ in range(6)]
    assert world.oracle.registrations(bob.bare) == 4
    bob.logout()
    gets_push(world, bob, tokens[-1])
    for token in tokens[2:]:
        world.gateway.wait(token, 1)
    for token in tokens[:2]:
        assert world.gateway.pushes(token) == []


def test_commands_per_minute(make_world):
    world = make_world(settings={"limits.commands_per_minute": 3})
    bob = world.login(world.user("bob"))
    for _ in range(3):
        world.register_device(bob)
    assert refused(bob, world.component, "register-device",
                   {"provider": APP, "device-token": world.token()}
                   ) == ("wait", "resource-constraint")
    assert world.oracle.registrations(bob.bare) == 3
    # One account's haste is not another's.
    world.register_device(world.login(world.user("carol")))


def test_a_single_app_needs_no_name(make_world):
    world = make_world()
    bob = world.login(world.user("bob"), "phone")
    world.register_device(bob, provider="tigase:messenger:apns:1")
    world.register_push_apns(bob)
    assert world.oracle.registrations(bob.bare) == 2
    bob.command(world.component, "unregister-push-apns", {"device-id": "device-1"})
    assert world.oracle.registrations(bob.bare) == 1


# One phone, several accounts.


def test_a_device_of_two_accounts_shows_the_sum(world):
    token = world.token()
    accounts = world.users(2, "bob")
    for user in accounts:
        client = world.login(user, "phone")
        world.register_device(client, token)
        client.logout()
        world.away(user)
    sender = world.login(world.user("sender"))
    sender.send_chat(accounts[0].bare, world.body())
    assert world.gateway.wait(token, 1)[0].badge == 1
    sender.send_chat(accounts[1].bare, world.body())
    assert world.gateway.wait(token, 2)[1].badge == 2


def test_an_app_with_one_login_follows_its_last_user(make_world):
    world = make_world(start=False)
    world.sidecar.settings["push"]["apps"][0]["accounts_per_device"] = "one"
    world.sidecar.configure({})
    world.sidecar.start()
    token, (before, after) = world.token(), world.users(2, "bob")
    sender = world.login(world.user("sender"))

    def alerts():
        """A change of user changes the badge, too, sooner or later."""
        return [push for push in world.gateway.accepted(token) if push.alert]

    for count, user in enumerate((before, after), 1):
        client = world.login(user, "phone")
        world.register_device(client, token)
        client.logout()
        world.away(user)
        sender.send_chat(user.bare, world.body())
        wait_until(lambda count=count: len(alerts()) == count, 10, "it is pushed")
    assert [push.badge for push in alerts()] == [1, 1]
    assert world.oracle.registrations(before.bare) == 0
    sender.send_chat(before.bare, world.body())
    world.drain(sender)
    time.sleep(2)
    assert len(alerts()) == 2
    assert world.oracle.outbox(before.bare) == 0
    # Who was here before comes back.
    client = world.login(before, "phone")
    world.register_device(client, token)
    assert world.oracle.registrations(after.bare) == 0


# XEP-0357: the server publishes to the node.


def publish(node, secret=None):
    options = ""
    if secret is not None:
        options = "<publish-options>" + submit_form({
            "FORM_TYPE": "http://jabber.org/protocol/pubsub#publish-options",
            "secret": secret}) + "</publish-options>"
    return (f"<pubsub xmlns='http://jabber.org/protocol/pubsub'><publish node='{node}'><item>"
            "<notification xmlns='urn:xmpp:push:0'/></item></publish>"
            f"{options}</pubsub>")


@pytest.mark.parametrize("secret", [None, "wrong", "right"])
def test_users_publish_nothing(world, bob, secret):
    """Only the account's own server does, whoever got to know node and secret."""
    token, answer = world.register_push_apns(bob, device_id=new_id("d"), app=APP)
    bob.logout()
    world.ejabberd.wait_no_session(bob.user)
    if secret == "right":
        secret = answer["secret"]
    mallory = world.login(world.user("mallory"))
    refusal = mallory.ask("set", publish(answer["node"], secret), world.component)
    assert error_of(refusal) == ("auth", "forbidden")
    world.no_push(token, 1)


def test_another_component_publishes_nothing(world, bob):
    token, answer = world.register_push_apns(bob, device_id=new_id("d"), app=APP)
    bob.logout()
    world.ejabberd.wait_no_session(bob.user)
    other = Component(world.ejabberd.component_port, "other.e.test", world.ejabberd.secret)
    other.send(f"<iq type='set' id='p1' from='other.e.test' to='{world.component}'>"
               f"{publish(answer['node'], answer['secret'])}</iq>")
    refusal = other.inbox.wait_for(lambda s: s.get("id") == "p1", 10, "an answer")
    error = refusal.find("{jabber:component:accept}error")
    assert error.get("type") == "auth" and error[0].tag.endswith("}forbidden")
    other.close()
    world.no_push(token, 1)
