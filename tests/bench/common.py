# SPDX-License-Identifier: Apache-2.0
"""What the benchmarks share: rows of the result, a private PostgreSQL, CPU time from /proc."""

import os
import pathlib
import re
import shutil
import socket
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "integration"))

from harness.procs import children_of  # noqa: E402

BUILD = pathlib.Path(os.environ.get("SIDECAR_BUILD", ROOT / "build" / "release"))
RESULTS = ROOT / "build" / "bench.json"


def row(name, ours, reference, unit, against):
    return {
        "name": name,
        "ours": round(ours, 3),
        "reference": round(reference, 3),
        "ratio": round(ours / reference, 3),
        "unit": unit,
        "against": against,
    }


def median_pair(pairs):
    """The (ours, reference) whose ratio is the median: two runs next to each other, so that
    what else the machine does hits both alike."""
    pairs = sorted(pairs, key=lambda p: p[0] / p[1])
    return pairs[len(pairs) // 2]


def say(text):
    print(text, file=sys.stderr, flush=True)


def on_core(core, command):
    """Pins a command to one core, where there are two."""
    return ["taskset", "-c", str(core)] + command if os.cpu_count() > 1 else command


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def wait_for_port(port, process, seconds=10):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if process.poll() is not None:
            raise RuntimeError(f"{process.args[0]} ended with {process.returncode}")
        with socket.socket() as s:
            if s.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise RuntimeError(f"nothing listens on port {port}")


def shared_buffers():
    """A quarter of the memory, as PostgreSQL's manual advises."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return f"{memory // 4 >> 20}MB"


class Cluster:
    """A private PostgreSQL that keeps what it commits, set as docs/operations.md says, on a Unix
    socket in its folder; also on loopback for a server that speaks nothing else."""

    def __init__(self, folder, loopback=False):
        self.folder = folder
        self.listen = "127.0.0.1" if loopback else ""
        self.port = free_port()
        self.bin = max(pathlib.Path("/usr/lib/postgresql").glob("*/bin"),
                       key=lambda p: int(p.parent.name))
        self.user = "postgres" if os.geteuid() == 0 else None

    def _run(self, *args):
        who = {"user": self.user, "group": self.user, "extra_groups": []} if self.user else {}
        subprocess.run([str(a) for a in args], check=True, stdout=subprocess.DEVNULL,
                       cwd=self.folder, **who)

    def start(self, **more):
        if self.user:
            shutil.chown(self.folder, self.user, self.user)
        self._run(self.bin / "initdb", "-D", self.folder / "data", "-U", "xs", "-A", "trust",
                  "-E", "UTF8", "--locale=C.UTF-8", "--no-sync", "--no-instructions")
        settings = {"listen_addresses": self.listen, "port": self.port,
                    "unix_socket_directories": self.folder,
                    "fsync": "on", "synchronous_commit": "on", "shared_buffers": shared_buffers(),
                    "max_wal_size": "8GB", "min_wal_size": "2GB",
                    "checkpoint_timeout": "30min", **more}
        options = " ".join(f"-c {key}={value}" for key, value in settings.items())
        self._run(self.bin / "pg_ctl", "-D", self.folder / "data", "-l", self.folder / "log",
                  "-w", "-s", "-o", options, "start")

    def reuse_wal(self):
        """As on a server that has run for a while, segments of WAL are reused: a new one is
        first filled with 16 MB of zeros, and the backend that needs it waits for that."""
        full = "SELECT pg_logical_emit_message(true, 'bench', ''); SELECT pg_switch_wal();"
        self.sql("postgres", full * 120 + "CHECKPOINT;")

    def stop(self):
        self._run(self.bin / "pg_ctl", "-D", self.folder / "data", "-m", "immediate", "-s", "stop")

    def url(self, database):
        return f"postgresql:///{database}?host={self.folder}&port={self.port}&user=xs"

    def sql(self, database, text):
        done = subprocess.run(
            [self.bin / "psql", "-h", self.folder, "-p", str(self.port), "-U", "xs", "-d",
             database, "-qAt", "-v", "ON_ERROR_STOP=1"], input=text, text=True, check=True, capture_output=True)
        return done.stdout.strip()

    def fresh(self, database):
        self.sql("postgres", f'DROP DATABASE IF EXISTS "{database}"')
        self.sql("postgres", f'CREATE DATABASE "{database}"')

    def pgbench(self, database, script, transactions):
        """Transactions per second of one connection."""
        path = self.folder / "script.sql"
        path.write_text(script)
        done = subprocess.run(
            [self.bin / "pgbench", "-h", self.folder, "-p", str(self.port), "-U", "xs", "-n",
             "-M", "prepared", "-c", "1", "-t", str(transactions), "-f", path, database], text=True, check=True,
            capture_output=True)
        return float(re.search(r"tps = ([0-9.]+)", done.stdout).group(1))

    def processes(self):
        """{pid: its title} of the postmaster's children."""
        postmaster = (self.folder / "data" / "postmaster.pid").read_text().split()[0]
        found = {}
        for pid in children_of(int(postmaster)):
            try:
                title = pathlib.Path(f"/proc/{pid}/cmdline").read_bytes()
            except OSError:
                continue
            found[pid] = title.replace(b"\0", b" ").decode(errors="replace").strip()
        return found


TICKS = os.sysconf("SC_CLK_TCK")


def cpu_seconds(pid):
    """User and system time of a process that lives."""
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def resident_kib(pid):
    text = pathlib.Path(f"/proc/{pid}/status").read_text()
    return int(re.search(r"VmRSS:\s+(\d+)", text).group(1))
