# SPDX-License-Identifier: Apache-2.0
"""One message to a room of many subscribers.

    ROOM_MEMBERS=10000 python3 -m pytest -s tests/integration/test_room_crowd.py

says what it cost: rows written in each table, and how long it took."""

import os
import time

from harness.crowd import subscribe_crowd
from harness.procs import wait_until
from harness.rooms import make_room, say

SERVER = {"ejabberd": {"with_muc": True, "with_mam_never": True}}
SETTINGS = {"archive.groupchat": "room", "push.rooms": "always", "push.settle": "300ms",
            "push.confirm_after": "1s", "push.content": "body",
            "limits.commands_per_minute": 1000}
MEMBERS = int(os.environ.get("ROOM_MEMBERS", "300"))
EVERY = 10  # of so many one has a phone

WRITTEN = """
SELECT relname, n_tup_ins, n_tup_upd, n_tup_del FROM pg_stat_user_tables
  WHERE schemaname = 'xs'
"""
IDLE = 11  # seconds after which a session that does nothing has told of all that it has done


def writes(world):
    """{table: (inserted, updated, deleted)}"""
    time.sleep(IDLE)
    return {name: counts for name, *counts in world.oracle.query(WRITTEN)}


def test_one_message_costs_what_its_members_devices_cost(world, alice):
    room = make_room(world, alice, nick="Al")
    tokens = subscribe_crowd(world, room, MEMBERS, EVERY)
    world.drain(alice, 120)
    assert world.oracle.value("SELECT count(*) FROM xs.room_member") == MEMBERS + 1
    before = writes(world)
    body, start = world.body("hello all"), time.monotonic()
    say(world, alice, room, body)
    told = time.monotonic()
    wait_until(lambda: world.oracle.value("SELECT count(*) FROM xs.push_log WHERE status = 200")
               == len(tokens), 120, "all are pushed", 0.02)
    pushed = time.monotonic()
    cost = {table: [now - then for now, then in zip(counts, before[table])]
            for table, counts in writes(world).items() if counts != before[table]}
    print(f"\n{MEMBERS} members, {len(tokens)} devices: the room has told after"
          f" {(told - start) * 1000:.0f} ms, the last push is answered after"
          f" {(pushed - start) * 1000:.0f} ms")
    # A generation begins as the time at which the entry was written.
    first, last = world.oracle.query("SELECT (min(gen) - min(newest_id)) / 256000.0,"
                                     " (max(gen) - min(newest_id)) / 256000.0"
                                     " FROM xs.push_log WHERE peer <> 0")[0]
    print(f"  entries are written from {first:.0f} to {last:.0f} ms after the message came")
    for table, (inserted, updated, deleted) in sorted(cost.items()):
        print(f"  {table}: {inserted} inserted, {updated} updated, {deleted} deleted")
    for token in tokens:
        push, = world.gateway.pushes(token)
        assert (push.alert["body"], push.badge) == (f"Al: {body}", 1)
    # Counted per member, with nothing written for any.
    assert world.oracle.value("SELECT count(*) FROM xs.room_member r, xs.rooms_unread(r.member) u"
                              " WHERE u.o_unread = 1") == MEMBERS
    assert cost["room_member"] == [0, 1, 0]  # who has said it has read it
    assert cost["outbox"] == [len(tokens), 0, len(tokens)]  # each written once, to end it
    assert cost["push_log"] == [len(tokens), 0, 0]
    assert cost["room_due"] == [1, (MEMBERS + 1) // 1000, 1]  # a place for each page of 1000
    assert sum(sum(counts) for table, counts in cost.items()
               if table not in ("outbox", "push_log", "device", "room_due")) < 30
