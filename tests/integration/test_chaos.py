# SPDX-License-Identifier: Apache-2.0
"""Every promise under every fault: at each named place, each fault once, and at random.

The random part runs with CHAOS_SECONDS only (`make chaos`); CHAOS_SEED repeats a run (0: a new
one).
"""

import os
import random

import pytest

from harness.chaos import OF_THE_WORKER, Chaos, Sending
from harness.load import Load, assert_the_stream_stayed
from harness.postgres import Postgres

SECONDS = float(os.environ.get("CHAOS_SECONDS", "0"))
SEED = int(os.environ.get("CHAOS_SEED", "0")) or random.SystemRandom().randrange(1, 10**6)
ROUND = 120  # seconds after which everything is checked

# What people are told while it is bad, and only then.
ALLOWED = [
    r"cannot go on why=",
]


@pytest.fixture
def small_postgres(own_workspace):
    """On a small disk of its own."""
    if os.geteuid() != 0:
        pytest.skip("a disk of its own needs root")
    return Postgres(own_workspace, disk="1g").start()


def check(world, load, crashes):
    """Nothing lost, nothing twice, counts right, every push accounted for."""
    world.forget_oracle()
    load.settled()
    assert_the_stream_stayed(world)
    load.assert_archived()
    load.assert_pushed(crashes)


@pytest.mark.slow
def test_the_worker_dies_at_every_named_place(make_world):
    world = make_world()
    load = Load(world)
    chaos = Chaos(world, load, 1)
    with Sending(load):
        for failpoint in OF_THE_WORKER:
            print(failpoint, flush=True)
            chaos.kill_at(failpoint)
            load.assert_nothing_forgotten()
    check(world, load, chaos.crashes)
    assert world.sidecar.status()["worker"]["starts"] == len(OF_THE_WORKER) + 1


@pytest.fixture
def chaos(make_world, small_postgres):
    world = make_world(cluster=small_postgres)
    for pattern in ALLOWED:
        world.sidecar.allow_error(pattern)
    return Chaos(world, Load(world), SEED)


@pytest.mark.slow
def test_every_fault_once_under_load(chaos):
    print(f"CHAOS_SEED={SEED}", flush=True)
    chaos.each_once()
    check(chaos.world, chaos.load, chaos.crashes)


@pytest.mark.slow
@pytest.mark.skipif(SECONDS == 0, reason="the long form: make chaos")
def test_faults_at_random_under_load(chaos):
    print(f"CHAOS_SEED={SEED} CHAOS_SECONDS={SECONDS:g}", flush=True)
    world, load = chaos.world, chaos.load
    supervisor, left = world.sidecar.process.pid, SECONDS
    while left > 0:
        chaos.run(min(left, ROUND))
        check(world, load, chaos.crashes)
        left -= ROUND
    assert world.sidecar.process.pid == supervisor and world.sidecar.process.alive()
