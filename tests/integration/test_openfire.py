# SPDX-License-Identifier: Apache-2.0
"""On Openfire: copies that are asked for and come late, in batches, or not at all."""

import re

import pytest

from harness.clients import NS, body_of, error_of, new_id
from harness.component import Component
from harness.procs import wait_until

KIND = "openfire"

PUBSUB_EVENT = "<event xmlns='http://jabber.org/protocol/pubsub#event'><items node='n'/></event>"


def link_of(world):
    return world.sidecar.status()["links"][0]


def say(world, sender, recipient, count):
    """Messages in one batch, archived; their bodies."""
    bodies = [world.body(f"number {n}") for n in range(count)]
    sender.send_many([f"<message to='{recipient.bare}' type='chat' id='{new_id('o')}'>"
                      f"<body>{body}</body></message>" for body in bodies])
    world.drain(sender)
    return bodies


# What is copied.


def test_a_message_is_one_row_of_each_owner(world, alice):
    bob = world.login(world.user("bob"))
    body = world.body()
    message_id = alice.send_chat(bob.bare, body)
    bob.wait_message(body)
    world.drain(alice)
    assert world.oracle.stanza_ids(alice.bare)[message_id] == 1
    assert world.oracle.stanza_ids(bob.bare)[message_id] == 1
    assert world.oracle.unread(bob.bare) == 1
    assert world.oracle.unread(alice.bare) == 0


def test_devices_carbons_and_the_offline_store_add_nothing(world, alice):
    bob = world.user("bob")
    world.another(alice, "laptop", carbons=True)
    body = say(world, alice, bob, 1)[0]
    phone = world.login(bob, "phone", carbons=True)
    phone.wait_message(body)  # from the offline store, straight to the session
    world.login(bob, "laptop", carbons=True)
    say(world, alice, bob, 2)
    assert world.oracle.count(bob.bare) == world.oracle.count(alice.bare) == 3
    assert world.oracle.unread(bob.bare) == 3


@pytest.mark.servers("openfire")  # one that is installed, too
def test_users_of_other_servers(world, alice):
    rob = world.login(world.remote_user("rob"))
    body = world.body()
    rob.send_chat(alice.bare, body)
    alice.wait_message(body)
    answer = world.body("answer")
    alice.send_chat(rob.bare, answer)
    rob.wait_message(answer)
    world.drain(alice)
    assert [(row.body, row.peer) for row in world.oracle.rows(alice.bare)] == \
        [(body, rob.bare), (answer, rob.bare)]
    assert world.oracle.count(rob.bare) == 0


def test_a_bounced_message_stays_with_its_sender(world, alice):
    message_id = alice.send_chat("rob@nowhere.test", world.body())
    alice.wait_id(message_id)
    world.drain(alice)
    assert world.oracle.count(alice.bare) == 1


def test_what_is_for_nobody_is_neither_refused_nor_pushed(world, alice):
    alice.send_chat("nobody@e.test", world.body())
    world.drain(alice)
    assert [m for m in alice.messages() if m.get("type") == "error"] == []
    assert world.oracle.count(alice.bare) == 1


def test_a_message_that_the_sender_has_blocked_was_never_sent(world, alice):
    bob = world.login(world.user("bob"))
    alice.block(bob.bare)
    message_id = alice.send_chat(bob.bare, world.body())
    alice.wait_id(message_id)
    world.drain(alice)
    assert world.oracle.count(alice.bare) == world.oracle.count(bob.bare) == 0


def test_broadcasts_name_only_their_last_receiver_and_are_nobodys(world, alice):
    people = [world.login(world.user("member")) for _ in range(3)]
    jids = [person.jid for person in people]
    body = world.body()
    world.server.fan_out("<message type='groupchat' id='g1' from='r@conference.e.test/al'>"
                         f"<body>{body}</body></message>", ["r@conference.e.test", *jids])
    for sender in "pubsub.e.test", alice.bare:
        world.server.fan_out(f"<message id='{new_id('p')}' from='{sender}'>"
                             f"{PUBSUB_EVENT}<body>{body}</body></message>", jids)
    wait_until(lambda: len(people[0].messages()) == 3, 5, "they all are received")
    world.drain(alice)
    for person in people:
        assert world.oracle.count(person.bare) == 0
    # Whoever writes such a payload himself does not hide behind it.
    alice.send_chat(people[0].bare, body, extra=PUBSUB_EVENT)
    people[0].wait_message(body, since=3)
    world.drain(alice)
    assert world.oracle.count(people[0].bare) == world.oracle.count(alice.bare) == 1


def test_what_users_send_to_us_is_not_archived(world, alice):
    alice.send_chat(world.component, world.body())
    world.drain(alice)
    assert world.oracle.count(alice.bare) == 0


# History, at the component's address.


