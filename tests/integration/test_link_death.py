# SPDX-License-Identifier: Apache-2.0
"""The link process is killed: what the kernel had received is not lost, and where somebody
keeps its descriptors the server does not even notice."""

import random
import time

from harness.chaos import OF_THE_LINK
from harness.load import SEED, Asker, Crash, Load
from harness.procs import wait_until


def managed(make_world, **options):
    """A world whose service has its descriptors kept."""
    world = make_world(start=False, **options)
    world.sidecar.be_managed()
    world.sidecar.start()
    world.sidecar.manager.wait_kept(1)
    return world


def assert_same_stream(world):
    link = world.sidecar.status()["links"][0]
    assert (link["state"], link["epoch"], link["connects"], link["gaps"]) == ("up", 1, 1, 0)
    assert world.ejabberd.component_connections() == 1, "the server saw another connection"


def test_a_link_that_is_killed_again_and_again_under_load_goes_on_with_its_stream(make_world):
    """Nothing lost, nothing twice, one handshake."""
    print(f"FAULT_SEED={SEED}")
    world = managed(make_world)
    load = Load(world, pairs=3, away=1)
    asker = Asker(load.clients[0])
    chance = random.Random(SEED)
    kills = []
    while len(kills) < 20:
        # Some die while they start, some while they read what came meanwhile.
        if chance.random() < 0.2:
            world.sidecar.wait_ready()
        end = time.monotonic() + chance.choice((0.05, 0.3, 0.5)) * chance.random()
        while time.monotonic() < end:
            load.send(chance.randrange(1, 12))
            time.sleep(chance.uniform(0, 0.03))
        begin = time.time()
        world.sidecar.kill_link()
        kills.append(Crash(begin, time.time()))
        load.send(chance.randrange(1, 20))
        world.sidecar.start(ready=False)
    world.sidecar.wait_ready()
    load.settled()
    answers = asker.finish()
    print(f"messages={load.total} questions={len(answers)}"
          f" slowest={max(seconds for _, seconds, _ in answers):.2f}s")
    assert_same_stream(world)
    load.assert_archived()
    load.assert_pushed(kills)
    assert all(error is None or error[0] == "wait" for _, _, error in answers)
    world.sidecar.stop()
    assert world.sidecar.manager.kept() == []


def test_a_link_that_dies_at_any_place_between_socket_and_spool(make_world):
    world = managed(make_world)
    load = Load(world, pairs=2, away=1)
    places = OF_THE_LINK - {"link-answer"}
    assert len(places) >= 3
    for place in sorted(places) * 2:
        world.sidecar.arm(place, "kill", random.randrange(1, 8))
        wait_until(lambda: load.send(5) or not world.sidecar.process.alive(), 20,
                   f"the link has died at {place}", 0.01)
        world.sidecar.kill_link()
        world.sidecar.start(ready=False)
    world.sidecar.wait_ready()
    load.settled()
    assert_same_stream(world)
    load.assert_archived()


def test_an_answer_that_died_with_the_link_is_given_again(make_world):
    world = managed(make_world)
    bob = world.login(world.user("bob"))
    world.sidecar.arm("link-answer")  # the link has it, the server does not
    question = bob.iq_start("get", "<ping xmlns='urn:xmpp:ping'/>", world.component)
    wait_until(lambda: not world.sidecar.process.alive(), 10, "the link has died")
    world.sidecar.kill_link()
    world.sidecar.start()
    assert bob.iq_finish(question, 10).get("type") == "result"
    assert_same_stream(world)


def test_other_settings_end_the_kept_stream_after_it_was_read(make_world):
    world = managed(make_world)
    alice, bob = world.login(world.user("alice")), world.login(world.user("bob"))
    world.sidecar.kill_link()
    body = world.body()
    alice.send_chat(bob.bare, body)
    bob.wait_message(body)
    world.sidecar.configure({"xmpp.host": "localhost"})
    world.sidecar.start()
    world.oracle.wait_body(bob.bare, body)
    link = world.sidecar.status()["links"][0]
    assert (link["epoch"], link["gaps"]) == (2, 1)
    world.sidecar.manager.wait_kept(1)
    world.exchange(alice, bob)
    world.oracle.assert_sound()


def test_a_killed_link_of_which_nobody_keeps_anything_costs_no_more_than_the_gap(make_world):
    world = make_world()
    load = Load(world, pairs=2, away=1)
    load.send(20)
    load.settled()
    load.assert_archived()
    world.sidecar.kill_link()
    world.sidecar.start()
    link = world.sidecar.status()["links"][0]
    assert (link["gaps"], link["connects"]) == (1, 1)
    wait_until(lambda: world.ejabberd.component_connections() == 2, 5,
               "ejabberd has written it down")
    load.send(20)
    load.settled()
    load.assert_archived()
