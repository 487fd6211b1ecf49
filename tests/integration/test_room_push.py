# SPDX-License-Identifier: Apache-2.0
"""What is said in rooms is pushed to the members that want it, and to nobody else."""

import json

import pytest

from harness.clients import StanzaError, form_fields
from harness.procs import wait_until
from harness.rooms import leave, make_room, member, say, subscribe

pytestmark = pytest.mark.servers("ejabberd", "prosody")
PEP = {"modules": {"mod_caps": {}, "mod_pubsub": {"plugins": ["flat", "pep"]}}}
SERVER = {"ejabberd": {"with_muc": True, "with_mam_never": True, "extra": PEP},
          "prosody": {"with_muc": True, "room_presence": True}}
SETTINGS = {"archive.groupchat": "room", "push.settle": "300ms", "push.confirm_after": "1500ms",
            "push.content": "body", "limits.commands_per_minute": 1000}
QUIET = 2  # seconds in which a push would have come


@pytest.fixture
def alice(world):
    return world.user("alice")


@pytest.fixture
def bob(world):
    return world.user("bob")


@pytest.fixture
def room_with_bob(world, alice, bob):
    """(alice's session, a room of hers that bob belongs to and is not in, his phone)"""
    sender = world.login(alice)
    room = make_room(world, sender, nick="Al")
    token = world.phone(bob)
    member(world, sender, room, bob, "Bobby")
    return sender, room, token


def run(world, *args):
    done = world.sidecar.command(*args)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def outbox_of(world, user):
    return world.oracle.value("SELECT count(*) FROM xs.outbox o JOIN xs.account a USING (owner)"
                              " WHERE a.jid = %s", (user.bare,))


def test_who_is_named_is_pushed(world, alice, bob, room_with_bob):
    sender, room, token = room_with_bob
    body = world.body("bobby: hello")
    say(world, sender, room, world.body("not for anybody"))
    say(world, sender, room, body)
    push = world.gateway.wait(token, 1)[0]
    assert push.alert == {"title": room.split("@")[0], "body": f"Al: {body}"}
    assert push.badge == 1
    assert alice.bare not in str(push.payload), "who said it is the room's to tell"
    say(world, sender, room, world.body("Bobbys everywhere"))
    world.no_push(token, QUIET, since=1)
    again = world.body("and BOBBY again")
    say(world, sender, room, again)
    pushes = world.gateway.wait(token, 2)
    assert (pushes[1].alert["body"], pushes[1].badge) == (f"Al: {again}", 2)
    assert pushes[0].header("apns-collapse-id") == pushes[1].header("apns-collapse-id")
    assert outbox_of(world, alice) == 0


def test_who_has_lost_his_rank_while_away_is_pushed_nothing_more(world, alice, bob,
                                                                 room_with_bob):
    sender, room, token = room_with_bob
    say(world, sender, room, world.body("bobby: hello"))
    world.gateway.wait(token, 1)
    sender.iq("set", "<query xmlns='http://jabber.org/protocol/muc#admin'>"
                     f"<item affiliation='none' jid='{bob.bare}'/></query>", room)
    say(world, sender, room, world.body("bobby: not for you"))
    taken = world.gateway.wait(token, 2)[1]
    assert "alert" not in taken.payload["aps"] and taken.badge == 0
    world.no_push(token, QUIET, since=2)


def test_what_the_room_refuses_is_pushed_to_nobody(world, bob, room_with_bob):
    sender, room, token = room_with_bob
    outsider = world.login(world.user("mallory"))
    said = outsider.send_chat(room, world.body("Bobby!"), kind="groupchat")
    outsider.wait_id(said)
    world.drain(outsider)
    world.no_push(token, QUIET)
    assert world.gateway.pushes(token) == [] and outbox_of(world, bob) == 0
    say(world, sender, room, world.body("Bobby!"))
    assert world.gateway.wait(token, 1)[0].badge == 1


def test_a_reference_names_who_is_not_called_by_name(world, bob, room_with_bob):
    sender, room, token = room_with_bob
    say(world, sender, room, extra="<reference xmlns='urn:xmpp:reference:0' type='mention'"
                                   f" uri='xmpp:{bob.bare}'/>")
    assert world.gateway.wait(token, 1)[0].badge == 1


