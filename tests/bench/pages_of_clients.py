# SPDX-License-Identifier: Apache-2.0
"""Pages of the archive as a client gets them through ejabberd: ours by delegation and as the
user, by privilege and directly, against ejabberd's own mod_mam, all on one PostgreSQL and of
archives of the same size.  Each is walked backwards from its end, as a client does that looks for what was."""

import asyncio
import contextlib
import functools
import re
import time

import pages
from common import median_pair, row, say
from ejabberds import Client, with_mod_mam
from harness.ejabberd import HOST, Ejabberd
from harness.procs import Workspace, wait_until
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


def mod_mam(workspace, table):
    """An ejabberd with its own archive."""
    theirs = with_mod_mam(workspace, table.pg)
    fill_mod_mam(table)
    theirs.start()
    return theirs


@contextlib.contextmanager
def ours(workspace, table, name, speak):
    """An ejabberd with the sidecar, which speaks as the users in that way."""
    ejabberd = Ejabberd(workspace, name=f"ejabberd-{name}", check_from=speak == "privilege",
                        extra={"loglevel": "warning"}).start()
    sidecar = Sidecar(workspace, ejabberd, table.url, [], name=f"sidecar-{name}", settings={
        "log.level": "info", "xmpp.speak_as_users": speak}).start()
    wait_until(lambda: sidecar.http("/readyz")[0] == 200, 60, "namespaces are delegated")
    yield ejabberd
    sidecar.close()
    ejabberd.stop()


async def measure(ejabberds, name, label):
    """Pairs of pages a second."""
    readers = []
    for ejabberd in ejabberds:
        readers.append(Reader(name, ejabberd.host))
        await readers[-1].login(ejabberd.c2s_port, "pw")
        await readers[-1].walk()
    pairs = []
    for i in range(ROUNDS):
        pairs.append([await reader.walk() for reader in readers])
        say(f"{label} {i + 1}/{ROUNDS}: ours {pairs[-1][0]:.1f}/s, "
            f"mod_mam {pairs[-1][1]:.1f}/s")
    for reader in readers:
        reader.writer.close()
    return median_pair(pairs)


@functools.cache
def vs_ejabberd():
    """{name: its row}, together, as what they stand on takes long to make."""
    rows, table = {}, pages.table()
    with Workspace(prefix="bench-") as workspace:
        theirs = mod_mam(workspace, table)
        for name, (speak, owner, size) in SHAPES.items():
            with ours(workspace, table, name, speak) as ejabberd:
                for server in (ejabberd, theirs):
                    server.ensure(owner, "pw")
                rates = asyncio.run(measure((ejabberd, theirs), owner, name))
            rows[name] = row(name, *rates, "pages/s",
                             "ejabberd's mod_mam, asked by the same client; an owner with "
                             f"{size}, {pages.ROWS} rows in all")
    return rows


BENCHMARKS = {name: functools.partial(lambda name: vs_ejabberd()[name], name)
              for name in SHAPES}
