# SPDX-License-Identifier: Apache-2.0
"""xmpp-sidecar itself: its configuration, its processes, its log."""

import json
import os
import re
import signal
import subprocess
import time
import urllib.error
import urllib.request
from http.client import HTTPException
from pathlib import Path

import yaml

from .manager import Manager
from .procs import (PATIENCE, ROOT, HarnessError, Process, children_of, free_port,
                    wait_until)

# What a log must never hold, beside the secrets that a test names.
SANITIZER = re.compile(r"(AddressSanitizer|LeakSanitizer|UndefinedBehaviorSanitizer"
                       r"|runtime error:|ThreadSanitizer)")
ERROR_LINE = re.compile(r'\blevel=error\b|"level":"error"')


def build_folder():
    """Where the programs under test are: $SIDECAR_BUILD, else the newest build."""
    named = os.environ.get("SIDECAR_BUILD")
    if named:
        return Path(named)
    built = [ROOT / "build" / mode for mode in ("asan", "debug", "release")]
    built = [path for path in built if (path / "xmpp-sidecar").exists()]
    if not built:
        raise HarnessError("no program to test: run make, or set SIDECAR_BUILD")
    return max(built, key=lambda path: (path / "xmpp-sidecar").stat().st_mtime)


def merge_dotted(settings, overrides):
    """{"push.settle": "1s"} into nested settings; None removes a key."""
    for dotted, value in overrides.items():
        *sections, key = dotted.split(".")
        place = settings
        for section in sections:
            place = place.setdefault(section, {})
        if value is None:
            place.pop(key, None)
        else:
            place[key] = value
    return settings


def find_numbers(tree, word):
    """Every number in parsed JSON whose key contains the word."""
    found = []
    entries = tree.items() if isinstance(tree, dict) else enumerate(tree)
    for key, value in entries:
        if isinstance(value, (dict, list)):
            found += find_numbers(value, word)
        elif word in str(key) and isinstance(value, (int, float)):
            found.append(value)
    return found


