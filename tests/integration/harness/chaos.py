# SPDX-License-Identifier: Apache-2.0
"""Faults at random, one after another, while messages keep coming.

The order, the kinds and the lengths follow from the seed alone.  None of them may close the
component stream; what is true afterwards is harness.load's business.
"""

import os
import random
import re
import resource
import signal
import threading
import time

import psycopg2.errors

from .load import Crash
from .procs import ROOT, wait_until

FAILPOINT = re.compile(r'FAILPOINT\("([\w-]+)"\)')


def failpoints(*folders):
    """The names of all places in the source, in order of names."""
    found = set()
    for folder in folders or ("base", "store", "archive", "apns", "component", "sidecar"):
        for path in (ROOT / folder).glob("*.c"):
            found.update(FAILPOINT.findall(path.read_text()))
    return sorted(found)


# Places that only the link process passes.
OF_THE_LINK = {name for name in failpoints() if name.startswith("link-")}
SELDOM = ("worker-release", "worker-snapshot")  # every five seconds
OF_THE_WORKER = [name for name in failpoints()
                 if not name.startswith(("link-", "supervisor-"))]


class Sending:
    """Messages from every client all the time, in a thread of its own."""

    def __init__(self, load, pause=0.1):
        self.load, self.pause = load, pause
        self.error = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def _run(self):
        try:
            while not self._stop.wait(self.pause):
                self.load.send(1)
        except Exception as error:  # told by the thread that waits for us
            self.error = error

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._stop.set()
        self._thread.join(30)
        assert self.error is None, f"the load could not be sent: {self.error!r}"


