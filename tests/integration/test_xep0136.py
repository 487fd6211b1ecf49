# SPDX-License-Identifier: Apache-2.0
"""Collections (XEP-0136), as its clients ask: their own account, which the server delegates."""

import pytest

from harness.clients import StanzaError, error_of, new_id
from harness.ejabberd import HOST

NS = {"a": "urn:xmpp:archive", "rsm": "http://jabber.org/protocol/rsm"}
pytestmark = pytest.mark.servers("ejabberd", "prosody")  # the users' own addresses
SERVER = {"ejabberd": {"with_mam_never": True}}


@pytest.fixture
def pair(world):
    return world.login(world.user("alice")), world.login(world.user("bob"))


def element(name, attrs="", inside=""):
    return f"<{name} xmlns='urn:xmpp:archive' {attrs}>{inside}</{name}>"


def rsm(inside):
    return f"<set xmlns='{NS['rsm']}'>{inside}</set>"


def chats(client, attrs="", inside="", to=None):
    """[(with, start, thread)] of a list."""
    answer = client.iq("get", element("list", attrs, inside), to)
    return [(chat.get("with"), chat.get("start"), chat.get("thread"))
            for chat in answer.findall("a:list/a:chat", NS)]


def retrieve(client, chat, inside=""):
    """[(direction, body)] of one collection."""
    answer = client.iq("get", element("retrieve", f"with='{chat[0]}' start='{chat[1]}'", inside))
    return [(el.tag.rpartition("}")[2], el.findtext("a:body", None, NS))
            for el in answer.find("a:chat", NS) if el.get("secs") is not None]


def say(world, sender, recipient, *texts, thread=None):
    bodies = [world.body(text) for text in texts]
    for body in bodies:
        sender.send_chat(recipient.bare, body,
                         extra=f"<thread>{thread}</thread>" if thread else "")
        recipient.wait_message(body)
    return bodies


def test_a_conversation_is_listed_and_retrieved_on_both_sides(world, pair):
    """Asked at once: what was sent before is in the answer."""
    alice, bob = pair
    first, = say(world, alice, bob, "会议改到三点")
    second, = say(world, bob, alice, "好的")
    listed = chats(alice)
    assert [chat[0] for chat in listed] == [bob.bare]
    assert retrieve(alice, listed[0]) == [("to", first), ("from", second)]
    assert [chat[0] for chat in chats(bob)] == [alice.bare]
    assert retrieve(bob, chats(bob)[0]) == [("from", first), ("to", second)]
    assert chats(alice, to=alice.bare) == listed
    assert chats(alice, to=world.component) == listed


def test_lists_and_collections_page(world, pair):
    alice, bob = pair
    carol = world.login(world.user("carol"))
    bodies = say(world, alice, bob, *[f"n{i}" for i in range(5)], thread="one")
    say(world, carol, alice, "hello")
    say(world, bob, alice, "again", thread="two")
    assert [chat[2] for chat in chats(alice, f"with='{bob.bare}'")] == ["one", "two"]
    seen, anchor = [], ""
    while page := chats(alice, "", rsm(f"<max>1</max>{anchor}")):
        seen += page
        answer = alice.iq("get", element("list", "", rsm(f"<max>1</max>{anchor}")))
        anchor = f"<after>{answer.findtext('a:list/rsm:set/rsm:last', None, NS)}</after>"
    assert len(seen) == 3 and sorted(seen) == sorted(chats(alice))
    one = chats(alice, f"with='{bob.bare}'")[0]
    assert [body for _, body in retrieve(alice, one, rsm("<max>2</max><before/>"))] == bodies[3:]


