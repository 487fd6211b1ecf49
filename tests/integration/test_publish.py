# SPDX-License-Identifier: Apache-2.0
"""Publishes (XEP-0357) of servers whose messages are not seen, in every shape they have."""

import itertools
import time
from xml.sax.saxutils import quoteattr

import pytest

from harness.clients import NS, form_fields, new_id, submit_form
from harness.component import COMPONENT_NS, Component
from harness.gateway import new_token
from harness.procs import wait_until
from harness.world import APP

STATELESS = "token.test"  # servers that are none but publish
OTHER = "p.test"
SETTINGS = {"push.accept_from": [OTHER, STATELESS], "push.settle": "300ms",
            "push.confirm_after": "5s", "push.content": "body",
            "push.stateless_dialects": ["fpush", "mongooseim", "chatsecure"]}
GONE = ("cancel", "item-not-found")
SUMMARY = "urn:xmpp:push:summary"
OPTIONS = "http://jabber.org/protocol/pubsub#publish-options"

_ids = itertools.count(1)


class Publisher:
    """A server of another kind: a component in the name of a domain."""

    def __init__(self, world, domain):
        self.domain, self._world = domain, world
        self._component = Component(world.server.component_port, domain, world.server.secret)

    def ask(self, payload, sender=None, kind="set"):
        """None for a result, (type, condition) of an error."""
        return self.answer(self.begin(payload, sender, kind))

    def begin(self, payload, sender=None, kind="set"):
        """For answer()."""
        iq_id = f"pub{next(_ids)}"
        self._component.send(
            f"<iq type='{kind}' id='{iq_id}' from='{sender or self.domain}'"
            f" to='{self._world.component}'>{payload}</iq>")
        return iq_id

    def answer(self, iq_id):
        answer = self._component.inbox.wait_for(lambda s: s.get("id") == iq_id, 10, "an answer")
        assert answer.get("from") == self._world.component
        if answer.get("type") == "result":
            self.last = answer
            return None
        error = answer.find(f"{{{COMPONENT_NS}}}error")
        return error.get("type"), error[0].tag.rpartition("}")[2]

    def publish(self, node, options=None, sender=None, **told):
        return self.ask(publish(node, options, **told), sender)

    def close(self):
        self._component.close()


def form(fields, kind):
    text = submit_form(fields)
    return text.replace(" type='submit'", f" type='{kind}'" if kind else "")


def publish(node, options=None, inside="", kind="submit", **told):
    """told: message_count, last_message_sender, last_message_body."""
    summary = {"FORM_TYPE": SUMMARY,
               **{name.replace("_", "-"): str(value) for name, value in told.items()}}
    x = form(summary, kind) if told else ""
    after = ""
    if options:
        after = ("<publish-options>" + submit_form({"FORM_TYPE": OPTIONS, **options})
                 + "</publish-options>")
    return (f"<pubsub xmlns='http://jabber.org/protocol/pubsub'>"
            f"<publish node={quoteattr(node)}><item>"
            f"<notification xmlns='urn:xmpp:push:0'>{x}{inside}</notification></item></publish>"
            f"{after}</pubsub>")


@pytest.fixture(scope="module")
def publishers(module_world):
    made = {domain: Publisher(module_world, domain) for domain in (OTHER, STATELESS)}
    yield made
    for publisher in made.values():
        publisher.close()


@pytest.fixture
def other(publishers, world):
    return publishers[OTHER]


@pytest.fixture
def tokens(publishers, world):
    return publishers[STATELESS]


@pytest.fixture
def registered(world, other):
    """(token, node, {secret}) of an account at a server whose messages are not seen."""
    token, user = world.token(), f"{new_id('carol')}@{OTHER}"
    assert other.ask(
        f"<command xmlns='{NS['cmd']}' node='register-push-apns'>"
        + submit_form({"token": token, "device-id": new_id("d")}) + "</command>",
        f"{user}/phone") is None
    answer = form_fields(other.last.find(".//{jabber:x:data}x"))
    world.sidecar.secrets.append(answer["secret"])
    return token, answer["node"], {"secret": answer["secret"]}


def outbox_of(world, node):
    """How many pushes wait for the device of that registration."""
    return world.oracle.value("SELECT count(*) FROM xs.outbox JOIN xs.registration"
                              " USING (owner, device) WHERE node = %s", (node,))


# Servers whose messages are not seen.


@pytest.mark.parametrize("kind", ["submit", "form", "result", None])
def test_forms_of_any_type(world, other, registered, kind):
    token, node, secret = registered
    body = world.body()
    assert other.publish(node, secret, kind=kind, message_count=3,
                         last_message_sender="dave@r.test/x", last_message_body=body) is None
    push = world.gateway.wait(token, 1)[0]
    assert push.badge == 3 and body in str(push.payload)


