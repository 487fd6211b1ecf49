# SPDX-License-Identifier: Apache-2.0
"""Benchmarks as ratios against a reference measured in the same run.

    bench.py [NAME ...]        without names: all but the long ones

Each function in BENCHMARKS measures one number and returns its row; the rows go to
build/bench.json, a list of {"name", "ours", "reference", "ratio", "unit", "against"}.
SIDECAR_BUILD names the directory of the release build.
"""

import json
import os
import pathlib
import random
import re
import shutil
import string
import subprocess
import sys
import tempfile

import pages
import pages_of_clients
import under_load
from common import (BUILD, RESULTS, Cluster, free_port, median_pair, on_core, row, say,
                    wait_for_port)

# --- push_rate: pushes per second on one connection, 100 in flight, against h2load ---

PUSHES = 200_000
IN_FLIGHT = 100
DEVICES = 100
ROUNDS = 7


def make_push_files(folder, port):
    """A certificate, a provider key, a payload of ours, and a page for each device."""
    new_key = ["-pkeyopt", "ec_paramgen_curve:prime256v1"]
    quiet = {"check": True, "cwd": folder, "stderr": subprocess.DEVNULL}
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", *new_key, "-nodes", "-days", "2",
                    "-keyout", "key.pem", "-out", "crt.pem", "-subj", "/CN=bench",
                    "-addext", "subjectAltName=IP:127.0.0.1"], **quiet)
    subprocess.run(["openssl", "genpkey", "-algorithm", "EC", *new_key, "-out", "auth.p8"],
                   **quiet)
    payload = subprocess.run([BUILD / "bench" / "push_rate", "payload"], check=True,
                             capture_output=True).stdout
    (folder / "payload").write_bytes(payload)
    pages = folder / "htdocs" / "3" / "device"
    pages.mkdir(parents=True)
    with open(folder / "uris", "w") as uris:
        for i in range(DEVICES):
            (pages / f"{i:064x}").touch()
            uris.write(f"https://127.0.0.1:{port}/3/device/{i:064x}\n")


def run_h2load(folder):
    """The same header fields; all but :path and authorization are the same each time."""
    letters = string.ascii_letters + string.digits + "-_"
    jwt = "".join(random.choices(letters, k=185))
    fields = [f"authorization: bearer {jwt}", "apns-topic: org.example.chat",
              "apns-push-type: alert", "apns-priority: 10",
              "apns-id: 7d444840-9dc0-41d1-b245-5ffdce74fad2", "apns-expiration: 1900000000",
              "apns-collapse-id: 0123456789abcdef"]
    command = ["h2load", "-n", str(PUSHES), "-c", "1", "-m", str(IN_FLIGHT), "-d", "payload",
               "-i", "uris"] + [part for f in fields for part in ("-H", f)]
    out = subprocess.run(on_core(1, command), cwd=folder, check=True, capture_output=True,
                         text=True).stdout
    if not re.search(rf"status codes: {PUSHES} 2xx", out):
        raise RuntimeError("h2load: not every request was answered 200\n" + out)
    return float(re.search(r"finished in .*?, ([0-9.]+) req/s", out).group(1))


def run_push_rate(folder, port):
    command = [str(BUILD / "bench" / "push_rate"), str(port), "crt.pem", "auth.p8", str(PUSHES),
               str(IN_FLIGHT), str(DEVICES)]
    out = subprocess.run(on_core(1, command), cwd=folder, check=True, capture_output=True,
                         text=True).stdout
    return json.loads(out)