class Chaos:
    def __init__(self, world, load, seed, say=print):
        self.world, self.load, self.say = world, load, say
        self.random = random.Random(seed)
        # After each of them one push to a device may be its last one again: a worker was
        # killed, or the gateway closed its connections with answers that it had not sent.
        self.crashes = []
        self.away = False  # the gateway, for the whole run
        self.faults = [
            self.worker_dies_at_a_failpoint, self.worker_dies_at_a_failpoint,
            self.worker_freezes_at_a_failpoint, self.worker_is_killed, self.worker_is_frozen,
            self.worker_is_replaced, self.settings_are_reloaded, self.postgres_restarts,
            self.postgres_crashes, self.postgres_stalls, self.postgres_is_read_only,
            self.postgres_has_no_connections, self.postgres_cuts_sessions,
            self.postgres_cannot_serialize, self.postgres_deadlocks, self.postgres_disk_is_full,
            self.worker_has_no_descriptors,
        ]
        self.of_the_gateway = [self.gateway_is_down, self.gateway_betrays]
        self.faults += self.of_the_gateway

    def run(self, seconds):
        """Faults for about that long; each is over before the next begins, but for a gateway
        that may be away for minutes meanwhile."""
        end, start = time.monotonic() + seconds, time.monotonic()
        self.away = self.random.random() < 0.5 and seconds > 60
        if self.away:
            self.say(f"the gateway is away for {seconds:g} s", flush=True)
            self._gateway_down()
        faults = [f for f in self.faults if not (self.away and f in self.of_the_gateway)]
        with Sending(self.load):
            while time.monotonic() < end:
                fault = self.random.choice(faults)
                self.say(f"{time.monotonic() - start:6.1f} s {fault.__name__}", flush=True)
                fault()
                time.sleep(self.random.uniform(0, 1))
            self.world.sidecar.disarm()
        if self.away:
            self.world.gateway.down(False)

    def each_once(self):
        """Every fault, one after another."""
        with Sending(self.load):
            for fault in dict.fromkeys(self.faults):
                self.say(fault.__name__, flush=True)
                fault()
                time.sleep(0.5)

    def _hold(self, least, most):
        time.sleep(self.random.uniform(least, most))

    # The worker.

    def _place(self):
        """A failpoint; without a gateway nothing is answered."""
        return self.random.choice([name for name in OF_THE_WORKER
                                   if not (self.away and name.startswith("push-"))])

    def _worker(self):
        return wait_until(self.world.sidecar.worker_pid, 10, "there is a worker")

    def _died(self, old, begin):
        self.crashes.append(Crash(begin, time.time()))
        self.world.sidecar.wait_new_worker(old)

    def kill_at(self, failpoint, passage=1, timeout=20):
        """The worker dies there; the load must bring it there."""
        sidecar, old, begin = self.world.sidecar, self._worker(), time.time()
        sidecar.arm(failpoint, "kill", passage)
        wait_until(lambda: sidecar.worker_pid() != old, timeout, f"{failpoint} is passed")
        self._died(old, begin)

    def worker_dies_at_a_failpoint(self):
        failpoint = self._place()
        passage = 1 if failpoint in SELDOM else self.random.choice((1, 1, 2, 7))
        self.say(f"         {failpoint} {passage}", flush=True)
        self.kill_at(failpoint, passage, 30)

    def worker_freezes_at_a_failpoint(self):
        """SIGSTOP in the middle, then death, or life as if nothing had been."""
        sidecar, old = self.world.sidecar, self._worker()
        failpoint = self._place()
        self.say(f"         {failpoint}", flush=True)
        sidecar.arm(failpoint, "stop")
        wait_until(lambda: not sidecar.is_armed(failpoint), 30, f"{failpoint} is passed")
        self._hold(0.2, 3)
        if self.random.random() < 0.5:
            begin = time.time()
            os.kill(old, signal.SIGKILL)
            self._died(old, begin)
        else:
            os.kill(old, signal.SIGCONT)

    def worker_is_killed(self):
        begin = time.time()
        self._died(self.world.sidecar.kill_worker(), begin)

    def worker_is_frozen(self):
        old = self.world.sidecar.kill_worker(signal.SIGSTOP)
        self._hold(0.5, 8)
        os.kill(old, signal.SIGCONT)

    def worker_is_replaced(self):
        old = self._worker()
        self.world.sidecar.process.send_signal(signal.SIGUSR2)
        self.world.sidecar.wait_new_worker(old)

    def settings_are_reloaded(self):
        old = self._worker()
        self.world.sidecar.reload()
        self.world.sidecar.wait_new_worker(old)

    def worker_has_no_descriptors(self):
        """Nothing new can be opened: no segment, no connection, no file.  A worker that does
        not even have an event loop is only started again: that is no test of anything."""
        pid = self._worker()
        self.world.sidecar.wait_log(rf"process=worker worker started pid={pid}\b")
        limit_descriptors(pid, at_most=len(os.listdir(f"/proc/{pid}/fd")))
        self.world.postgres.end_sessions(self.world.database)
        self._hold(0.5, 4)
        limit_descriptors(pid, None)

    # PostgreSQL.

    def postgres_restarts(self):
        self.world.postgres.stop()
        self._hold(0, 3)
        self.world.postgres.start()

    def postgres_crashes(self):
        self.world.postgres.kill()
        self._hold(0, 3)
        self.world.postgres.start()

    def postgres_stalls(self):
        self.world.postgres.stall()
        self._hold(1, 8)
        self.world.postgres.resume()

    def postgres_is_read_only(self):
        with self.world.postgres.setting(self.world.database, "default_transaction_read_only",
                                         "on"):
            self._hold(0.5, 4)

    def postgres_has_no_connections(self):
        with self.world.postgres.no_connections_left(self.world.database):
            self._hold(0.5, 4)

    def postgres_cuts_sessions(self):
        for _ in range(self.random.randrange(1, 5)):
            self.world.postgres.end_sessions(self.world.database)
            self._hold(0, 0.5)

    def postgres_cannot_serialize(self):
        """40001: every transaction sees an old state, and others change the rows meanwhile."""
        postgres, database = self.world.postgres, self.world.database
        end = time.monotonic() + self.random.uniform(1, 4)
        with postgres.setting(database, "default_transaction_isolation", "'repeatable read'"):
            connection = postgres.connect(database)
            connection.cursor().execute("SET SESSION CHARACTERISTICS AS TRANSACTION"
                                        " ISOLATION LEVEL READ COMMITTED")
            while time.monotonic() < end:
                connection.cursor().execute("UPDATE xs.lane SET last_id = last_id + 1")
                time.sleep(0.01)
            connection.close()
        postgres.end_sessions(database)

    def postgres_deadlocks(self):
        """40P01: we hold accounts and want lanes, the writer holds a lane and wants accounts."""
        postgres, database = self.world.postgres, self.world.database
        for _ in range(self.random.randrange(1, 4)):
            connection = postgres.connect(database)
            connection.autocommit = False
            cursor = connection.cursor()
            cursor.execute("SET deadlock_timeout = '3s'")  # first victim is the other one
            try:
                cursor.execute("SELECT FROM xs.account FOR UPDATE")
                cursor.execute("SELECT FROM xs.conversation FOR UPDATE")
                time.sleep(0.2)  # a batch takes its lane meanwhile
                cursor.execute("SELECT FROM xs.lane FOR UPDATE")
            except psycopg2.errors.DeadlockDetected:
                pass
            connection.close()

    def postgres_disk_is_full(self):
        disk = self.world.postgres.disk
        disk.fill()
        self._hold(1, 5)
        disk.free()
        wait_until(self.world.postgres.answers, 30, "PostgreSQL has recovered")

    # The gateway.

    def _gateway_down(self):
        begin = time.time()
        self.world.gateway.down()
        self.crashes.append(Crash(begin, time.time()))

    def gateway_is_down(self):
        self._gateway_down()
        self._hold(1, 8)
        self.world.gateway.down(False)

    def gateway_betrays(self):
        betrayal = self.random.choice((
            {"status": 503, "reason": "ServiceUnavailable", "retry_after": 1, "times": 2},
            {"status": 429, "reason": "TooManyRequests", "retry_after": 1},
            {"cut": "before_answer"}, {"goaway": {"last": "before"}}, {"delay_ms": 1500}))
        self.say(f"         {betrayal}", flush=True)
        tokens = list(self.load.tokens.values())
        # A connection is lost with all that is on it: one phone's push is enough, and four in a
        # row make us wait longer for each.
        alone = "cut" in betrayal or "goaway" in betrayal
        for token in tokens[:1] if alone else tokens:
            self.world.gateway.script(token, betrayal)


def limit_descriptors(pid, at_most):
    """RLIMIT_NOFILE of another process; None lifts it again."""
    _, hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (hard if at_most is None else at_most, hard))
