# SPDX-License-Identifier: Apache-2.0
"""The promises under faults: nothing lost, nothing doubled, every count right.

Two tests are the product: the worker killed at random moments under load, and
PostgreSQL stopped, killed and stalled under load.
"""

import os
import random
import shutil
import signal
import subprocess
import time

import pytest

from harness.chaos import limit_descriptors
from harness.clients import StanzaError, error_of
from harness.disk import Disk
from harness.load import SEED, Asker, Crash, Load, assert_the_stream_stayed
from harness.procs import descendants_of, signal_all, wait_until
from harness.proxy import Proxy
from harness.spool import make_older


@pytest.mark.slow
def test_the_worker_is_killed_at_random_moments_under_load(make_world):
    print(f"FAULT_SEED={SEED}")
    messages, kills_min = 5000, 30
    world = make_world()
    load = Load(world)
    supervisor = world.sidecar.process.pid
    asker = Asker(load.clients[0])
    chance = random.Random(SEED)
    crashes, worker, doomed = [], None, 0
    while load.total < messages or len(crashes) < kills_min:
        load.send(chance.randrange(1, 5))
        now, pid = time.monotonic(), world.sidecar.worker_pid()
        if pid and pid != worker:
            # Some die while they start, some in the middle of their work.
            worker, doomed = pid, now + chance.choice((0.1, 0.5, 2.0)) * chance.random()
        elif pid and now >= doomed:
            begin = time.time()
            os.kill(pid, signal.SIGKILL)
            crashes.append(Crash(begin, time.time()))
            doomed = now + 3600
            load.assert_nothing_forgotten()
        time.sleep(chance.uniform(0, 0.15))
    load.settled()
    answers = asker.finish()
    print(f"messages={load.total} kills={len(crashes)} questions={len(answers)}"
          f" slowest={max(seconds for _, seconds, _ in answers):.2f}s")
    starts = world.sidecar.status()["worker"]["starts"]
    assert starts == len(crashes) + 1, "a worker died that nobody killed"
    assert world.sidecar.process.pid == supervisor and world.sidecar.process.alive()
    assert_the_stream_stayed(world)
    load.assert_archived()
    load.assert_pushed(crashes)
    # Every question got an answer: a page, or "later".
    assert len(answers) > 20
    assert all(error is None or error[0] == "wait" for _, _, error in answers)


@pytest.mark.slow
def test_postgresql_is_stopped_killed_and_stalled_under_load(make_world, own_postgres):
    print(f"FAULT_SEED={SEED}")
    world = make_world(cluster=own_postgres)
    load = Load(world)
    worker = world.sidecar.worker_pid()
    asker = Asker(load.clients[0])
    outages = []

    def keep_sending(seconds):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            load.send(2)
            time.sleep(0.1)

    def outage(begin, end, seconds):
        began = time.monotonic()
        begin()
        away = time.monotonic()
        keep_sending(seconds)
        # Not with its end: what is asked in it is answered in it.
        wait_until(lambda: len([1 for asked, *_ in asker.answers if asked >= away]) >= 4, 20,
                   "questions are answered")
        outages.append((began, time.monotonic()))
        end()
        keep_sending(2)

    keep_sending(2)
    for _ in range(2):
        outage(own_postgres.stop, own_postgres.start, 3)
        outage(own_postgres.kill, own_postgres.start, 3)
        outage(own_postgres.stall, own_postgres.resume, 5)
    world.forget_oracle()
    load.settled()
    answers = asker.finish()
    assert world.sidecar.worker_pid() == worker, "the worker lives through an outage"
    assert_the_stream_stayed(world)
    load.assert_archived()
    load.assert_pushed()
    during = [error for start, _, error in answers
              if any(began <= start <= ended for began, ended in outages)]
    assert len(during) > 20
    assert all(error is None or error[0] == "wait" for error in during)
    assert any(error for error in during), "no outage was noticed"


