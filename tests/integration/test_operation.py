# SPDX-License-Identifier: Apache-2.0
"""The command line, reload, reconnecting, and life without a database."""

import contextlib
import datetime
import json
import os
import re
import shutil
import signal
import stat
import subprocess
import time

import pytest
import yaml

from harness.clients import StanzaError, error_of
from harness.component import MuteServer
from harness.ejabberd import REMOTE_HOST
from harness.gateway import make_provider_key
from harness.procs import PATIENCE, ROOT, wait_until
from harness.sidecar import build_folder, merge_dotted

PROGRAM = build_folder() / "xmpp-sidecar"


def run(*args, env=None):
    return subprocess.run([PROGRAM, *map(str, args)], capture_output=True, text=True,
                          timeout=20 * PATIENCE, check=False, env=env)


# The command line.


def test_version_and_help():
    version = run("--version")
    assert version.returncode == 0
    for library in ("expat", "libpq", "nghttp2", "openssl", "libevent"):
        assert library in version.stdout.lower()
    text = run("--help")
    assert text.returncode == 0
    for command in ("run", "check", "migrate", "status"):
        assert command in text.stdout


@pytest.mark.parametrize("args", [(), ("dance",), ("--no-such-option",), ("run", "twice")])
def test_a_wrong_command_line(args):
    done = run(*args)
    assert done.returncode == 64
    assert done.stderr.strip()


def test_check_accepts_a_good_file(world):
    done = world.sidecar.command("check")
    assert done.returncode == 0, done.stderr


BROKEN = {
    "an unknown key": ("push.setle", "500ms", r"push\.set+le"),
    "a wrong type": ("xmpp.port", "five", "xmpp.port"),
    "out of range": ("xmpp.port", 70000, "xmpp.port"),
    "a wrong word": ("log.level", "verbose", "log.level"),
    "a bad time": ("push.settle", "soon", "push.settle"),
    "a bad size": ("spool.max_size", "4 elephants", "spool.max_size"),
    "a missing file": ("xmpp.secret_file", "no-such-file", "no-such-file"),
    "no component": ("xmpp.component", None, "component"),
    "no domains": ("xmpp.domains", None, "domains"),
}


def broken_file(world, tmp_path, key, value):
    settings = json.loads(json.dumps(world.sidecar.settings))
    if key == "xmpp.secret_file":
        settings["xmpp"].pop("secret")
    path = tmp_path / "broken.yml"
    path.write_text(yaml.safe_dump(merge_dotted(settings, {key: value}), sort_keys=False))
    return path


@pytest.mark.parametrize("what", BROKEN)
@pytest.mark.parametrize("command", ["check", "run"])
def test_a_broken_file_is_refused_with_its_place(world, tmp_path, what, command):
    key, value, pattern = BROKEN[what]
    path = broken_file(world, tmp_path, key, value)
    done = run("-c", path, command)
    assert done.returncode == 78
    assert re.search(rf"{re.escape(str(path))}:\d+:\d+: .*{pattern}", done.stderr)


def test_a_near_miss_is_answered_with_a_guess(world, tmp_path):
    done = run("-c", broken_file(world, tmp_path, "push.setle", "500ms"), "check")
    assert "did you mean" in done.stderr and "settle" in done.stderr


def test_check_names_every_mistake(world, tmp_path):
    path = broken_file(world, tmp_path, "push.setle", "500ms")
    settings = yaml.safe_load(path.read_text())
    settings["log"]["level"] = "verbose"
    path.write_text(yaml.safe_dump(settings))
    done = run("-c", path, "check")
    assert "push.setle" in done.stderr and "log.level" in done.stderr


def test_a_file_that_is_not_there():
    done = run("-c", "/nonexistent/sidecar.yml", "check")
    assert done.returncode == 78
    assert "/nonexistent/sidecar.yml" in done.stderr


def test_environment_and_files(world, tmp_path):
    settings = json.loads(json.dumps(world.sidecar.settings))
    settings["xmpp"].pop("secret")
    settings["xmpp"]["secret_file"] = "secret"  # beside the settings
    settings["xmpp"]["component"] = "${XS_COMPONENT}"
    (tmp_path / "secret").write_text("from a file\n")
    path = tmp_path / "sidecar.yml"
    path.write_text(yaml.safe_dump(settings))
    good = run("-c", path, "check", env={"XS_COMPONENT": "sidecar.example.org"})
    assert good.returncode == 0, good.stderr
    bad = run("-c", path, "check", env={})
    assert bad.returncode == 78 and "XS_COMPONENT" in bad.stderr