def test_what_was_read_elsewhere_is_off_the_icon(world, bob, room_with_bob):
    sender, room, token = room_with_bob
    ids = [say(world, sender, room, world.body(f"Bobby {n}")) for n in range(2)]
    wait_until(lambda: world.gateway.device(token)["badge"] == 2, 10, "both are on the icon")
    laptop = world.login(bob, "laptop")
    laptop.join(room, "Bobby")
    laptop.send_chat(room, None, kind="groupchat", extra=(
        f"<displayed xmlns='urn:xmpp:chat-markers:0' id='{ids[0]}'/>"
        "<store xmlns='urn:xmpp:hints'/>"))
    wait_until(lambda: world.gateway.device(token)["badge"] == 1, 10, "one is read")
    laptop.wait_id(laptop.send_chat(room, world.body(), kind="groupchat"))
    wait_until(lambda: world.gateway.device(token)["badge"] == 0, 10, "all is read")
    assert world.gateway.accepted(token)[-1].alert is None
    leave(laptop, room, "Bobby")


@pytest.mark.parametrize("by", ["mark all read", "reset", "the operator"])
def test_whatever_reads_a_room_is_off_the_icon(world, bob, room_with_bob, by):
    sender, room, token = room_with_bob
    say(world, sender, room, world.body("Bobby"))
    wait_until(lambda: world.gateway.device(token)["badge"] == 1, 10, "it is on the icon")
    laptop = world.login(bob, "laptop")
    if by == "mark all read":
        laptop.command(world.component, "mark-all-read")
    elif by == "reset":
        laptop.iq("set", f"<reset xmlns='erlang-solutions.com:xmpp:inbox:0' jid='{room}'/>",
                  world.server.archive_address)
    else:
        run(world, "unread", bob.bare, "--mark")
    wait_until(lambda: world.gateway.device(token)["badge"] == 0, 40, "it is read")
    assert world.gateway.accepted(token)[-1].alert is None


@pytest.mark.servers("ejabberd")
def test_a_subscriber_is_pushed_once_though_his_server_publishes_too(world, alice, bob):
    sender = world.login(alice)
    room = make_room(world, sender, nick="Al", mam=1)
    client = world.login(bob, "phone")
    token, answer = world.register_push_apns(client)
    client.enable_push(answer["jid"], answer["node"], answer["secret"])
    subscribe(client, room, "Bobby")
    client.logout()
    world.away(bob)
    say(world, sender, room, world.body("nothing for him"))
    body = world.body("hi Bobby")
    say(world, sender, room, body)
    push = world.gateway.wait(token, 1)[0]
    assert (push.alert["body"], push.badge) == (f"Al: {body}", 1)
    world.no_push(token, QUIET + 3, since=1)


def test_a_worker_that_dies_leaves_out_nobody(world, bob, room_with_bob):
    sender, room, token = room_with_bob
    old = world.sidecar.worker_pid()
    world.sidecar.arm("lane-committed")
    body = world.body("Bobby, are you there?")
    say(world, sender, room, body)
    world.sidecar.wait_new_worker(old)
    push = world.gateway.wait(token, 1, timeout=30)[0]
    assert push.alert["body"] == f"Al: {body}"


def bookmark(client, room, setting):
    extensions = (f"<extensions><notify xmlns='urn:xmpp:notification-settings:1'>{setting}"
                  "</notify></extensions>") if setting else ""
    client.iq("set", "<pubsub xmlns='http://jabber.org/protocol/pubsub'>"
                     f"<publish node='urn:xmpp:bookmarks:1'><item id='{room}'>"
                     f"<conference xmlns='urn:xmpp:bookmarks:1'>{extensions}</conference></item>"
                     "</publish></pubsub>")


def test_a_bookmark_says_when_a_room_is_heard(world, bob, room_with_bob):
    """XEP-0492"""
    sender, room, token = room_with_bob
    laptop = world.login(bob, "laptop")
    bookmark(laptop, room, "<always/><never identity-category='client' identity-type='pc'/>")
    world.drain(laptop)
    body = world.body("to all")
    say(world, sender, room, body)
    assert world.gateway.wait(token, 1)[0].alert["body"] == f"Al: {body}"
    bookmark(laptop, room, "<never/>")
    world.drain(laptop)
    say(world, sender, room, world.body("Bobby!"))
    wait_until(lambda: world.gateway.device(token)["badge"] == 0, 10, "nothing of it counts")
    bookmark(laptop, room, "")  # as push.rooms: what has named him meanwhile counts again
    wait_until(lambda: world.gateway.device(token)["badge"] == 1, 10, "the mention is unread")
    say(world, sender, room, world.body("to all"))
    world.no_push(token, QUIET, since=len(world.gateway.pushes(token)))
    assert [push for push in world.gateway.accepted(token)[1:] if push.alert] == []


