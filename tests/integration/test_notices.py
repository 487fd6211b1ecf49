# SPDX-License-Identifier: Apache-2.0
"""push.notices: what services and the server itself tell is archived, counted and pushed."""

import pytest

from harness.clients import new_id, submit_form
from harness.ejabberd import HOST
from harness.procs import wait_until

PUBSUB = f"pubsub.{HOST}"
NEWS, SILENT = f"news.{HOST}", f"silent.{HOST}"
UNCOUNTED, ANOTHER = f"log.{HOST}", f"another.{HOST}"
NS_PUBSUB = "http://jabber.org/protocol/pubsub"
NS_EVENT = f"{{{NS_PUBSUB}#event}}"
SERVER = {"ejabberd": {"extra": {"modules": {
    "mod_pubsub": {"host": PUBSUB, "access_createnode": "all", "plugins": ["flat"]}}}}}
CONFIRM = 1.5
SETTINGS = {
    "push.confirm_after": "1500ms",
    "push.content": "body",
    "push.notices": [
        {"from": PUBSUB, "node": "orders/*", "title": "Order {number}", "body": "{state}{none}"},
        {"from": PUBSUB, "node": "joined", "title": "{who}", "body": "has joined", "push": False},
        {"from": PUBSUB, "node": "log", "count": False},
        {"from": HOST, "title": "{subject}", "body": "Server: {body}"},
        {"from": NEWS, "title": "{subject}", "body": "News: {body}"},
        {"from": SILENT, "push": False},
        {"from": UNCOUNTED, "count": False},
    ],
}


@pytest.fixture(autouse=True)
def services(world):
    world.oracle.notices_from = {PUBSUB, HOST, NEWS, SILENT, UNCOUNTED}


@pytest.fixture
def alice(world):
    return world.login(world.user("alice"))


@pytest.fixture
def phone(world):
    """bob's phone: online, silent, with a device; ejabberd shows no copy of what is for nobody."""
    return world.login(world.user("bob"), "phone")


@pytest.fixture
def token(world, phone):
    return world.register_device(phone)


def pubsub(client, xml, owner=""):
    return client.iq("set", f"<pubsub xmlns='{NS_PUBSUB}{owner}'>{xml}</pubsub>", PUBSUB)


def make_node(owner, node, *subscribers, kind="headline"):
    form = submit_form({"FORM_TYPE": f"{NS_PUBSUB}#node_config", "pubsub#itemreply": "publisher",
                        "pubsub#notification_type": kind, "pubsub#publish_model": "open",
                        "pubsub#access_model": "open"})
    pubsub(owner, f"<create node='{node}'/><configure>{form}</configure>")
    for client in subscribers:
        pubsub(client, f"<subscribe node='{node}' jid='{client.bare}'/>")


def publish(client, node, payload):
    item = new_id("item")
    pubsub(client, f"<publish node='{node}'><item id='{item}'>{payload}</item></publish>")
    return item


def told(client, item):
    """The event of that item, as the client got it."""
    return client.wait_for(lambda s: any(i.get("id") == item for i in s.iter(f"{NS_EVENT}item")),
                           what=f"the event of {item}")


def order(number, state):
    return f"<order xmlns='urn:orders' number='{number}'><state>{state}</state></order>"


@pytest.mark.parametrize("kind", ["headline", "normal"])
def test_an_event_is_archived_counted_and_pushed(world, alice, phone, token, kind):
    node = f"orders/{new_id('n')}"
    make_node(alice, node, phone, kind=kind)
    state = world.body("on its way")
    item = publish(alice, node, order(17, state))
    told(phone, item)
    world.drain(alice)
    assert world.oracle.unread(phone.bare, PUBSUB) == 1
    push = world.gateway.wait(token, 1)[0]
    assert push.alert == {"title": "Order 17", "body": state}
    assert push.badge == 1
    page = phone.mam_page({"with": PUBSUB})
    assert [i.get("id") for entry in page.results
            for i in entry.message.iter(f"{NS_EVENT}item")] == [item]
    assert page.results[0].message.get("type", "normal") == kind
    # It is read as any conversation is.
    phone.command(world.component, "mark-all-read")
    wait_until(lambda: world.oracle.unread(phone.bare) == 0, 5, "everything is read")


