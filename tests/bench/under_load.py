# SPDX-License-Identifier: Apache-2.0
"""Benchmarks of the whole service: from the server's socket to the commit.

tap_cpu and archive_vs_ejabberd run a real ejabberd and real connections of clients; the others
let loadgen play the server, because no ejabberd on the same machine sends as fast.
"""

import asyncio
import contextlib
import json
import os
import secrets
import subprocess
import threading
import time
import types

from common import BUILD, Cluster, cpu_seconds, free_port, resident_kib, row, say
from ejabberds import Client, with_mod_mam
from harness.ejabberd import Ejabberd
from harness.procs import Workspace, wait_until
from harness.sidecar import Sidecar

TOLD = {"log.level": "info"}
QUIET = {**TOLD, "http.listen": ""}


@contextlib.contextmanager
def machine(loopback=False):
    """A workspace and a PostgreSQL in it; nothing is left of either."""
    with Workspace(prefix="bench-") as workspace:
        cluster = Cluster(workspace.folder("pg"), loopback)
        cluster.start()
        workspace.on_close(cluster.stop)
        cluster.fresh("bench")
        yield workspace, cluster


# --- what it costs ---


def _is_there(pid):
    return os.path.exists(f"/proc/{pid}/stat")


class Costs:
    """CPU time of the sidecar's two processes and of PostgreSQL, from now on."""

    def __init__(self, sidecar, cluster, others=None):
        self.cluster = cluster
        self.groups = {"link": [sidecar.process.pid], "worker": [sidecar.worker_pid()],
                       **(others or {})}
        self.backends = []
        self.background = []
        for pid, title in cluster.processes().items():
            (self.backends if " bench " in title else self.background).append(pid)
        self.groups["postgres_backends"] = self.backends
        self.groups["postgres_background"] = self.background
        self.before = self._read()

    def _read(self):
        return {name: {pid: cpu_seconds(pid) for pid in pids if _is_there(pid)}
                for name, pids in self.groups.items()}

    def seconds(self):
        """{group: seconds}; PostgreSQL's background processes are told apart.  What one of them
        used that has ended (an autovacuum worker) is not in it."""
        now = self._read()
        return {name: sum(seconds - self.before[name].get(pid, seconds)
                          for pid, seconds in pids.items()) for name, pids in now.items()}

    def per_message(self, messages):
        return {name: 1e6 * seconds / messages for name, seconds in self.seconds().items()}


def told(costs):
    return ", ".join(f"{name} {value:.1f}" for name, value in costs.items())


# --- loadgen as the server ---


class Server:
    """loadgen, and a sidecar connected to it."""

    def __init__(self, workspace, cluster, apps=(), settings=QUIET, prepare=None, name="sidecar",
                 **options):
        """prepare is called with the sidecar before either of them runs."""
        self.cluster = cluster
        self.port = free_port()
        self.secret = secrets.token_hex(8)
        like_ejabberd = types.SimpleNamespace(kind="ejabberd", settings=dict,
                                              component_port=self.port, secret=self.secret,
                                              component="sidecar.e.test", host="e.test",
                                              cluster=None)
        self.sidecar = Sidecar(workspace, like_ejabberd, cluster.url("bench"), list(apps),
                               name=name, settings=settings)
        if prepare:
            prepare(self.sidecar)
        command = [BUILD / "bench" / "loadgen", "--spool", self.sidecar.folder / "spool",
                   "--port", str(self.port), "--secret", self.secret]
        for name, value in options.items():
            command += [f"--{name}", str(value)]
        self.loadgen = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        self.sidecar.start(ready=False)

    def finish(self, each_second=None):
        """Waits for the result; each_second is called meanwhile."""
        lines = []
        reader = threading.Thread(target=lambda: lines.append(self.loadgen.stdout.read()))
        reader.start()
        while reader.is_alive():
            reader.join(1)
            if each_second:
                each_second()
        status = self.loadgen.wait()
        self.sidecar.stop()
        if not lines[0]:
            raise RuntimeError(f"loadgen ended with {status}:\n{self.sidecar.log_text()[-2000:]}")
        result = json.loads(lines[0])
        result["status"] = status
        return result


