# SPDX-License-Identifier: Apache-2.0
"""Child processes that cannot outlive the test run, and the folder they live in."""

import ctypes
import itertools
import os
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]

_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None, use_errno=True)


class HarnessError(Exception):
    """Something around the test is broken: not a finding about the sidecar."""


# Below the ports that connections get by themselves; a part for each process of a run, of which
# no port comes a second time before all others.
_PORTS = range(10000, 32000)
_PART = len(_PORTS) // 8
_drawn = itertools.count(random.randrange(_PART))


def free_port():
    """A port that was free a moment ago on loopback, and that no other test is given now."""
    process = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0")[2:]) % 8
    for number in itertools.islice(_drawn, _PART):
        port = _PORTS[process * _PART + number % _PART]
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        return port
    raise HarnessError("no port is free")


# What is waited for takes so much longer on a machine that is busy.  It costs nothing where it
# comes: what must come before something else is told by what came first.
PATIENCE = 6


def wait_until(condition, timeout, what, interval=0.02):
    """Polls until condition() is true and returns its value; says what was missing."""
    timeout *= PATIENCE
    end = time.monotonic() + timeout
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() >= end:
            raise AssertionError(f"not within {timeout:g} s: {what}")
        time.sleep(interval)


def port_answers(port):
    try:
        socket.create_connection(("127.0.0.1", port), 0.2).close()
        return True
    except OSError:
        return False


def children_of(pid):
    """Direct children, from /proc."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            text = (entry / "stat").read_text()
        except OSError:
            continue
        state, parent = text.rpartition(")")[2].split()[:2]
        if int(parent) == pid and state != "Z":
            found.append(int(entry.name))
    return sorted(found)


def wait_stopped(pid):
    """Until SIGSTOP has taken effect."""
    def stopped():
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"
    wait_until(stopped, 10, f"{pid} stands still", 0.002)


def descendants_of(pid):
    found = []
    for child in children_of(pid):
        found += [child, *descendants_of(child)]
    return found


def signal_all(pids, signum):
    for pid in pids:
        try:
            os.kill(pid, signum)
        except ProcessLookupError:
            pass


def _die_with_parent():
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


class Process:
    """A child in a session of its own, writing to a log file.

    The kernel kills it when the test run is killed; stop() ends it and whatever
    it left behind.
    """

    def __init__(self, name, args, log, env=None, cwd=None, user=None, pass_fds=()):
        self.name = name
        self.log = Path(log)
        self.log.parent.mkdir(parents=True, exist_ok=True)
        options = {}
        if user is not None:
            options = {"user": user, "group": user, "extra_groups": []}
        with open(self.log, "ab") as out:
            self.popen = subprocess.Popen(
                [str(arg) for arg in args],
                stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT,
                env={**os.environ, **(env or {})}, cwd=cwd, start_new_session=True,
                preexec_fn=_die_with_parent, pass_fds=pass_fds, **options)

    @property
    def pid(self):
        return self.popen.pid

    def alive(self):
        return self.popen.poll() is None

    def require_alive(self):
        if not self.alive():
            raise HarnessError(f"{self.name} ended with {self.popen.returncode}:\n"
                               + self.log_tail())

    def wait_ready(self, condition, timeout):
        """Polls condition(); a process that ends meanwhile is reported with its log."""
        def check():
            self.require_alive()
            return condition()
        try:
            return wait_until(check, timeout, f"{self.name} is ready")
        except AssertionError as error:
            raise HarnessError(f"{error}\n{self.log_tail()}") from error

    def send_signal(self, signum):
        if self.alive():
            os.kill(self.pid, signum)

    def stop(self, signum=signal.SIGTERM, timeout=15):
        """Orderly first, then by force; returns the exit status."""
        left = descendants_of(self.pid) if self.alive() else []
        self.send_signal(signum)
        try:
            status = self.popen.wait(timeout * PATIENCE)
        except subprocess.TimeoutExpired:
            self.send_signal(signal.SIGKILL)
            status = self.popen.wait(10)
        try:
            os.killpg(self.pid, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):
            pass
        signal_all([pid for pid in left if children_or_self_in(pid, self.pid)], signal.SIGKILL)
        return status

    def log_tail(self, lines=40):
        try:
            text = self.log.read_text(errors="replace")
        except OSError:
            return "(no log)"
        return "\n".join(text.splitlines()[-lines:])


class OneProcess:
    """What is one process, in self.process while it runs; start() is the subclass's."""

    process = None

    def stop(self):
        if self.process is not None:
            self.process.stop(signal.SIGTERM)
            self.process = None

    def kill(self):
        """As after a power cut: nothing is said to anybody."""
        if self.process is not None:
            self.process.stop(signal.SIGKILL)
            self.process = None

    def restart(self):
        self.stop()
        self.start()


def children_or_self_in(pid, session):
    """True while pid still runs in the session that we started (pids are reused)."""
    try:
        return os.getsid(pid) == session
    except ProcessLookupError:
        return False


class Workspace:
    """A temporary folder and everything that runs in it, closed in reverse order."""

    def __init__(self, prefix="xs-"):
        # /tmp rather than TMPDIR: a Unix socket's path has at most 107 characters.
        self.path = Path(tempfile.mkdtemp(prefix=prefix, dir="/tmp"))
        self.path.chmod(0o711)  # PostgreSQL runs as another user below it
        self._closers = []

    def folder(self, name):
        path = self.path / name
        path.mkdir(parents=True, exist_ok=True)
        return path

    def on_close(self, closer):
        self._closers.append(closer)

    def keep_logs(self, target):
        """Copies every log below the folder to target, for a test that failed."""
        target = Path(target)
        for log in self.path.rglob("*.log"):
            where = target / log.relative_to(self.path)
            where.parent.mkdir(parents=True, exist_ok=True)
            try:
                shutil.copyfile(log, where)
            except OSError:
                pass

    def close(self):
        problems = []
        while self._closers:
            try:
                self._closers.pop()()
            except Exception as error:  # the rest must be closed all the same
                problems.append(error)
        shutil.rmtree(self.path, ignore_errors=True)
        if problems:
            raise problems[0]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()