def push_rate():
    folder = pathlib.Path(tempfile.mkdtemp(prefix="push-rate-"))
    port = free_port()
    server = None
    try:
        make_push_files(folder, port)
        server = subprocess.Popen(
            on_core(0, ["nghttpd", "-n1", "-m1000", "-d", "htdocs", str(port), "key.pem",
                        "crt.pem"]),
            cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_for_port(port, server)
        pairs = []
        for i in range(ROUNDS):
            result = run_push_rate(folder, port)
            pairs.append((result["rate"], run_h2load(folder)))
            say(f"push_rate {i + 1}/{ROUNDS}: ours {pairs[-1][0]:.0f}/s "
                f"({result['cpu_us']:.2f} us CPU, {result['rss_kb']} KiB), "
                f"h2load {pairs[-1][1]:.0f}/s")
        ours, reference = median_pair(pairs)
        return row("push_rate", ours, reference, "pushes/s",
                   "h2load, same server, payload, header fields and in flight")
    finally:
        if server:
            server.terminate()
            server.wait()
        shutil.rmtree(folder)


# --- archive_rows: committed rows per second, counters and outbox right, against a bare table ---

OWNERS = 200_000
ARCHIVE_SECONDS = 6
ARCHIVE_ROUNDS = 5

BARE_TABLE = """
CREATE TABLE source AS SELECT row_number() OVER (ORDER BY id) AS n, owner, id, peer, ref_id,
    ref_body, flags, sent_at, body, stanza FROM xs.message;
ALTER TABLE source ADD PRIMARY KEY (n);
CREATE TABLE bare (owner uuid, id bigint, peer bigint, ref_id uuid, ref_body bigint, flags int,
    sent_at timestamptz, body text, stanza bytea, PRIMARY KEY (owner, id));
CREATE SEQUENCE at;
VACUUM ANALYZE source;
CHECKPOINT;
SELECT count(*) / 500 FROM source;
"""
BARE_INSERT = r"""
SELECT nextval('at') * 500 AS upto \gset
INSERT INTO bare SELECT owner, id, peer, ref_id, ref_body, flags, sent_at, body, stanza
    FROM source WHERE n > :upto - 500 AND n <= :upto;
"""


def run_archive_rows(pg, *options):
    """One row for each window of it, and the last for the whole run."""
    out = subprocess.run([BUILD / "bench" / "archive_rows", *map(str, options), "-o", str(OWNERS),
                          pg.url("bench")], check=True, stdout=subprocess.PIPE, text=True).stdout
    return [json.loads(line) for line in out.splitlines()]


def archive_rows():
    folder = pathlib.Path(tempfile.mkdtemp(prefix="archive-rows-"))
    pg = Cluster(folder)
    try:
        pg.start()
        pairs = []
        for i in range(ARCHIVE_ROUNDS):
            pg.fresh("bench")
            told = run_archive_rows(pg, "-s", ARCHIVE_SECONDS)[-1]
            transactions = int(pg.sql("bench", BARE_TABLE))
            reference = 500 * pg.pgbench("bench", BARE_INSERT, transactions)
            pairs.append((told["rows_per_second"], reference))
            say(f"archive_rows {i + 1}/{ARCHIVE_ROUNDS}: ours {pairs[-1][0]:.0f} rows/s "
                f"({told['worker_us_per_row']:.1f} + {told['postgres_us_per_row']:.1f} us CPU "
                f"per row of worker and PostgreSQL, {told['rows_per_batch']:.0f} rows per batch), "
                f"bare table {reference:.0f} rows/s")
        ours, reference = median_pair(pairs)
        return row("archive_rows", ours, reference, "rows/s",
                   "pgbench, one connection, 500-row INSERT ... SELECT of the same rows into a "
                   "bare table keyed (owner uuid, id)")
    finally:
        if (folder / "data" / "postmaster.pid").exists():
            pg.stop()
        shutil.rmtree(folder, ignore_errors=True)


# --- row_cost_growth: what a row costs in a table of millions, against a small one ---

GROWTH_ROWS = int(os.environ.get("GROWTH_ROWS", 20_000_000))
GROWTH_WINDOW = 200_000


def cost(windows, column=None):
    """Median microseconds for a row: of CPU, or as column says."""
    each = sorted(w[column] if column else w["worker_us_per_row"] + w["postgres_us_per_row"]
                  for w in windows)
    return each[len(each) // 2]


def row_cost_growth():
    folder = pathlib.Path(tempfile.mkdtemp(prefix="row-cost-growth-"))
    pg = Cluster(folder)
    try:
        pg.start(shared_buffers="2GB")
        pg.fresh("bench")
        windows = run_archive_rows(pg, "-n", GROWTH_ROWS, "-w", GROWTH_WINDOW)[:-1]
        for w in windows:
            w["wall_us_per_row"] = 1e6 / w["rows_per_second"]
        early, late = windows[1:4], windows[-5:]
        for w in early + late:
            say(f"row_cost_growth at {w['rows']} rows: {w['worker_us_per_row']:.1f} + "
                f"{w['postgres_us_per_row']:.1f} us CPU per row of worker and PostgreSQL, "
                f"{w['wall_us_per_row']:.1f} us of time")
        say(f"row_cost_growth: time {cost(late, 'wall_us_per_row'):.1f} us per row against "
            f"{cost(early, 'wall_us_per_row'):.1f}")
        return row("row_cost_growth", cost(late), cost(early), "us of CPU per row",
                   f"the same run when it had {2 * GROWTH_WINDOW} rows, not {GROWTH_ROWS}")
    finally:
        if (folder / "data" / "postmaster.pid").exists():
            pg.stop()
        shutil.rmtree(folder, ignore_errors=True)


BENCHMARKS = {"archive_rows": archive_rows, "push_rate": push_rate, **pages.BENCHMARKS,
              **pages_of_clients.BENCHMARKS, **under_load.BENCHMARKS}
LONG = {"row_cost_growth": row_cost_growth, **under_load.LONG}  # only when named


def save(result):
    """Replaces the row of that name, keeps the others."""
    rows = json.loads(RESULTS.read_text()) if RESULTS.exists() else []
    rows = [r for r in rows if r["name"] != result["name"]] + [result]
    RESULTS.parent.mkdir(parents=True, exist_ok=True)
    RESULTS.write_text(json.dumps(rows, indent=2) + "\n")


def main(names):
    known = {**BENCHMARKS, **LONG}
    unknown = [n for n in names if n not in known]
    if unknown:
        sys.exit(f"unknown: {', '.join(unknown)}; there are: {', '.join(known)}")
    for name in names or BENCHMARKS:
        result = known[name]()
        save(result)
        print(f"{name}: {result['ours']:.0f} {result['unit']}, {result['ratio']:.2f} of "
              f"{result['reference']:.0f} ({result['against']})", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
