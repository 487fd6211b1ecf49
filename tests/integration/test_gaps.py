# SPDX-License-Identifier: Apache-2.0
"""While a link is down the server keeps nothing for it: each such gap is kept, once, and what the
server delivers later is archived then."""

import re
import signal
import time

import pytest

from harness.oracle import COUNTED, LATE, OUTGOING
from harness.procs import wait_until
from harness.proxy import Proxy

SETTINGS = {"push.confirm_after": "1s"}


@pytest.fixture
def alice(world):
    return world.user("alice")


def wait_gaps(world, count, timeout=20):
    """That many gaps have ended, and none is open."""
    def ended():
        gaps = world.oracle.gaps()
        return len(gaps) >= count and all(gap.end for gap in gaps) and gaps
    gaps = wait_until(ended, timeout, f"{count} gaps are kept")
    assert len(gaps) == count, gaps
    return gaps


def metric(world, name, link=0):
    found = re.search(rf'^xmpp_sidecar_{name}{{link="{link}"}} (\S+)$', world.sidecar.http("/metrics")[1],
                      re.MULTILINE)
    return float(found.group(1))


def send_while_stopped(world, sender, recipient, texts):
    """The sidecar is away while these are sent to somebody who is offline; their ids."""
    world.sidecar.stop()
    stored = world.ejabberd.offline_count(recipient.name)
    sent = [sender.send_chat(recipient.bare, body, extra=extra) for body, extra in texts]
    wait_until(lambda: world.ejabberd.offline_count(recipient.name) == stored + len(sent), 5,
               "they are stored offline")
    return sent


