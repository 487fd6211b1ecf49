# SPDX-License-Identifier: Apache-2.0
"""The whole story once, on this machine: a message, its archive row, the unread count, the
push with its badge, the read marker, badge 0, and a page of history.

Real PostgreSQL, real ejabberd, real XMPP clients; Apple's part is played by the strict
gateway of tests/gateway.  Everything runs in a temporary folder on loopback and is gone
afterwards.  Exits with 1 when a step did not happen.
"""

import signal
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "integration"))

from harness.clients import ClientLoop, StanzaError  # noqa: E402
from harness.postgres import Postgres  # noqa: E402
from harness.procs import ROOT, HarnessError, Workspace  # noqa: E402
from harness.world import World  # noqa: E402

GREEN, RED, DIM, PLAIN = ("\033[32m", "\033[31m", "\033[2m", "\033[0m") \
    if sys.stdout.isatty() else ("", "", "", "")
LUNCH = "Lunch at noon?"


class Story:
    """Numbered steps; the one that is under way is named when it fails."""

    def __init__(self):
        self.number = 0
        self.current = "setting the scene"

    def step(self, text):
        self.number += 1
        self.current = text

    def done(self, *facts):
        print(f"{GREEN}✓{PLAIN} {self.number}. {self.current}", flush=True)
        for fact in facts:
            print(f"     {DIM}{fact}{PLAIN}", flush=True)

    def failed(self, error):
        print(f"{RED}✗{PLAIN} {self.number}. {self.current}\n     {error}", flush=True)


def start_servers(story, workspace, loop):
    story.step("PostgreSQL, ejabberd, a stand-in for Apple's gateway, and xmpp-sidecar start")
    began = time.monotonic()
    postgres = Postgres(workspace, fsync=True).start()
    world = World(workspace, postgres, loop, settings={
        "push.settle": "500ms", "push.confirm_after": "3s", "log.level": "info"})
    version = world.sidecar.command("--version").stdout.splitlines()[0]
    story.done(f"ejabberd with config/ejabberd/ejabberd.yml, component {world.component}",
               f"{version}, ready after {time.monotonic() - began:.1f} s")
    return world


def register_phone(story, world, bob):
    story.step(f"{bob.bare} registers his iPhone by ad-hoc command and goes away")
    token = world.phone(bob, "iphone")
    assert world.oracle.registrations(bob.bare) == 1
    story.done(f"command register-device at {world.component}: completed",
               f"device token {token[:8]}…, no session left")
    return token


def write_message(story, world, alice, bob):
    story.step(f"{alice.bare} writes to {bob.bare}: “{LUNCH}”")
    message_id = alice.send_chat(bob.bare, LUNCH)
    story.done(f"message id {message_id}")
    return message_id


def show_archive(story, world, alice, bob):
    story.step("The message is in the archive of both")
    for owner in (alice.bare, bob.bare):
        world.oracle.wait_body(owner, LUNCH)
    rows = [(owner, row) for owner in (alice.bare, bob.bare) for row in world.oracle.rows(owner)]
    assert len(rows) == 2
    story.done(*[f"xs.message: owner {owner}, id {row.id}, with {row.peer}, “{row.body}”"
                 for owner, row in rows])


def show_unread(story, world, alice, bob):
    story.step("It is counted as unread")
    world.oracle.wait_unread(bob.bare, 1)
    assert world.oracle.unread(alice.bare) == 0
    story.done(f"xs.account: {bob.bare} has 1 unread, {alice.bare} none")


def show_push(story, world, token):
    story.step("The iPhone gets a push with badge 1")
    push = world.gateway.wait(token, 1, 15)[0]
    assert push.badge == 1, f"badge {push.badge}"
    story.done(f"POST {push.header(':path')[:18]}… topic {push.header('apns-topic')}, "
               f"type {push.header('apns-push-type')}: {push.status}",
               f"payload {push.payload}")


def read_elsewhere(story, world, alice, bob, message_id):
    story.step("He reads it on his laptop: a displayed marker")
    laptop = world.login(bob, "laptop")
    laptop.wait_message(LUNCH)
    laptop.displayed(alice.bare, message_id)
    world.oracle.wait_unread(bob.bare, 0)
    story.done(f"xs.account: {bob.bare} has 0 unread")
    return laptop


def show_badge_0(story, world, token):
    story.step("The iPhone's badge goes to 0, silently")
    push = world.gateway.wait(token, 2, 15)[1]
    assert push.badge == 0 and push.alert is None, f"{push.payload}"
    assert world.gateway.device(token)["badge"] == 0
    story.done(f"payload {push.payload}: {push.status}")


def show_history(story, world, alice, laptop):
    story.step("His client pages through the history on his own address (slixmpp, xep_0313)")
    for text in ("Where?", "The usual place."):
        alice.send_chat(laptop.bare, text)
        laptop.wait_message(text)
    world.drain(alice)
    entries = laptop.mam_walk(page=2)
    bodies = [entry.body for entry in entries]
    assert bodies == [LUNCH, "Where?", "The usual place."], f"{bodies}"
    assert {entry.outer.get("from") for entry in entries} == {laptop.bare}
    story.done(*[f"{entry.stamp}  {entry.message.get('from')}: {entry.body}"
                 for entry in entries])


def kill_worker(story, world, alice, laptop):
    story.step("The worker is killed with SIGKILL; nobody notices")
    opened = world.ejabberd.component_connections()
    old = world.sidecar.kill_worker()
    alice.send_chat(laptop.bare, "Still there?")
    new = world.sidecar.wait_new_worker(old)
    world.oracle.wait_body(laptop.bare, "Still there?", 20)
    assert world.ejabberd.component_connections() == opened, "the stream was closed"
    assert laptop.mam_page(rsm="<max>1</max><before/>").bodies == ["Still there?"]
    story.done(f"worker {old} is now {new}, the same stream, nothing lost")


def check_counts(story, world):
    story.step("Every count equals a recount of the rows")
    differences = world.oracle.recount()
    assert differences == [], f"{differences}"
    findings = world.sidecar.findings()
    assert findings == [], f"{findings}"
    story.done(f"{world.oracle.total_rows()} rows, 0 differences, no error in the log")


def tell(story, workspace, loop):
    world = start_servers(story, workspace, loop)
    alice_user, bob = world.user("alice"), world.user("bob")
    token = register_phone(story, world, bob)
    alice = world.login(alice_user, "desk")
    message_id = write_message(story, world, alice, bob)
    show_archive(story, world, alice, bob)
    show_unread(story, world, alice, bob)
    show_push(story, world, token)
    laptop = read_elsewhere(story, world, alice, bob, message_id)
    show_badge_0(story, world, token)
    show_history(story, world, alice, laptop)
    kill_worker(story, world, alice, laptop)
    check_counts(story, world)


def main():
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    story, loop = Story(), ClientLoop()
    try:
        with Workspace("xs-demo-") as workspace:
            try:
                tell(story, workspace, loop)
            except (AssertionError, HarnessError, StanzaError, OSError, TimeoutError) as error:
                story.failed(error)
                keep = ROOT / "build" / "demo-logs"
                workspace.keep_logs(keep)
                print(f"     logs are in {keep}", flush=True)
                return 1
            finally:
                loop.close()
    except KeyboardInterrupt:
        print("\nstopped; everything is cleaned up")
        return 130
    print("\nThat was the whole way: message, archive, unread, push, read, badge 0, history.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
