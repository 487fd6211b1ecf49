# SPDX-License-Identifier: Apache-2.0
"""Pushes per second: the engine alone and the whole service, against h2load and node-apn, all
with one connection and 100 in flight to the same server."""

import contextlib
import functools
import json
import pathlib
import random
import re
import shutil
import signal
import string
import subprocess
import tempfile
import time
import urllib.request

from common import BUILD, ROOT, cpu_seconds, free_port, median_pair, on_core, row, say, wait_for_port
from distance import Distance
from harness.procs import wait_until
from under_load import TOLD, Costs, Server, machine, told

PUSHES = 200_000
IN_FLIGHT = 100
DEVICES = 100
ROUNDS = 7


def write_payload(folder, size=0):
    """What h2load sends: one of ours, of so many bytes."""
    (folder / "payload").write_bytes(subprocess.run(
        [BUILD / "bench" / "push_rate", "payload", str(size)], check=True,
        capture_output=True).stdout)


def write_uris(folder, port):
    (folder / "uris").write_text("".join(f"https://127.0.0.1:{port}/3/device/{i:064x}\n"
                                         for i in range(DEVICES)))


def make_files(folder, port):
    """A certificate, a provider key, a payload of ours, and a page for each device."""
    new_key = ["-pkeyopt", "ec_paramgen_curve:prime256v1"]
    quiet = {"check": True, "cwd": folder, "stderr": subprocess.DEVNULL}
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", *new_key, "-nodes", "-days", "2",
                    "-keyout", "key.pem", "-out", "crt.pem", "-subj", "/CN=bench",
                    "-addext", "subjectAltName=IP:127.0.0.1"], **quiet)
    subprocess.run(["openssl", "genpkey", "-algorithm", "EC", *new_key, "-out", "auth.p8"],
                   **quiet)
    write_payload(folder)
    write_uris(folder, port)
    pages = folder / "htdocs" / "3" / "device"
    pages.mkdir(parents=True)
    for i in range(DEVICES):
        (pages / f"{i:064x}").touch()