@pytest.mark.parametrize("inside", [
    "<encrypted xmlns='tigase:push:encrypt:0' iv='AAAA'>AAAA</encrypted>",
    "<priority xmlns='tigase:push:priority:0'>high</priority>",
    "<jingle xmlns='tigase:push:jingle:0' action='session-initiate' sid='1'/>",
    "",
], ids=["encrypted", "priority", "jingle", "nothing"])
def test_publishes_without_a_form(world, other, registered, inside):
    """A server that says nothing may mean a message."""
    token, node, secret = registered
    assert other.publish(node, secret, inside=inside) is None
    push = world.gateway.wait(token, 1)[0]
    assert push.alert and push.badge == 1


def test_a_form_without_text_is_no_message(world, other, registered):
    """Chat states and receipts: only a count that has changed is told."""
    token, node, secret = registered
    told = {"message_count": 1, "last_message_sender": "dave@r.test/x"}
    assert other.publish(node, secret, last_message_body=world.body(), **told) is None
    world.gateway.wait(token, 1)
    assert other.publish(node, secret, last_message_body="", **told) is None
    assert other.publish(node, secret) is None  # of a server that does tell texts
    world.no_push(token, 1.5, since=1)
    assert other.publish(node, secret, message_count=0) is None
    push = world.gateway.wait(token, 2)[1]
    assert push.badge == 0 and not push.alert


def test_from_the_account_itself(world, other, registered):
    token, node, secret = registered
    user = world.oracle.value("SELECT a.jid FROM xs.registration r JOIN xs.account a USING (owner)"
                              " WHERE r.node = %s", (node,))
    assert other.publish(node, secret, user, last_message_body=world.body()) is None
    world.gateway.wait(token, 1)
    # Another account of the same server has the secret, too; a session has nothing to publish.
    assert other.publish(node, secret, f"{user}/phone") == ("auth", "forbidden")


def test_one_push_for_a_device_under_way(world, other, registered):
    """Ten publishes of one conversation collapse."""
    token, node, secret = registered
    world.gateway.script(token, {"hold": True})
    for _ in range(10):
        assert other.publish(node, secret, last_message_sender="dave@r.test/x",
                             last_message_body=world.body()) is None
    world.gateway.release()
    world.gateway.wait(token, 1)
    wait_until(lambda: outbox_of(world, node) == 0, 10, "all have been told of")
    assert 1 <= len(world.gateway.pushes(token)) <= 3


# Trust.


def test_wrong_secrets_and_nodes_look_the_same(world, other, registered):
    token, node, secret = registered
    before = world.oracle.query("SELECT count(*) FROM xs.registration")
    for attempt in ((node, None), (node, {"secret": "wrong"}), (node, {"secret": ""}),
                    (node + "x", secret), ("x" * 3000, secret)):
        assert other.publish(*attempt, last_message_body=world.body()) == GONE
    world.no_push(token, 1)
    assert world.oracle.query("SELECT count(*) FROM xs.registration") == before
    assert outbox_of(world, node) == 0


def test_a_node_alone_is_for_its_own_server(world, other):
    """register-device has no secret: the node is one, and another server must not have it."""
    bob = world.login(world.user("bob"), "phone")
    token = world.token()
    node = form_fields(bob.command(world.component, "register-device",
                                   {"provider": APP, "device-token": token}
                                   ).find("{jabber:x:data}x"))["node"]
    bob.logout()
    assert other.publish(node, last_message_body=world.body()) == GONE
    world.no_push(token, 1)


def test_node_and_secret_are_enough_for_an_accepted_server(world, other):
    """A phone gives what it got to the server of another of its accounts; the badge is ours."""
    user = world.user("bob")
    bob = world.login(user, "phone")
    token, answer = world.register_push_apns(bob)
    bob.logout()
    world.away(user)
    body = world.body()
    assert other.publish(answer["node"], {"secret": answer["secret"]}, message_count=9,
                         last_message_sender="dave@p.test/x", last_message_body=body) is None
    push = world.gateway.wait(token, 1)[0]
    assert push.badge == 0 and body in str(push.payload)


def test_guests_do_nothing_else(world, other):
    """push.accept_from is not xmpp.domains: no archive, no other command."""
    user = f"{new_id('carol')}@{OTHER}/phone"
    assert other.ask("<query xmlns='urn:xmpp:mam:2'/>", user) == ("auth", "forbidden")
    assert other.ask(f"<command xmlns='{NS['cmd']}' node='mark-all-read'/>",
                     user) == ("auth", "forbidden")
    assert other.ask("<query xmlns='http://jabber.org/protocol/disco#info'/>", user,
                     "get") is None
    features = {f.get("var") for f in other.last.iter(
        "{http://jabber.org/protocol/disco#info}feature")}
    assert "urn:xmpp:push:0" in features and "urn:xmpp:mam:2" not in features


def test_strangers_get_nothing_and_leave_nothing(world, registered):
    token, node, secret = registered
    stranger = Publisher(world, "stranger.test")
    before = world.oracle.query("SELECT (SELECT count(*) FROM xs.account),"
                                " (SELECT count(*) FROM xs.device)")
    assert stranger.publish(node, secret, last_message_body=world.body()) == ("auth", "forbidden")
    assert stranger.publish(new_token()) == ("auth", "forbidden")
    assert stranger.ask(f"<command xmlns='{NS['cmd']}' node='register-device'/>",
                        "eve@stranger.test/x") == ("auth", "forbidden")
    stranger.close()
    world.no_push(token, 1)
    assert world.oracle.query("SELECT (SELECT count(*) FROM xs.account),"
                              " (SELECT count(*) FROM xs.device)") == before


