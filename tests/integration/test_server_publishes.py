# SPDX-License-Identifier: Apache-2.0
"""Real servers publish (XEP-0357): signs of hosts whose messages are seen, pushes of others."""

import contextlib
import time
from xml.sax.saxutils import quoteattr

import pytest

from harness.clients import new_id, submit_form
from harness.ejabberd import Ejabberd
from harness.procs import wait_until
from harness.world import APP

pytestmark = pytest.mark.servers("ejabberd", "prosody")

SERVER = {"ejabberd": {"extra": {"host_config": {"r.test": {"modules": {
    "mod_push": {"include_sender": True, "include_body": True}}}}}}}
SETTINGS = {"push.accept_from": ["r.test"], "push.settle": "300ms", "push.confirm_after": "5s",
            "push.content": "body",
            "push.stateless_dialects": ["fpush", "mongooseim", "chatsecure"]}


# A server whose messages are not seen.


def test_a_real_server_whose_messages_are_not_seen(world):
    """Registering, enabling, messages to the offline account."""
    carol, dave = world.remote_user("carol"), world.login(world.remote_user("dave"))
    phone = world.login(carol, "phone")
    token, answer = world.register_push_apns(phone)
    phone.enable_push(answer["jid"], answer["node"], answer["secret"])
    phone.logout()
    wait_until(lambda: not world.server.sessions(carol.name, carol.host), 10, "she is gone")
    for count in (1, 2, 3):
        body = world.body("See you")
        dave.send_chat(carol.bare, body)
        push = world.gateway.wait(token, count)[-1]
        assert push.badge == 1  # no count, or always one
        assert body in str(push.payload) and dave.user in str(push.payload)
    # The registration has survived: nothing was answered that deletes it.
    phone = world.login(carol, "phone")
    phone.iq("set", f"<disable xmlns='urn:xmpp:push:0' jid='{world.component}'"
                    f" node={quoteattr(answer['node'])}/>")


@pytest.mark.parametrize("host", ["tapped", "other"])
@pytest.mark.parametrize("dialect", ["fpush", "mongooseim", "chatsecure"])
def test_what_a_client_says_comes_with_each_publish(world, dialect, host):
    """Nobody registers: the server passes on what it was given when push was enabled."""
    carol = world.user("carol") if host == "tapped" else world.remote_user("carol")
    token, rob = world.token(), world.login(world.remote_user("rob"))
    node, options = {
        "fpush": (token, {"pushModule": APP}),
        "mongooseim": (new_id("node"), {"service": "apns", "device_id": token, "mode": "prod",
                                        "topic": APP}),
        "chatsecure": (new_id("node"), {"token": token, "endpoint": "https://push.example/"}),
    }[dialect]
    phone = world.login(carol, "phone")
    form = submit_form({"FORM_TYPE": "http://jabber.org/protocol/pubsub#publish-options",
                        **options})
    phone.iq("set", f"<enable xmlns='urn:xmpp:push:0' jid='{world.component}'"
                    f" node='{node}'>{form}</enable>")
    phone.logout()
    wait_until(lambda: not world.server.sessions(carol.name, carol.host), 10, "she is gone")
    for count in (1, 2):
        body = world.body("See you")
        rob.send_chat(carol.bare, body)
        push = world.gateway.wait(token, count)[-1]
        assert body in str(push.payload) and push.header("apns-topic") == APP


# Hosts whose messages are seen, and messages of other servers to accounts that are offline: of
# them ejabberd shows no copy until they are delivered, and Prosody does.


@pytest.fixture
def bob(world):
    """An account with a phone, for which its server publishes; (user, token)."""
    user = world.user("bob")
    phone = world.login(user, "phone")
    token, answer = world.register_push_apns(phone)
    phone.enable_push(answer["jid"], answer["node"], answer["secret"])
    phone.logout()
    world.away(user)
    return user, token


@pytest.fixture
def rob(world):
    return world.login(world.remote_user("rob"))