def test_where_no_text_may_be_shown_there_is_no_template(world, alice, phone, token):
    form = phone.command(world.component, "notification-settings")
    phone.command(world.component, "notification-settings", {"content": "sender"},
                  action="complete", session=form.get("sessionid"))
    node = f"orders/{new_id('n')}"
    make_node(alice, node, phone)
    publish(alice, node, order(4, world.body()))
    assert world.gateway.wait(token, 1)[0].alert == {"title": PUBSUB, "body": "New message"}


def test_a_publisher_is_not_told_of_his_own(world, alice, phone, token):
    node = f"orders/{new_id('n')}"
    make_node(phone, node, phone, alice)
    own = told(phone, publish(phone, node, order(1, world.body())))
    assert next(own.iter(f"{NS_EVENT}item")).get("publisher").startswith(phone.bare)
    world.drain(phone)
    assert world.oracle.count(phone.bare) == 1
    assert world.oracle.unread(phone.bare) == 0
    assert world.oracle.unread(alice.bare) == 1
    world.no_push(token, CONFIRM + 1)


def test_counted_and_not_pushed(world, alice, phone, token):
    make_node(alice, "joined", phone)
    told(phone, publish(alice, "joined", "<who xmlns='urn:who'>carol</who>"))
    world.drain(alice)
    assert world.oracle.unread(phone.bare, PUBSUB) == 1
    world.no_push(token, CONFIRM + 1)
    # It hides none that is to be pushed, and the badge has both.
    node = f"orders/{new_id('n')}"
    make_node(alice, node, phone)
    state = world.body()
    with world.held(alice):  # the phone says nothing
        publish(alice, node, order(5, state))
        told(phone, publish(alice, "joined", "<who xmlns='urn:who'>dave</who>"))
    push = world.gateway.wait(token, 1)[0]
    assert push.alert == {"title": "Order 5", "body": state}
    assert push.badge == 3


def test_archived_and_not_counted(world, alice, phone, token):
    make_node(alice, "log", phone)
    told(phone, publish(alice, "log", "<entry xmlns='urn:log'/>"))
    world.drain(alice)
    assert world.oracle.count(phone.bare) == 1
    assert world.oracle.unread(phone.bare) == 0
    world.no_push(token, CONFIRM + 1)


def test_other_nodes_are_nothing(world, alice, phone, token):
    make_node(alice, "ordersx", phone)
    told(phone, publish(alice, "ordersx", order(1, "x")))
    world.drain(alice)
    assert world.oracle.count(phone.bare) == 0
    world.no_push(token, CONFIRM + 1)


@pytest.mark.parametrize("kind", ["headline", "normal"])
def test_the_server_itself(world, alice, phone, token, kind):
    text = world.body("restart at noon")
    world.ejabberd.api("send_message", **{"type": kind, "from": HOST, "to": phone.bare,
                                          "subject": "Maintenance", "body": text})
    phone.wait_message(text)
    world.drain(alice)
    assert world.oracle.unread(phone.bare, HOST) == 1
    push = world.gateway.wait(token, 1)[0]
    assert push.alert == {"title": "Maintenance", "body": f"Server: {text}"}


@pytest.fixture
def away(world):
    """bob, who has gone away; his client has enabled push; (user, token)."""
    user = world.user("bob")
    phone = world.login(user, "phone")
    token, answer = world.register_push_apns(phone)
    phone.enable_push(answer["jid"], answer["node"], answer["secret"])
    phone.logout()
    world.away(user)
    return user, token


def tell(world, user, sender, text, kind="normal"):
    world.ejabberd.api("send_message", **{"type": kind, "from": sender, "to": user.bare,
                                          "subject": "Maintenance", "body": text})