# What people say themselves.


def explain(world, user, message_id):
    return json.loads(run(world, "explain", user.bare, message_id, "--json"))


def choose(world, client, room, level):
    client.command(world.component, "room-notifications", {"room": room, "rooms": level})


def test_a_command_says_what_of_a_room_is_pushed(world, bob, room_with_bob):
    sender, room, token = room_with_bob
    laptop = world.login(bob, "laptop")
    form = laptop.command(world.component, "room-notifications").find("{jabber:x:data}x")
    assert set(form_fields(form)) >= {"room", "rooms"}
    choose(world, laptop, room, "always")
    body = world.body("to all")
    said = say(world, sender, room, body)
    push = world.gateway.wait(token, 1)[0]
    assert (push.alert["body"], push.badge) == (f"Al: {body}", 1)
    told = wait_until(lambda: (now := explain(world, bob, said))["devices"] and
                      now["devices"][0]["tries"] and now, 5, "the answer is stored")
    assert told["message"]["notify"] == "always" and told["message"]["peer"] == room
    assert told["devices"][0]["tries"][0]["status"] == 200
    choose(world, laptop, room, "never")
    wait_until(lambda: world.gateway.device(token)["badge"] == 0, 10, "nothing of it counts")
    ignored = say(world, sender, room, world.body("Bobby!"))
    world.drain(sender)
    assert explain(world, bob, ignored)["message"]["unpushed_because"] == \
        "the account wants nothing of this room"
    choose(world, laptop, room, "default")
    laptop.command(world.component, "notification-settings", {"rooms": "always"})
    say(world, sender, room, world.body("to all again"))
    wait_until(lambda: world.gateway.device(token)["badge"] == 3, 10, "all of it counts")
    for wrong in ({"room": room, "rooms": "loud"}, {"room": "nothing", "rooms": "always"},
                  {"room": room}):
        with pytest.raises(StanzaError) as refused:
            laptop.command(world.component, "room-notifications", wrong)
        assert refused.value.condition == "bad-request"


def test_a_muted_room_is_silent(world, bob, room_with_bob):
    sender, room, token = room_with_bob
    laptop = world.login(bob, "laptop")
    choose(world, laptop, room, "always")
    say(world, sender, room)
    world.gateway.wait(token, 1)
    laptop.iq("set", "<query xmlns='erlang-solutions.com:xmpp:inbox:0#conversation'"
                     f" jid='{room}'><mute>3600</mute></query>", world.server.archive_address)
    wait_until(lambda: world.gateway.device(token)["badge"] == 0, 40, "it is off the icon")
    said = say(world, sender, room)
    told = wait_until(lambda: (now := explain(world, bob, said))["devices"] and
                      now["devices"][0]["tries"] and now, 10, "the end is stored")
    assert told["devices"][0]["tries"][0]["reason"] == "muted"
    assert [push for push in world.gateway.accepted(token)[1:] if push.alert] == []


def test_explain_says_why_a_room_did_not_push(world, alice, bob, room_with_bob):
    sender, room, token = room_with_bob
    plain = say(world, sender, room, world.body("to all"))
    outsider = world.login(world.user("mallory"))
    refused = outsider.send_chat(room, world.body("Bobby!"), kind="groupchat")
    outsider.wait_id(refused)
    named = say(world, sender, room, world.body("Bobby!"))
    world.gateway.wait(token, 1)
    world.drain(outsider)

    def why(user, message_id):
        return explain(world, user, message_id)["message"]["unpushed_because"]

    assert why(bob, plain) == "it does not name the account"
    assert why(bob, refused) == "the room has not told of it"
    assert why(bob, named) is None
    assert why(alice, named) == "the account said it itself"
    text = run(world, "explain", bob.bare, plain)
    assert "of rooms  mention: it does not name the account" in text
    assert alice.bare not in text
    by_id = [row["id"] for row in json.loads(run(world, "history", room, "--json"))
             if row["stanza_id"] == named]
    assert explain(world, bob, by_id[0])["message"]["stanza_id"] == named
    stranger = world.user("stranger")
    world.known_offline(stranger)
    assert world.sidecar.command("explain", stranger.bare, named).returncode != 0