def require_all(result):
    """A latency of a run that lost something says nothing."""
    if result["status"] != 0 or result["uncommitted"] or result["unanswered"]:
        raise RuntimeError(f"the run did not end well: {result}")


COMMIT_RATE = 5000
COMMIT_SECONDS = int(os.environ.get("BENCH_SECONDS", "30"))
COMMIT_WANTED_MS = 20


def commit_latency_p99_ms():
    """From the last byte of a message written to the socket to its commit."""
    with machine() as (workspace, cluster):
        cluster.reuse_wal()
        result = Server(workspace, cluster, rate=COMMIT_RATE, seconds=COMMIT_SECONDS).finish()
    require_all(result)
    commit, mam = result["commit_ms"], result["mam_ms"]
    say(f"commit_latency_p99_ms: {result['rate']:.0f} messages/s, "
        f"{result['stanzas'] / result['messages']:.1f} stanzas each; commit ms p50 "
        f"{commit['p50']:.1f} p90 {commit['p90']:.1f} p99 {commit['p99']:.1f} max "
        f"{commit['max']:.1f}; archive page ms p50 {mam['p50']:.1f} p99 {mam['p99']:.1f}; "
        f"ping ms p99 {result['ping_ms']['p99']:.1f}; socket blocked "
        f"{result['blocked']['times']} times")
    return row("commit_latency_p99_ms", commit["p99"], COMMIT_WANTED_MS, "ms",
               f"the wanted time, at {COMMIT_RATE} messages/s with chat states, receipts, "
               "markers, presence, queries")


# --- the peak, and long at 80 % of it ---

FLOOD_RATE = 20000
FLOOD_SECONDS = 5


def flood(workspace, cluster, name="sidecar", **options):
    """Messages a second that are committed while far more are offered."""
    result = Server(workspace, cluster, name=name, rate=FLOOD_RATE, mam=0, iqs=0, drain=600,
                    **options).finish()
    require_all(result)
    return result["messages"] / result["seconds"]


def peak(mix):
    with machine() as (workspace, cluster):
        return flood(workspace, cluster, seconds=FLOOD_SECONDS, mix=mix)


SUSTAINED_SECONDS = int(os.environ.get("SUSTAINED_SECONDS", "600"))
SUSTAINED_SHARE = 0.8
# What a machine can do with empty tables it cannot keep up: the peak is that of half a minute, with
# about half as many messages in the archive as the run will add.
SUSTAINED_FILL = 3000 * SUSTAINED_SECONDS
SUSTAINED_FLOOD_SECONDS = 30
FLAT = 1.25