def start_nghttpd(folder, port, *cores):
    command = ["nghttpd", "-n1", "-m1000", "-d", "htdocs", str(port), "key.pem", "crt.pem"]
    server = subprocess.Popen(on_core(cores[0], command) if cores else command, cwd=folder,
                              stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wait_for_port(port, server)
    return server


def end(server):
    server.terminate()
    server.wait()


@contextlib.contextmanager
def files():
    """(folder, port) of a server that answers 200 for each device, once it is started."""
    folder = pathlib.Path(tempfile.mkdtemp(prefix="push-rate-"))
    port = free_port()
    try:
        make_files(folder, port)
        yield folder, port
    finally:
        shutil.rmtree(folder)


@contextlib.contextmanager
def nghttpd(*cores):
    """The same, started."""
    with files() as (folder, port):
        server = start_nghttpd(folder, port, *cores)
        try:
            yield folder, port
        finally:
            end(server)


def run_h2load(folder, pushes=PUSHES):
    """The same header fields; all but :path and authorization are the same each time."""
    letters = string.ascii_letters + string.digits + "-_"
    jwt = "".join(random.choices(letters, k=185))
    fields = [f"authorization: bearer {jwt}", "apns-topic: org.example.chat",
              "apns-push-type: alert", "apns-priority: 10",
              "apns-id: 7d444840-9dc0-41d1-b245-5ffdce74fad2", "apns-expiration: 1900000000",
              "apns-collapse-id: 0123456789abcdef"]
    command = ["h2load", "-n", str(pushes), "-c", "1", "-m", str(IN_FLIGHT), "-d", "payload",
               "-i", "uris"] + [part for f in fields for part in ("-H", f)]
    out = subprocess.run(on_core(1, command), cwd=folder, check=True, capture_output=True,
                         text=True).stdout
    if not re.search(rf"status codes: {pushes} 2xx", out):
        raise RuntimeError("h2load: not every request was answered 200\n" + out)
    return float(re.search(r"finished in .*?, ([0-9.]+) req/s", out).group(1))


def run_engine(folder, port, pushes=PUSHES, size=0):
    command = [str(BUILD / "bench" / "push_rate"), str(port), "crt.pem", "auth.p8", str(pushes),
               str(IN_FLIGHT), str(DEVICES), str(size)]
    done = subprocess.run(on_core(1, command), cwd=folder, capture_output=True, text=True,
                          check=False)
    if done.returncode != 0:
        raise RuntimeError(f"push_rate: {done.stdout}{done.stderr}")
    return json.loads(done.stdout)


def push_rate():
    pairs = []
    with nghttpd(0) as (folder, port):
        for i in range(ROUNDS):
            result = run_engine(folder, port)
            pairs.append((result["rate"], run_h2load(folder)))
            say(f"push_rate {i + 1}/{ROUNDS}: ours {pairs[-1][0]:.0f}/s "
                f"({result['cpu_us']:.2f} us CPU, {result['rss_kb']} KiB), "
                f"h2load {pairs[-1][1]:.0f}/s")
    ours, reference = median_pair(pairs)
    return row("push_rate", ours, reference, "pushes/s",
               "h2load, same server, payload, header fields and in flight")


# --- other shapes: longer payloads, and a server that is not next door ---

# As far away as APNs is from another continent; fewer pushes there, for the same time.
ROUND_TRIP_MS = 40
SHAPES = {  # name: (bytes of a payload, round trip in ms, pushes)
    "push_rate_300": (300, 0, PUSHES // 2),
    "push_rate_4000": (4000, 0, PUSHES // 8),
    "push_rate_300_far": (300, ROUND_TRIP_MS, 20_000),
    "push_rate_4000_far": (4000, ROUND_TRIP_MS, 4_000),
}
SHAPE_ROUNDS = 3


def push_rate_of(name):
    size, round_trip_ms, pushes = SHAPES[name]
    pairs = []
    with nghttpd(0) as (folder, port):
        distance = Distance(port, round_trip_ms) if round_trip_ms else None
        port = distance.port if distance else port
        write_payload(folder, size)
        write_uris(folder, port)
        for i in range(SHAPE_ROUNDS):
            result = run_engine(folder, port, pushes, size)
            pairs.append((result["rate"], run_h2load(folder, pushes)))
            say(f"{name} {i + 1}/{SHAPE_ROUNDS}: ours {pairs[-1][0]:.0f}/s "
                f"({result['cpu_us']:.2f} us CPU, {result['rss_kb']} KiB), "
                f"h2load {pairs[-1][1]:.0f}/s")
        if distance:
            distance.close()
    ours, reference = median_pair(pairs)
    far = f", {round_trip_ms} ms away" if round_trip_ms else ""
    return row(name, ours, reference, "pushes/s",
               f"h2load, one connection, {IN_FLIGHT} in flight, payloads of {size} bytes{far}")


# --- a service that sends its clients away and rejects devices: nothing is lost or doubled ---

STRICT_PUSHES = 50_000
GOAWAY_EVERY, REJECT_EVERY = 5_000, 100
TEAM, KEY = "TEAM123456", "ABC123DEFG"


class StrictGateway:
    """tests/gateway, which checks everything and remembers it."""

    def __init__(self, folder):
        subprocess.run(["openssl", "pkey", "-in", "auth.p8", "-pubout", "-out", "auth.pub.pem"],
                       check=True, cwd=folder)
        ready = folder / "ready"
        ready.unlink(missing_ok=True)  # that of another
        self.process = subprocess.Popen(
            on_core(0, [str(BUILD / "strict-gateway"), "--listen", "127.0.0.1:0", "--control",
                        "127.0.0.1:0", "--cert", "crt.pem", "--key", "key.pem", "--auth-key",
                        f"{KEY}:{TEAM}:auth.pub.pem", "--token-any", "--keep", "200000",
                        "--ready-file", str(ready)]),
            cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_until(lambda: ready.exists() and ready.read_text().endswith("}\n"), 15,
                   "the gateway listens")
        ports = json.loads(ready.read_text())
        self.port, self.control = ports["apns"], ports["control"]

    def ask(self, path, body=None):
        data = None if body is None else json.dumps(body).encode()
        with urllib.request.urlopen(urllib.request.Request(
                f"http://127.0.0.1:{self.control}{path}", data=data)) as answer:
            return json.loads(answer.read() or b"null")

    def betray(self, pushes):
        """GOAWAY every 5,000 streams, in its forms by turns; 1 % are rejected."""
        forms = ({"goaway": {"last": "before", "reason": "Shutdown"}},
                 {"goaway": {"last": "after", "reason": "IdleTimeout"}},
                 {"two_step_goaway": True, "gap_ms": 50})
        rejection = {"status": 400, "reason": "BadDeviceToken"}
        for number in range(1, pushes // GOAWAY_EVERY + 1):
            actions = [{"status": 200, "times": REJECT_EVERY - 1}, rejection] \
                * (GOAWAY_EVERY // REJECT_EVERY - 1)
            actions += [{"status": 200, "times": REJECT_EVERY - 1}, forms[number % len(forms)]]
            self.ask("/script", {"token": "*", "actions": actions})

    def accepted_ids(self):
        since, found = 0, []
        while page := self.ask(f"/pushes?status=200&since={since}&limit=5000"):
            found += [push["headers"]["apns-id"] for push in page]
            since = page[-1]["seq"]
        return found

    def stop(self):
        self.process.terminate()
        self.process.wait()


def require_each_once(gateway, result):
    """Every push has its one answer, and the gateway has accepted none twice."""
    total, ids = STRICT_PUSHES + STRICT_PUSHES // 10, gateway.accepted_ids()
    lost = total - result["rejected"] - len(set(ids))
    if result["refused"] or lost or len(ids) != len(set(ids)):
        raise RuntimeError(f"of {total} pushes {result['rejected']} were rejected, {lost} lost, "
                           f"{len(ids) - len(set(ids))} doubled, {result['refused']} refused")
    return len(ids)


def push_rate_disturbed():
    pairs = []
    with nghttpd(0) as (folder, _):
        for i in range(SHAPE_ROUNDS):
            rates = []
            for disturbed in (True, False):
                gateway = StrictGateway(folder)
                if disturbed:
                    gateway.betray(2 * STRICT_PUSHES)
                result = run_engine(folder, gateway.port, STRICT_PUSHES)
                accepted_n = require_each_once(gateway, result)
                stats = gateway.ask("/stats")
                gateway.stop()
                rates.append(result["rate"])
                say(f"push_rate_disturbed {i + 1}/{SHAPE_ROUNDS}: {result['rate']:.0f}/s, "
                    f"{accepted_n} accepted, {result['rejected']} rejected, "
                    f"{stats['goaways_sent']} GOAWAYs; none lost, none doubled")
            pairs.append(tuple(rates))
    ours, reference = median_pair(pairs)
    return row("push_rate_disturbed", ours, reference, "pushes/s",
               f"the same engine and strict gateway without them: GOAWAY every {GOAWAY_EVERY} "
               "streams, 1 % rejected; fails when one is lost or doubled")


# --- against the library that app servers in JavaScript use ---

PEERS = ROOT / "tests" / "bench" / "peers"
PEER_PUSHES = 50_000
PEER_ROUNDS = 3


def install_peers():
    """npm's packages of the benchmarks, as their lock file says; the folder."""
    target = ROOT / "build" / "peers"
    target.mkdir(parents=True, exist_ok=True)
    for name in ("package.json", "package-lock.json", "node_apn.cjs"):
        shutil.copy(PEERS / name, target)
    if not (target / "node_modules" / "@parse" / "node-apn").exists():
        subprocess.run(["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"], cwd=target,
                       check=True, stdout=subprocess.DEVNULL)
    return target


def run_node_apn(folder, port, peers):
    command = ["node", str(peers / "node_apn.cjs"), str(port), str(folder / "crt.pem"),
               str(folder / "auth.p8"), str(PEER_PUSHES), str(IN_FLIGHT), str(DEVICES)]
    out = json.loads(subprocess.run(on_core(1, command), check=True, capture_output=True,
                                    text=True).stdout)
    if out["refused"]:
        raise RuntimeError(f"node-apn: {out['refused']} pushes were refused")
    return out["rate"]


def push_vs_node_apn():
    peers, pairs = install_peers(), []
    with nghttpd(0) as (folder, port):
        for i in range(PEER_ROUNDS):
            pairs.append((run_engine(folder, port)["rate"], run_node_apn(folder, port, peers)))
            say(f"push_vs_node_apn {i + 1}/{PEER_ROUNDS}: ours {pairs[-1][0]:.0f}/s, "
                f"node-apn {pairs[-1][1]:.0f}/s")
    ours, reference = median_pair(pairs)
    return row("push_vs_node_apn", ours, reference, "pushes/s",
               "@parse/node-apn, same server, one connection, same in flight")


# --- the whole service: outbox, counts and text from PostgreSQL, answers settled there ---

DUE = 60_000
DUE_ROUNDS = 3
DUE_WITHIN_S = 120
LOOK_S = 0.2

# Accounts with one unread message each, and a push of it that is due. Their rosters were asked for
# today, as those of who gets pushes every day.
FILL_DUE = """
BEGIN;
CREATE TEMPORARY TABLE n AS SELECT n, md5('owner' || n)::uuid AS owner, md5('device' || n)::uuid
    AS device, xs.id_from_time(now()) + n * 256 AS id FROM generate_series(1, {due}) n;
INSERT INTO xs.account (owner, jid, unread, unread_conversations)
    SELECT owner, 'user' || n || '@e.test', 1, 1 FROM n;
INSERT INTO xs.conversation (owner, peer, jid, first_id, last_id, unread)
    SELECT owner, n, 'peer' || n || '@e.test', id, id, 1 FROM n;
INSERT INTO xs.message (owner, id, peer, ref_id, ref_body, flags, body, stanza)
    SELECT owner, id, n, md5('ref' || n)::uuid, n, 1, 'Shall we meet at the station tomorrow?',
        '<message/>' FROM n;
INSERT INTO xs.device (device, app, token)
    SELECT device, 'org.example.chat', lpad(to_hex(n % {devices}), 64, '0') FROM n;
INSERT INTO xs.registration (owner, device, dialect, node, resource, registered_at, names_at)
    SELECT owner, device, 1, md5('node' || n), 'phone', now() - interval '1 day',
        now() - interval '1 hour' FROM n;
INSERT INTO xs.outbox (owner, device, peer, gen, newest_id, counted_at, state, due)
    SELECT owner, device, n, 1, id, now() - interval '1 minute', 2,
        now() - random() * interval '1 minute' FROM n;
COMMIT;
VACUUM ANALYZE;
CHECKPOINT;
"""


def app_at(folder, port):
    return {"id": "org.example.chat",
            "apns": {"topic": "org.example.chat", "key_file": str(folder / "auth.p8"),
                     "key_id": "ABC123DEFG", "team_id": "TEAM123456",
                     "url": f"https://127.0.0.1:{port}", "ca_file": str(folder / "crt.pem")}}


def backends_seconds(cluster):
    """CPU of the backends that are there now: all of the new worker's, since they began."""
    return sum(cpu_seconds(pid) for pid, title in cluster.processes().items()
               if " bench " in title)


def held(sidecar):
    """Pushes that the worker has in memory."""
    return sidecar.status()["outbox"]["held"]


def fill_due(sidecar, cluster):
    wait_until(lambda: sidecar.status()["ready"], 30, "the sidecar is ready")
    cluster.sql("bench", FILL_DUE.format(due=DUE, devices=DEVICES))
    # The next worker finds them all at once, not after half a minute.
    sidecar.wait_new_worker(sidecar.kill_worker())


def watch(sidecar, cluster):
    """Pushes a second, from a tenth of them to nine tenths, and what each cost until the last
    answer was stored."""
    marks, left, costs = [], None, Costs(sidecar, cluster)
    backends = backends_seconds(cluster)
    while not marks or marks[-1][1] == 0 or left > 0:
        status = sidecar.status()
        marks.append((time.monotonic(), status["apps"][0]["accepted"]))
        left = status["outbox"]["held"]
        if marks[-1][0] - marks[0][0] > DUE_WITHIN_S:
            raise RuntimeError(f"only {marks[-1][1]} of {DUE} pushes were accepted")
        time.sleep(LOOK_S)  # each look is a process, which must not be what is measured
    sent = marks[-1][1]
    if sent < DUE / 2:  # the worker before may have had its round just then
        raise RuntimeError(f"only {sent} of {DUE} pushes were left to measure")
    each = told({**costs.per_message(sent),
                 "postgres_backends": 1e6 * (backends_seconds(cluster) - backends) / sent})
    inside = [m for m in marks if sent / 10 <= m[1] <= sent * 9 / 10]
    return (inside[-1][1] - inside[0][1]) / (inside[-1][0] - inside[0][0]), each


def run_service(folder, port, in_memory):
    """in_memory: the worker has the pushes, as those that it has just committed, when the gateway
    comes up.  Else it finds them in the database."""
    with machine() as (workspace, cluster):
        service = Server(workspace, cluster, apps=[app_at(folder, port)], settings=TOLD,
                         rate=1, seconds=60, mam=0, iqs=0)
        gateway = None if in_memory else start_nghttpd(folder, port)
        try:
            fill_due(service.sidecar, cluster)
            if in_memory:
                wait_until(lambda: held(service.sidecar) >= DUE, 30, "all pushes are in memory")
                gateway = start_nghttpd(folder, port)
            # The server is silent meanwhile: loadgen looks at the spool a thousand times a second.
            service.loadgen.send_signal(signal.SIGSTOP)
            found = watch(service.sidecar, cluster)
            service.loadgen.send_signal(signal.SIGCONT)
        finally:
            if gateway:
                end(gateway)
        service.loadgen.terminate()
        service.loadgen.wait()
        service.sidecar.stop()
    return found


def push_rate_of_service(name, in_memory):
    pairs = []
    with files() as (folder, port):
        for i in range(DUE_ROUNDS):
            rate, each = run_service(folder, port, in_memory)
            gateway = start_nghttpd(folder, port)
            pairs.append((rate, run_h2load(folder)))
            end(gateway)
            say(f"{name} {i + 1}/{DUE_ROUNDS}: ours {rate:.0f}/s (us of CPU per push: {each}), "
                f"h2load {pairs[-1][1]:.0f}/s")
    ours, reference = median_pair(pairs)
    return row(name, ours, reference, "pushes/s",
               "h2load, same server; ours with the outbox and PostgreSQL on the same cores")


BENCHMARKS = {"push_rate": push_rate,
              **{name: functools.partial(push_rate_of, name) for name in SHAPES},
              "push_rate_disturbed": push_rate_disturbed, "push_vs_node_apn": push_vs_node_apn,
              "push_rate_durable": functools.partial(push_rate_of_service, "push_rate_durable", True),
              "push_rate_backlog": functools.partial(push_rate_of_service, "push_rate_backlog", False)}
