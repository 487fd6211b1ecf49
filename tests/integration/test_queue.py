# SPDX-License-Identifier: Apache-2.0
"""`xmpp-sidecar queue`: what waits or is parked, and a person's hand in it."""

import json
import re

import pytest

from harness.procs import wait_until
from harness.world import APP

APPS = (APP, "app.parks", "app.drops", "app.waits")
# What waits for somebody to read waits for as long as a test takes.
SETTINGS = {"push.settle": "200ms", "push.confirm_after": "10m"}


def queue(world, *args):
    done = world.sidecar.command("queue", *args)
    assert done.returncode in (0, 66), (done.returncode, done.stderr)
    return done.stdout


def entries(world, *args):
    return json.loads(queue(world, "list", "--json", *args))["entries"]


def park(world, alice, app, people=1, reason="PayloadTooLarge"):
    """A push for each of so many people whom the gateway refused; (accounts, tokens)."""
    users = world.users(people, "bob")
    tokens = [world.phone(user, app=app) for user in users]
    for user, token in zip(users, tokens):
        world.gateway.script(token, {"status": 413, "reason": reason})
        alice.send_chat(user.bare, world.body())
    wait_until(lambda: len(entries(world, "--app", app, "--state", "parked")) == people, 10,
               "the pushes are parked")
    return users, tokens


def test_what_is_parked_is_listed_with_its_reason(world, alice):
    (bob,), (token,) = park(world, alice, "app.parks")
    listed = json.loads(queue(world, "--json", "--app", "app.parks"))
    (shape,) = listed["shape"]
    assert (shape["app"], shape["state"], shape["total"]) == ("app.parks", "parked", 1)
    assert sum(shape[age] for age in ("1m", "5m", "15m", "1h", "4h", "12h", "1d", "1d+")) == 1
    assert (listed["total"], listed["shown"]) == (1, 1)
    (entry,) = listed["entries"]
    assert (entry["account"], entry["reason"], entry["kind"]) == (
        bob.bare, "PayloadTooLarge", "message")
    text = queue(world, "list", "--app", "app.parks")
    assert re.search(rf"{entry['id']}  parked +app.parks  {bob.bare}  \d+ s old  forgotten in 1?\d d"
                     r"  PayloadTooLarge\n", text)
    assert re.search(r"^app +state +total +1m +5m +15m +1h +4h +12h +1d +1d\+\n"
                     r"app.parks +parked +1 +1 +0 +0 +0 +0 +0 +0 +0\n", text)
    assert token not in text + str(listed)
    queue(world, "drop", "--id", entry["id"])


def test_what_is_parked_is_tried_again_beside_a_running_worker(world, alice):
    users, tokens = park(world, alice, "app.parks", 3)
    worker = world.sidecar.worker_pid()
    (chosen,) = [e for e in entries(world, "--app", "app.parks") if e["account"] == users[0].bare]
    assert queue(world, "retry", "--id", chosen["id"]).startswith("1 due now")
    assert world.gateway.wait(tokens[0], 1, timeout=40)[0].badge == 1
    assert [len(world.gateway.accepted(token)) for token in tokens] == [1, 0, 0]
    assert queue(world, "retry", "--app", "app.parks", "--reason", "Other").startswith("0 due")
    assert queue(world, "retry", "--app", "app.parks", "--reason",
                 "PayloadTooLarge").startswith("2 due now")
    for user, token in zip(users, tokens):
        world.gateway.wait(token, 1, timeout=40)
        wait_until(lambda user=user: world.oracle.outbox(user.bare) == 0, 5, "it is settled")
    assert world.sidecar.worker_pid() == worker


def test_what_waits_for_its_next_try_is_due_at_once(world, alice):
    bob = world.user("bob")
    token = world.phone(bob, app="app.waits")
    world.gateway.script(token, {"status": 503, "reason": "ServiceUnavailable",
                                 "retry_after": 3000})
    alice.send_chat(bob.bare, world.body())
    (entry,) = wait_until(lambda: entries(world, "--app", "app.waits", "--state", "waiting"), 10,
                          "it waits")
    assert (entry["reason"], entry["attempts"]) == ("ServiceUnavailable", 1)
    assert re.search(r"next try in (4\d|50) min  tried 1 times  ServiceUnavailable",
                     queue(world, "--app", "app.waits"))
    assert queue(world, "retry", "--state", "waiting", "--app", "app.waits").startswith("1 due now")
    world.gateway.wait(token, 1, timeout=40)


def test_dropped_entries_are_gone_and_the_next_message_pushes_again(world, alice):
    (bob, carol), (token, other) = park(world, alice, "app.drops", 2)
    (chosen,) = [e for e in entries(world, "--app", "app.drops") if e["account"] == bob.bare]
    assert queue(world, "drop", "--id", chosen["id"]) == "1 dropped\n"
    assert queue(world, "drop", "--id", chosen["id"]) == "0 dropped\n"
    assert [e["account"] for e in entries(world, "--app", "app.drops")] == [carol.bare]
    assert queue(world, "drop", "--app", "app.drops") == "1 dropped\n"
    assert entries(world, "--app", "app.drops") == []
    alice.send_chat(bob.bare, world.body())
    assert world.gateway.wait(token, 1)[0].badge == 2
    assert world.gateway.accepted(other) == []


def test_an_entry_in_the_workers_hand_can_be_dropped(world, alice):
    """Held until somebody reads or goes: the row is gone then, and nothing is sent."""
    bob = world.user("bob")
    phone = world.login(bob, "phone")
    token = world.register_device(phone, provider="app.waits")
    phone.wait_id(alice.send_chat(bob.bare, world.body()))
    (entry,) = wait_until(lambda: [
        e for e in entries(world, "--app", "app.waits", "--state", "leased")
        if e["account"] == bob.bare], 5, "the worker holds it")
    assert queue(world, "retry", "--id", entry["id"]).startswith("0 due now")
    assert queue(world, "drop", "--id", entry["id"]) == "1 dropped\n"
    # It would be sent now.
    phone.logout()
    world.away(bob)
    world.no_push(token, 2)
    assert entries(world, "--app", "app.waits") == []


@pytest.mark.parametrize("args", [
    ("retry",), ("drop",), ("drop", "--all", "--app", "x"), ("drop", "--app"), ("lose",),
    ("retry", "--id", "1; drop"), ("--state", "late"), ("list", "--all"), ("retry", "--all", "--json"),
    ("--app", "a", "--app", "b")], ids=" ".join)
def test_a_selection_must_be_said(world, args):
    done = world.sidecar.command("queue", *args)
    assert done.returncode == 64 and "usage: xmpp-sidecar queue" in done.stderr


def test_without_a_database_it_says_so(world, tmp_path):
    config = tmp_path / "other.yml"
    text = world.sidecar.config.read_text()
    config.write_text(re.sub(r"url: postgresql.*", "url: postgresql://127.0.0.1:1/none", text))
    done = world.sidecar.command("-c", str(config), "queue")
    assert done.returncode == 75 and "database" in done.stderr
