# SPDX-License-Identifier: Apache-2.0
"""Pages of the archive as a client gets them through ejabberd: ours by delegation and as the
user, by privilege and directly, against ejabberd's own mod_mam, all on one PostgreSQL and of
archives of the same size.  Each is walked backwards from its end, as a client does that looks
for what was.  And what of it ejabberd spends whatever the component does."""

import asyncio
import contextlib
import functools
import pathlib
import re
import subprocess
import sys
import time

import pages
import yaml
from common import cpu_seconds, median_pair, row, say
from ejabberds import Client, with_mod_mam
from harness.ejabberd import HOST, Ejabberd
from harness.procs import Process, Workspace, wait_until
from harness.sidecar import Sidecar

WALK = 100  # pages
ROUNDS = 5
PAGE = pages.PAGE
# How the sidecar speaks as the users, and whose archive is read.
SHAPES = {
    "page_vs_ejabberd": ("privilege", "big", pages.BIG),
    "page_small_vs_ejabberd": ("privilege", "small", pages.SMALL),
    "page_small_direct_vs_ejabberd": ("direct", "small", pages.SMALL),
}

# The same owners by the same turns, the same text.
FILL_MAM = """
INSERT INTO archive (username, timestamp, peer, bare_peer, xml, txt, kind, nick)
SELECT CASE WHEN n % {big_every} = 0 THEN 'big' WHEN n % {small_every} = 3 THEN 'small'
            ELSE 'other' || n % {others} END,
    {from_us} + n * {step_us}, 'peer' || n % 10 || '@{host}/phone', 'peer' || n % 10 || '@{host}',
    '<message xmlns="jabber:client" from="peer@chat.example.org/phone" to="owner@chat.example.org" type="chat" id="'
        || md5('id' || n) || '"><body>' || md5('a' || n) || md5('b' || n) || md5('c' || n)
        || '</body><origin-id xmlns="urn:xmpp:sid:0" id="' || md5('id' || n) || '"/></message>',
    md5('a' || n) || md5('b' || n) || md5('c' || n), 'chat', ''
FROM generate_series(1::bigint, {rows}) n;
VACUUM ANALYZE archive; CHECKPOINT;
"""


