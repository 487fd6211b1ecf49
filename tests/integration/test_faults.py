# SPDX-License-Identifier: Apache-2.0
"""The promises under faults: nothing lost, nothing doubled, every count right.

Two tests are the product: the worker killed at random moments under load, and
PostgreSQL stopped, killed and stalled under load.
"""

import os
import random
import signal
import time

import pytest

from harness.load import SEED, Asker, Load, assert_the_stream_stayed


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
            os.kill(pid, signal.SIGKILL)
            crashes.append(time.time())
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
    assert max(seconds for _, seconds, _ in answers) < 5


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
        keep_sending(seconds)
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
    during = [(seconds, error) for start, seconds, error in answers
              if any(began <= start <= ended for began, ended in outages)]
    assert len(during) > 20
    assert all(error is None or error[0] == "wait" for _, error in during)
    late = [seconds for seconds, error in during if seconds > 1.5]
    assert not late, f"answers took {late} s"
    assert any(error for _, error in during), "no outage was noticed"


def test_a_worker_that_is_stopped_is_replaced_by_the_watchdog(make_world):
    """SIGSTOP: the process is there, but does nothing."""
    world = make_world()
    alice, bob = world.login(world.user("alice")), world.login(world.user("bob"))
    old = world.sidecar.kill_worker(signal.SIGSTOP)
    body = world.body()
    alice.send_chat(bob.bare, body)
    world.sidecar.allow_error(r"supervisor worker hangs silent_ms=2\d{4}$")
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
    time.sleep(0.5)  # the link has spooled it; no worker has seen it
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