def test_what_postgresql_has_lost_is_read_again_from_the_spool(make_world, own_postgres):
    """A standby that was behind takes its place, or a backup: what the service committed since
    is not in it, and that it had been committed is not, either."""
    world = make_world(cluster=own_postgres)
    load = Load(world)
    data, behind = own_postgres.data, own_postgres.folder / "behind"
    load.send(3)
    load.settled()
    worker = world.sidecar.worker_pid()
    own_postgres.stop()
    subprocess.run(["cp", "-a", data, behind], check=True)
    own_postgres.start()
    load.send(3)
    world.forget_oracle()
    load.settled()
    load.assert_archived()
    own_postgres.stop()
    shutil.rmtree(data)
    behind.rename(data)
    own_postgres.start()
    assert world.sidecar.worker_pid() == worker
    load.send(3)
    world.forget_oracle()
    load.settled()
    assert world.sidecar.worker_pid() != worker
    assert_the_stream_stayed(world)
    load.assert_archived()
    world.sidecar.allow_error("PostgreSQL has lost what it had committed lane=")


def count_transactions_on(postgres, database, n):
    connection = postgres.connect(database)
    for _ in range(n):
        connection.cursor().execute("SELECT pg_current_xact_id()")
    connection.close()


def test_a_transactions_number_that_is_used_again_is_no_commit(make_world, own_postgres):
    """PostgreSQL crashes with a batch half written and nothing of it on the disk: what comes next
    gets its transaction's number, and is committed."""
    own_postgres.leave_wal_unwritten()
    world = make_world(cluster=own_postgres)
    alice, bob = world.login(world.user("alice")), world.login(world.user("bob"))
    world.exchange(alice, bob)
    world.drain(alice, 30)
    worker = world.sidecar.worker_pid()
    holder = own_postgres.connect(world.database)
    holder.cursor().execute("BEGIN; LOCK TABLE xs.message IN EXCLUSIVE MODE")
    body = world.body("half written")
    alice.send_chat(bob.bare, body)
    wait_until(lambda: world.oracle.value("SELECT count(*) FROM pg_locks WHERE NOT granted") == 1,
               20, "the batch waits")
    os.kill(worker, signal.SIGSTOP)
    own_postgres.kill()
    own_postgres.start()
    count_transactions_on(own_postgres, world.database, 300)
    os.kill(worker, signal.SIGCONT)
    world.forget_oracle()
    world.oracle.wait_body(bob.bare, body, 30)
    assert world.sidecar.worker_pid() == worker
    world.oracle.assert_sound()


def test_a_worker_that_is_stopped_is_replaced_by_the_watchdog(make_world):
    """SIGSTOP: the process is there, but does nothing."""
    world = make_world()
    alice, bob = world.login(world.user("alice")), world.login(world.user("bob"))
    old = world.sidecar.kill_worker(signal.SIGSTOP)
    body = world.body()
    alice.send_chat(bob.bare, body)
    world.sidecar.allow_error(r"supervisor worker hangs silent_ms=[2-9]\d{4}$")
    world.sidecar.allow_error(r'supervisor worker died how="no heartbeat for 20 s"')
    world.sidecar.wait_new_worker(old, timeout=30)
    world.oracle.wait_body(bob.bare, body, 20)
    world.oracle.assert_sound()


def test_everything_is_killed_at_once(make_world):
    """As in a crash of the machine's services: what was spooled is archived after the start."""
    world = make_world()
    alice, bob = world.login(world.user("alice")), world.login(world.user("bob"))
    first, second = world.body(), world.body()
    os.kill(world.sidecar.worker_pid(), signal.SIGSTOP)
    alice.send_chat(bob.bare, first)
    bob.wait_message(first)
    world.spooled(alice)  # and no worker has seen it
    world.sidecar.kill()
    world.sidecar.start()
    world.oracle.wait_body(bob.bare, first, 20)
    alice.send_chat(bob.bare, second)
    world.oracle.wait_body(bob.bare, second)
    world.drain(alice)
    assert world.oracle.count(bob.bare) == 2
    world.oracle.assert_sound()


