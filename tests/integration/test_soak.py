# SPDX-License-Identifier: Apache-2.0
"""Whatever a gateway does under steady load: its ledger and the outbox's agree to the push, and
nothing grows.

The long form runs with SOAK_SECONDS only (`make soak`); SOAK_SEED repeats a run (0: a new one).
"""

import os
import random

import pytest

from harness.load import Load, assert_the_stream_stayed
from harness.soak import SLACK_KIB, Soak, Watch, assert_flat

SECONDS = float(os.environ.get("SOAK_SECONDS", "0"))
SEED = int(os.environ.get("SOAK_SEED", "0")) or random.SystemRandom().randrange(1, 10**6)
ROUND = 120  # seconds, at most, after which pushes are checked


def start(make_world, away):
    world = make_world()
    return world, Soak(world, Load(world, away=away, away_share=0.75), SEED)


def check_pushes(soak):
    """Every push that is due was answered, and once; the gateway says the same."""
    crashes = soak.all_crashes()
    soak.load.settled()
    assert_the_stream_stayed(soak.world)
    soak.load.assert_pushed(crashes)
    soak.load.assert_ledgers_agree(crashes)
    soak.assert_gone()


def check_end(soak):
    """Nothing is lost of what was written either, and nothing is left behind."""
    world = soak.world
    soak.load.assert_archived()
    assert world.oracle.outbox() == 0
    assert world.sidecar.behind() == 0
    # Whoever was gone came with a device each, whose rows have gone with it.
    for table in ("xs.device", "xs.registration"):
        assert world.oracle.value(f"SELECT count(*) FROM {table}") == len(soak.load.away)


@pytest.mark.slow
def test_every_betrayal_of_the_gateway_once_under_load(make_world):
    print(f"SOAK_SEED={SEED}", flush=True)
    _, soak = start(make_world, away=4)
    soak.each_once()
    check_pushes(soak)
    check_end(soak)


@pytest.mark.slow
@pytest.mark.skipif(SECONDS == 0, reason="the long form: make soak")
def test_soak(make_world):
    print(f"SOAK_SEED={SEED} SOAK_SECONDS={SECONDS:g}", flush=True)
    world, soak = start(make_world, away=12)
    rounds = max(4, round(SECONDS / ROUND))
    supervisor, ends = world.sidecar.process.pid, []
    with Watch(world.sidecar) as watch:
        for number in range(rounds):
            # In every other round the worker lives, so that it can be seen to grow.
            soak.kills, first = number % 2 == 0, len(watch.samples)
            print(f"round {number + 1} of {rounds}, kills: {soak.kills}", flush=True)
            soak.run(SECONDS / rounds)
            check_pushes(soak)
            if not soak.kills:
                ends.append(watch.end_of(first))
                print("worker {0} {1} KiB, {2} descriptors; link {3} KiB, {4} descriptors"
                      .format(*ends[-1]), flush=True)
    check_end(soak)
    assert world.sidecar.process.pid == supervisor
    tell(soak, ends)
    if world.sidecar.program.parent.name == "release":  # a sanitizer keeps what was freed
        for what, column, slack in (("the worker's memory", 1, SLACK_KIB),
                                    ("the link's memory", 3, SLACK_KIB)):
            assert_flat(what, ends[0][column], ends[-1][column], slack)
    for what, column in (("the worker's descriptors", 2), ("the link's descriptors", 4)):
        assert_flat(what, ends[0][column], ends[-1][column], 3)


def tell(soak, ends):
    stats = soak.world.gateway.stats()
    print(f"{soak.load.total} messages; the gateway has accepted {stats['accepted']} pushes, "
          f"rejected {stats['rejected']}, left {stats['unanswered']} without an answer; "
          f"{len(soak.gone)} devices went", flush=True)
    print("faults: " + ", ".join(f"{name} {n}" for name, n in sorted(soak.done.items())))
    print("KiB of worker and link, by round: "
          + ", ".join(f"{end[1]} and {end[3]}" for end in ends), flush=True)
