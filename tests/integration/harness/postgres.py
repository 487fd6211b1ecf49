# SPDX-License-Identifier: Apache-2.0
"""A private PostgreSQL cluster that a test may stop, kill and stall."""

import contextlib
import os
import shutil
import signal
import subprocess
import threading
from pathlib import Path
from urllib.parse import quote

import psycopg2

from .disk import Disk
from .procs import HarnessError, Process, descendants_of, signal_all

SUPERUSER = "xs"

END_SESSIONS = """
SELECT pg_terminate_backend(pid) FROM pg_stat_activity
  WHERE datname = %s AND application_name LIKE 'xmpp-sidecar%%'
"""


def _bin_dir():
    for folder in sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True):
        if (folder / "postgres").exists():
            return folder
    raise HarnessError("PostgreSQL's server programs are not installed")


class Postgres:
    """Reachable by a Unix socket only; runs as `postgres` when we are root."""

    def __init__(self, workspace, fsync=False, name="postgres", disk=None):
        """disk="400m": on a disk of its own of that size (a tmpfs; needs root)."""
        self.folder = workspace.folder(name)
        self.disk = Disk(workspace, self.folder, disk) if disk else None
        self.data = self.folder / "data"
        self.log = self.folder / "postgres.log"
        self.fsync = fsync
        self.process = None
        self._user = "postgres" if os.geteuid() == 0 else None
        self._bin = _bin_dir()
        self._stalled = []
        self._initdb()
        workspace.on_close(self.stop)

    def _initdb(self):
        if self._user:
            shutil.chown(self.folder, self._user, self._user)
        options = {"user": self._user, "group": self._user, "extra_groups": []} \
            if self._user else {}
        done = subprocess.run(
            [self._bin / "initdb", "-D", self.data, "-U", SUPERUSER, "-A", "trust",
             "-E", "UTF8", "--locale=C.UTF-8", "--no-sync", "--no-instructions"],
            capture_output=True, text=True, cwd=self.folder, check=False, **options)
        if done.returncode != 0:
            raise HarnessError(f"initdb: {done.stderr}")

    def start(self, wait=True):
        """Starts the cluster, again after stop() or kill()."""
        settings = {
            "listen_addresses": "",
            "unix_socket_directories": str(self.folder),
            "fsync": "on" if self.fsync else "off",
            "shared_buffers": "64MB",
            "max_connections": "60",
            "log_min_messages": "warning",
        }
        args = [self._bin / "postgres", "-D", self.data]
        for key, value in settings.items():
            args += ["-c", f"{key}={value}"]
        self.process = Process("postgres", args, self.log, cwd=self.folder, user=self._user)
        if wait:
            self.process.wait_ready(self.answers, 30)
        return self

    def answers(self):
        try:
            self.connect("postgres").close()
            return True
        except psycopg2.OperationalError:
            return False

    def stop(self):
        """Fast shutdown: sessions are ended, data is flushed."""
        self.resume()
        if self.process is not None:
            self.process.stop(signal.SIGINT, timeout=20)
            self.process = None

    def kill(self):
        """Immediate shutdown: as after a crash, recovery runs at the next start."""
        self.resume()
        if self.process is not None:
            self.process.stop(signal.SIGQUIT, timeout=20)
            self.process = None

    def stall(self, seconds=None):
        """Freezes every process of the cluster; for good, or resumed by a timer."""
        pids = [self.process.pid, *descendants_of(self.process.pid)]
        self._stalled = pids
        signal_all(pids, signal.SIGSTOP)
        if seconds is not None:
            timer = threading.Timer(seconds, self.resume)
            timer.daemon = True
            timer.start()

    def resume(self):
        stalled, self._stalled = self._stalled, []
        signal_all(stalled, signal.SIGCONT)

    def end_sessions(self, dbname):
        """As a failover does it: every session of that database is cut."""
        self._admin(END_SESSIONS, (dbname,))

    @contextlib.contextmanager
    def setting(self, dbname, name, value):
        """A default of new sessions, and nobody keeps an old one."""
        self._admin(f'ALTER DATABASE "{dbname}" SET {name} = {value}')
        self.end_sessions(dbname)
        try:
            yield
        finally:
            self._admin(f'ALTER DATABASE "{dbname}" RESET {name}')

    def leave_wal_unwritten(self):
        """What is not committed reaches the disk late, so that a crash takes it away."""
        self._admin("ALTER SYSTEM SET wal_writer_delay = '10s'")
        self._admin("SELECT pg_reload_conf()")

    @contextlib.contextmanager
    def no_connections_left(self, dbname):
        """Strangers hold them all; whoever is cut off cannot come back."""
        taken = [self.connect("postgres")]
        try:
            taken[0].cursor().execute(END_SESSIONS, (dbname,))
            while True:
                try:
                    taken.append(self.connect("postgres"))
                except psycopg2.OperationalError:
                    break
            yield
        finally:
            for connection in taken:
                connection.close()

    def connect(self, dbname):
        """An autocommit connection."""
        connection = psycopg2.connect(host=str(self.folder), user=SUPERUSER, dbname=dbname,
                                      connect_timeout=10)
        connection.autocommit = True
        return connection

    @property
    def socket(self):
        return self.folder / ".s.PGSQL.5432"

    def url(self, dbname):
        """For the sidecar's database.url."""
        return f"postgresql:///{dbname}?host={quote(str(self.folder), safe='')}&user={SUPERUSER}"

    def create_database(self, name):
        self._admin(f'CREATE DATABASE "{name}"')
        return name

    def drop_database(self, name):
        self._admin(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')

    def dump(self, dbname):
        """All that is in the database, as pg_dump writes it."""
        done = subprocess.run([self._bin / "pg_dump", "-h", self.folder, "-U", SUPERUSER, dbname],
                              capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise HarnessError(f"pg_dump: {done.stderr}")
        return done.stdout

    def _admin(self, statement, args=None):
        connection = self.connect("postgres")
        try:
            connection.cursor().execute(statement, args)
        finally:
            connection.close()
