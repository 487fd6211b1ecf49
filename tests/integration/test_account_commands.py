# SPDX-License-Identifier: Apache-2.0
"""What the command line tells of one account, and what it does to it."""

import json

import pytest

from harness.clients import new_id
from harness.procs import wait_until

SETTINGS = {"push.settle": "300ms", "push.confirm_after": "8s",
            "push.while_active_elsewhere": "500ms"}

EX_USAGE, EX_DATAERR, EX_NOINPUT = 64, 65, 66


def run(world, *args, status=0):
    done = world.sidecar.command(*args)
    assert done.returncode == status, done.stdout + done.stderr
    return done


def ask(world, *args, status=0):
    return json.loads(run(world, *args, "--json", status=status).stdout)


def write(world, sender, recipient, count=1, **options):
    sent = [sender.send_chat(recipient.bare, world.body(), **options) for _ in range(count)]
    world.drain(sender)
    return sent


def pushed(world, token, badge):
    return wait_until(lambda: world.gateway.pushes(token) and
                      world.gateway.pushes(token)[-1].badge == badge, 10, f"badge {badge}")


# unread


def test_unread_says_how_much_since_when_and_what_is_muted(world, alice, bob):
    carol = world.login(world.user("carol"))
    sent = write(world, alice, bob, 3)
    write(world, carol, bob, 2)
    phone = world.login(bob)
    phone.displayed(alice.bare, sent[0])
    world.drain(phone)
    phone.iq("set", f"<query xmlns='erlang-solutions.com:xmpp:inbox:0#conversation'"
                    f" jid='{carol.bare}'><mute>3600</mute></query>", world.component)
    told = ask(world, "unread", bob.bare)
    assert (told["jid"], told["unread"], told["unread_conversations"]) == (bob.bare, 4, 2)
    by_jid = {c["jid"]: c for c in told["conversations"]}
    assert [c["jid"] for c in told["conversations"]] == [carol.bare, alice.bare]
    from_alice, from_carol = by_jid[alice.bare], by_jid[carol.bare]
    assert (from_alice["unread"], from_carol["unread"]) == (2, 2)
    rows = {entry["stanza_id"]: entry for entry in ask(world, "history", bob.bare)}
    assert from_alice["first_unread"]["id"] == rows[sent[1]]["id"]
    assert from_alice["newest"]["id"] == rows[sent[2]]["id"]
    assert from_alice["read_up_to"] == rows[sent[0]]["at"]
    assert from_alice["read_at"] > from_alice["read_up_to"]
    assert from_carol["read_up_to"] is None and from_carol["read_at"] is None
    assert (from_alice["muted"], from_carol["muted"]) == (False, True)
    assert from_carol["muted_until"] is not None
    text = run(world, "unread", bob.bare).stdout
    assert f"{bob.bare}: 4 unread in 2 conversations" in text
    assert rows[sent[1]]["id"] in text and "muted until" in text


def test_unread_of_nobody(world, alice):
    done = run(world, "unread", "nobody@" + world.server.host, status=EX_NOINPUT)
    assert "nothing is known" in done.stderr
    run(world, "unread", "no address@@", status=EX_USAGE)
    run(world, "unread", f"{alice.bare}/resource", status=EX_USAGE)
    run(world, "unread", world.server.host, status=EX_USAGE)
    run(world, "unread", status=EX_USAGE)
    run(world, "unread", alice.bare, "--marc", status=EX_USAGE)
    run(world, "unread", alice.bare, "more", status=EX_USAGE)


def test_marking_as_read_is_the_owners_own_reset(world, alice, bob):
    """Counts, inbox and the phone's badge follow, while the worker goes on."""
    token = world.phone(bob)
    write(world, alice, bob, 3)
    pushed(world, token, 3)
    assert ask(world, "unread", bob.bare, "--mark") == {
        "jid": bob.bare, "marked": 3, "conversations": 1}
    assert world.oracle.unread(bob.bare) == 0
    assert ask(world, "unread", bob.bare)["conversations"] == []
    # The worker looks for what others have left for it twice a minute.
    wait_until(lambda: world.gateway.pushes(token)[-1].badge == 0, 40, "badge 0")
    assert world.gateway.pushes(token)[-1].alert is None
    assert ask(world, "unread", bob.bare, "--mark")["marked"] == 0
    write(world, alice, bob, 1)
    pushed(world, token, 1)
    assert world.oracle.unread(bob.bare) == 1


# devices


def test_devices_are_shown_without_their_tokens(world, alice, bob):
    tokens = [world.phone(bob, resource) for resource in ("phone", "tablet")]
    write(world, alice, bob, 2)
    for token in tokens:
        pushed(world, token, 2)
    done = run(world, "devices", bob.bare, "--json")
    shown = wait_until(lambda: (now := ask(world, "devices", bob.bare)) and
                       all(d["badge_told"] == 2 and not d["waiting"] for d in now) and now, 5,
                       "both were told")
    assert [d["resource"] for d in shown] == ["phone", "tablet"]
    for device in shown:
        assert device["app"] == "org.example.chat"
        assert (device["badge"], device["accounts"], device["parked"]) == (2, 1, 0)
        assert device["last"]["status"] == 200
        assert device["accepted_at"] > device["registered_at"]
    text = run(world, "devices", bob.bare).stdout
    assert shown[0]["device"] in text
    for token in tokens:
        assert token not in text and token not in done.stdout