def test_a_message_that_is_not_seen_is_counted_and_pushed(world, bob, rob):
    user, token = bob
    body = world.body("far away")
    rob.send_chat(user.bare, body)
    push = world.gateway.wait(token, 1)[0]
    assert push.badge == 1
    assert body in str(push.payload) and rob.user in str(push.payload)
    assert world.oracle.unread(user.bare, rob.bare) == 1
    world.no_push(token, 1.5, since=1)
    # Twice the same words are two messages.
    rob.send_chat(user.bare, "ok")
    world.gateway.wait(token, 2)
    rob.send_chat(user.bare, "ok")
    assert world.gateway.wait(token, 3)[2].badge == 3
    wait_until(lambda: world.oracle.value("SELECT count(*) FROM xs.publish") == 0, 10,
               "all are matched, or counted")
    assert world.oracle.unread(user.bare) == 3


def test_the_text_replaces_what_was_counted(world, bob, rob):
    user, token = bob
    bodies = [world.body(f"number {n}") for n in range(3)]
    for n, body in enumerate(bodies):
        rob.send_chat(user.bare, body)
        world.gateway.wait(token, n + 1)
    assert world.oracle.unread(user.bare) == 3
    laptop = world.login(user, "laptop")
    for body in bodies:
        laptop.wait_message(body)
    for body in bodies:
        world.oracle.wait_body(user.bare, body)
    world.drain(laptop)
    assert world.oracle.unread(user.bare) == 3
    assert [row.body for row in world.oracle.rows(user.bare) if not row.flags & 32] == bodies
    world.no_push(token, 6, since=3)  # nobody is told again
    last = laptop.wait_message(bodies[-1])
    laptop.displayed(rob.bare, last.get("id"))
    world.oracle.wait_unread(user.bare, 0)


def test_reading_elsewhere_takes_it_off(world, bob, rob):
    user, token = bob
    rob.send_chat(user.bare, world.body())
    world.gateway.wait(token, 1)
    laptop = world.login(user, "laptop", presence=False)
    laptop.command(world.component, "mark-all-read")
    assert world.oracle.unread(user.bare) == 0
    assert world.gateway.wait(token, 2)[1].badge == 0


def test_two_devices_are_told_of_one_message(world, bob, rob):
    """The server publishes once for each of them."""
    user, token = bob
    tablet = world.login(user, "tablet")
    second, answer = world.register_push_apns(tablet, device_id="tablet")
    tablet.enable_push(answer["jid"], answer["node"], answer["secret"])
    tablet.logout()
    world.away(user)
    rob.send_chat(user.bare, world.body())
    for one in (token, second):
        assert world.gateway.wait(one, 1)[0].badge == 1
    assert world.oracle.unread(user.bare) == 1
    for one in (token, second):
        world.no_push(one, 1, since=1)


def test_a_message_that_is_seen_is_not_counted_twice(world, bob):
    """A local sender's copy is there; his publish is about that."""
    user, token = bob
    alice = world.login(world.user("alice"))
    alice.send_chat(user.bare, world.body())
    world.gateway.wait(token, 1)
    world.no_push(token, 4.5, since=1)
    assert world.oracle.unread(user.bare) == 1


def test_receipts_of_others_count_nothing(world, bob, rob):
    user, token = bob
    rob.send_chat(user.bare, None, extra="<received xmlns='urn:xmpp:receipts' id='x'/>")
    time.sleep(4)
    assert world.oracle.unread(user.bare) == 0
    assert world.gateway.pushes(token) == []


def test_a_broken_stream_makes_one_push(world, bob, rob):
    """For one message ejabberd publishes at once, for the stanza, and when it gives up."""
    user, token = bob
    phone = world.login(user, "phone", sm=True)
    phone.drop()
    rob.send_chat(user.bare, world.body())
    assert world.gateway.wait(token, 1)[0].badge == 1
    world.away(user)
    world.no_push(token, 5, since=1)
    assert world.oracle.unread(user.bare) == 1


