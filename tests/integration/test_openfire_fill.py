# SPDX-License-Identifier: Apache-2.0
"""On Openfire with the monitoring plugin: what no copy has come of is looked for in its archive."""

import json
import time
from datetime import datetime

import pytest

from harness.clients import new_id
from harness.openfire.xml import now_text
from harness.oracle import COUNTED, LATE, OUTGOING
from harness.procs import wait_until

KIND = "openfire"

ALLOWED = "admin@e.test, sidecar.e.test"
FILLS = {"archive.fill_gaps": "monitoring"}


@pytest.fixture
def open_world(make_world):
    """A world whose server has the plugin, and shows us its archive."""
    def make(options=None, allowed=ALLOWED, settings=None, **more):
        world = make_world(kind="openfire", start=False, settings={**FILLS, **(settings or {})},
                           options={"monitoring": True, **(options or {})}, **more)
        world.server.properties["admin.authorizedJIDs"] = allowed
        world.sidecar.start()
        return world
    return make


def fill_of(world):
    return world.sidecar.status()["fill"]


def wait_filled(world, timeout=60, tasks_n=1):
    """That many tasks are done; what is in xs.fill, oldest first."""
    def filled():
        tasks = world.oracle.query(
            "SELECT why, accounts, failed, messages, done_at IS NOT NULL FROM xs.fill"
            " ORDER BY from_at")
        return len(tasks) >= tasks_n and all(done for *_, done in tasks) and tasks
    return wait_until(filled, timeout, "the gap is filled", 0.2)


def miss(world, *texts):
    """While the sidecar is away these pass the server."""
    world.sidecar.stop()
    world.server.pour(texts).result(60)


def chat(sender, recipient, body, message_id=None, extra=""):
    """From a session of the sender that is not there: as if it had come and gone."""
    mark = f" id='{message_id}'" if message_id else ""
    return (f"<message from='{sender.bare}/away' to='{recipient.bare}' type='chat'{mark}>"
            f"<body>{body}</body>{extra}</message>")


def known(world, *users):
    """They have an archive of their own."""
    for user in users:
        client = world.login(user)
        client.send_chat(users[0].bare, world.body("known"))
        world.drain(client)
        client.logout()


@pytest.mark.slow
def test_a_gap_is_filled(open_world):
    world = open_world()
    alice, bob = world.user("alice"), world.user("bob")
    known(world, bob, alice)
    token = world.phone(bob)
    before = world.oracle.count(bob.bare), world.oracle.unread(bob.bare)
    # Rich, plain without an id, with a hostile delay, and what the plugin does not keep.
    rich, plain, hostile = (world.body(text) for text in ("rich", "plain", "hostile"))
    miss(world,
         chat(alice, bob, rich, "m1", "<thread>t</thread><own xmlns='urn:own'><x xmlns=''/></own>"
              "<private xmlns='urn:xmpp:carbons:2'/>"),
         chat(alice, bob, plain),
         chat(alice, bob, hostile, "m3",
              "<delay xmlns='urn:xmpp:delay' from='e.test' stamp='2020-01-01T00:00:00Z'/>"),
         f"<message from='{alice.bare}/away' to='{bob.bare}' type='chat' id='m4'>"
         "<received xmlns='urn:xmpp:receipts' id='x'/></message>")
    sent_at = time.time()
    world.sidecar.start()
    (why, accounts, failed, messages, _), = wait_filled(world)
    # Each is told of by both archives, and so is what was known before.
    assert (why, accounts, failed) == ("gap", 2, 0) and messages >= 6
    for body in rich, plain, hostile:
        row, = world.oracle.with_body(bob.bare, body)
        own, = world.oracle.with_body(alice.bare, body)
        assert (row.flags, own.flags) == (COUNTED | LATE, OUTGOING | LATE)
        assert row.stanza.count("<delay xmlns=\"urn:xmpp:delay\" from=\"e.test\"") == 1
        assert (row.id >> 8) / 1e6 + 1577836800 > sent_at
    assert "<own xmlns=\"urn:own\"><x xmlns=\"\"/></own>" in \
        world.oracle.with_body(bob.bare, rich)[0].stanza
    assert (world.oracle.count(bob.bare), world.oracle.unread(bob.bare)) == \
        (before[0] + 3, before[1] + 3)
    # Like any late delivery: he is away, and is told.
    wait_until(lambda: (pushes := world.gateway.accepted(token))
               and pushes[-1].badge == before[1] + 3, 20, "he is told of all")
    wait_until(lambda: "gap fill   0 to fill, 2 accounts asked (0 in vain)" in
               world.sidecar.command("status").stdout, 5, "status says so")
    # A further gap, of which the first one's messages are told again: nothing twice.
    miss(world)
    world.sidecar.start()
    wait_filled(world, tasks_n=2)
    assert world.oracle.count(bob.bare) == before[0] + 3
    assert world.oracle.duplicates() == []