class Sidecar:
    """One configuration file and the service that runs on it."""

    def __init__(self, workspace, server, database_url, apps, name="sidecar", settings=None):
        self.folder = workspace.folder(name)
        self.config = self.folder / "sidecar.yml"
        self.log = self.folder / "sidecar.log"
        self.http_port = free_port()
        self.program = build_folder() / "xmpp-sidecar"
        self.process = None
        self.manager = None
        self.secrets = []         # texts that must never appear in the log
        self.allowed_errors = []  # expressions of error lines that a test provokes
        self._judged = 0          # bytes of the log that findings() has looked at
        self._judged_secrets = 0  # and for how many secrets
        self.failpoints = workspace.folder(f"{name}-failpoints")
        self.settings = self._defaults(server, database_url, apps)
        self.configure({**server.settings(), **(settings or {})})
        self.secrets.append(server.secret)
        workspace.on_close(self.close)

    def _defaults(self, server, database_url, apps):
        where = {"host": "127.0.0.1", "port": server.component_port}
        if server.cluster:
            where = {"hosts": [f"127.0.0.1:{node.component_port}"
                               for node in server.cluster.nodes]}
        return {
            "xmpp": {
                "server": server.kind, **where,
                "component": server.component, "secret": server.secret,
                "domains": [server.host],
            },
            "spool": {"directory": str(self.folder / "spool")},
            "database": {"url": database_url, "migrate": True},
            "push": {
                "content": "sender", "settle": "200ms", "confirm_after": "2s",
                "while_active_elsewhere": "2s", "apps": apps,
            },
            "limits": {"commands_per_minute": 1000},
            "http": {"listen": f"127.0.0.1:{self.http_port}"},
            "log": {"level": "debug", "format": "text"},
        }

    def configure(self, overrides):
        """Changes settings by dotted name and writes the file; takes effect at start or reload."""
        merge_dotted(self.settings, overrides)
        self.config.write_text(yaml.safe_dump(self.settings, sort_keys=False))

    def spools(self):
        """The folder of each link's spool."""
        return [path for path in (self.folder / "spool").iterdir() if path.is_dir()]

    # The command line.

    def command(self, *args, timeout=20, env=None):
        """Runs `xmpp-sidecar -c FILE ARGS`; returns the finished process."""
        return subprocess.run([self.program, "-c", self.config, *args], capture_output=True,
                              text=True, timeout=timeout * PATIENCE, check=False,
                              env={**os.environ, **self._environment(), **(env or {})})

    def status(self, within=10):
        """What `status --json` tells, parsed: the worker's own word, which the command asks for,
        too; without one the command's.  Waits for a worker that is only just starting (69)."""
        code, text = self.http("/status.json")
        if code == 200:
            return json.loads(text)
        deadline = time.monotonic() + within * PATIENCE
        done = self.command("status", "--json")
        while done.returncode == 69 and time.monotonic() < deadline:
            time.sleep(0.1)
            done = self.command("status", "--json")
        if done.returncode != 0:
            raise AssertionError(f"status: {done.returncode} {done.stderr}")
        return json.loads(done.stdout)

    def behind(self):
        """Bytes of the spool that are not committed yet, over all links."""
        status = self.status()
        numbers = find_numbers(status, "behind")
        assert numbers, f"status --json does not say how far the archive is behind: {status}"
        return sum(numbers)

    def http(self, path):
        """(status, body) of a GET on the status listener; (None, "") when it does not answer."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.http_port}{path}",
                                        timeout=5 * PATIENCE) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()
        except (OSError, HTTPException):
            return None, ""

    # The service.

    def _environment(self):
        return {
            "SIDECAR_FAILPOINTS": str(self.failpoints),
            "ASAN_OPTIONS": "abort_on_error=0:exitcode=99:detect_leaks=1:disable_coredump=1",
            "UBSAN_OPTIONS": "print_stacktrace=1",
            "LSAN_OPTIONS": "exitcode=99",
        }

    def start(self, ready=True, timeout=30):
        args, env, fds = [self.program, "-c", self.config, "run"], self._environment(), []
        if self.manager:
            args, fds = self.manager.command(args)
            env |= self.manager.environment()
        self.process = Process("xmpp-sidecar", args, self.log, env=env, cwd=self.folder,
                               pass_fds=fds)
        if self.manager:
            self.manager.main_pid = self.process.pid
        if ready:
            self.wait_ready(timeout)
        return self

    def wait_ready(self, timeout=30):
        """/readyz says that link and database are there."""
        self.process.wait_ready(lambda: self.http("/readyz")[0] == 200, timeout)

    def stop(self, timeout=15):
        """Orderly; returns the exit status, None when it did not run."""
        if self.process is None:
            return None
        process, self.process = self.process, None
        return process.stop(signal.SIGTERM, timeout)

    def be_managed(self):
        """From the next start on somebody keeps descriptors for it, as systemd does."""
        self.manager = Manager(self.folder)

    def kill_link(self):
        """The link process alone; its worker dies with it."""
        process, self.process = self.process, None
        worker = children_of(process.pid)
        process.stop(signal.SIGKILL)
        wait_until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in worker), 5,
                   "the worker dies with its link", 0.002)

    def kill(self):
        """Both processes at once, as in a power cut."""
        if self.process is not None:
            process, self.process = self.process, None
            process.send_signal(signal.SIGSTOP)  # it must not start another worker
            for pid in children_of(process.pid):
                os.kill(pid, signal.SIGKILL)
            process.stop(signal.SIGKILL)

    def restart(self):
        self.stop()
        return self.start()

    def reload(self):
        self.process.send_signal(signal.SIGHUP)

    def reload_and_wait(self):
        """Until the new worker is ready with the new settings."""
        old = self.worker_pid()
        self.reload()
        self.wait_new_worker(old)
        self.wait_ready()

    def worker_pid(self):
        """The supervisor's child, or None while there is none."""
        pids = children_of(self.process.pid) if self.process else []
        return pids[0] if pids else None

    def kill_worker(self, signum=signal.SIGKILL):
        """Signals the worker that runs now; returns its pid."""
        pid = wait_until(self.worker_pid, 10, "there is a worker")
        os.kill(pid, signum)
        return pid

    def arm(self, failpoint, action="kill", passage=1):
        """What the process that reaches that place for the nth time does there, once; with a
        text for the number, whenever that text is at hand.  See base/failpoint.h."""
        armed = self.failpoints / f"{failpoint}.new"
        armed.write_text(f"{action} {passage}\n")
        armed.rename(self.failpoints / failpoint)

    def is_armed(self, failpoint):
        return (self.failpoints / failpoint).exists()

    def disarm(self):
        for path in self.failpoints.iterdir():
            path.unlink(missing_ok=True)

    def set_clock(self, seconds):
        """By how much the wall clock of both processes is wrong from now on."""
        (self.failpoints / "clock").write_text(f"{seconds}\n")

    def wait_new_worker(self, old, timeout=10):
        return wait_until(lambda: (pid := self.worker_pid()) and pid != old and pid, timeout,
                          f"a worker after {old}")

    # What it wrote.

    def log_text(self):
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    def wait_log(self, pattern, timeout=10):
        expression = re.compile(pattern)
        return wait_until(lambda: expression.search(self.log_text()), timeout,
                          f"the log says {pattern!r}")

    def allow_error(self, pattern):
        self.allowed_errors.append(re.compile(pattern))

    def findings(self):
        """What must not be in the log, as a list of sentences.

        Each line is judged once, by the test in which it was written.
        """
        found = []
        written = self.log.read_bytes() if self.log.exists() else b""
        end = written.rfind(b"\n") + 1
        text = written[self._judged:end].decode(errors="replace")
        whole = written.decode(errors="replace")
        for number, secret in enumerate(self.secrets):
            # One that has become known since may stand further up.
            if secret in (text if number < self._judged_secrets else whole):
                found.append(f"the log holds a secret: {secret[:6]}…")
        self._judged, self._judged_secrets = end, len(self.secrets)
        for line in text.splitlines():
            if SANITIZER.search(line):
                found.append(f"sanitizer: {line}")
            elif ERROR_LINE.search(line) and not any(p.search(line) for p in self.allowed_errors):
                found.append(f"unexpected: {line}")
        return found

    def close(self):
        self.stop()
        if self.manager:
            self.manager.close()
