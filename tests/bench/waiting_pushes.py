# SPDX-License-Identifier: Apache-2.0
"""Pushes that wait: what the worker needs to hold them, and how long after their delay they go."""

import hashlib
import hmac
import os
import pathlib
import shutil
import tempfile
import time

from common import free_port, resident_kib, row, say
from harness.gateway import Gateway
from harness.procs import wait_until
from pushes import FILL_DUE, app_at, held, make_files
from under_load import TOLD, Server, machine, require_all

# --- worker_rss_mb: the memory of a worker whose gateway is away ---

QUEUED = 100_000
KNOWN = 1_000_000
TRAFFIC_S = 20
MEMORY_WANTED_MB = 64

FILL_KNOWN = """
INSERT INTO xs.account (owner, jid) SELECT md5('known' || n)::uuid, 'known' || n || '@e.test'
    FROM generate_series(1, {known}) n;
"""


def migrate(sidecar):
    done = sidecar.command("migrate", timeout=60)
    if done.returncode != 0:
        raise RuntimeError(done.stderr)


def fill_known(cluster, sidecar):
    migrate(sidecar)
    cluster.sql("bench", "SELECT xs.ensure_partitions(1)")
    cluster.sql("bench", FILL_KNOWN.format(known=KNOWN - QUEUED))
    cluster.sql("bench", FILL_DUE.format(due=QUEUED, devices=QUEUED))


def worker_rss_mb():
    """100,000 pushes are due and nobody listens where they should go; meanwhile 1,000 messages a
    second between a million accounts go by."""
    folder = pathlib.Path(tempfile.mkdtemp(prefix="worker-rss-"))
    nowhere = free_port()
    try:
        make_files(folder, nowhere)
        with machine() as (workspace, cluster):
            server = Server(workspace, cluster, apps=[app_at(folder, nowhere)], settings=TOLD,
                            prepare=lambda sidecar: fill_known(cluster, sidecar), wait=120,
                            rate=1000, seconds=600, accounts=KNOWN, mam=0, iqs=0)
            wait_until(lambda: held(server.sidecar) >= QUEUED, 180,
                       f"{QUEUED} pushes are in memory", interval=0.5)
            worker = server.sidecar.worker_pid()
            loaded = resident_kib(worker) / 1024
            time.sleep(TRAFFIC_S)
            ours, status = resident_kib(worker) / 1024, server.sidecar.status()
            still, online = status["outbox"]["held"], status["links"][0]["accounts_online"]
            server.loadgen.terminate()
            server.loadgen.wait()
            server.sidecar.stop()
    finally:
        shutil.rmtree(folder)
    if still < QUEUED:
        raise RuntimeError(f"only {still} of {QUEUED} pushes are still in memory")
    say(f"worker_rss_mb: {loaded:.1f} MiB with {QUEUED} pushes in memory, {ours:.1f} after "
        f"{TRAFFIC_S} s more of traffic between {KNOWN} accounts, {online} of them online")
    return row("worker_rss_mb", ours, MEMORY_WANTED_MB, "MiB",
               f"the wanted size, with {QUEUED} queued pushes and {KNOWN} known accounts")


# --- push_latency_p99_ms: from a message seen to its push on the wire, beyond the delay ---

LATENCY_RATE = int(os.environ.get("PUSH_LATENCY_RATE", "5000"))
LATENCY_S = 15
LATENCY_ACCOUNTS = 10_000  # as many as one list of who is online may have
SETTLE_MS = 500
LATENCY_WANTED_MS = 20
LATENCY_PUSHES_MIN = 1000
BUSY_MS = 250  # since its last push: longer than an answer takes

# A phone for each account; its token is the account's number.
FILL_PHONES = """
INSERT INTO xs.device (device, app, token)
    SELECT md5('device' || n)::uuid, 'org.example.chat', lpad(to_hex(n), 64, '0')
    FROM generate_series(0, {last}) n;
INSERT INTO xs.registration (owner, device, app, dialect, node, resource, registered_at)
    SELECT o::uuid, md5('device' || n - 1)::uuid, 'org.example.chat', 1, md5('node' || n), 'phone',
        now() - interval '1 day' FROM unnest('{{{owners}}}'::text[]) WITH ORDINALITY AS u (o, n);
ANALYZE xs.device, xs.registration;
"""


