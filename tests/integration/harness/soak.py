# SPDX-License-Identifier: Apache-2.0
"""Everything that a gateway does to those who push, mixed with deaths of the worker, under steady
load; and what each process holds meanwhile."""

import collections
import contextlib
import datetime
import os
import re
import threading
import time
from pathlib import Path

from .chaos import Chaos, Sending
from .clients import new_id
from .load import at
from .procs import wait_until
from .world import APP

FLAT, SLACK_KIB = 1.25, 8 << 10


def resident_kib(pid):
    return int(re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{pid}/status").read_text()).group(1))


class Soak(Chaos):
    """Chaos of the gateway's kind; PostgreSQL and the server stay well."""

    def __init__(self, world, load, seed, say=print):
        super().__init__(world, load, seed, say)
        self.faults = [
            self.no_answer,  # first: it is found out last
            self.goaway_before, self.goaway_after, self.goaway_in_two_steps,
            self.connection_is_reset, self.connection_ends_after_an_answer,
            self.stream_is_reset, self.stream_is_refused, self.device_is_busy,
            self.service_is_unavailable, self.service_errs, self.answers_are_slow,
            self.gateway_restarts, self.streams_are_few, self.device_is_gone,
            self.device_was_gone_before,
        ]
        self.done = collections.Counter()
        self.kills = True
        self.gone = []  # (user, token, requests that it had seen)
        self._after_answer = []  # (token, when) of connections that end behind an answer
        self._witness = world.login(world.user("witness"))

    def run(self, seconds):
        end, start = time.monotonic() + seconds, time.monotonic()
        with Sending(self.load, pause=0.25):
            while time.monotonic() < end:
                kill = self.kills and self.random.random() < 0.1
                self._once(self.worker_is_killed if kill else self.random.choice(self.faults),
                           time.monotonic() - start)
                self._hold(0, 2)

    def each_once(self):
        start = time.monotonic()
        with Sending(self.load):
            for fault in (*self.faults, self.worker_is_killed):
                self._once(fault, time.monotonic() - start)
                self._hold(0, 0.3)

    def _once(self, fault, at):
        self.done[fault.__name__] += 1
        self.say(f"{at:7.1f} s {fault.__name__}", flush=True)
        fault()

    def all_crashes(self):
        """When a device may have got a push again: see Chaos.crashes.  Of a connection that ended
        behind an answer the gateway tells when that was; the one after it is as likely.  With a
        connection that is reset the answers to other devices may be lost that were not read yet:
        the log says when."""
        found = self.crashes + [
            at(datetime.datetime.fromisoformat(when).timestamp())
            for when in re.findall(r"time=(\S+) .* connection failed: ",
                                   self.world.sidecar.log_text())]
        for token, when in self._after_answer:
            later = [push.time_ms / 1000 for push in self.world.gateway.accepted(token)
                     if push.time_ms / 1000 >= when]
            found += [at(sent) for sent in later[:2]]
        return found

    def _script(self, *actions, tokens=1):
        chosen = self.random.sample(list(self.load.tokens.values()), tokens)
        for token in chosen:
            self.world.gateway.script(token, *actions)
        return chosen

    # Connections.

    def goaway_before(self):
        self._script({"goaway": {"last": "before", "reason": "Shutdown"}})

    def goaway_after(self):
        self._script({"goaway": {"last": "after", "reason": "IdleTimeout"}})

    def goaway_in_two_steps(self):
        self._script({"two_step_goaway": True, "gap_ms": self.random.randrange(500)})

    def connection_is_reset(self):
        self._script({"cut": "before_answer"})

    def connection_ends_after_an_answer(self):
        when = time.time()
        (token,) = self._script({"cut": "after_answer"})
        self._after_answer.append((token, when))

    def gateway_restarts(self):
        self.gateway_is_down()

    def streams_are_few(self):
        self.world.gateway.max_streams(self.random.choice((1, 2, 10)))
        self._hold(0.5, 2)
        self.world.gateway.max_streams(1000)

    # Streams.

    def stream_is_reset(self):
        self._script({"reset_stream": 2}, tokens=2)

    def stream_is_refused(self):
        self._script({"refuse_stream": True, "times": 2}, tokens=2)

    def no_answer(self):
        self._script({"silence": True})

    def answers_are_slow(self):
        self._script({"delay_ms": 1500}, tokens=3)

    # Answers.

    def device_is_busy(self):
        self._script({"status": 429, "reason": "TooManyRequests", "retry_after": 1}, tokens=3)

    def service_is_unavailable(self):
        self._script({"status": 503, "reason": "ServiceUnavailable", "retry_after": 1,
                      "times": 2}, tokens=3)

    def service_errs(self):
        self._script({"status": 500, "reason": "InternalServerError", "retry_after": 1},
                     tokens=2)

    def device_is_gone(self):
        """410 of now: registration and queue go, and nothing more is sent."""
        world = self.world
        user = world.user("goer")
        token = world.phone(user)
        world.gateway.expire(token, int(time.time() * 1000) + 1000)
        self._witness.send_chat(user.bare, new_id("gone"))
        wait_until(lambda: world.oracle.registrations(user.bare) == 0, 30, f"{user} is gone")
        self._witness.send_chat(user.bare, new_id("gone"))
        self.gone.append((user, token, len(world.gateway.pushes(token))))

    def device_was_gone_before(self):
        """410 of before the registration: it stays, and is tried again."""
        (token,) = self.random.sample(list(self.load.tokens.values()), 1)
        self.world.gateway.expire(token, 1)
        self._hold(0.5, 2)
        self.world.gateway.register(token, APP)

    def assert_gone(self):
        for user, token, seen in self.gone:
            assert len(self.world.gateway.pushes(token)) == seen, f"{user} is gone"
            assert self.world.oracle.outbox(user.bare) == 0, f"{user} is gone"


class Watch:
    """Memory and descriptors of link and worker, once a second; as a context."""

    def __init__(self, sidecar):
        self.sidecar = sidecar
        self.samples = []  # (worker's pid, its KiB, its descriptors, link's KiB, its descriptors)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def _run(self):
        while not self._stop.wait(1):
            worker, link = self.sidecar.worker_pid(), self.sidecar.process.pid
            with contextlib.suppress(OSError, TypeError):
                self.samples.append((worker, resident_kib(worker),
                                     len(os.listdir(f"/proc/{worker}/fd")), resident_kib(link),
                                     len(os.listdir(f"/proc/{link}/fd"))))

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._stop.set()
        self._thread.join(10)

    def end_of(self, first):
        """The most in the last fifth of what came from sample number first on."""
        part = self.samples[first:]
        return tuple(max(column) for column in zip(*part[-max(1, len(part) // 5):]))


def assert_flat(what, early, late, slack):
    assert late <= FLAT * early + slack, f"{what} grew from {early} to {late}"