def uncommented(text):
    """The example with its commented settings in force (`# key: value`, `# - key: value`)."""
    lines = []
    for line in text.splitlines():
        match = re.match(r"^(\s*)# (\s*(?:- )?[a-z_]+:(?: .*)?)$", line)
        lines.append(match.group(1) + match.group(2) if match else line)
    return "\n".join(lines)


def test_the_published_example_loads(tmp_path):
    (tmp_path / "sidecar.yml").write_text((ROOT / "config" / "sidecar.yml").read_text())
    done = run("-c", tmp_path / "sidecar.yml", "check")
    assert done.returncode == 0, done.stderr


def test_every_commented_setting_of_the_example_is_known(tmp_path):
    """Each `# key: value` alone, put in force, is accepted or refused for another reason."""
    text = (ROOT / "config" / "sidecar.yml").read_text()
    make_provider_key(tmp_path)
    for name in ("ca.pem", "secret"):
        (tmp_path / name).write_text("x\n")
    path = tmp_path / "sidecar.yml"
    path.write_text(uncommented(text).replace("  apps: []   ", "  #").replace("AuthKey.p8",
                                                                        str(tmp_path / "AuthKey.p8")))
    done = run("-c", path, "check")
    assert "unknown" not in done.stderr and "did you mean" not in done.stderr, done.stderr


# Status.


def test_status_text_and_json(world):
    text = world.sidecar.command("status")
    assert text.returncode == 0
    for word in ("link", "spool", "database", "outbox", "org.example.chat"):
        assert word in text.stdout.lower()
    done = world.sidecar.command("status", "--json")
    assert done.returncode == 0
    status = json.loads(done.stdout)
    assert status.keys() == world.sidecar.status().keys()  # the same over HTTP
    for word in ("link", "spool", "database", "outbox"):
        assert any(word in key for key in status), f"{word} in {sorted(status)}"
    dumped = json.dumps(status)
    assert "org.example.chat" in dumped
    assert world.ejabberd.secret not in dumped + text.stdout


def test_status_of_a_service_that_does_not_run(make_world):
    world = make_world(start=False)
    done = world.sidecar.command("status")
    assert done.returncode not in (0, 78)
    assert done.stderr.strip()


def test_http(world):
    assert world.sidecar.http("/healthz")[0] == 200
    assert world.sidecar.http("/readyz")[0] == 200
    code, metrics = world.sidecar.http("/metrics")
    assert code == 200
    assert any(not line.startswith("#") for line in metrics.splitlines())
    assert world.sidecar.http("/no-such-page")[0] == 404


# Start and stop.


def test_stop_is_quick_and_clean(make_world):
    world = make_world()
    assert world.sidecar.stop(timeout=10) == 0  # it would be killed then


def test_only_one_service_per_spool(make_world):
    world = make_world()
    second = run("-c", world.sidecar.config, "run")
    assert second.returncode != 0
    assert second.stderr.strip()
    assert world.sidecar.http("/readyz")[0] == 200


def inside(spool):
    """What stat says of its folders, it among them, and of its files; segments go meanwhile."""
    shapes = []
    for path in (spool, *spool.rglob("*")):
        with contextlib.suppress(FileNotFoundError):
            shapes.append(path.lstat())
    return ([shape for shape in shapes if stat.S_ISDIR(shape.st_mode)],
            [shape for shape in shapes if stat.S_ISREG(shape.st_mode)])


def test_the_spool_is_private_and_is_emptied(make_world):
    world = make_world(settings={"spool.max_size": "64MiB"})
    alice, bob = world.login(world.user("alice")), world.login(world.user("bob"))
    spool = world.sidecar.folder / "spool"
    for _ in range(60):
        alice.send_many([f"<message to='{bob.bare}' type='chat'><body>{'z' * 10000}</body>"
                         "</message>" for _ in range(10)])
    world.drain(alice, 60)
    folders, files = inside(spool)
    assert files
    assert {stat.S_IMODE(shape.st_mode) for shape in folders} == {0o700}
    assert {stat.S_IMODE(shape.st_mode) for shape in files} == {0o600}
    # 600 messages in two copies are 12 MB; what is committed is deleted.
    wait_until(lambda: sum(shape.st_blocks * 512 for shape in inside(spool)[1]) < 6 << 20, 20,
               "committed segments are deleted", 0.2)