def test_history_is_paged_at_the_components_address(world, alice):
    bob = world.user("bob")
    bodies = say(world, alice, bob, 120)
    reader = world.login(bob, "reader")
    assert [entry.body for entry in reader.mam_walk(page=25)] == bodies
    assert [entry.body for entry in reader.mam_walk(page=50, reverse=True)] == bodies[::-1]
    page = reader.mam_page({"with": alice.bare}, "<max>10</max><before/>")
    assert page.bodies == bodies[-10:]
    assert {entry.outer.get("from") for entry in page.results} == {world.component}
    # The answers are copied, too, and are no messages.
    world.drain(reader)
    assert world.oracle.count(bob.bare) == 120
    # Openfire answers for the users' own addresses itself.
    assert error_of(reader.ask("set", reader.mam_xml(), bob.bare))[1] == "service-unavailable"


def test_the_component_is_listed_among_the_servers_services(world, alice):
    wait_until(lambda: world.server.listed_components() == [world.component], 5,
               "the component has said what it is")
    items = alice.iq("get", "<query xmlns='http://jabber.org/protocol/disco#items'/>", "e.test")
    assert world.component in [item.get("jid") for item in items[0]]


# Pushes.


def test_an_offline_user_is_pushed_the_right_badge(world, alice):
    bob = world.user("bob")
    token = world.phone(bob)
    last = say(world, alice, bob, 3)[-1]
    say(world, world.login(world.user("carol")), bob, 2)
    wait_until(lambda: world.gateway.accepted(token)
               and world.gateway.accepted(token)[-1].badge == 5, 15, "bob is told of 5")
    phone = world.login(bob, "phone")
    phone.displayed(alice.bare, phone.wait_message(last).get("id"))
    world.drain(phone)
    assert world.oracle.unread(bob.bare) == 2


def listed(world, client):
    """Returns when the sidecar has a list of who is online now."""
    known = world.server.commands.lists
    wait_until(lambda: world.server.commands.lists > known, 5, "a list is asked for")
    client.iq("get", "<ping xmlns='urn:xmpp:ping'/>", world.component)  # behind that answer


def test_who_has_read_is_not_pushed(world, alice):
    bob = world.user("bob")
    token = world.phone(bob)
    phone = world.login(bob, "phone")
    listed(world, alice)
    with world.held(phone):
        message_id = alice.send_chat(bob.bare, world.body())
        phone.wait_id(message_id)
        phone.displayed(alice.bare, message_id)
    world.drain(phone)
    assert world.oracle.unread(bob.bare) == 0
    world.no_push(token, 2.5)


def test_a_server_that_publishes_everything_is_answered_and_means_nothing(world, alice):
    """The push plugin publishes what it delivers, too, and listens to no answer."""
    bob = world.login(world.user("bob"), "phone")
    token, answer = world.register_push_apns(bob)
    listed(world, alice)
    since = world.server.component_connections()
    with world.held(bob):
        world.server.pour([
            f"<iq type='set' id='{new_id('plugin')}' from='e.test' to='{world.component}'>"
            "<pubsub xmlns='http://jabber.org/protocol/pubsub'>"
            f"<publish node='{answer['node']}'><item/></publish></pubsub></iq>"]).result(60)
        message_id = alice.send_chat(bob.bare, world.body())
        bob.wait_id(message_id)
        bob.displayed(alice.bare, message_id)
    world.drain(bob)
    world.no_push(token, 2.5)
    assert world.server.component_connections() == since


# The subscription.


def test_the_subscription_is_renewed_with_the_connection(make_world):
    world = make_world(kind="openfire")
    alice, bob = world.login(world.user("alice")), world.login(world.user("bob"))
    say(world, alice, bob, 1)
    first = link_of(world)
    assert (first["copies"], first["gaps"]) == ("sent", 0)
    world.server.disconnect_component()
    # The name stays taken for a moment, and that is nothing to be slow or loud about.
    wait_until(lambda: world.server.component_connections() == 2, 10, "it has come back")
    world.sidecar.wait_ready()
    say(world, alice, bob, 1)
    again = link_of(world)
    assert (again["copies"], again["gaps"]) == ("sent", 1)
    assert again["copies_since"] > first["copies_since"]
    assert world.oracle.count(bob.bare) == 2


def test_a_name_that_is_still_taken_is_tried_again_soon(make_world):
    world = make_world(kind="openfire", options={"linger": 3600})
    world.server.disconnect_component()
    wait_until(world.server.component_refusals, 12, "it was tried")
    world.server.free_names()
    wait_until(lambda: world.server.component_connections() == 2, 12, "it has come back")


def test_a_new_worker_goes_on(world, alice):
    bob = world.login(world.user("bob"))
    say(world, alice, bob, 1)
    old = world.sidecar.kill_worker()
    world.sidecar.wait_new_worker(old)
    say(world, alice, bob, 1)
    world.sidecar.wait_ready()
    say(world, alice, bob, 1)
    assert world.oracle.count(bob.bare) == 3