def test_nothing_is_lost_by_a_worker_that_dies(world, bob, rob):
    """What waits to be matched is in the database; it is counted once."""
    user, token = bob
    with contextlib.closing(world.postgres.connect(world.database)) as holder:
        holder.autocommit = False
        holder.cursor().execute("SELECT FROM xs.lane FOR UPDATE")  # nothing is counted meanwhile
        rob.send_chat(user.bare, world.body())
        wait_until(lambda: world.oracle.value("SELECT count(*) FROM xs.publish") == 1, 5,
                   "it waits")
        old = world.sidecar.kill_worker()
    world.sidecar.wait_new_worker(old)
    world.sidecar.wait_ready()
    assert world.gateway.wait(token, 1, timeout=20)[0].badge == 1
    world.no_push(token, 2, since=1)
    assert world.oracle.unread(user.bare) == 1


@pytest.mark.servers("ejabberd")
def test_too_old_ones_no_longer_count(world, bob, rob):
    user, token = bob
    rob.send_chat(user.bare, world.body())
    world.gateway.wait(token, 1)
    owner = world.oracle.value("SELECT owner FROM xs.account WHERE jid = %s", (user.bare,))
    days = 15 * 24 * 3600 * 1000000 << 8
    for table, column in (("message", "id"), ("conversation", "first_id"),
                          ("conversation", "last_id"), ("account", "first_id")):
        world.oracle.query(f"UPDATE xs.{table} SET {column} = {column} - {days}"
                           " WHERE owner = %s RETURNING 1", (owner,))
    world.sidecar.wait_new_worker(world.sidecar.kill_worker())  # it looks at its start
    world.oracle.wait_unread(user.bare, 0)
    assert world.oracle.recount() == []


# The sidecar is away.


@pytest.mark.parametrize("host", ["tapped", "other"])
def test_no_registration_is_lost_while_the_sidecar_is_away(make_world, server_kind, host):
    """With an address for the component's name a server waits, and publishes again."""
    options = dict(SERVER.get(server_kind, {}))
    if server_kind == "ejabberd":
        if not Ejabberd.can_have_address():
            pytest.skip("needs the right to mount")
        options["resolvable"] = True
    world = make_world(kind=server_kind, options=options, settings=SETTINGS)
    user = world.user("bob") if host == "tapped" else world.remote_user("bob")
    phone = world.login(user, "phone")
    token, answer = world.register_push_apns(phone)
    phone.enable_push(answer["jid"], answer["node"], answer["secret"])
    phone.logout()
    wait_until(lambda: not world.server.sessions(user.name, user.host), 10, "he is gone")
    rob = world.login(world.remote_user("rob"))
    world.sidecar.stop()
    rob.send_chat(user.bare, world.body())
    wait_until(lambda: world.server.offline_count(user.name, user.host) == 1, 10, "it is stored")
    time.sleep(2)  # the server learns what became of its publish
    world.sidecar.start()
    body = world.body("still there?")
    rob.send_chat(user.bare, body)
    # Of what was said meanwhile the server may publish, too.
    wait_until(lambda: any(body in str(push.payload) for push in world.gateway.accepted(token)),
               20, "it is pushed")


# To be found.


def test_the_sidecar_is_among_the_items_of_its_server(world):
    """Where apps of Tigase's family look: the first item that pushes with their provider."""
    client = world.login(world.user("bob"))
    items = client.iq("get", "<query xmlns='http://jabber.org/protocol/disco#items'/>",
                      world.server.host)
    listed = [item.get("jid") for item in
              items.iter("{http://jabber.org/protocol/disco#items}item")]
    assert world.component in listed
    identities, features = client.disco_info(world.component)
    assert ("pubsub", "push") in identities
    assert {"urn:xmpp:push:0", "tigase:messenger:apns:1", "snikket:apns:1"} <= set(features)


# Many.


@pytest.mark.servers("ejabberd")
def test_a_hundred_that_are_not_seen_are_all_counted(world, bob, rob):
    user, token = bob
    texts = [f"<message to='{user.bare}' type='chat' id='{new_id('m')}'>"
             f"<body>{world.body()}</body></message>" for _ in range(120)]
    with world.held(rob):
        rob.send_many(texts)
    world.oracle.wait_unread(user.bare, 120, timeout=30)
    wait_until(lambda: world.gateway.pushes(token)
               and world.gateway.pushes(token)[-1].badge == 120, 15, "the badge tells all")
    assert len(world.gateway.pushes(token)) < 20  # one conversation is one notification
    assert world.oracle.value("SELECT count(*) FROM xs.publish") == 0