def test_a_stanza_that_cannot_be_stored_stops_nothing(make_world):
    """Larger than the limit, deep, or full of odd characters: the next ones are archived."""
    world = make_world(settings={"limits.stanza_bytes": "64KiB"})
    alice, bob = world.login(world.user("alice")), world.login(world.user("bob"))
    deep = "<x xmlns='urn:x'>" * 2000 + "</x>" * 2000
    odd = [
        {"body": "y" * 200_000},
        {"body": "deep", "extra": deep},
        {"body": "\U0010ffff\u202e\ufffe"[:2]},
    ]
    for number, options in enumerate(odd):
        alice.send_chat(bob.bare, options.get("body"), extra=options.get("extra", ""))
        body = world.body(f"after {number}")
        alice.send_chat(bob.bare, body)
        world.oracle.wait_body(bob.bare, body, 20)
    world.drain(alice)
    world.oracle.assert_sound()


# Time.


def backlog(world, sender, recipients, each=5):
    """Messages to everybody, once the server has shown them to us; {bare: [body, …]}."""
    bodies = {user.bare: [world.body(f"{number}") for number in range(each)]
              for user in recipients}
    for bare, texts in bodies.items():
        for text in texts:
            sender.send_chat(bare, text)
    # In stream order: when this is answered, the copies are in the spool.
    sender.iq("get", "<ping xmlns='urn:xmpp:ping'/>", world.component)
    return bodies


def test_an_hours_backlog_makes_no_stale_push(make_world, own_postgres):
    """PostgreSQL was away for an hour: rows stand where they came, old messages alert nobody,
    and every count is of this moment."""
    world = make_world(cluster=own_postgres, settings={"push.max_age": "30m"})
    alice = world.login(world.user("alice"))
    away, reader = world.user("away"), world.user("reader")
    tokens = {user.bare: world.phone(user) for user in (away, reader)}
    world.drain(alice)
    own_postgres.stop()
    world.forget_oracle()
    begun = time.time()
    bodies = backlog(world, alice, (away, reader))
    sent = time.time()
    read = world.login(reader, "web")
    last = read.wait_message(bodies[reader.bare][-1]).get("id")
    read.displayed(alice.bare, last)
    read.iq("get", "<ping xmlns='urn:xmpp:ping'/>", world.component)
    read.logout()
    world.sidecar.stop()
    assert make_older(world.sidecar.folder / "spool" / "0", 3600) > 3
    own_postgres.start()
    world.sidecar.start()
    world.oracle.wait_unread(away.bare, 5, 20)
    world.drain(alice, 20)
    stored = world.oracle.rows(away.bare)
    assert [row.body for row in stored] == bodies[away.bare]
    assert all(begun - 3610 < time.time() - world.oracle.age_s(row.id) < sent - 3590
               for row in stored)
    assert world.oracle.unread(reader.bare) == 0
    [push] = world.gateway.wait(tokens[away.bare], 1)
    assert (push.badge, push.alert) == (5, None)
    alice.send_chat(away.bare, world.body("now"))
    push = world.gateway.wait(tokens[away.bare], 2)[-1]
    assert push.badge == 6 and push.alert
    assert world.gateway.pushes(tokens[reader.bare]) == []
    world.oracle.assert_sound()


def test_the_clock_jumps(make_world):
    """Hours ahead, back, and behind: order and identity hold, nothing is lost or doubled."""
    world = make_world()
    alice, bob = world.login(world.user("alice")), world.login(world.user("bob"))
    sent = []
    for seconds in (0, 7200, 0, -3600, -3600, 0):
        world.sidecar.set_clock(seconds)
        time.sleep(0.2)  # both processes look 20 times a second
        for number in range(5):
            sent.append(world.body(f"{seconds} {number}"))
            alice.send_chat(bob.bare, sent[-1])
            bob.wait_message(sent[-1])
        world.drain(alice)
    assert [row.body for row in world.oracle.rows(bob.bare)] == sent
    assert [row.body for row in world.oracle.rows(alice.bare)] == sent
    assert bob.mam_page().bodies == sent
    assert world.oracle.age_s(world.oracle.rows(bob.bare)[-1].id) > -5, "ids run ahead"
    token = world.phone(carol := world.user("carol"))
    alice.send_chat(carol.bare, world.body("after all that"))
    assert world.gateway.wait(token, 1, 20)[0].badge == 1
    world.oracle.assert_sound()


# The server and the way to it.