def test_lost_copies_are_told(make_world):
    """Four times as fast as life, with a queue that is full well before the next batch."""
    world = make_world(kind="openfire", options={"period": 1.25, "capacity": 1000})
    world.server.copier.hasten(4)
    alice, bob = world.user("alice"), world.user("bob")
    world.server.pour((f"<message from='{alice.bare}/x' to='{bob.bare}' type='headline' "
                       f"id='f{n}'/>" for n in range(10**6)), burst=50, pause=0.005)
    wait_until(lambda: world.server.copier.lost, 30, "copies are lost")
    link = wait_until(lambda: (link := link_of(world))["copies_losses"] and link, 60,
                      "the status tells of lost copies", 0.5)
    assert link["copies_lost_from"] < link["copies_lost_to"]
    world.sidecar.wait_log(r"level=warn .*queue of copies was full")
    assert "COPIES LOST" in world.sidecar.command("status").stdout


def test_a_refusal_is_told_with_its_remedy(make_world):
    world = make_world(kind="openfire", start=False)
    world.server.commands.refuse = "not-allowed"
    world.sidecar.start(ready=False)
    link = wait_until(lambda: (link := link_of(world)).get("copies") == "refused" and link, 10,
                      "the refusal is in the status")
    assert "restart Openfire" in link["copies_trouble"]
    status, text = world.sidecar.http("/readyz")
    assert status == 503 and "restart Openfire" in text
    assert "WRONG: the server sends no copies" in world.sidecar.command("status").stdout


@pytest.mark.parametrize("name, value, remedy", [
    ("xmpp.component.defaultSecret", None, r"xmpp\.component\.defaultSecret"),
    ("xmpp.component.defaultSecret", "another", r"xmpp\.secret the same as the server's"),
    ("xmpp.component.permission", "whitelist", r"allow the domain in xmpp\.component"),
])
def test_a_property_that_is_wrong_is_told_with_its_remedy(make_world, name, value, remedy):
    world = make_world(kind="openfire", start=False)
    world.server.properties[name] = value
    said = rf"level=error .*{remedy}"
    world.sidecar.allow_error(said)
    world.sidecar.start(ready=False)
    world.sidecar.wait_log(said)


def test_answers_go_astray_to_who_has_asked_with_the_same_id(world, alice):
    """All components' questions are in one map: ours are not to be guessed."""
    rival = Component(world.server.component_port, "rival.e.test", world.server.secret)
    try:
        for number in range(50):
            rival.send(f'<iq type="get" id="{number}" from="rival.e.test" to="e.test">'
                       '<ping xmlns="urn:xmpp:ping"/></iq>')
        rival.inbox.wait_for(lambda s: s.get("id") == "49", 5)
        bob = world.login(world.user("bob"))
        say(world, alice, bob, 1)
        wait_until(lambda: link_of(world)["copies"] == "sent", 5, "copies come")
        stolen = [s for s in rival.inbox.snapshot()
                  if re.match("xs-ask-", s.get("id") or "")]
        assert stolen == []
        assert world.oracle.count(bob.bare) == 1
    finally:
        rival.close()


# What a session did not acknowledge.


def test_what_was_not_acknowledged_is_pushed_though_it_was_settled(world, alice):
    bob = world.user("bob")
    token = world.phone(bob)
    phone = world.login(bob, "phone")
    listed(world, alice)
    world.server.detach(phone.jid)
    body = world.body()
    with world.held(alice):
        alice.send_chat(bob.bare, body)
        world.spooled(alice)
        # Something of the phone comes after it: it counts as active, and is not pushed.
        world.server.pour([
            f"<message from='{phone.jid}' to='{alice.bare}' type='chat' id='{new_id()}'>"
            "<active xmlns='http://jabber.org/protocol/chatstates'/></message>"]).result(60)
    world.drain(alice)
    world.no_push(token, 3)
    world.server.end_detached(phone.jid)
    world.drain(alice)
    push = world.gateway.wait(token, 1, timeout=10)[0]
    assert push.badge == 1
    assert world.oracle.count(bob.bare) == world.oracle.unread(bob.bare) == 1
    assert body_of(alice.mam_page(rsm="<max>1</max><before/>").results[0].message) == body


def test_who_was_told_already_is_not_told_again(world, alice):
    bob = world.user("bob")
    token = world.phone(bob)
    phone = world.login(bob, "phone")
    listed(world, alice)
    world.server.detach(phone.jid)
    say(world, alice, bob, 1)
    world.gateway.wait(token, 1, timeout=10)  # nothing was heard of the phone
    world.server.end_detached(phone.jid)
    world.drain(alice)
    world.no_push(token, 3, since=1)
    assert world.oracle.unread(bob.bare) == 1


def test_presence_tells_at_once_where_it_is_copied(make_world):
    """Nothing waits for the next list, nor to see whether somebody reads."""
    world = make_world(kind="openfire", settings={
        "xmpp.presence_copies": True, "xmpp.presence_every": "1h", "push.confirm_after": "1h"})
    alice, bob = world.login(world.user("alice")), world.user("bob")
    token = world.phone(bob)
    say(world, alice, bob, 2)
    assert world.gateway.wait(token, 1, timeout=10)[-1].badge == 2