def connections(world):
    """That the server has seen so far, which writes its log a moment later."""
    return wait_until(world.ejabberd.component_connections, 5, "the link is in the log")


def test_a_new_worker_keeps_the_stream(world):
    opened = connections(world)
    alice, bob = world.login(world.user("alice")), world.login(world.user("bob"))
    old = world.sidecar.kill_worker()
    world.sidecar.wait_new_worker(old)
    body = world.body()
    alice.send_chat(bob.bare, body)
    world.oracle.wait_body(bob.bare, body)
    assert bob.mam_page().bodies == [body]
    assert world.ejabberd.component_connections() == opened


def seconds_to_connect(world):
    """From the newest worker's start until it has all its connections for reading."""
    times = re.compile(r"time=(\S+) .*(?:worker started pid|name=(\w+)-1 connected)")

    def connected():
        own = world.sidecar.log_text().rpartition("process=worker worker started pid")
        found = times.findall(own[0].rpartition("\n")[2] + own[1] + own[2])
        return {"reader", "pages", "scans"} <= {name for _, name in found} and [
            datetime.datetime.fromisoformat(at) for at, name in found
            if name in ("", "reader", "pages", "scans")]
    begun, *_, last = wait_until(connected, 10, "it is connected")
    return (last - begun).total_seconds()


def test_what_is_asked_while_a_worker_starts_is_answered(world):
    """Nobody is told to wait because the worker has not reached its own database yet, unless that
    takes it more than a second."""
    alice, bob = world.login(world.user("alice")), world.login(world.user("bob"))
    _, body = world.exchange(alice, bob)
    for _ in range(5):
        old = world.sidecar.kill_worker()
        try:
            assert bob.mam_page().bodies == [body]
        except StanzaError as error:
            assert error.kind == "wait" and seconds_to_connect(world) > 0.9
        world.sidecar.wait_new_worker(old)


def program_of(pid):
    """The inode of what it runs; None when it is gone."""
    with contextlib.suppress(FileNotFoundError):
        return os.stat(f"/proc/{pid}/exe").st_ino
    return None


def upgrade(world, program):
    """What is installed is replaced by this, and the service told."""
    new = world.sidecar.folder / "new"
    shutil.copy2(program, new)
    new.rename(world.sidecar.program)
    world.sidecar.process.send_signal(signal.SIGUSR2)


def test_an_upgrade_replaces_both_processes_and_keeps_the_stream(make_world):
    """What is installed now becomes the worker, then the link's process, which keeps its
    number; meanwhile messages come, and afterwards it can be done again."""
    world = make_world(start=False)
    installed = world.sidecar.folder / "xmpp-sidecar"
    shutil.copy2(PROGRAM, installed)
    world.sidecar.program = installed
    world.sidecar.start()
    alice, bob = world.login(world.user("alice")), world.login(world.user("bob"))
    world.exchange(alice, bob)
    supervisor = world.sidecar.process.pid
    texts = []
    for _ in range(2):
        old = world.sidecar.worker_pid()
        before = os.stat(f"/proc/{supervisor}/exe").st_ino
        upgrade(world, PROGRAM)
        wait_until(lambda: texts.append(world.body()) or alice.send_chat(bob.bare, texts[-1]) or
                   os.stat(f"/proc/{supervisor}/exe").st_ino == installed.stat().st_ino != before,
                   20, "the link is what is installed", 0.05)
        worker = world.sidecar.wait_new_worker(old)
        wait_until(lambda: program_of(world.sidecar.worker_pid()) == installed.stat().st_ino, 5,
                   "the worker, too")
        assert worker != supervisor == world.sidecar.process.pid
        world.exchange(alice, bob)
    for text in texts:
        assert len(world.oracle.wait_body(bob.bare, text)) == 1
    link = world.sidecar.status()["links"][0]
    assert (link["state"], link["connects"]) == ("up", 1)
    assert world.ejabberd.component_connections() == 1
    assert world.oracle.value("SELECT count(*) FROM xs.gap") == 0
    world.oracle.assert_sound()