@pytest.fixture
def behind_a_proxy(make_world, own_workspace):
    """make(**options) makes a world whose link goes through world.proxy."""
    def make(**options):
        world = make_world(start=False, **options)
        world.proxy = Proxy(own_workspace, world.ejabberd.component_port)
        world.sidecar.configure({"xmpp.port": world.proxy.port})
        world.sidecar.start()
        return world
    return make


@pytest.mark.slow
@pytest.mark.skipif(os.geteuid() != 0, reason="to vanish from a connection needs root")
def test_a_server_that_vanished_without_a_word_is_noticed(behind_a_proxy):
    """Half-open: nobody answers, and nobody says so.  The kernel's keep-alive finds out."""
    world = behind_a_proxy()
    alice, bob = world.login(world.user("alice")), world.login(world.user("bob"))
    world.exchange(alice, bob)
    world.proxy.vanish()
    wait_until(lambda: world.sidecar.status()["links"][0]["connects"] == 2, 75, "a new stream", 0.5)
    world.sidecar.wait_ready()
    world.exchange(alice, bob)
    assert world.sidecar.status()["links"][0]["gaps"] == 1
    world.oracle.assert_sound()


@pytest.mark.skipif(os.geteuid() != 0, reason="to vanish from a connection needs root")
def test_a_database_that_vanished_without_a_word_is_left(make_world, own_workspace, own_postgres):
    """As after a failover by address: the sessions are gone, and nobody says so."""
    world = make_world(cluster=own_postgres, start=False)
    proxy = Proxy(own_workspace, own_postgres.socket)
    world.sidecar.configure({"database.url":
                             f"postgresql://xs@127.0.0.1:{proxy.port}/{world.database}"})
    world.sidecar.start()
    alice, bob = world.login(world.user("alice")), world.login(world.user("bob"))
    world.exchange(alice, bob)
    for _ in range(3):
        proxy.vanish()
        world.exchange(alice, bob)
        wait_until(lambda: error_of(bob.ask("set", bob.mam_xml(rsm="<max>1</max>"))) is None, 20,
                   "questions are answered")
    assert len(bob.mam_page().results) == 4
    world.oracle.assert_sound()


def test_a_server_that_is_frozen_loses_nothing(make_world):
    """SIGSTOP: the connection is fine, only slow.  It is not given up."""
    world = make_world()
    alice, bob = world.login(world.user("alice")), world.login(world.user("bob"))
    pids = [world.ejabberd.process.pid, *descendants_of(world.ejabberd.process.pid)]
    body = world.body()
    signal_all(pids, signal.SIGSTOP)
    alice.send_chat(bob.bare, body)
    time.sleep(5)
    signal_all(pids, signal.SIGCONT)
    world.oracle.wait_body(bob.bare, body)
    assert_the_stream_stayed(world)
    world.oracle.assert_sound()


@pytest.mark.slow
def test_a_secret_that_is_wrong_for_a_while(make_world):
    world = make_world()
    alice, bob = world.user("alice"), world.user("bob")
    world.exchange(world.login(alice), world.login(bob))
    said = r"level=error .*: make xmpp\.secret the same as the server's for this component"
    world.sidecar.allow_error(said)
    right = world.ejabberd.config.read_text()
    world.ejabberd.stop()
    world.loop.close_clients()
    world.ejabberd.config.write_text(right.replace(world.ejabberd.secret, "another secret"))
    world.ejabberd.start()
    world.sidecar.wait_log(said, 40)
    assert "not-authorized" in world.sidecar.command("status").stdout
    world.ejabberd.stop()
    world.ejabberd.config.write_text(right)
    world.ejabberd.start()
    world.sidecar.reload()  # the person who repaired it need not wait for the next try
    wait_until(lambda: world.sidecar.status()["links"][0]["connects"] == 2, 20, "a new stream")
    world.sidecar.wait_ready()
    world.exchange(world.login(alice, "again"), world.login(bob, "again"))
    assert world.sidecar.status()["links"][0]["gaps"] == 1
    world.oracle.assert_sound()


def page_or_later(client):
    """The bodies of the newest messages; None while the archive says "later"."""
    try:
        return client.mam_page().bodies
    except StanzaError as error:
        assert error.kind == "wait"
        return None


