# SPDX-License-Identifier: Apache-2.0
"""The list of conversations (XEP-0430), at the user's own address and at the component's."""

import pytest

from harness.clients import NS, StanzaError, body_of, new_id
from harness.conversations import INBOX, inbox
from harness.procs import wait_until

pytestmark = pytest.mark.servers()


@pytest.fixture
def mei(world):
    return world.login(world.user("mei"))


@pytest.fixture
def said(world, mei):
    """What wang, zhao and again wang have said to mei: (wang, zhao, last texts)."""
    wang, zhao = world.login(world.user("wang")), world.login(world.user("zhao"))
    for sender, text in ((wang, "first"), (zhao, "second"), (wang, "third")):
        sender.send_chat(mei.bare, text, new_id("inbox"))
        mei.wait_message(text)
        world.drain(sender)
    return wang, zhao


@pytest.mark.parametrize("at", [
    pytest.param("account", marks=pytest.mark.needs("own-archive")), "component"])
def test_conversations_newest_first_with_what_is_unread(world, mei, said, at):
    wang, zhao = said
    entries, fin, question = inbox(mei, to=world.component if at == "component" else None)
    assert [(e.jid, e.unread, e.body) for e in entries] == [
        (wang.bare, 2, "third"), (zhao.bare, 1, "second")]
    assert {e.sender for e in entries} == {world.component if at == "component" else mei.bare}
    assert {e.queryid for e in entries} == {question}
    assert (fin.get("total"), fin.get("unread"), fin.get("all-unread")) == ("2", "2", "3")
    newest = mei.mam_page(rsm="<max>1</max><before/>").ids[0]
    assert newest == entries[0].id


def test_what_is_read_is_not_unread_in_the_list(world, mei, said):
    wang, zhao = said
    mei.displayed(zhao.bare, mei.wait_message("second").get("id"))
    world.drain(mei)
    entries, fin, _ = inbox(mei, "unread-only='true' messages='false'")
    assert [(e.jid, e.unread, e.body) for e in entries] == [(wang.bare, 2, None)]
    assert (fin.get("total"), fin.get("unread"), fin.get("all-unread")) == ("2", "1", "2")


def test_pages(mei, said):
    wang, zhao = said
    entries, fin, _ = inbox(mei, rsm="<max>1</max>")
    assert [e.jid for e in entries] == [wang.bare]
    assert fin.findtext("rsm:set/rsm:count", namespaces=NS) == "2"
    last = fin.findtext("rsm:set/rsm:last", namespaces=NS)
    entries, _, _ = inbox(mei, rsm=f"<max>1</max><after>{last}</after>")
    assert [e.jid for e in entries] == [zhao.bare]


ESL = "erlang-solutions.com:xmpp:inbox:0"


def esl(client, inside=""):
    """[(last text, unread, box)] as MongooseIM's dialect lists them."""
    started = client.iq_start("set", f"<inbox xmlns='{ESL}' queryid='b6'>{inside}</inbox>",
                              client.server.archive_address)
    assert client.iq_finish(started).get("type") == "result"
    results = [message.find(f"{{{ESL}}}result") for message in client.messages(started[1])]
    return [(body_of(r.find("fwd:forwarded/c:message", NS)), r.get("unread"),
             r.findtext(f"{{{ESL}}}box")) for r in results if r is not None]


def change(client, peer, inside):
    client.iq("set", f"<query xmlns='{ESL}#conversation' jid='{peer.bare}'>{inside}</query>",
              client.server.archive_address)


def test_the_same_in_mongooseims_dialect(world, mei, said):
    wang, zhao = said
    assert esl(mei) == [("third", "2", "inbox"), ("second", "1", "inbox")]
    change(mei, zhao, "<box>archive</box><read>true</read>")
    form = (f"<x xmlns='jabber:x:data' type='submit'><field var='FORM_TYPE'><value>{ESL}</value>"
            "</field><field var='box'><value>archive</value></field></x>")
    assert esl(mei, form) == [("second", "0", "archive")]
    zhao.send_chat(mei.bare, "fourth")
    mei.wait_message("fourth")
    world.drain(zhao)
    assert esl(mei)[0] == ("fourth", "1", "inbox")  # back from the archive


def test_a_muted_conversation_rings_no_phone_and_is_not_in_the_badge(world):
    user = world.user("mei")
    token = world.phone(user)
    wang, zhao = world.login(world.user("wang")), world.login(world.user("zhao"))
    wang.send_chat(user.bare, "rings")
    assert world.gateway.wait(token, 1)[0].badge == 1
    client = world.login(user)
    change(client, wang, "<mute>3600</mute>")
    client.logout()
    wang.send_chat(user.bare, "rings nobody")
    world.drain(wang)
    zhao.send_chat(user.bare, "rings again")
    alerts = wait_until(lambda: [p for p in world.gateway.accepted(token) if p.alert][1:], 10,
                        "another alert")
    assert [push.badge for push in alerts] == [1]
    assert world.oracle.unread(user.bare) == 3  # muting loses no count


def test_nobody_sees_another_ones_list(world, mei, said):
    wang, _ = said
    with pytest.raises(StanzaError):
        wang.iq("get", f"<inbox xmlns='{INBOX}'/>", mei.bare)


@pytest.mark.needs("own-archive")
def test_it_is_announced(mei):
    assert mei.disco_info(mei.bare)[1].count(INBOX) == 1
