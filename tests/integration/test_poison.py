# SPDX-License-Identifier: Apache-2.0
"""Stanzas that kill the worker, that nobody can store or understand, and that are too large.

Each costs itself and nothing beside it: it is put aside with its reason, what came before and
after goes on, and a person can look at it, try it again or throw it away.
"""

import json
import os
import re
import signal
import time

import pytest

from harness.clients import error_of, new_id
from harness.procs import wait_stopped, wait_until

SETTINGS = {"limits.stanza_bytes": "64KiB"}

ABORTED = r'supervisor worker died how="signal 6 \(Aborted\)"'
PUT_ASIDE = r"hand a stanza is put aside "
PING = "<ping xmlns='urn:xmpp:ping'/>"


def rows(world):
    """The quarantine as the command line lists it, oldest first."""
    done = world.sidecar.command("quarantine", "list", "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def wait_rows(world, count, timeout=20):
    return wait_until(lambda: len(found := rows(world)) >= count and found, timeout,
                      f"{count} stanzas in quarantine", 0.3)


def act(world, verb, row):
    return world.sidecar.command("quarantine", verb, row["id"], timeout=40)


def faults(world):
    return world.sidecar.status()["worker"]["faults"]


@pytest.fixture
def world(world):
    """The module's, without failpoints and with an empty quarantine afterwards."""
    yield world
    world.sidecar.disarm()
    for row in rows(world):
        assert act(world, "drop", row).returncode == 0


@pytest.fixture
def alice(world):
    return world.login(world.user("alice"))


@pytest.fixture
def bob(world):
    """Online: the server shows two copies of what he is sent."""
    return world.login(world.user("bob"))


@pytest.fixture
def carol(world):
    """Away: the server shows only the sender's copy."""
    return world.user("carol")


def poison(world, client, recipient, failpoint="adapter-message", action="abort"):
    """Sends a message that does that to every worker that looks into it, between two others.

    Returns (id, body) of it and the body of the one after.
    """
    message_id, body = new_id("poison"), world.body("poison").replace(" ", "-")
    world.sidecar.arm(failpoint, action, body if failpoint == "lane-row" else message_id)
    before, after = world.body("before"), world.body("after")
    client.send_chat(recipient, before)
    client.send_chat(recipient, body, message_id=message_id)
    client.send_chat(recipient, after)
    return message_id, body, before, after


def test_a_stanza_that_kills_twice_is_put_aside_and_retried_once(world, alice, carol):
    world.sidecar.allow_error(ABORTED)
    world.sidecar.allow_error(PUT_ASIDE)
    # ejabberd writes its log a moment later.
    connections = wait_until(world.ejabberd.component_connections, 5, "the link is in the log")
    deaths = faults(world)
    message_id, body, before, after = poison(world, alice, carol.bare)
    for owner in (alice, carol):
        world.oracle.wait_body(owner.bare, before, 20)
        world.oracle.wait_body(owner.bare, after, 20)
    (row,) = wait_rows(world, 1)
    assert row["reason"] == "the worker died with it in hand, 2 times: signal 6 (Aborted)"
    assert row["length"] == row["kept"] > 100
    assert faults(world) - deaths == 2
    assert world.oracle.count(carol.bare) == 2
    assert world.ejabberd.component_connections() == connections, "the stream stayed up"
    shown = act(world, "show", row)
    assert shown.returncode == 0 and message_id in shown.stdout and body in shown.stdout
    wait_until(lambda: world.sidecar.status()["quarantine"]["rows"] == 1, 10,
               "status counts it", 0.3)
    assert "\nxmpp_sidecar_quarantine_rows 1\n" in world.sidecar.http("/metrics")[1]

    world.sidecar.disarm()  # the program was mended
    done = act(world, "retry", row)
    assert (done.returncode, done.stdout) == (0, f"{row['id']}: archived\n"), done.stderr
    assert rows(world) == []
    for owner in (alice, carol):
        assert len(world.oracle.with_body(owner.bare, body)) == 1
    assert world.oracle.count(carol.bare) == 3
    assert world.oracle.unread(carol.bare) == 3


def test_what_kills_a_worker_while_it_is_retried_is_not_retried_for_ever(world, alice, carol):
    world.sidecar.allow_error(ABORTED)
    world.sidecar.allow_error(PUT_ASIDE)
    world.sidecar.allow_error(r"in a row and no stanza is to blame$")
    _, body, _, after = poison(world, alice, carol.bare)
    (row,) = wait_rows(world, 1)
    deaths = faults(world)
    done = act(world, "retry", row)
    assert done.returncode == 65, (done.stdout, done.stderr)
    assert "it stays in quarantine: workers died while they tried it" in done.stdout
    assert faults(world) - deaths == 3
    assert rows(world)[0]["retry_error"] == "workers died while they tried it"
    world.oracle.wait_body(alice.bare, after)
    assert world.oracle.with_body(alice.bare, body) == []


def test_a_death_in_the_middle_of_a_batch_finds_its_stanza(world, alice, carol):
    """Nothing is in hand when the rows of a batch are written: the next worker goes one by one."""
    world.sidecar.allow_error(ABORTED)
    world.sidecar.allow_error(PUT_ASIDE)
    world.sidecar.allow_error(r"in a row and no stanza is to blame$")  # with the test before
    _, body, before, after = poison(world, alice, carol.bare, "lane-row")
    world.oracle.wait_body(alice.bare, after, 30)
    world.oracle.wait_body(alice.bare, before)
    (row,) = wait_rows(world, 1)
    assert "2 times: signal 6 (Aborted)" in row["reason"]
    assert body in act(world, "show", row).stdout
    assert world.oracle.with_body(alice.bare, body) == []


@pytest.mark.slow
def test_a_stanza_that_hangs_the_worker_is_put_aside(world, alice, carol):
    """The watchdog's 20 s, once: the first death is a quick one."""
    world.sidecar.allow_error(ABORTED)
    world.sidecar.allow_error(PUT_ASIDE)
    world.sidecar.allow_error(r"supervisor worker hangs silent_ms=[2-9]\d{4}$")
    world.sidecar.allow_error(r'supervisor worker died how="no heartbeat for 20 s"')
    # The second worker does not begin before it is clear what it will do.
    world.sidecar.arm("supervisor-forked", "stop")
    message_id, _, _, after = poison(world, alice, carol.bare)
    wait_until(lambda: not world.sidecar.is_armed("supervisor-forked"), 10, "it is forked")
    world.sidecar.arm("adapter-message", "hang", message_id)
    second = wait_until(world.sidecar.worker_pid, 10, "there it is")
    wait_stopped(second)
    os.kill(second, signal.SIGCONT)
    (row,) = wait_rows(world, 1, timeout=40)
    assert row["reason"] == "the worker died with it in hand, 2 times: no heartbeat for 20 s"
    world.oracle.wait_body(alice.bare, after, 20)


def test_a_question_that_kills_twice_is_answered_with_an_error(world, alice):
    """It is nobody's message: of its bytes nothing is kept."""
    world.sidecar.allow_error(ABORTED)
    world.sidecar.allow_error(PUT_ASIDE)
    started = alice.iq_start("get", PING, world.component)
    alice.iq_finish(started)
    number = int(re.search(r"\d+$", started[0]).group()) + 1
    world.sidecar.arm("service-request", "abort", f"q{number}")
    answer = alice.ask("get", PING, world.component, timeout=25)
    assert answer.get("id") == f"q{number}"
    assert error_of(answer) == ("cancel", "internal-server-error")
    (row,) = wait_rows(world, 1)
    assert row["kept"] == 0 and row["length"] > 100
    assert alice.iq("get", PING, world.component).get("type") == "result"


def test_kills_by_another_hand_never_put_anything_aside(world, alice, carol):
    """Five in a row with the very same stanza in hand, by SIGKILL; and two by SIGTERM."""
    starts = world.sidecar.status()["worker"]["starts"]
    message_id, body, before, after = poison(world, alice, carol.bare, action="kill")
    wait_until(lambda: world.sidecar.log_text().count("signal 9 (Killed)") >= 5, 20,
               "five workers were killed")
    world.sidecar.disarm()
    for _ in range(2):
        pid = wait_until(world.sidecar.worker_pid, 10, "there is a worker")
        os.kill(pid, signal.SIGTERM)
        world.sidecar.wait_new_worker(pid)
    for text in (before, body, after):
        assert len(world.oracle.wait_body(alice.bare, text, 20)) == 1
    status = world.sidecar.status()
    assert status["worker"]["starts"] - starts >= 7
    assert rows(world) == []


def test_a_signal_for_a_worker_that_is_being_started_is_not_the_services(world, alice, carol):
    """Between fork and exec the child is still a copy of the service."""
    world.sidecar.arm("supervisor-forked", "stop")
    old = world.sidecar.kill_worker()
    wait_until(lambda: not world.sidecar.is_armed("supervisor-forked"), 10, "a worker is forked")
    child = wait_until(world.sidecar.worker_pid, 10, "there it is")
    assert child != old
    wait_stopped(child)
    os.kill(child, signal.SIGTERM)
    os.kill(child, signal.SIGCONT)
    world.sidecar.wait_new_worker(child)
    assert world.sidecar.process.alive(), "the service has stopped"
    body = world.body()
    alice.send_chat(carol.bare, body)
    assert len(world.oracle.wait_body(alice.bare, body, 20)) == 1


def test_a_worker_that_dies_for_no_stanza_s_sake_puts_nothing_aside(world, alice, carol):
    world.sidecar.allow_error(ABORTED)
    world.sidecar.allow_error(r"in a row and no stanza is to blame$")
    body = world.body()
    before = world.sidecar.status()["worker"]["faults_unclear"]  # of the tests before
    for _ in range(4):
        old = wait_until(world.sidecar.worker_pid, 10, "there is a worker")
        world.sidecar.arm("worker-tick", "abort")
        alice.send_chat(carol.bare, body)
        world.sidecar.wait_new_worker(old)
    world.sidecar.wait_log(f"supervisor the worker died {before + 4} times in a row and no stanza"
                           " is to blame")
    assert world.sidecar.status()["worker"]["faults_unclear"] == before + 4
    world.oracle.wait_count(alice.bare, 4, 20)
    assert rows(world) == []


OVER_A_LIMIT = {
    "size": ("y" * 200_000, ""),
    "depth": ("deep", "<x xmlns='urn:x'>" * 2000 + "</x>" * 2000),
    "attributes": ("wide", "<x xmlns='urn:x' "
                   + " ".join(f"a{i}='{i}'" for i in range(1000)) + "/>"),
    "memory": ("many", "<x xmlns='urn:x'>" + "<y/>" * 15_000 + "</x>"),
}


def test_messages_over_a_limit_are_put_aside(world, alice, carol):
    """T3, T4: each between good ones."""
    for what, (text, extra) in OVER_A_LIMIT.items():
        after = world.body("after")
        alice.send_chat(carol.bare, text, extra=extra)
        alice.send_chat(carol.bare, after)
        world.oracle.wait_body(alice.bare, after, 20)
        row = wait_rows(world, 1)[-1]
        assert row["reason"] == f"over a limit: {what}"
        assert row["kept"] == min(row["length"], 65536) > 3000
        done = act(world, "retry", row)
        assert done.returncode == 65
        expected = "only its beginning was kept" if row["length"] > 65536 else "over a limit"
        assert expected in done.stdout
        assert act(world, "drop", row).returncode == 0
        assert act(world, "show", row).returncode == 66


def test_a_larger_limit_lets_a_retry_in(world, alice, carol):
    body = world.body("z" * 20_000)
    world.sidecar.configure({"limits.stanza_bytes": "16KiB"})
    old = world.sidecar.worker_pid()
    world.sidecar.reload()
    world.sidecar.wait_new_worker(old)
    alice.send_chat(carol.bare, body)
    (row,) = wait_rows(world, 1)
    # Until every lane has passed it, the next worker would read it from the spool again.
    wait_until(lambda: world.oracle.value("SELECT min(pos) FROM xs.spool_position") > row["pos"],
               15, "all lanes have passed it")
    old = world.sidecar.worker_pid()
    world.sidecar.configure({"limits.stanza_bytes": "64KiB"})
    world.sidecar.reload()
    world.sidecar.wait_new_worker(old)
    assert act(world, "retry", row).returncode == 0
    assert len(world.oracle.with_body(alice.bare, body)) == 1
    assert world.oracle.with_body(alice.bare, body)[0].flags & 64  # late


def test_large_questions_are_refused_and_never_kept(world, alice, bob):
    """One to us gets its answer; one between others is none of our business."""
    started = alice.iq_start("get", f"<ping xmlns='urn:xmpp:ping'><x>{'y' * 100_000}</x></ping>",
                             world.component)
    assert error_of(alice.iq_finish(started)) == ("modify", "policy-violation")
    mam = world.body("w").replace(" ", "") * 6000
    answer = alice.ask("set", f"<query xmlns='urn:xmpp:mam:2'><x>{mam}</x></query>")
    assert error_of(answer) == ("modify", "policy-violation")
    alice.iq_start("get", f"<query xmlns='urn:x:large'>{mam}</query>", bob.jid)
    after = world.body("after")
    alice.send_chat(bob.bare, after)
    world.oracle.wait_body(bob.bare, after)
    world.sidecar.wait_log("feed link=0 a stanza was passed over ")
    assert rows(world) == []


def test_the_command_line_says_what_it_does_not_find(world):
    command = world.sidecar.command
    assert command("quarantine").returncode == 64
    assert command("quarantine", "show", "no-such-id").returncode == 64
    assert command("quarantine", "show", "00000000:5").returncode == 66
    assert command("quarantine", "retry", "00000000:5").returncode == 66
    assert command("quarantine", "drop", "00000000:5").returncode == 66
    assert command("quarantine", "list").stdout == ""


def test_a_poison_stanza_is_remembered_while_postgresql_is_away(make_world, own_postgres):
    """The decision to pass over it outlives the next worker, and the row is written once."""
    world = make_world(cluster=own_postgres)
    world.sidecar.allow_error(ABORTED)
    world.sidecar.allow_error(PUT_ASIDE)
    alice, carol = world.login(world.user("alice")), world.user("carol")
    first = world.body()
    alice.send_chat(carol.bare, first)
    world.oracle.wait_body(alice.bare, first)
    own_postgres.stop()
    world.forget_oracle()
    _, body, before, after = poison(world, alice, carol.bare)
    world.sidecar.wait_log(PUT_ASIDE)
    deaths = faults(world)
    assert deaths == 2
    assert alice.iq("get", PING, world.component, 10).get("type") == "result"
    for _ in range(2):
        world.sidecar.wait_new_worker(world.sidecar.kill_worker())
    assert alice.iq("get", PING, world.component, 10).get("type") == "result"
    assert faults(world) == deaths and world.sidecar.status()["worker"]["poison"] == 1
    own_postgres.start()
    for text in (before, after):
        assert len(world.oracle.wait_body(alice.bare, text, 30)) == 1
    # A client that is told "no worker" is told the truth: it waits for the next one.
    (row,) = wait_rows(world, 1)
    world.sidecar.disarm()
    world.sidecar.stop()
    done = world.sidecar.command("quarantine", "retry", row["id"], timeout=40)
    assert done.returncode == 75 and "no worker has taken it up yet" in done.stdout
    world.sidecar.start()
    assert len(world.oracle.wait_body(alice.bare, body, 20)) == 1
    wait_until(lambda: rows(world) == [], 10, "the quarantine is empty", 0.3)
    assert time.time() - world.oracle.with_body(alice.bare, body)[0].id / 256e6 - 1577836800 < 3600
    world.oracle.assert_sound()