def test_an_upgrade_to_what_does_not_run_changes_nothing(make_world):
    world = make_world(start=False)
    world.sidecar.program = world.sidecar.folder / "xmpp-sidecar"
    shutil.copy2(PROGRAM, world.sidecar.program)
    world.sidecar.start()
    alice, bob = world.login(world.user("alice")), world.login(world.user("bob"))
    world.exchange(alice, bob)
    old, supervisor = world.sidecar.worker_pid(), world.sidecar.process.pid
    before = os.stat(f"/proc/{supervisor}/exe").st_ino
    damaged = world.sidecar.folder / "damaged"
    damaged.write_bytes(b"\x7fELF, and no more")
    damaged.chmod(0o755)
    world.sidecar.allow_error("cannot be executed")
    upgrade(world, damaged)
    world.sidecar.program = PROGRAM  # for commands
    world.sidecar.wait_new_worker(old)
    world.exchange(alice, bob)
    assert os.stat(f"/proc/{supervisor}/exe").st_ino == before
    assert world.sidecar.status()["links"][0]["connects"] == 1


# Reload.


def test_reload_applies_without_touching_the_stream(make_world):
    world = make_world(settings={"push.content": "none"})
    alice, bob = world.login(world.user("alice")), world.user("bob")
    token = world.phone(bob)
    opened = connections(world)
    worker = world.sidecar.worker_pid()
    world.sidecar.configure({"push.content": "body"})
    world.sidecar.reload()
    world.sidecar.wait_new_worker(worker)
    body = world.body("in force")
    alice.send_chat(bob.bare, body)
    assert body in str(world.gateway.wait(token, 1)[0].payload)
    assert world.ejabberd.component_connections() == opened


def test_reload_names_what_needs_a_restart(make_world):
    world = make_world()
    worker = world.sidecar.worker_pid()
    world.sidecar.configure({"xmpp.port": 5999})
    world.sidecar.reload()
    world.sidecar.wait_log(r"level=warn .*xmpp\.port has changed: it needs a restart")
    world.sidecar.wait_new_worker(worker)
    world.sidecar.wait_ready()
    assert world.sidecar.status()["links"][0]["connects"] == 1


def test_a_broken_file_at_reload_changes_nothing(make_world):
    world = make_world()
    world.sidecar.allow_error(r"reload the settings are broken: the old ones stay in force$")
    alice, bob = world.login(world.user("alice")), world.login(world.user("bob"))
    worker = world.sidecar.worker_pid()
    good = world.sidecar.config.read_text()
    world.sidecar.config.write_text(good + "\nno_such_section: {}\n")
    world.sidecar.reload()
    world.sidecar.wait_log(r"sidecar\.yml:\d+:\d+: .*no_such_section")
    world.sidecar.config.write_text(good)  # `status` reads it too
    world.exchange(alice, bob)
    assert world.sidecar.worker_pid() == worker


# The server.


def test_a_wrong_secret_is_said_and_retried_slowly(make_world):
    world = make_world(start=False, settings={"xmpp.secret": "wrong"})
    said = r"level=error .*: make xmpp\.secret the same as the server's for this component"
    world.sidecar.allow_error(said)
    world.sidecar.start(ready=False)
    world.sidecar.wait_log(said)
    time.sleep(5)
    assert 1 <= world.ejabberd.component_refusals() <= 2
    assert world.sidecar.process.alive()
    assert world.sidecar.http("/readyz")[0] == 503
    assert world.sidecar.http("/healthz")[0] == 200


def test_a_conflict_is_said_and_retried_slowly(make_world):
    """The component's name is one of the server's own."""
    world = make_world(start=False, settings={"xmpp.component": REMOTE_HOST})
    said = r"level=error .*: another component is connected as xmpp\.component, or the server "
    world.sidecar.allow_error(said)
    world.sidecar.start(ready=False)
    world.sidecar.wait_log(said)
    assert world.sidecar.process.alive()


def test_the_server_is_not_there_yet(make_world):
    world = make_world(start=False)
    world.ejabberd.stop()
    world.sidecar.start(ready=False)
    time.sleep(1)
    assert world.sidecar.process.alive()
    world.ejabberd.start()
    world.sidecar.wait_ready(40)