@pytest.mark.parametrize("kind", ["headline", "normal"])
def test_the_server_itself_tells_who_is_away(world, away, kind):
    """By ejabberd's command send_message, which makes a copy of what it sends for a host."""
    user, token = away
    text = world.body("restart at noon")
    tell(world, user, HOST, text, kind)
    push = world.gateway.wait(token, 1)[0]
    assert push.alert == {"title": "Maintenance", "body": f"Server: {text}"}
    assert push.badge == 1
    world.no_push(token, 3 + CONFIRM + 1, since=1)  # the publish is about the same
    assert world.oracle.unread(user.bare, HOST) == 1


def test_a_service_tells_who_is_away(world, away):
    """No copy is made then: what ejabberd publishes is all that is seen, and has no subject."""
    user, token = away
    text = world.body("a new version")
    tell(world, user, NEWS, text)
    push = world.gateway.wait(token, 1)[0]
    assert push.alert == {"title": NEWS, "body": text}
    assert push.badge == 1
    assert world.oracle.unread(user.bare, NEWS) == 1
    # The copy of its delivery takes that one's place.
    laptop = world.login(user, "laptop")
    laptop.wait_message(text)
    world.oracle.wait_body(user.bare, text)
    world.drain(laptop)
    assert world.oracle.unread(user.bare, NEWS) == 1
    world.no_push(token, CONFIRM + 1, since=1)


def test_who_is_away_is_told_what_the_settings_say(world, alice, away):
    user, token = away
    for sender in (SILENT, UNCOUNTED, ANOTHER):
        tell(world, user, sender, world.body())
    tell(world, user, NEWS, world.body(), kind="headline")  # ejabberd drops it
    node = f"orders/{new_id('n')}"
    make_node(alice, node, kind="normal")
    pubsub(alice, f"<subscriptions node='{node}'><subscription jid='{user.bare}'"
                  " subscription='subscribed'/></subscriptions>", "#owner")
    item = publish(alice, node, order(8, "x"))  # of an event it does not say whose it is
    world.no_push(token, 3 + CONFIRM + 1)
    assert world.oracle.unread(user.bare) == 0
    laptop = world.login(user, "laptop")
    told(laptop, item)
    world.drain(laptop)
    assert [world.oracle.unread(user.bare, sender)
            for sender in (SILENT, UNCOUNTED, NEWS, PUBSUB)] == [1, 0, 0, 1]


def test_a_look_alike_is_an_ordinary_message(world, alice, phone, token):
    """What decides is the sender: a headline is nothing to keep, a chat is its body."""
    event = (f"<event xmlns='{NS_PUBSUB}#event'><items node='orders/1'>"
             f"<item id='1' publisher='{phone.bare}'>{order(9, 'forged')}</item></items></event>")
    headline = alice.send_chat(phone.bare, None, kind="headline", extra=event)
    phone.wait_id(headline)
    text = world.body("honest")
    phone.wait_id(alice.send_chat(phone.bare, text, extra=event))
    world.drain(alice)
    assert world.oracle.count(phone.bare) == 1
    assert world.oracle.unread(phone.bare, alice.bare) == 1
    push = world.gateway.wait(token, 1)[0]
    assert push.alert == {"title": alice.user, "body": text}
    assert "forged" not in str(push.alert)


def test_without_settings_nothing_changes(world, alice, phone, token):
    world.sidecar.configure({"push.notices": []})
    old = world.sidecar.worker_pid()
    world.sidecar.reload()
    world.sidecar.wait_new_worker(old)
    world.sidecar.wait_ready()
    try:
        node = f"orders/{new_id('n')}"
        make_node(alice, node, phone)
        told(phone, publish(alice, node, order(3, "x")))
        world.drain(alice)
        assert world.oracle.count(phone.bare) == 0
        world.no_push(token, CONFIRM + 1)
    finally:
        world.sidecar.configure({"push.notices": SETTINGS["push.notices"]})
        old = world.sidecar.worker_pid()
        world.sidecar.reload()
        world.sidecar.wait_new_worker(old)
        world.sidecar.wait_ready()