def test_a_long_gap_is_told_page_by_page(open_world):
    world = open_world()
    alice, bob = world.user("alice"), world.user("bob")
    known(world, bob, alice)
    bodies = [world.body(f"number {n}") for n in range(120)]
    miss(world, *[chat(alice, bob, body, new_id("p")) for body in bodies])
    # The archive calls the first page the last: its last row has the highest id.
    rows = world.server.monitoring.rows
    first = next(n for n, row in enumerate(rows) if row.body == bodies[0])
    rows[first + 49].number = len(rows) + 1
    world.sidecar.start()
    wait_filled(world)
    assert [row.body for row in world.oracle.rows(bob.bare) if row.body in bodies] == bodies
    assert world.oracle.duplicates() == []


def test_more_than_a_page_in_one_moment(open_world):
    world = open_world()
    alice, bob = world.user("alice"), world.user("bob")
    known(world, bob, alice)
    bodies = [world.body(f"number {n}") for n in range(70)]
    miss(world, *[chat(alice, bob, body, new_id("p")) for body in bodies])
    rows = [row for row in world.server.monitoring.rows if row.body in bodies]
    for row in rows:
        row.at = rows[0].at
    world.sidecar.start()
    wait_filled(world)
    assert sorted(row.body for row in world.oracle.rows(bob.bare) if row.body in bodies) == \
        sorted(bodies)


@pytest.mark.slow
def test_lost_copies_are_found(open_world):
    """Four times as fast as life, and minutes behind, as what is ahead of us is not due."""
    world = open_world({"period": 1.25, "capacity": 2000})
    server = world.server
    alice, bob = world.user("alice"), world.user("bob")
    known(world, bob, alice)
    wait_until(lambda: world.oracle.value("SELECT count(*) FROM xs.gap") == 0, 5, "no gap")
    server.copier.hasten(4, behind=300)
    loss = server.pour((chat(alice, bob, f"number {n}", f"l{n}") for n in range(10**6)),
                       burst=50, pause=lambda: 0.3 if server.copier.full else 0.005)
    try:
        link = wait_until(lambda: (link := world.sidecar.status()["links"][0])["copies_losses"]
                          and link, 60, "the status tells of lost copies", 0.3)
    finally:
        loss.cancel()
    assert server.copier.lost
    tasks = wait_filled(world, 120)
    assert {why for why, *_ in tasks} == {"lost"}
    begin, end = (link[f"copies_lost_{which}"][:23] for which in ("from", "to"))
    expected = {row.body for row in server.monitoring.rows if begin < row.at[:23] < end}
    assert len(expected) >= 50
    assert expected <= {row.body for row in world.oracle.rows(bob.bare)}
    assert world.oracle.duplicates() == []


def test_without_the_plugin_the_remedy_is_told(open_world):
    world = open_world({"monitoring": False})
    alice, bob = world.user("alice"), world.user("bob")
    known(world, bob, alice)
    miss(world, chat(alice, bob, world.body()))
    world.sidecar.start()
    wait_until(lambda: "monitoring plugin" in fill_of(world)["trouble"], 40, "it is told", 0.3)
    world.sidecar.wait_log(r"level=warn .*install its monitoring plugin")
    assert "WRONG: Openfire offers no archive" in world.sidecar.command("status").stdout
    # It fills no gap, and harms nothing.
    client = world.login(alice)
    body = world.body()
    client.send_chat(bob.bare, body)
    world.drain(client)
    assert len(world.oracle.with_body(bob.bare, body)) == 1
    assert fill_of(world)["tasks"] == 1