# history


def test_history_has_no_texts_unless_asked_for(world, alice, bob):
    body = world.body("a secret")
    first = alice.send_chat(bob.bare, body)
    world.drain(alice)
    phone = world.login(bob)
    answer = phone.send_chat(alice.bare, world.body("an answer"))
    alice.wait_id(answer)
    world.drain(phone)
    plain = run(world, "history", bob.bare, "--json").stdout
    assert body not in plain
    shown = json.loads(plain)
    assert [(row["stanza_id"], row["direction"], row["peer"]) for row in shown] == [
        (first, "in", alice.bare), (answer, "out", alice.bare)]
    assert shown[0]["flags"] == ["counted"] and shown[0]["read"] is True
    assert [row["id"] for row in shown] == phone.mam_page().ids
    assert ask(world, "history", bob.bare, "--bodies")[0]["body"] == body
    assert body not in run(world, "history", bob.bare).stdout
    assert body in run(world, "history", bob.bare, "--bodies").stdout
    assert [row["stanza_id"] for row in ask(world, "history", bob.bare, "--last", "1")] == [answer]
    assert ask(world, "history", bob.bare, "--with", "stranger@example.net") == []
    assert len(ask(world, "history", bob.bare, "--with", alice.bare)) == 2
    for wrong in (("--last", "0"), ("--last", "x"), ("--last",), ("--with", "a@@b")):
        run(world, "history", bob.bare, *wrong, status=EX_USAGE)


def test_history_tells_what_the_peer_has_displayed(world, alice, bob):
    sent = write(world, alice, bob, 3)
    phone = world.login(bob)
    answer = phone.send_chat(alice.bare, world.body("an answer"))
    phone.displayed(alice.bare, sent[1])
    world.drain(phone)
    shown = {row["stanza_id"]: row["displayed"] for row in ask(world, "history", alice.bare)}
    assert shown == {sent[0]: True, sent[1]: True, sent[2]: False, answer: False}
    # The peer's own archive says of these messages what the peer has read, and no more.
    assert not any(row["displayed"] for row in ask(world, "history", bob.bare))
    lines = run(world, "history", alice.bare).stdout.splitlines()
    assert [line.split().count("displayed") for line in lines] == [1, 1, 0, 0]
    # It never goes back.
    phone.displayed(alice.bare, sent[0])
    world.drain(phone)
    assert sum(row["displayed"] for row in ask(world, "history", alice.bare)) == 2


def test_what_a_stranger_wrote_does_nothing_to_the_terminal(world, alice, bob):
    alice.send_xml(f"<message to='{bob.bare}' type='chat' id='esc'><body>a&#x9b;31mb</body>"
                   "</message>")
    world.drain(alice)
    text = run(world, "history", bob.bare, "--bodies").stdout
    assert "a\\xC2\\x9B31mb" in text


# explain


def test_explain_a_push_that_was_answered(world, alice, bob):
    token = world.phone(bob)
    sent, = write(world, alice, bob)
    pushed(world, token, 1)
    told = wait_until(lambda: (now := ask(world, "explain", bob.bare, sent))["devices"] and
                      now["devices"][0]["tries"] and now, 5, "the answer is stored")
    row, = ask(world, "history", bob.bare)
    message = told["message"]
    assert (message["id"], message["stanza_id"]) == (row["id"], sent)
    assert message["counted"] is True and message["uncounted_because"] is None
    assert (message["read"], message["read_by"]) == (False, None)
    device, = told["devices"]
    assert device["resource"] == "phone" and device["waiting"] is None
    tried, = device["tries"]
    assert (tried["status"], tried["reason"], tried["badge"]) == (200, None, 1)
    assert tried["decision"] == "offline"
    assert tried["apns_id"] == world.gateway.pushes(token)[0].header("apns-id").lower()
    # The same by the archive's id, and as text, which has neither token nor body.
    assert ask(world, "explain", bob.bare, row["id"]) == told
    text = run(world, "explain", bob.bare, sent).stdout
    assert "because: offline" in text and tried["apns_id"] in text and token not in text


def test_explain_follows_a_push_through_its_failures(world, alice, bob):
    token = world.phone(bob)
    world.gateway.script(token, {"status": 500, "reason": "InternalServerError",
                                 "retry_after": 1})
    sent, = write(world, alice, bob)
    pushed(world, token, 1)
    told = wait_until(lambda: (now := ask(world, "explain", bob.bare, sent))["devices"] and
                      len(now["devices"][0]["tries"]) == 2 and now, 20, "both tries")
    tries = told["devices"][0]["tries"]
    assert [(t["status"], t["reason"]) for t in tries] == [(500, "InternalServerError"),
                                                           (200, None)]
    assert tries[0]["apns_id"] == tries[1]["apns_id"]


