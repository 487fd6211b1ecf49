# SPDX-License-Identifier: Apache-2.0
"""How long a page of the archive takes: against the bare SELECT, wherever it lies, and whoever's
it is.  One table for all, made once."""

import atexit
import functools
import json
import os
import pathlib
import shutil
import subprocess
import tempfile

from common import BUILD, Cluster, median_pair, row, say
from harness.ejabberd import HOST

ROWS = int(os.environ.get("PAGE_ROWS", 2_000_000))  # 10_000_000 for the numbers we promise
PAGES = 1500
ROUNDS = 5
PAGE = 50

# Owners of so many rows, less in a smaller table; a rare peer has one page in each of their
# archives.
BIG, MIDDLE, SMALL = min(1_000_000, ROWS // 2), min(100_000, ROWS // 20), min(10_000, ROWS // 20)
PEERS = 10
YEARS = 2  # eight partitions and more
FROM_US = 1_704_067_200_000_000  # 2024
TO_US = FROM_US + YEARS * 365 * 86_400 * 1_000_000
EPOCH_US = 1_577_836_800_000_000  # of row ids

# As our own connections for pages: without it the planner may sort the whole archive.
IN_INDEX_ORDER = {**os.environ, "PGOPTIONS": "-c plan_cache_mode=force_generic_plan"
                  " -c enable_sort=off -c enable_bitmapscan=off -c enable_seqscan=off"}

PARTITIONS = f"""
SELECT xs.ensure_partition(to_timestamp({FROM_US // 1_000_000}) + n * interval '1 month')
    FROM generate_series(0, {YEARS * 12}) n;
"""

# Rows of all owners by turns, as they come in: neighbours of one owner are far apart.
FILL = """
INSERT INTO xs.message (owner, id, peer, ref_id, ref_body, flags, stanza)
SELECT CASE WHEN n % {big_every} = 0 THEN '{big.owner}'::uuid
            WHEN n % {middle_every} = 1 THEN '{middle.owner}'::uuid
            WHEN n % {small_every} = 3 THEN '{small.owner}'::uuid
            ELSE md5('owner' || n % {others})::uuid END,
    ({from_us} + n * {step_us} - {epoch_us}) << 8,
    CASE WHEN n % {big_every} = 0 THEN (CASE WHEN n / {big_every} % {big_rare} = 7
             THEN {big.rare} ELSE ({big.peers})[(1 + n / {big_every} % {peers})::int] END)
         WHEN n % {middle_every} = 1 THEN (CASE WHEN n / {middle_every} % {middle_rare} = 7
             THEN {middle.rare} ELSE ({middle.peers})[(1 + n / {middle_every} % {peers})::int] END)
         WHEN n % {small_every} = 3 THEN (CASE WHEN n / {small_every} % {small_rare} = 7
             THEN {small.rare} ELSE ({small.peers})[(1 + n / {small_every} % {peers})::int] END)
         ELSE n % 20 END,
    md5('ref' || n)::uuid, n, 0,
    convert_to('<message xmlns="jabber:client" from="peer@chat.example.org/phone" to="owner@chat.example.org" type="chat" id="'
        || md5('id' || n) || '"><body>' || md5('a' || n) || md5('b' || n) || md5('c' || n)
        || '</body><origin-id xmlns="urn:xmpp:sid:0" id="' || md5('id' || n) || '"/></message>', 'UTF8')
FROM generate_series(1::bigint, {rows}) n;
"""


class Owner:
    def __init__(self, url, jid):
        self.jid = jid
        self.peer, self.rare_jid = f"peer3.{jid}", f"rare.{jid}"
        names = [f"peer{i}.{jid}" for i in range(PEERS)] + [self.rare_jid]
        out = subprocess.run([BUILD / "bench" / "archive_page", url, "hash", jid, *names],
                             check=True, stdout=subprocess.PIPE, text=True).stdout.split()
        self.owner, *numbers = out
        self.rare = numbers.pop()
        self.peers = "ARRAY[" + ", ".join(numbers) + "]::bigint[]"


class Table:
    def __init__(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="pages-"))
        self.pg = Cluster(self.folder, loopback=True)
        atexit.register(self.close)
        self.pg.start()
        self.pg.fresh("bench")
        self.url = self.pg.url("bench")
        # The first run makes the schema.
        subprocess.run([BUILD / "bench" / "archive_rows", "-n", "1000", "-o", "100", self.url],
                       check=True, stdout=subprocess.DEVNULL)
        self.big, self.middle, self.small = (
            Owner(self.url, f"{name}@{HOST}") for name in ("big", "middle", "small"))
        say(f"pages: filling {ROWS} rows")
        self.pg.sql("bench", PARTITIONS + FILL.format(
            big=self.big, middle=self.middle, small=self.small, rows=ROWS, peers=PEERS,
            big_every=ROWS // BIG, middle_every=ROWS // MIDDLE, small_every=ROWS // SMALL,
            big_rare=BIG // PAGE, middle_rare=MIDDLE // PAGE, small_rare=SMALL // PAGE,
            others=ROWS // 1000, from_us=FROM_US, epoch_us=EPOCH_US,
            step_us=(TO_US - FROM_US) // ROWS)
            + "VACUUM ANALYZE xs.message; CHECKPOINT;")

    def close(self):
        if (self.folder / "data" / "postmaster.pid").exists():
            self.pg.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def ask(self, owner, shape, pages=PAGES):
        """Our own time for pages of that shape."""
        peer = owner.rare_jid if shape == "rare" else owner.peer
        # Moments from which a whole page is left.
        last = TO_US - (TO_US - FROM_US) // 50
        out = subprocess.run([BUILD / "bench" / "archive_page", self.url, "ask", shape,
                              str(pages), owner.jid, peer, str(FROM_US), str(last)],
                             check=True, stdout=subprocess.PIPE, text=True).stdout
        told = json.loads(out)
        assert told["results"] == pages * PAGE, told
        return told

    def select(self, owner, pages=PAGES):
        """(median, 99th percentile) in us of the same SELECT of a page after some moment."""
        last = TO_US - (TO_US - FROM_US) // 50
        script = (f"\\set us random({FROM_US}, {last})\n"
                  f"SELECT id, stanza FROM xs.message WHERE owner = '{owner.owner}'::uuid"
                  f" AND id > (:us - {EPOCH_US}) * 256 AND id < 9223372036854775807"
                  f" AND flags & 32 = 0 ORDER BY id LIMIT {PAGE + 1};\n")
        (self.folder / "page.sql").write_text(script)
        for old in self.folder.glob("latency.*"):
            old.unlink()
        subprocess.run([self.pg.bin / "pgbench", "-h", self.folder, "-p", str(self.pg.port),
                        "-U", "xs", "-n", "-M", "prepared", "-c", "1", "-t", str(pages + 200), "-l",
                        "--log-prefix", self.folder / "latency", "-f", self.folder / "page.sql",
                        "bench"], check=True, capture_output=True, env=IN_INDEX_ORDER)
        log, = self.folder.glob("latency.*")
        took = sorted(int(line.split()[2]) for line in log.read_text().splitlines()[200:])
        return took[len(took) // 2], took[len(took) - 1 - len(took) // 100]


@functools.cache
def table():
    return Table()


def page_p99():
    """A page somewhere in an archive of 100,000 messages."""
    t, pairs = table(), []
    for i in range(ROUNDS):
        ours = t.ask(t.middle, "middle")
        median, p99 = t.select(t.middle)
        pairs.append((ours["p99_us"], p99))
        say(f"page_p99 {i + 1}/{ROUNDS}: ours {ours['p50_us']} us median, {ours['p99_us']} p99; "
            f"SELECT {median} us, {p99}")
    ours, reference = median_pair(pairs)
    return row("page_p99", ours, reference, "us",
               f"the same SELECT by pgbench; {ROWS} rows, an owner with {MIDDLE}")


def page_shapes():
    """The slowest place of a page against the fastest."""
    t, pairs = table(), []
    for i in range(ROUNDS):
        took = {shape: t.ask(t.middle, shape)["p50_us"]
                for shape in ("first", "last", "middle", "time", "with", "rare")}
        pairs.append((max(took.values()), min(took.values())))
        say(f"page_shapes {i + 1}/{ROUNDS}: median us: {took}")
    ours, reference = median_pair(pairs)
    return row("page_shapes", ours, reference, "us",
               f"the fastest of first, last, middle, time, with, rare; an owner with {MIDDLE}")


def page_growth():
    """A page of an archive of a million messages against one of ten thousand."""
    t, pairs = table(), []
    for i in range(ROUNDS):
        pairs.append((t.ask(t.big, "middle")["p50_us"], t.ask(t.small, "middle")["p50_us"]))
        say(f"page_growth {i + 1}/{ROUNDS}: median {pairs[-1][0]} us with {BIG} messages, "
            f"{pairs[-1][1]} with {SMALL}")
    ours, reference = median_pair(pairs)
    return row("page_growth", ours, reference, "us", f"an owner with {SMALL}, not {BIG}")


BENCHMARKS = {"page_p99": page_p99, "page_shapes": page_shapes, "page_growth": page_growth}