@pytest.mark.slow
def test_a_refusal_is_told_and_over_when_we_are_let_in(open_world):
    world = open_world(allowed="")
    alice, bob = world.user("alice"), world.user("bob")
    known(world, bob, alice)
    body = world.body()
    miss(world, chat(alice, bob, body, "m1"))
    world.sidecar.start()
    trouble = wait_until(lambda: fill_of(world)["trouble"], 40, "it is told", 0.3)
    assert "admin.authorizedJIDs" in trouble and "sidecar.e.test" in trouble
    assert "admin@e.test" in trouble  # who would be none any more
    assert world.oracle.with_body(bob.bare, body) == []
    asked = len(world.server.monitoring.asked)
    world.server.properties["admin.authorizedJIDs"] = ALLOWED
    world.server.disconnect_component()
    wait_filled(world)
    assert len(world.oracle.with_body(bob.bare, body)) == 1
    assert fill_of(world)["trouble"] == ""
    assert asked < 20  # it did not insist


@pytest.mark.slow
def test_an_account_whose_archive_fails_is_passed_over(open_world):
    world = open_world()
    people = [world.user(f"u{n}") for n in range(3)]
    known(world, *people)
    world.server.monitoring.fail = {people[1].bare: 1, people[2].bare: 99}
    bodies = [world.body() for _ in people]
    # To themselves, so that nobody else's archive tells of it.
    miss(world, *[chat(user, user, body, new_id("f")) for user, body in zip(people, bodies)])
    world.sidecar.start()
    (_, accounts, failed, _, _), = wait_filled(world)
    assert (accounts, failed) == (3, 1)
    assert [len(world.oracle.with_body(user.bare, body))
            for user, body in zip(people, bodies)] == [1, 1, 0]
    world.sidecar.wait_log(rf"level=warn .*does not tell of account={people[2].bare}")


@pytest.mark.slow
def test_a_fill_goes_on_where_it_was(open_world):
    world = open_world()
    people = [world.user(f"u{n}") for n in range(20)]
    known(world, *people)
    bodies = [world.body() for _ in people]
    miss(world, *[chat(user, user, body, new_id("c")) for user, body in zip(people, bodies)])
    monitoring = world.server.monitoring
    monitoring.silent_after = 8
    world.sidecar.start()
    wait_until(lambda: world.oracle.value("SELECT accounts FROM xs.fill") == 8, 60,
               "the first eight are done", 0.05)
    old = world.sidecar.kill_worker()
    first = {account for _, account, _, _ in monitoring.asked[:8]}
    monitoring.silent_after = None
    world.sidecar.wait_new_worker(old)
    (_, accounts, failed, _, _), = wait_filled(world)
    assert (accounts, failed) == (20, 0)
    again = {account for _, account, _, _ in monitoring.asked[8:]}
    assert len(first) == 8 and not first & again
    assert all(len(world.oracle.with_body(user.bare, body)) == 1
               for user, body in zip(people, bodies))


def test_a_worker_that_dies_before_it_has_saved_asks_again(open_world):
    world = open_world()
    alice, bob = world.user("alice"), world.user("bob")
    known(world, bob, alice)
    bodies = [world.body() for _ in range(20)]
    miss(world, *[chat(alice, bob, body, new_id("d")) for body in bodies])
    monitoring = world.server.monitoring
    monitoring.write_delay = 3600  # until all else is written
    world.sidecar.start()
    wait_until(lambda: len(monitoring.asked) == 2 and world.sidecar.behind() == 0, 60,
               "both are asked")
    old = world.sidecar.worker_pid()
    world.sidecar.arm("lane-committing")  # the batch with what it is told
    monitoring.write_delay = 0
    world.sidecar.wait_new_worker(old, 60)
    assert not world.sidecar.is_armed("lane-committing")
    wait_filled(world)
    assert [row.body for row in world.oracle.rows(bob.bare) if row.body in bodies] == bodies
    assert world.oracle.duplicates() == []


