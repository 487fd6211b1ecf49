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
import shutil
import subprocess
import sys
import tempfile

import pages
import pages_of_clients
import pushes
import under_load
import waiting_pushes
from common import BUILD, RESULTS, Cluster, median_pair, row, say

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
GROWTH_CURVE = [600_000, 2_000_000, 5_000_000, 10_000_000, 15_000_000]


def cost(windows, column=None):
    """Median microseconds for a row: of CPU, or as column says."""
    each = sorted(w[column] if column else w["worker_us_per_row"] + w["postgres_us_per_row"]
                  for w in windows)
    return each[len(each) // 2]


def row_cost_growth():
    folder = pathlib.Path(tempfile.mkdtemp(prefix="row-cost-growth-"))
    pg = Cluster(folder)
    try:
        # By time, as docs/operations.md says: it writes some 28 GB.
        pg.start(max_wal_size="40GB")
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
        for rows in [n for n in GROWTH_CURVE if n < GROWTH_ROWS] + [GROWTH_ROWS]:
            near = sorted(windows, key=lambda w: abs(w["rows"] - rows))[:5]
            say(f"row_cost_growth around {rows} rows: {cost(near):.1f} us of CPU per row, "
                f"{cost(near, 'wall_us_per_row'):.1f} us of time")
        return row("row_cost_growth", cost(late), cost(early), "us of CPU per row",
                   f"the same run when it had {2 * GROWTH_WINDOW} rows, not {GROWTH_ROWS}")
    finally:
        if (folder / "data" / "postmaster.pid").exists():
            pg.stop()
        shutil.rmtree(folder, ignore_errors=True)


BENCHMARKS = {"archive_rows": archive_rows, **pushes.BENCHMARKS, **pages.BENCHMARKS,
              **pages_of_clients.BENCHMARKS, **under_load.BENCHMARKS,
              **waiting_pushes.BENCHMARKS}
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