class Watch:
    """Memory of both processes and bytes in the spool, once a second."""

    def __init__(self, server):
        self.server = server
        self.samples = []

    def __call__(self):
        sidecar = self.server.sidecar
        worker = sidecar.worker_pid()
        if worker is None:
            return
        spool = sum(f.stat().st_size for f in (sidecar.folder / "spool" / "0").glob("*.seg"))
        with contextlib.suppress(OSError):
            self.samples.append((resident_kib(worker), resident_kib(sidecar.process.pid), spool))

    def ends(self):
        """((worker, link, spool) of the middle fifth, of the last fifth), each the maximum.  In
        the first minutes the worker gets to know the accounts; then it must be flat."""
        fifth = max(1, len(self.samples) // 5)
        parts = (self.samples[2 * fifth:3 * fifth], self.samples[-fifth:])
        return tuple(tuple(max(column) for column in zip(*part)) for part in parts)


def sustained():
    """Latency, memory and spool at the end of a long run against its beginning."""
    window = max(1, min(60, SUSTAINED_SECONDS // 10))
    with machine() as (workspace, cluster):
        empty = flood(workspace, cluster, "fill", seconds=3600, count=SUSTAINED_FILL, seed=2)
        most = flood(workspace, cluster, "peak", seconds=SUSTAINED_FLOOD_SECONDS, seed=3)
        rate = SUSTAINED_SHARE * most
        say(f"sustained: {empty:.0f} messages/s for the first {SUSTAINED_FILL}, then a peak of "
            f"{most:.0f}; {rate:.0f}, {SUSTAINED_SHARE:.0%} of it, for {SUSTAINED_SECONDS} s")
        server = Server(workspace, cluster, rate=round(rate), seconds=SUSTAINED_SECONDS,
                        window=window, drain=120)
        watch = Watch(server)
        result = server.finish(watch)
    require_all(result)
    first, last = result["windows"][0]["commit_ms"], result["windows"][-1]["commit_ms"]
    early, late = watch.ends()
    say(f"sustained: commit ms, first {window} s p50 {first['p50']:.1f} p99 {first['p99']:.1f}, "
        f"last {window} s p50 {last['p50']:.1f} p99 {last['p99']:.1f}; worker "
        f"{early[0] // 1024} -> {late[0] // 1024} MiB, link {early[1] // 1024} -> "
        f"{late[1] // 1024} MiB, spool {early[2] >> 20} -> {late[2] >> 20} MiB; archive pages "
        f"ms p99 {result['mam_ms']['p99']:.1f}")
    for name, a, b in (("worker's memory", early[0], late[0]), ("link's memory", early[1], late[1]),
                       ("spool", early[2] + (32 << 20), late[2])):
        if b > FLAT * a:
            raise RuntimeError(f"the {name} grew from {a} to {b}")
    return row("sustained", last["p50"], first["p50"], "ms",
               f"median commit latency of the last {window} s against the first {window} s of "
               f"{SUSTAINED_SECONDS} s at {rate:.0f} messages/s, 80 % of the peak")


# --- clients of a real ejabberd ---


class Crowd:
    """Pairs of users that write to each other, in an event loop of their own thread."""

    TEXT = "Shall we meet at the station tomorrow evening, or is the day after better for you? "

    def __init__(self, ejabberd, users):
        self.clients = [Client(f"user{i:04}", ejabberd.host) for i in range(users)]
        self.sent = 0
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self.thread.start()
        for client in self.clients:
            ejabberd.register(client.name, "pw")
        self._call(self._login(ejabberd.c2s_port))

    def _call(self, coroutine):
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result()

    async def _login(self, port):
        for client in self.clients:
            await client.login(port, "pw")
            self.loop.create_task(client.read())

    def received(self):
        return sum(client.received for client in self.clients)

    def _send_one(self):
        n = self.sent
        me = self.clients[n % len(self.clients)]
        to = self.clients[n % len(self.clients) ^ 1]
        text = self.TEXT[:20 + n * 37 % 60] * (1 + n % 3)
        me.writer.write(
            f"<message to='{to.name}@{to.host}' type='chat' id='m{n:08}-0d1f-4c6e-9a53'>"
            f"<active xmlns='http://jabber.org/protocol/chatstates'/>"
            f"<origin-id xmlns='urn:xmpp:sid:0' id='m{n:08}-0d1f-4c6e-9a53'/>"
            f"<request xmlns='urn:xmpp:receipts'/><markable xmlns='urn:xmpp:chat-markers:0'/>"
            f"<body>{text}</body></message>".encode())
        self.sent += 1

    async def _at_rate(self, rate, seconds):
        begin, first = time.monotonic(), self.sent
        while (since := time.monotonic() - begin) < seconds:
            while self.sent - first < rate * since:
                self._send_one()
            await asyncio.sleep(0.01)

    def at_rate(self, rate, seconds):
        """Sends on schedule, waits until all was delivered; how many."""
        first = self.sent
        self._call(self._at_rate(rate, seconds))
        self._wait_delivered(60)
        return self.sent - first

    def _wait_delivered(self, seconds):
        wait_until(lambda: self.received() >= self.sent, seconds, "all messages are delivered")

    async def _flood(self, seconds, in_flight):
        begin = time.monotonic()
        while time.monotonic() - begin < seconds:
            while self.sent - self.received() < in_flight:
                self._send_one()
            await asyncio.sleep(0.002)

    def flood(self, seconds, in_flight):
        """As fast as the server delivers; messages a second."""
        first, begin = self.sent, time.monotonic()
        self._call(self._flood(seconds, in_flight))
        self._wait_delivered(60)
        return (self.sent - first) / (time.monotonic() - begin)

    def close(self):
        async def hang_up():
            for client in self.clients:
                client.writer.close()
        self._call(hang_up())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join()


# --- tap_cpu: what a message costs us against what it costs the server ---

TAP_RATE = 2000
TAP_SECONDS = 15
TAP_USERS = 60


def wait_archived(cluster, messages):
    wait_until(lambda: int(cluster.sql("bench", "SELECT count(*) FROM xs.message")) >= 2 * messages,
               60, f"{2 * messages} rows are archived", interval=0.2)


def tap_cpu():
    with machine() as (workspace, cluster):
        ejabberd = Ejabberd(workspace, extra={"loglevel": "warning"}).start()
        sidecar = Sidecar(workspace, ejabberd, cluster.url("bench"), [],
                          settings={"log.level": "info"}).start()
        crowd = Crowd(ejabberd, TAP_USERS)
        workspace.on_close(crowd.close)
        warm = crowd.at_rate(TAP_RATE, 3)
        wait_archived(cluster, warm)
        costs = Costs(sidecar, cluster, {"ejabberd": [ejabberd.process.pid]})
        messages = crowd.at_rate(TAP_RATE, TAP_SECONDS)
        wait_archived(cluster, warm + messages)
        each = costs.per_message(messages)
        rows = int(cluster.sql("bench", "SELECT count(*) FROM xs.message"))
        sidecar.stop()
    if rows != 2 * (warm + messages):
        raise RuntimeError(f"{rows} rows of {warm + messages} messages")
    ours = each["link"] + each["worker"] + each["postgres_backends"]
    say(f"tap_cpu: {TAP_RATE} messages/s, us of CPU per message: {told(each)}")
    return row("tap_cpu", ours, each["ejabberd"], "us/message",
               "ejabberd's own CPU per message with the copies on, same run "
               f"({TAP_RATE} messages/s between {TAP_USERS} connections; link, worker and its "
               "PostgreSQL backends)")


# --- archive_vs_ejabberd: messages archived a second, the server's own archive beside us ---

MAM_SECONDS = 10
MAM_IN_FLIGHT = 400


def mod_mam_rate(workspace, cluster):
    """Messages a second that ejabberd archives while its clients send as fast as it delivers."""
    ejabberd = with_mod_mam(workspace, cluster)
    ejabberd.start()
    crowd = Crowd(ejabberd, TAP_USERS)
    crowd.flood(2, MAM_IN_FLIGHT)
    before = crowd.sent
    rate = crowd.flood(MAM_SECONDS, MAM_IN_FLIGHT)
    stored = int(cluster.sql("mam", "SELECT count(*) FROM archive"))
    if stored != 2 * crowd.sent:
        raise RuntimeError(f"mod_mam has {stored} rows of {crowd.sent} messages")
    crowd.close()
    ejabberd.stop()
    say(f"archive_vs_ejabberd: mod_mam {crowd.sent - before} messages, {rate:.0f}/s")
    return rate


def archive_vs_ejabberd():
    with machine(loopback=True) as (workspace, cluster):
        reference = mod_mam_rate(workspace, cluster)
    ours = peak("plain")
    return row("archive_vs_ejabberd", ours, reference, "messages/s",
               "ejabberd mod_mam on the same PostgreSQL, its clients sending as fast as it "
               "delivers; ours from the server's socket on, two copies of each message")


BENCHMARKS = {"tap_cpu": tap_cpu, "commit_latency_p99_ms": commit_latency_p99_ms,
              "archive_vs_ejabberd": archive_vs_ejabberd}
LONG = {"sustained": sustained}