def test_nobody_makes_up_a_result(open_world):
    """Results are known by their queryid, which a stranger can only guess."""
    world = open_world()
    eve, bob = world.login(world.user("eve")), world.user("bob")
    body = world.body()
    for queryid in "", " queryid='xs-0000000000000001-0000000000000001'":
        forwarded = ("<forwarded xmlns='urn:xmpp:forward:0'>"
                     f"<delay xmlns='urn:xmpp:delay' stamp='{time.strftime('%FT%TZ')}'/>"
                     f"<message xmlns='jabber:client' from='alice@e.test/x' to='{bob.bare}' "
                     f"type='chat' id='m'><body>{body}</body></message></forwarded>")
        eve.send_xml(f"<message to='{world.component}'><result xmlns='urn:xmpp:mam:2'{queryid}"
                     f" id='1'>{forwarded}</result></message>")
    world.drain(eve)
    assert world.oracle.with_body(bob.bare, body) == []


# What nobody knows to be missing: looked for from time to time (archive.check_every).


CHECKS = {"archive.check_every": "5m"}


def lose(world, *texts, ages):
    """They pass the server that many seconds ago, and of no copy anybody could notice that it is
    missing: for one period there is room for none."""
    server, room = world.server, world.server.copier.capacity
    known_n = len(server.monitoring.rows)
    server.copier.capacity = 0
    server.pour(texts).result(60)
    server.copier.capacity = room
    for row, age in zip(server.monitoring.rows[known_n:], ages, strict=True):
        row.at = now_text(time.time() - age)
    for number, row in enumerate(sorted(server.monitoring.rows, key=lambda row: row.at), 1):
        row.number = number


def unix(at):
    return datetime.fromisoformat(at).timestamp()


def check(world):
    """From now on, and so the first time at once."""
    world.sidecar.configure(CHECKS)
    world.sidecar.reload_and_wait()


def pass_time(world, minutes):
    """As if all that was checked had been checked so much earlier."""
    world.oracle.value("UPDATE xs.fill SET from_at = from_at - %s * interval '1 minute',"
                       " to_at = to_at - %s * interval '1 minute' RETURNING 1",
                       (minutes, minutes))


def questions(world, since=0):
    """{account: (from, to) that it was asked for}, of each exactly one, in unix times."""
    asked = world.server.monitoring.asked[since:]
    assert len({account for _, account, _, _ in asked}) == len(asked)
    return {account: tuple(unix(end) for end in ends) for _, account, *ends in asked}