@pytest.mark.parametrize("how", ["stop", "kill"])
def test_the_server_restarts(make_world, how):
    world = make_world()
    alice, bob = world.user("alice"), world.user("bob")
    world.exchange(world.login(alice), world.login(bob))
    getattr(world.ejabberd, how)()
    wait_until(lambda: world.sidecar.http("/readyz")[0] == 503, 10, "it is not ready")
    world.loop.close_clients()
    world.ejabberd.start()
    world.sidecar.wait_ready(40)
    for user in (alice, bob):
        world.ejabberd.ensure(user.name, user.password)
    sender, receiver = world.login(alice, "again"), world.login(bob, "again")
    world.exchange(sender, receiver)
    assert len(receiver.mam_page().results) == 2
    world.oracle.assert_sound()


@pytest.mark.slow
def test_a_server_that_announces_nothing_is_tried_again(make_world):
    """Permissions are announced at connect; a server that lost its wits gets a new chance."""
    world = make_world(start=False)
    mute = MuteServer(world.component)
    world.workspace.on_close(mute.close)
    world.sidecar.configure({"xmpp.port": mute.port})
    world.sidecar.start(ready=False)
    first, second = wait_until(lambda: len(mute.handshakes) == 2 and mute.handshakes, 70,
                               "the second connection", 0.2)
    assert second - first > 20


# The database.


def test_starting_without_a_database(make_world, own_postgres):
    """Questions are answered at once, messages wait in the spool, and nothing is lost."""
    world = make_world(cluster=own_postgres, start=False)
    own_postgres.stop()
    world.sidecar.start(ready=False)
    wait_until(lambda: world.ejabberd.component_connections() == 1, 10, "the link is up")
    alice, bob = world.login(world.user("alice")), world.login(world.user("bob"))

    def answered_with_wait():
        error = error_of(bob.ask("set", bob.mam_xml(rsm="<max>1</max>")))
        return error is not None and error[0] == "wait"
    wait_until(answered_with_wait, 10, "the answer is `wait`, though PostgreSQL stays away")
    bob.iq("get", "<ping xmlns='urn:xmpp:ping'/>", world.component)
    assert "urn:xmpp:push:0" in bob.disco_info(world.component)[1]
    bodies = [world.body() for _ in range(50)]
    for body in bodies:
        alice.send_chat(bob.bare, body)
        bob.wait_message(body)
    assert world.sidecar.http("/readyz")[0] == 503
    assert "database" in world.sidecar.command("status").stdout.lower()
    own_postgres.start()
    world.sidecar.wait_ready(40)
    world.drain(alice, 30)
    assert [row.body for row in world.oracle.rows(bob.bare)] == bodies
    assert world.oracle.unread(bob.bare) == 50
    world.oracle.assert_sound()


def test_a_registration_without_a_database_is_refused_for_now(make_world, own_postgres):
    world = make_world(cluster=own_postgres)
    bob = world.login(world.user("bob"))
    own_postgres.stop()
    answer = bob.ask("set", "<command xmlns='http://jabber.org/protocol/commands'"
                            " node='register-device' action='execute'>"
                            "<x xmlns='jabber:x:data' type='submit'>"
                            "<field var='provider'><value>org.example.chat</value></field>"
                            f"<field var='device-token'><value>{world.token()}</value></field>"
                            "</x></command>", world.component)
    assert error_of(answer)[0] == "wait"
    own_postgres.start()
    world.sidecar.wait_ready(40)
    world.register_device(bob)
    assert world.oracle.registrations(bob.bare) == 1


def test_the_schema_is_made_by_migrate(make_world):
    world = make_world(start=False, settings={"database.migrate": False})
    advice = r"database the database has no schema yet: run `xmpp-sidecar migrate`, or set "
    world.sidecar.allow_error(advice)
    world.sidecar.start(ready=False)
    world.sidecar.wait_log(advice, 20)
    assert world.oracle.value("SELECT to_regclass('xs.message')") is None
    world.sidecar.stop()
    for _ in range(2):  # the second time there is nothing to do
        done = world.sidecar.command("migrate")
        assert done.returncode == 0, done.stderr
    world.sidecar.start()
    alice, bob = world.login(world.user("alice")), world.login(world.user("bob"))
    world.exchange(alice, bob)
    world.oracle.assert_sound()