def test_explain_what_was_not_pushed(world, alice, bob):
    token = world.phone(bob)
    sent, = write(world, alice, bob)
    pushed(world, token, 1)
    extra = f"<replace xmlns='urn:xmpp:message-correct:0' id='{sent}'/>"
    correction, = write(world, alice, bob, extra=extra)
    message = ask(world, "explain", bob.bare, correction)["message"]
    assert (message["counted"], message["uncounted_because"]) == (False, "a correction")
    taken_back = alice.send_chat(
        bob.bare, None, extra=f"<retract xmlns='urn:xmpp:message-retract:1' id='{sent}'/>")
    world.drain(alice)
    assert ask(world, "explain", bob.bare, taken_back)["message"]["uncounted_because"] == \
        "a retraction"
    assert ask(world, "explain", bob.bare, sent)["message"]["uncounted_because"] == \
        "it was taken back"
    mine = ask(world, "explain", alice.bare, sent)
    assert mine["message"]["direction"] == "out" and mine["devices"] == []
    assert mine["message"]["uncounted_because"] == "the account sent it itself"
    assert "the account has no device" in run(world, "explain", alice.bare, sent).stdout


def test_explain_what_was_read_in_time(world, alice, bob):
    """A session online: the push waits, and then the message has been read."""
    token = world.phone(bob)
    laptop = world.login(bob, "laptop")
    sent = alice.send_chat(bob.bare, world.body())
    laptop.wait_id(sent)
    world.drain(alice)  # read in the same transaction it would never have been due
    laptop.displayed(alice.bare, sent)
    world.drain(laptop)
    told = wait_until(lambda: (now := ask(world, "explain", bob.bare, sent))["devices"] and
                      now["devices"][0]["tries"] and now, 10, "the end is stored")
    assert told["message"]["read"] is True and told["message"]["read_by"] is not None
    tried, = told["devices"][0]["tries"]
    assert (tried["status"], tried["apns_id"]) == (0, None)
    assert tried["reason"] == "nothing unread"
    assert tried["decision"] == "online, active elsewhere, unconfirmed"
    assert world.gateway.pushes(token) == []


def test_explain_only_the_accounts_own(world, alice, bob):
    write(world, alice, bob)
    mallory = world.login(world.user("mallory"))
    write(world, mallory, alice)
    row, = ask(world, "history", bob.bare)
    run(world, "explain", mallory.bare, row["id"], status=EX_NOINPUT)
    run(world, "explain", bob.bare, new_id(), status=EX_NOINPUT)
    run(world, "explain", bob.bare, status=EX_USAGE)


# recount


def break_counts(world, bob):
    world.oracle.query("UPDATE xs.conversation c SET unread = 7 FROM xs.account a"
                       " WHERE a.owner = c.owner AND a.jid = %s RETURNING 1", (bob.bare,))
    world.oracle.query("UPDATE xs.account SET unread = 9, unread_conversations = 3"
                       " WHERE jid = %s RETURNING 1", (bob.bare,))


def test_recount_finds_and_repairs(world, alice, bob):
    token = world.phone(bob)
    write(world, alice, bob, 2)
    pushed(world, token, 2)
    assert ask(world, "recount", bob.bare) == {
        "accounts": 1, "faulty": 0, "repaired": False, "differences": []}
    break_counts(world, bob)
    expected = [
        {"jid": bob.bare, "what": "unread of a conversation", "conversation": alice.bare,
         "stored": "7", "right": "2"},
        {"jid": bob.bare, "what": "unread of the account", "conversation": None,
         "stored": "9", "right": "2"},
        {"jid": bob.bare, "what": "unread conversations of the account", "conversation": None,
         "stored": "3", "right": "1"}]
    found = ask(world, "recount", bob.bare, status=EX_DATAERR)
    assert found["differences"] == expected and found["faulty"] == 1
    assert world.oracle.unread(bob.bare) == 9  # it only looked
    everybody = ask(world, "recount", status=EX_DATAERR)
    assert everybody["differences"] == expected and everybody["accounts"] > 1
    text = run(world, "recount", "--repair").stdout
    assert "stored 7, right 2" in text and ", repaired" in text
    assert world.oracle.recount() == []
    assert ask(world, "recount")["differences"] == []
    write(world, alice, bob, 1)
    pushed(world, token, 3)


def test_recount_while_the_worker_counts(world, alice, bob):
    """The lane is taken: what is counted meanwhile is neither lost nor counted twice."""
    write(world, alice, bob)
    for _ in range(5):
        break_counts(world, bob)
        alice.send_many([f"<message to='{bob.bare}' type='chat' id='{new_id()}'>"
                         f"<body>{world.body()}</body></message>" for _ in range(100)])
        run(world, "recount", bob.bare, "--repair")
    world.drain(alice)
    run(world, "recount", bob.bare, "--repair")
    assert world.oracle.unread(bob.bare) == 501
    assert world.oracle.recount() == []