@pytest.mark.slow
def test_what_nobody_noticed_is_found_by_the_check(open_world):
    world = open_world(settings={"push.max_age": "54s"})
    monitoring = world.server.monitoring
    alice, bob, carol, dave = (world.user(name) for name in ("alice", "bob", "carol", "dave"))
    known(world, bob, alice, carol)
    token = world.phone(bob)
    before = world.oracle.count(bob.bare), world.oracle.unread(bob.bare)
    time.sleep(60)  # nothing was heard of his phone since any of these was sent
    bodies = [world.body(text) for text in ("fresh", "old", "without an id", "before all checks")]
    lose(world, chat(alice, bob, bodies[0], "k1"), chat(carol, bob, bodies[1], "k2"),
         chat(carol, bob, bodies[2]), chat(alice, bob, bodies[3], "k4"), ages=(16, 55, 56, 400))
    body = world.body("seen")
    client = world.login(alice)
    client.send_chat(dave.bare, body)  # he has shown nothing of his own: he is not asked
    world.drain(client)
    link = world.sidecar.status()["links"][0]
    assert (link["copies_losses"], link["gaps"]) == (0, 0)
    assert monitoring.asked == []
    begun = time.time()
    check(world)
    (why, accounts, failed, _, _), = wait_filled(world)
    assert (why, accounts, failed) == ("check", 3, 0)
    # One question for each, for five minutes, as far as all has come.
    asked = questions(world)
    assert set(asked) == {alice.bare, bob.bare, carol.bare} and len(set(asked.values())) == 1
    begin, end = asked[bob.bare]
    assert 284 < end - begin < 286 and begun - 60 < end < time.time() - 15
    assert monitoring.results == sum(begin < unix(row.at) < end for row in monitoring.rows
                                     for _ in {*row.parties} - {dave.bare})
    for body in bodies[:3]:
        assert len(world.oracle.with_body(bob.bare, body)) == 1
    assert [len(world.oracle.with_body(user.bare, body)) for user, body in
            zip((alice, carol, carol, alice), bodies)] == [1, 1, 1, 0]
    assert (world.oracle.count(bob.bare), world.oracle.unread(bob.bare)) == \
        (before[0] + 3, before[1] + 3)
    # One notification, for what is worth it; of the old ones there is only the number.
    world.gateway.wait(token, 1, timeout=20)
    time.sleep(3)
    pushes = world.gateway.accepted(token)
    assert [alice.name in json.dumps(push.payload) for push in pushes if push.alert] == [True]
    assert pushes[-1].badge == before[1] + 3
    # Nothing more is asked until it is time, and then from where that ended.
    pushes_n = len(pushes)
    time.sleep(6)
    assert len(monitoring.asked) == 3
    pass_time(world, 5)
    wait_filled(world, tasks_n=2)
    again = questions(world, since=3)
    assert set(again) == set(asked)
    assert all(abs(start - (end - 300)) < 0.002 for start, _ in again.values())
    assert world.oracle.count(bob.bare) == before[0] + 3
    assert world.oracle.duplicates() == []
    world.no_push(token, 3, since=pushes_n)


@pytest.mark.slow
def test_checks_that_are_refused_wait_and_miss_nothing(open_world):
    world = open_world(allowed="")
    alice, bob = world.user("alice"), world.user("bob")
    known(world, bob, alice)
    first, second = world.body("first"), world.body("second")
    lose(world, chat(alice, bob, first, "r1"), ages=[20])
    check(world)
    wait_until(lambda: "admin.authorizedJIDs" in fill_of(world)["trouble"], 20, "it is told", 0.3)
    # Time passes: no further check is begun, and Openfire is left alone.
    pass_time(world, 5)
    lose(world, chat(alice, bob, second, "r2"), ages=[100])
    asked = len(world.server.monitoring.asked)
    time.sleep(6)
    assert fill_of(world)["tasks"] == 1
    assert len(world.server.monitoring.asked) == asked == 0
    # Let in, and then by an archive that fails once: until now everything is looked at.
    world.server.properties["admin.authorizedJIDs"] = ALLOWED
    world.server.monitoring.fail = {bob.bare: 1}
    world.server.disconnect_component()
    tasks = wait_filled(world, 120, tasks_n=3)
    assert [(why, failed) for why, _, failed, *_ in tasks] == \
        [("check", 0), ("check", 0), ("gap", 0)]
    for user in alice, bob:
        assert [len(world.oracle.with_body(user.bare, body)) for body in (first, second)] == [1, 1]
    assert world.oracle.duplicates() == []


@pytest.mark.slow
def test_a_check_that_is_never_answered_stops_nothing(open_world):
    world = open_world()
    alice, bob = world.user("alice"), world.user("bob")
    known(world, bob, alice)
    lost = world.body("lost")
    lose(world, chat(alice, bob, lost, "s1"), ages=[20])
    monitoring = world.server.monitoring
    monitoring.silent = True
    check(world)
    wait_until(lambda: len(monitoring.asked) == 2, 20, "both were asked")
    client = world.login(alice)
    until = time.monotonic() + 100
    while time.monotonic() < until:
        client.send_chat(bob.bare, world.body("meanwhile"))
        world.drain(client)
        time.sleep(5)
    assert world.oracle.with_body(bob.bare, lost) == []
    assert len(monitoring.asked) == 2 and fill_of(world)["tasks"] == 1
    monitoring.silent = False
    (why, accounts, failed, *_), = wait_filled(world)
    assert (why, accounts, failed) == ("check", 2, 0)
    assert len(world.oracle.with_body(bob.bare, lost)) == 1
    assert world.oracle.duplicates() == []