def test_the_link_comes_back_while_postgresql_is_away(make_world, own_postgres):
    """Disco and delegation come up without a database; nothing is lost meanwhile."""
    world = make_world(cluster=own_postgres)
    alice, bob = world.user("alice"), world.user("bob")
    own_postgres.stop()
    world.ejabberd.restart()
    wait_until(lambda: world.sidecar.status()["links"][0]["connects"] == 2, 40, "a new stream")
    wait_until(lambda: world.sidecar.status()["links"][0].get("namespaces_delegated"), 10,
               "delegation is in force")
    sender, receiver = world.login(alice), world.login(bob)
    assert "urn:xmpp:mam:2" in receiver.disco_info(bob.bare)[1]
    assert receiver.mam_error(rsm="<max>5</max>")[0] == "wait"  # and PostgreSQL stays away
    body = world.body()
    sender.send_chat(bob.bare, body)
    receiver.wait_message(body)
    own_postgres.start()
    world.forget_oracle()
    world.oracle.wait_body(bob.bare, body, 30)
    world.sidecar.wait_ready(20)
    # Pages have connections of their own, which come back when they do.
    wait_until(lambda: page_or_later(receiver) == [body], 10, "pages are read again")
    world.oracle.assert_sound()


# What runs out.


def send_bulk(world, sender, recipient, megabytes):
    """Until the spool must have begun a new segment; returns the bodies."""
    bodies = []
    for number in range(megabytes * 10):
        bodies.append(f"{number} " + "b" * 50_000)  # in two copies
        sender.send_chat(recipient.bare, bodies[-1])
        recipient.wait_message(bodies[-1], 30)
    return bodies


@pytest.mark.skipif(os.geteuid() != 0, reason="a disk of its own needs root")
def test_the_spools_disk_is_full(make_world, own_workspace):
    """The stream is closed before a byte is read that has no place; it comes back by itself."""
    world = make_world(start=False, settings={"spool.max_size": "64MiB"})
    spool = world.sidecar.folder / "spool"
    spool.mkdir(mode=0o700)
    disk = Disk(own_workspace, spool, "24m", "0700")
    world.sidecar.allow_error(r"link server=\S+ spool is full spooled_mib=\d+: messages are missed")
    world.sidecar.start()
    alice, bob = world.login(world.user("alice")), world.login(world.user("bob"))
    before = send_bulk(world, alice, bob, 1)
    world.drain(alice)
    disk.fill()
    for number in range(40):
        alice.send_chat(bob.bare, f"{number} " + "f" * 50_000)
    world.sidecar.wait_log("spool is full", 20)
    wait_until(lambda: world.sidecar.status()["links"][0]["state"] == "full", 20, "it is closed")
    disk.free()
    wait_until(lambda: world.sidecar.status()["links"][0]["connects"] == 2, 20, "a new stream")
    world.sidecar.wait_ready()
    assert world.sidecar.status()["links"][0]["gaps"] == 1
    after = send_bulk(world, alice, bob, 1)
    world.drain(alice)
    stored = [row.body for row in world.oracle.rows(bob.bare)]
    assert stored[:len(before)] == before and stored[-len(after):] == after
    world.oracle.assert_sound()


def test_the_link_process_has_no_descriptor_left(make_world):
    """No new segment, no new worker: it says so, and goes on once it has them again."""
    world = make_world(settings={"spool.max_size": "64MiB"})
    world.sidecar.allow_error(r"supervisor socketpair: Too many open files")
    alice, bob = world.login(world.user("alice")), world.login(world.user("bob"))
    before = send_bulk(world, alice, bob, 1)
    world.drain(alice)
    supervisor = world.sidecar.process.pid
    limit_descriptors(supervisor, at_most=3)
    world.sidecar.kill_worker()
    world.sidecar.wait_log("Too many open files", 10)
    body = world.body()
    alice.send_chat(bob.bare, body)
    time.sleep(1)
    assert world.sidecar.process.alive() and world.sidecar.worker_pid() is None
    limit_descriptors(supervisor, None)
    world.oracle.wait_body(bob.bare, body, 20)
    after = send_bulk(world, alice, bob, 1)
    world.drain(alice)
    assert [row.body for row in world.oracle.rows(bob.bare)] == [*before, body, *after]
    assert_the_stream_stayed(world)
    world.oracle.assert_sound()