def test_what_was_sent_in_a_gap_is_archived_when_it_is_delivered(world, alice, bob):
    token = world.phone(bob)
    world.known_offline(bob)
    known = len(world.oracle.gaps())
    sender = world.login(alice)
    body = world.body()
    before = time.time()
    message_id, = send_while_stopped(world, sender, bob, [(body, "")])
    sent_at = time.time()
    world.sidecar.start()
    started = time.time()
    assert world.oracle.with_body(bob.bare, body) == []
    receiver = world.login(bob, "desk")
    receiver.wait_id(message_id)
    world.drain(receiver)
    # Once for each owner, late, in our time, with the server's delay inside.
    row, = world.oracle.with_body(bob.bare, body)
    assert row.flags == COUNTED | LATE
    assert row.stanza.count('<delay xmlns="urn:xmpp:delay" from="e.test"') == 1
    assert row.stanza_id == message_id
    own, = world.oracle.with_body(alice.bare, body)
    assert own.flags == OUTGOING | LATE
    assert (row.id >> 8) / 1e6 + 1577836800 > started - 1
    # Counted, and pushed like any other: nobody reads it at the desk.
    assert world.oracle.unread(bob.bare) == 1
    assert [push.badge for push in world.gateway.wait(token, 1)] == [1]
    # The gap it was sent in.
    gap = wait_gaps(world, known + 1)[-1]
    assert before - 1 < gap.start <= sent_at < gap.end <= started
    assert gap.server == f"127.0.0.1:{world.ejabberd.component_port}"
    assert gap.next_epoch == gap.epoch + 1
    link = world.sidecar.status()["links"][0]
    assert (link["gaps"], link["down_since"]) == (1, None)
    shown = link["gap_from"], link["gap_to"]
    assert all(re.fullmatch(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", text) for text in shown)
    assert f"1 gaps, the last from {shown[0][:19]}Z to {shown[1][:19]}Z" in \
        world.sidecar.command("status").stdout
    assert metric(world, "link_gaps_total") == 1
    assert world.sidecar.status()["archive"]["late"] == 2


def test_a_late_delivery_of_what_was_archived_is_a_duplicate(world, alice, bob):
    world.known_offline(bob)
    sender = world.login(alice)
    body = world.body()
    message_id = sender.send_chat(bob.bare, body)
    world.drain(sender)
    world.sidecar.restart()  # whatever it remembered is gone
    receiver = world.login(bob)
    receiver.wait_id(message_id)
    world.drain(receiver)
    for owner in (alice, bob):
        row, = world.oracle.with_body(owner.bare, body)
        assert not row.flags & LATE
    assert world.oracle.unread(bob.bare) == 1


def test_a_hostile_delay_changes_neither_order_nor_time(world, alice, bob):
    """The sender wrote delays of his own into what the server then delivers with its own."""
    world.known_offline(bob)
    delay = "<delay xmlns='urn:xmpp:delay' from='{}' stamp='{}'/>"
    texts = [
        (world.body("0"), ""),
        (world.body("1"), delay.format(world.ejabberd.host, "1970-01-01T00:00:01Z")),
        (world.body("2"), delay.format(world.ejabberd.host, "2099-01-01T00:00:00Z")),
        (world.body("3"), delay.format("elsewhere.test", "2001-01-01T00:00:00Z")),
        (world.body("4"), ""),
    ]
    sender = world.login(alice)
    sent = send_while_stopped(world, sender, bob, texts)
    world.sidecar.start()
    started = time.time()
    receiver = world.login(bob)
    for message_id in sent:
        receiver.wait_id(message_id)
    world.drain(receiver)
    for owner in (alice, bob):
        rows = world.oracle.rows(owner.bare)
        assert [row.stanza_id for row in rows] == sent
        assert all(row.flags & LATE for row in rows)
        assert all(started - 1 < (row.id >> 8) / 1e6 + 1577836800 < time.time() + 1 for row in rows)
    assert world.oracle.unread(bob.bare) == len(sent)
    page = receiver.mam_page()
    assert page.bodies == [body for body, _ in texts]


def test_every_gap_is_kept_once_whatever_ended_the_stream(make_world, own_postgres):
    world = make_world(cluster=own_postgres)
    assert world.oracle.gaps() == []

    # The service is stopped in order, and killed with all its processes.
    world.sidecar.restart()
    world.sidecar.kill()
    killed = time.time()
    world.sidecar.start()
    gaps = wait_gaps(world, 2)
    assert gaps[1].why == "the link process died"
    assert gaps[1].start <= killed <= gaps[1].end

    # The server is killed, while workers die and PostgreSQL is away.
    kill = time.time()
    world.ejabberd.kill()
    wait_until(lambda: world.sidecar.status()["links"][0]["state"] != "up", 10, "it is noticed")
    link = world.sidecar.status()["links"][0]
    assert re.match(r"20\d\d-", link["down_since"]) and link["why"]
    status, said = world.sidecar.http("/readyz")
    assert status == 503 and f"no link to 127.0.0.1:{world.ejabberd.component_port} since" in said
    wait_until(lambda: world.oracle.gaps()[-1].end is None, 10, "an open gap is seen")
    world.sidecar.wait_new_worker(world.sidecar.kill_worker())
    own_postgres.stop()
    world.forget_oracle()
    world.ejabberd.start()
    world.sidecar.wait_new_worker(world.sidecar.kill_worker())
    wait_until(lambda: world.sidecar.status()["links"][0]["state"] == "up", 30, "a new stream")
    own_postgres.start()
    world.sidecar.wait_new_worker(world.sidecar.kill_worker(signal.SIGKILL))
    world.sidecar.wait_ready()
    gaps = wait_gaps(world, 3)
    assert gaps[2].start >= kill - 1
    assert [gap.next_epoch - gap.epoch for gap in gaps] == [1, 1, 1]
    assert [gap.epoch for gap in gaps] == [1, 2, 3]
    world.sidecar.kill_worker()
    world.sidecar.restart()
    wait_gaps(world, 4)


@pytest.fixture
def fragile(world, own_workspace):
    """The world with a proxy in its link that can cut it; nothing is open at first."""
    port = world.sidecar.settings["xmpp"]["port"]
    world.proxy = Proxy(own_workspace, port)
    world.sidecar.configure({"xmpp.port": world.proxy.port})
    world.sidecar.restart()
    epoch = world.sidecar.status()["links"][0]["epoch"]
    wait_until(lambda: (gaps := world.oracle.gaps()) and gaps[-1].next_epoch == epoch, 10,
               "the gap of the restart is kept")
    yield world
    world.sidecar.configure({"xmpp.port": port})
    world.sidecar.restart()


def test_a_gap_is_kept_once_when_the_worker_dies_while_it_writes_it(fragile):
    def begin():
        """The server is not reached before end()."""
        fragile.proxy.pause()
        fragile.proxy.cut()

    end = fragile.proxy.resume
    places, known = ("lane-commit", "lane-committing"), len(fragile.oracle.gaps())
    for number, place in enumerate(places):
        # At the beginning of the gap, and then at its end: each a transaction of its own.
        for doing in (begin, end):
            worker = fragile.sidecar.worker_pid()
            fragile.sidecar.arm(place)
            doing()
            fragile.sidecar.wait_new_worker(worker)
            assert not fragile.sidecar.is_armed(place)
            if doing is begin:
                wait_until(lambda: len(gaps := fragile.oracle.gaps()) == known + number + 1
                           and gaps[-1].end is None, 20, "an open gap is kept")
        fragile.sidecar.wait_ready()  # or there would be nothing to cut
        gaps = wait_gaps(fragile, known + number + 1)
        assert [gap.next_epoch - gap.epoch for gap in gaps] == [1] * len(gaps)
        wait_until(lambda: fragile.sidecar.behind() == 0, 10, "nothing is left to write")
    link = fragile.sidecar.status()["links"][0]
    assert link["connects"] == len(places) + 1
    assert link["gaps"] == len(places) + 1  # with that of the start


def test_half_a_stanza_begins_the_gap(fragile, alice, bob):
    sender, receiver = fragile.login(alice), fragile.login(bob)
    known = len(fragile.oracle.gaps())
    _, before = fragile.exchange(sender, receiver)
    fragile.proxy.cut_within(2000)
    cut = time.time()
    lost = fragile.body("x" * 8000)
    sender.send_chat(bob.bare, lost)
    receiver.wait_message(lost)
    gap = wait_gaps(fragile, known + 1)[-1]
    assert gap.why.endswith("; half a stanza was dropped")
    assert cut - 1 < gap.start < gap.end
    fragile.sidecar.wait_ready()
    _, after = fragile.exchange(sender, receiver)
    assert [row.body for row in fragile.oracle.rows(bob.bare)] == [before, after]