# On an Openfire that is installed, too.


@pytest.mark.slow
@pytest.mark.servers("openfire")
def test_what_people_said_meanwhile_is_found(make_world):
    """With clients alone: what the plugin writes down and what is copied is one message."""
    world = make_world(kind="openfire", options={"monitoring": True}, start=False, settings=FILLS)
    if world.server.stands_in:
        world.server.properties["admin.authorizedJIDs"] = ALLOWED
    world.sidecar.start()
    alice, bob = world.login(world.user("alice")), world.login(world.user("bob"))
    odd = ("<thread>t</thread><own xmlns='urn:own'><x xmlns=''/></own><active "
           "xmlns='http://jabber.org/protocol/chatstates'/><store xmlns='urn:xmpp:hints'/>"
           "<html xmlns='http://jabber.org/protocol/xhtml-im'><body "
           "xmlns='http://www.w3.org/1999/xhtml'><p>a  b</p></body></html>")
    texts = [world.body(text) for text in ("plain", "two\nlines & <more> \u00e9\u4e2d", "rich")]

    def say_all(prefix):
        """In each direction, and without an id; all are received."""
        for n, text in enumerate(texts):
            extra = odd if n == 2 else ""
            alice.send_chat(bob.bare, f"{prefix} {text}", extra=extra)
            bob.send_chat(alice.jid, f"{prefix} answer {text}", extra=extra)
        alice.send_chat(bob.bare, f"{prefix} last", message_id="")
        bob.wait_message(f"{prefix} last", 20)

    say_all("seen")
    world.drain(alice, 30)
    assert world.oracle.count(bob.bare) == world.oracle.count(alice.bare) == 7
    world.sidecar.stop()
    say_all("missed")
    world.server.settle(alice)  # or their copies would still come
    world.sidecar.start()
    (why, _, failed, messages, _), = wait_filled(world, 90)
    assert (why, failed) == ("gap", 0) and messages >= 14
    world.drain(alice, 30)
    rows = [row.body for row in world.oracle.rows(bob.bare)]
    assert len(rows) == len(set(rows)) == 14, rows
    assert world.oracle.count(alice.bare) == 14
    assert world.oracle.duplicates() == []
    for user in alice, bob:
        assert {row.body for row in world.oracle.rows(user.bare) if row.flags & LATE} == \
            {row.body for row in world.oracle.rows(user.bare) if row.body.startswith("missed")}


@pytest.mark.slow
@pytest.mark.servers("openfire")
def test_what_was_said_with_another_server_meanwhile(make_world):
    world = make_world(kind="openfire", options={"monitoring": True}, start=False, settings=FILLS)
    if world.server.stands_in:
        world.server.properties["admin.authorizedJIDs"] = ALLOWED
    world.sidecar.start()
    alice, rob = world.login(world.user("alice")), world.login(world.remote_user("rob"))

    def say_all(prefix):
        """In each direction, and without an id."""
        for message_id in None, "":
            for one, other in ((alice, rob), (rob, alice)):
                text = f"{prefix} by {one.bare} {message_id is None}"
                one.send_chat(other.bare, text, message_id)
                other.wait_message(text, 20)

    say_all("seen")
    world.drain(alice, 30)
    assert world.oracle.count(alice.bare) == 4
    world.sidecar.stop()
    say_all("missed")
    world.server.settle(alice)  # or their copies would still come
    world.sidecar.start()
    (_, _, failed, messages, _), = wait_filled(world, 90)
    assert failed == 0 and messages >= 4
    world.drain(alice, 30)
    rows = world.oracle.rows(alice.bare)
    assert len({row.body for row in rows}) == len(rows) == 8
    assert {row.peer for row in rows} == {rob.bare}
    assert world.oracle.unread(alice.bare) <= 4 and world.oracle.count(rob.bare) == 0
    assert world.oracle.duplicates() == []