def test_guessing_is_limited_by_domain(make_world):
    world = make_world(settings=SETTINGS)
    guesser, other = Publisher(world, STATELESS), Publisher(world, OTHER)

    def guess(times):
        """All at once, or another minute might begin."""
        asked = [guesser.begin(publish("guess", {"secret": str(n)})) for n in range(times)]
        return {guesser.answer(iq_id) for iq_id in asked}
    assert guess(60) == {GONE}
    assert guess(2) == {("wait", "internal-server-error")}
    assert other.publish("guess", {"secret": "x"}) == GONE
    # Hosts of our own are not limited: they have lost registrations to forget.
    guesser.close()
    other.close()


# A device that is gone.


def test_a_dead_device_is_told_at_the_next_publish(world, other, registered):
    token, node, secret = registered
    world.gateway.expire(token, int(time.time() * 1000) + 1000)
    assert other.publish(node, secret, last_message_body=world.body()) is None
    world.gateway.wait_seen(token, 1)
    wait_until(lambda: other.publish(node, secret, last_message_body=world.body()) == GONE, 5,
               "the server is told")


def test_trouble_of_our_own_deletes_nothing(make_world):
    world = make_world(settings=SETTINGS, start=False)
    world.sidecar.configure({"database.url": "postgresql:///nowhere?host=/nonexistent"})
    world.sidecar.start(ready=False)
    publisher = Publisher(world, OTHER)
    wait_until(lambda: publisher.publish("node", {"secret": "x"})
               == ("wait", "internal-server-error"), 20, "it answers")
    publisher.close()


# Without registration.


def test_fpush(world, tokens):
    """Monal: the token is the node, and the module names the app."""
    token = world.token()
    assert tokens.publish(token, {"pushModule": APP}, message_count=1,
                          last_message_body=world.body()) is None
    assert world.gateway.wait(token, 1)[0].header("apns-topic") == APP
    assert tokens.publish(token, {"pushModule": "unknown"},
                          last_message_body="x") == ("wait", "internal-server-error")
    # Without a form it is the module "default", here the only app.
    token = world.token()
    assert tokens.publish(token, last_message_body=world.body()) is None
    world.gateway.wait(token, 1)


def test_mongooseim(world, tokens):
    token, node = world.token(), new_id("node")
    user = f"carol@{STATELESS}/phone"
    assert tokens.ask("<pubsub xmlns='http://jabber.org/protocol/pubsub'>"
                      f"<create node='{node}' type='push'/></pubsub>", user) is None
    assert tokens.ask("<pubsub xmlns='http://jabber.org/protocol/pubsub#owner'>"
                      f"<affiliations node='{node}'><affiliation jid='{STATELESS}'"
                      " affiliation='publish-only'/></affiliations></pubsub>", user) is None
    options = {"service": "apns", "device_id": token, "mode": "prod", "topic": APP,
               "silent": "false", "priority": "high"}
    body = world.body()
    assert tokens.publish(node, options, message_count=2, last_message_sender="dave@r.test",
                          last_message_body=body) is None
    push = world.gateway.wait(token, 1)[0]
    assert push.badge == 2 and body in str(push.payload)
    for wrong in ({"topic": "org.example.stolen"}, {"service": "fcm"}, {"mode": "dev"}):
        assert tokens.publish(node, {**options, **wrong},
                              last_message_body="x") == ("wait", "internal-server-error")
    assert tokens.publish(node, {**options, "device_id": "none"}, last_message_body="x") == GONE
    world.no_push(token, 1, since=1)


def test_chatsecure(world, tokens):
    token = world.token()
    assert tokens.publish(new_id("node"), {
        "token": token, "endpoint": "https://push.example/api/v1/messages/"},
        last_message_body=world.body()) is None
    world.gateway.wait(token, 1)


def test_a_dead_token_is_told_at_the_next_publish(world, tokens):
    token = world.token()
    world.gateway.expire(token, int(time.time() * 1000) + 1000)
    assert tokens.publish(token, {"pushModule": APP}, last_message_body="x") is None
    world.gateway.wait_seen(token, 1)
    wait_until(lambda: tokens.publish(token, {"pushModule": APP}, last_message_body="x") == GONE,
               5, "the server is told")
    world.no_push(token, 1, since=1)


def test_not_configured_is_not_there(make_world):
    world = make_world(settings={"push.accept_from": [STATELESS]})
    publisher = Publisher(world, STATELESS)
    assert publisher.publish(new_token(), {"pushModule": APP}) == GONE
    assert publisher.ask("<pubsub xmlns='http://jabber.org/protocol/pubsub'>"
                         "<create node='n' type='push'/></pubsub>",
                         f"carol@{STATELESS}/x") == ("cancel", "feature-not-implemented")
    assert world.oracle.value("SELECT count(*) FROM xs.device") == 0
    publisher.close()