# The spool's limit.


def allow_full_spool(world):
    link = rf"link server=127\.0\.0\.1:{world.ejabberd.component_port} spool is "
    world.sidecar.allow_error(link + r"over 80 % of spool\.max_size spooled_mib=[67]$")
    # The stream is read to its end meanwhile, and a restart says how much that was.
    world.sidecar.allow_error(link + r"full spooled_mib=(8|9|1\d): messages are missed until ")


def fill_spool(world, alice, bob, megabytes):
    """Messages of 50 kB, in two copies each; returns their ids."""
    sent = []
    for number in range(megabytes * 10):
        sent.append(alice.send_chat(bob.bare, f"{number} " + "f" * 50_000))
        bob.wait_id(sent[-1], 30)
    return sent


def test_a_full_spool_closes_the_stream_and_recovers(make_world, own_postgres):
    world = make_world(cluster=own_postgres, settings={"spool.max_size": "8MiB"})
    allow_full_spool(world)
    alice, bob = world.login(world.user("alice")), world.login(world.user("bob"))
    own_postgres.stop()
    sent = fill_spool(world, alice, bob, 24)
    world.sidecar.wait_log(r"level=error .*spool is full", 20)
    assert world.sidecar.process.alive()
    # What was in the sockets' buffers comes into it still, a few MB where the link was late.
    _, files = inside(world.sidecar.folder / "spool")
    assert sum(shape.st_size for shape in files) < 16 << 20
    own_postgres.start()
    # Ready is what it says once the link is up again, for the second time.
    wait_until(lambda: world.sidecar.status()["links"][0]["connects"] == 2, 30, "a new stream")
    world.sidecar.wait_ready()
    assert world.sidecar.status()["links"][0]["gaps"] == 1
    wait_until(lambda: [gap.why for gap in world.oracle.gaps() if gap.end] == ["spool is full"],
               30, "the gap is kept")
    body = world.body("after")
    alice.send_chat(bob.bare, body)
    world.oracle.wait_body(bob.bare, body, 30)
    world.drain(alice, 30)
    # What was read before the limit is there, the first ones without a hole.
    stored = world.oracle.stanza_ids(bob.bare)
    kept = [message_id for message_id in sent if stored[message_id]]
    assert kept == sent[:len(kept)] and len(kept) > 20
    world.oracle.assert_sound()


def test_a_full_spool_is_emptied_though_nothing_comes_after_a_restart(make_world, own_postgres):
    """The server is away as well: no byte moves the place up to which everything was read."""
    world = make_world(cluster=own_postgres, settings={"spool.max_size": "8MiB"})
    allow_full_spool(world)
    alice, bob = world.login(world.user("alice")), world.login(world.user("bob"))
    own_postgres.stop()
    fill_spool(world, alice, bob, 12)
    state = lambda: world.sidecar.status()["links"][0]["state"]
    wait_until(lambda: state() == "full", 20, "the stream is closed")
    world.loop.close_clients()
    world.ejabberd.stop()
    world.sidecar.stop()
    world.sidecar.start(ready=False)
    wait_until(lambda: state() == "full", 20, "it is as full as before")
    own_postgres.start()
    wait_until(lambda: state() != "full", 40, "it has room again")
    world.ejabberd.start()
    world.sidecar.wait_ready(60)
    world.oracle.assert_sound()


def test_a_full_spool_stops_reading_where_that_is_wanted(make_world, own_postgres):
    world = make_world(cluster=own_postgres, settings={"spool.max_size": "8MiB",
                                                       "spool.when_full": "stop_reading"})
    allow_full_spool(world)
    alice, bob = world.login(world.user("alice")), world.login(world.user("bob"))
    own_postgres.stop()
    sent = fill_spool(world, alice, bob, 12)
    time.sleep(1)
    own_postgres.start()
    world.oracle.wait_count(bob.bare, len(sent), 60)
    world.drain(alice, 60)
    assert world.ejabberd.component_connections() == 1
    assert world.oracle.stanza_ids(bob.bare).keys() == set(sent)
    world.oracle.assert_sound()