def fill_mod_mam(table):
    say(f"pages: filling {pages.ROWS} rows of mod_mam")
    table.pg.sql("mam", FILL_MAM.format(
        rows=pages.ROWS, big_every=pages.ROWS // pages.BIG, small_every=pages.ROWS // pages.SMALL,
        others=pages.ROWS // 1000, from_us=pages.FROM_US, host=HOST,
        step_us=(pages.TO_US - pages.FROM_US) // pages.ROWS))


class Reader(Client):
    """Asks for one page after the other."""

    QUERY = ("<iq type='set' id='p{n}'><query xmlns='urn:xmpp:mam:2' queryid='q{n}'>"
             "<set xmlns='http://jabber.org/protocol/rsm'><max>{page}</max>"
             "<before>{before}</before></set></query></iq>")

    async def page(self, n, before):
        """The first id of the page that ends before that one."""
        self.writer.write(self.QUERY.format(n=n, page=PAGE, before=before).encode())
        answer = await asyncio.wait_for(self.reader.readuntil(b"</fin></iq>"), 30)
        if answer.count(b"<result ") != PAGE:
            raise RuntimeError(f"{answer.count(b'<result ')} messages on a page:\n"
                               f"{answer[-2000:].decode()}")
        return re.search(rb"<first[^>]*>([^<]+)</first>", answer).group(1).decode()

    async def walk(self):
        """Pages a second."""
        before, begin = "", time.monotonic()
        for n in range(WALK):
            before = await self.page(n, before)
        return WALK / (time.monotonic() - begin)


class Side:
    """An ejabberd whose archive is read, and the processes that this costs."""

    def __init__(self, ejabberd, cluster, **others):
        self.ejabberd, self.cluster, self.others = ejabberd, cluster, others
        self.reader = None

    def start_reading(self, owner):
        self.ejabberd.ensure(owner, "pw")
        self.reader = Reader(owner, self.ejabberd.host)
        return self.reader.login(self.ejabberd.c2s_port, "pw")

    def _cpu(self):
        groups = {"ejabberd": [self.ejabberd.process.pid], **self.others,
                  "postgresql": self.cluster.processes()}
        return {name: sum(map(cpu_seconds, pids)) for name, pids in groups.items()}

    async def walk(self):
        """Pages a second, and {group: ms of CPU for a page}."""
        before = self._cpu()
        rate = await self.reader.walk()
        return rate, {name: 1000 * (seconds - before[name]) / WALK
                      for name, seconds in self._cpu().items()}


def told(cpu):
    return " + ".join(f"{name} {ms:.1f}" for name, ms in cpu.items()) + " ms of CPU"


def mod_mam(workspace, table):
    """An ejabberd with its own archive."""
    theirs = with_mod_mam(workspace, table.pg)
    fill_mod_mam(table)
    theirs.start()
    return Side(theirs, table.pg)


def tapped(workspace, name, speak):
    """An ejabberd for a component that speaks as its users in that way."""
    return Ejabberd(workspace, name=f"ejabberd-{name}", check_from=speak == "privilege",
                    extra={"loglevel": "warning"})


@contextlib.contextmanager
def ours(workspace, table, name, speak):
    """An ejabberd with the sidecar, which speaks as the users in that way."""
    ejabberd = tapped(workspace, name, speak).start()
    sidecar = Sidecar(workspace, ejabberd, table.url, [], name=f"sidecar-{name}", settings={
        "log.level": "info", "xmpp.speak_as_users": speak}).start()
    wait_until(lambda: sidecar.http("/readyz")[0] == 200, 60, "namespaces are delegated")
    yield Side(ejabberd, table.pg, link=[sidecar.process.pid], worker=[sidecar.worker_pid()])
    sidecar.close()
    ejabberd.stop()


async def measure(sides, owner, label):
    """Pairs of pages a second."""
    for side in sides:
        await side.start_reading(owner)
        await side.walk()
    pairs = []
    for i in range(ROUNDS):
        walks = [await side.walk() for side in sides]
        pairs.append([rate for rate, _ in walks])
        say(f"{label} {i + 1}/{ROUNDS}: ours {pairs[-1][0]:.1f}/s, {told(walks[0][1])}; "
            f"mod_mam {pairs[-1][1]:.1f}/s, {told(walks[1][1])}")
    for side in sides:
        side.reader.writer.close()
    return median_pair(pairs)


@functools.cache
def vs_ejabberd():
    """{name: its row}, together, as what they stand on takes long to make."""
    rows, table = {}, pages.table()
    with Workspace(prefix="bench-") as workspace:
        theirs = mod_mam(workspace, table)
        for name, (speak, owner, size) in SHAPES.items():
            with ours(workspace, table, name, speak) as side:
                rates = asyncio.run(measure((side, theirs), owner, name))
            rows[name] = row(name, *rates, "pages/s",
                             "ejabberd's mod_mam, asked by the same client; an owner with "
                             f"{size}, {pages.ROWS} rows in all")
    return rows


# --- what is ejabberd's own of it -----------------------------------------------------------

CARRIED_ROUNDS = 9
CARRIED = {
    "by privilege": ("privilege", True),
    "by privilege, no copies": ("privilege", False),
    "directly": ("direct", True),
    "directly, no copies": ("direct", False),
}


def carrier(workspace, table, speak, copies):
    """An ejabberd with a component that has its page ready, with and without mod_service_log."""
    name = f"carrier-{speak}-{copies}"
    ejabberd = tapped(workspace, name, speak)
    if not copies:
        settings = yaml.safe_load(ejabberd.config.read_text())
        del settings["modules"]["mod_service_log"]
        ejabberd.config.write_text(yaml.safe_dump(settings, sort_keys=False))
    ejabberd.start()
    component = Process(f"ready-page-{name}", [
        sys.executable, pathlib.Path(__file__).with_name("ready_page.py"),
        ejabberd.component_port, ejabberd.secret, ejabberd.component, HOST, speak, PAGE],
        workspace.folder(name) / "component.log")
    workspace.on_close(component.stop)
    return Side(ejabberd, table.pg, component=[component.pid])


async def carried(sides):
    """[{name of side: {group: ms of CPU for a page}}, ...], by turns."""
    rounds = []
    for side in sides.values():
        await side.start_reading("small")
        await side.walk()
    for i in range(CARRIED_ROUNDS):
        rounds.append({})
        for name, side in sides.items():
            rate, rounds[-1][name] = await side.walk()
            say(f"page_carried {i + 1}/{CARRIED_ROUNDS} {name}: {rate:.1f}/s, "
                f"{told(rounds[-1][name])}")
    return rounds


def page_carried():
    """What ejabberd alone spends on a page that a component has ready."""
    table = pages.table()
    with Workspace(prefix="bench-") as workspace:
        sides = {"mod_mam": mod_mam(workspace, table)}
        for name, (speak, copies) in CARRIED.items():
            sides[name] = carrier(workspace, table, speak, copies)
        rounds = asyncio.run(carried(sides))
    pairs = {name: [(one[name]["ejabberd"], sum(one["mod_mam"].values())) for one in rounds]
             for name in sides}
    for name in sides:
        alone, theirs = median_pair(pairs[name])
        say(f"page_carried {name}: {alone:.1f} ms of CPU in ejabberd, {alone / theirs:.2f} of "
            f"{theirs:.1f} in ejabberd and PostgreSQL with mod_mam")
    return row("page_carried", *median_pair(pairs["by privilege"]), "ms of CPU a page in ejabberd",
               f"ejabberd and PostgreSQL for a page of mod_mam; an owner with {pages.SMALL}")


BENCHMARKS = {"page_carried": page_carried,
              **{name: functools.partial(lambda name: vs_ejabberd()[name], name)
                 for name in SHAPES}}