def test_what_is_removed_is_gone_from_every_view(world, pair):
    alice, bob = pair
    say(world, alice, bob, "secret", thread="one")
    kept = say(world, alice, bob, "public", thread="two")
    one, two = chats(bob)
    assert world.oracle.unread(bob.bare) == 2
    bob.iq("set", element("remove", f"with='{one[0]}' start='{one[1]}'"))
    assert chats(bob) == [two]
    assert bob.mam_page().bodies == kept
    assert world.oracle.unread(bob.bare) == 1
    assert len(chats(alice)) == 2, "the other side's archive is its own"
    changes = bob.iq("get", element("modified", "start='1970-01-01T00:00:00Z'"))
    names = {el.get("start"): el.tag.rpartition("}")[2]
             for el in changes.find("a:modified", NS) if el.get("with")}
    assert names == {one[1]: "removed", two[1]: "changed"}
    with pytest.raises(StanzaError, match="item-not-found"):
        retrieve(bob, one)


def test_a_client_saves_what_the_server_did_not_see(world, pair):
    alice = pair[0]
    alice.iq("set", element("save", "", (
        "<chat with='friend@sms.example' start='2020-01-02T03:04:05Z' subject='by phone'>"
        "<to secs='0'><body>are you there?</body></to>"
        "<from secs='61'><body>yes</body></from></chat>")))
    listed = chats(alice)
    assert listed == [("friend@sms.example", "2020-01-02T03:04:05Z", None)]
    assert retrieve(alice, listed[0]) == [("to", "are you there?"), ("from", "yes")]
    assert alice.mam_page().bodies == [], "what a client says is no archive"


def test_preferences_are_those_of_mam(world, pair):
    """What XMPPFramework asks for after login, and what other clients set."""
    alice, bob = pair
    pref = alice.iq("get", element("pref")).find("a:pref", NS)
    assert pref.find("a:default", NS).get("save") == "message"
    assert pref.find("a:default", NS).get("unset") == "true"
    assert pref.find("a:auto", NS).get("save") == "true"
    assert {m.get("type") for m in pref.findall("a:method", NS)} == {"auto", "local", "manual"}
    alice.iq("set", element("pref", "", f"<item jid='{bob.bare}' otr='concede' save='false'/>"))
    prefs = alice.iq("get", "<prefs xmlns='urn:xmpp:mam:2'/>").find("{urn:xmpp:mam:2}prefs")
    assert [jid.text for jid in prefs.iterfind("{urn:xmpp:mam:2}never/*")] == [bob.bare]
    say(world, bob, alice, "not kept")
    assert chats(alice) == [] and len(chats(bob)) == 1


def test_features_are_where_clients_look(world, pair):
    alice = pair[0]
    for address in (HOST, alice.bare):
        features = alice.disco_info(address)[1]
        for name in ("", ":auto", ":manage", ":manual", ":pref"):
            assert features.count("urn:xmpp:archive" + name) == 1, (address, name)


def test_another_account_is_forbidden(world, pair):
    alice, bob = pair
    say(world, alice, bob, "hello")
    stranger = world.login(world.user("eve"))
    remote = world.login(world.remote_user())
    for owner in (bob.bare, f"nobody@{HOST}"):
        for kind, payload in (("get", element("list")), ("set", element("remove"))):
            assert error_of(stranger.ask(kind, payload, owner)) == ("auth", "forbidden")
            assert error_of(remote.ask(kind, payload, owner)) == ("auth", "forbidden")
    assert chats(stranger, to=world.component) == []
    assert error_of(remote.ask("get", element("list"), world.component)) == ("auth", "forbidden")
    assert len(chats(bob)) == 1


def test_many_questions_at_once_agree(world, pair):
    """Each gathers what is new by itself, and none twice."""
    alice, bob = pair
    bodies = say(world, alice, bob, *[f"n{i}" for i in range(10)])
    started = [alice.iq_start("get", element("list")) for _ in range(30)]
    answers = [alice.iq_finish(one) for one in started]
    versions = {answer.find("a:list/a:chat", NS).get("version") for answer in answers}
    assert versions == {str(len(bodies) - 1)}
    assert retrieve(alice, chats(alice)[0]) == [("to", body) for body in bodies]


def test_an_unknown_request_is_refused(world, pair):
    answer = pair[0].ask("get", element(new_id("what")))
    assert error_of(answer) == ("cancel", "feature-not-implemented")