def account(number):
    return f"user{number:07}"


def owner_of(key, jid):
    """As archive/ident.c makes it."""
    raw = bytearray(hmac.digest(key, jid.encode(), hashlib.sha256)[:16])
    raw[6] = raw[6] & 0x0F | 0x80
    raw[8] = raw[8] & 0x3F | 0x80
    return raw.hex()


def give_phones(cluster, sidecar):
    migrate(sidecar)
    key = bytes.fromhex(cluster.sql("bench", "SELECT value FROM xs.setting WHERE name = "
                                             "'key.owner'"))
    owners = (owner_of(key, account(n) + "@e.test") for n in range(LATENCY_ACCOUNTS))
    cluster.sql("bench", FILL_PHONES.format(last=LATENCY_ACCOUNTS - 1, owners=",".join(owners)))


def first_written(path):
    """{(sender, recipient): ms when the first message of the conversation was written}"""
    first = {}
    for line in path.read_text().splitlines():
        at, sender, to = map(int, line.split())
        first.setdefault((account(sender), to), at / 1000)
    return first


def first_pushed(gateway):
    """({(sender, recipient): ms when the first alert of the conversation came}, the conversations
    whose phone had just got another push: that one's answer is waited for)."""
    first, busy, last = {}, set(), {}
    for record in gateway.records(None):
        phone, alert = int(record["token"], 16), record["payload"]["aps"].get("alert")
        at = record["time_ms"]
        if alert and (alert["title"], phone) not in first:
            first[alert["title"], phone] = at
            if at - last.get(phone, 0) < BUSY_MS:
                busy.add((alert["title"], phone))
        last[phone] = at
    return first, busy


def quantiles(values):
    """p50, p90, p99 and the most."""
    values = sorted(values)
    return [values[int(share * (len(values) - 1))] for share in (0.5, 0.9, 0.99, 1)]


def push_latency_p99_ms():
    """Of the first push of each conversation, from the last byte of its first message written to
    the server's socket until the gateway has it, less push.settle.  The recipients are offline,
    or have not been seen yet; the others' pushes would come with push.confirm_after."""
    with machine() as (workspace, cluster):
        gateway = Gateway(workspace).start()
        written = workspace.folder("written") / "log"
        server = Server(
            workspace, cluster, apps=[gateway.app()],
            settings={**TOLD, "push.settle": f"{SETTLE_MS}ms", "push.confirm_after": "20s"},
            prepare=lambda sidecar: give_phones(cluster, sidecar), written=written,
            rate=LATENCY_RATE, seconds=LATENCY_S, accounts=LATENCY_ACCOUNTS,
            sessions=LATENCY_ACCOUNTS)
        result = server.finish()
        sent, (pushed, busy) = first_written(written), first_pushed(gateway)
        gateway.stop()
    require_all(result)
    late = {who: at - sent[who] - SETTLE_MS for who, at in pushed.items()}
    if len(late) < LATENCY_PUSHES_MIN:
        raise RuntimeError(f"only {len(late)} pushes came")
    free = quantiles(ms for who, ms in late.items() if who not in busy)
    commit = result["commit_ms"]
    for what, times in ((f"{len(late) - len(busy)} pushes, ms beyond {SETTLE_MS}", free),
                        (f"with {len(busy)} to phones that were busy", quantiles(late.values())),
                        ("commit ms", [commit[key] for key in ("p50", "p90", "p99", "max")])):
        say(f"push_latency_p99_ms: {what}: p50 {times[0]:.1f} p90 {times[1]:.1f} p99 "
            f"{times[2]:.1f} max {times[3]:.1f}")
    return row("push_latency_p99_ms", free[2], LATENCY_WANTED_MS, "ms",
               f"the wanted time beyond push.settle, at {LATENCY_RATE} messages/s of the typical "
               f"mix between {LATENCY_ACCOUNTS} accounts with a phone each")


BENCHMARKS = {"worker_rss_mb": worker_rss_mb, "push_latency_p99_ms": push_latency_p99_ms}
