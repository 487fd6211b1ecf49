# SPDX-License-Identifier: Apache-2.0
"""Asks PostgreSQL what is true, past everything the sidecar says of itself."""

import collections
import xml.etree.ElementTree as ET

from .procs import wait_until

COUNTED, OUTGOING, RETRACTED = 1, 2, 4

# Every difference between the stored counts and a count from the rows.
RECOUNT = """
WITH truth AS (
  SELECT c.owner, c.peer, count(m.id) FILTER (
           WHERE m.flags & 1 = 1 AND m.id > c.read_id) AS unread
  FROM xs.conversation c LEFT JOIN xs.message m ON m.owner = c.owner AND m.peer = c.peer
  GROUP BY c.owner, c.peer)
SELECT a.jid, c.jid AS what, c.unread AS stored, t.unread AS counted
  FROM truth t JOIN xs.conversation c USING (owner, peer) JOIN xs.account a USING (owner)
  WHERE c.unread <> t.unread
UNION ALL
SELECT a.jid, 'account total', a.unread, coalesce(sum(t.unread), 0)
  FROM xs.account a LEFT JOIN truth t USING (owner)
  GROUP BY a.owner, a.jid, a.unread HAVING a.unread <> coalesce(sum(t.unread), 0)
UNION ALL
SELECT a.jid, 'unread conversations', a.unread_conversations,
       count(*) FILTER (WHERE t.unread > 0)
  FROM xs.account a LEFT JOIN truth t USING (owner)
  GROUP BY a.owner, a.jid, a.unread_conversations
  HAVING a.unread_conversations <> count(*) FILTER (WHERE t.unread > 0)
"""

Row = collections.namedtuple("Row", "id peer flags body stanza stanza_id")


def _stanza_id(stanza):
    try:
        return ET.fromstring(stanza).get("id")
    except ET.ParseError:
        return None


class Oracle:
    def __init__(self, postgres, dbname):
        self._connection = postgres.connect(dbname)

    def close(self):
        self._connection.close()

    def query(self, text, args=()):
        with self._connection.cursor() as cursor:
            cursor.execute(text, args)
            return cursor.fetchall()

    def value(self, text, args=()):
        rows = self.query(text, args)
        return rows[0][0] if rows else None

    # Rows.

    def rows(self, jid):
        """The archive of an account, oldest first, hidden rows included."""
        found = self.query(
            "SELECT m.id, c.jid, m.flags, m.body, m.stanza FROM xs.message m"
            " JOIN xs.account a USING (owner)"
            " LEFT JOIN xs.conversation c ON c.owner = m.owner AND c.peer = m.peer"
            " WHERE a.jid = %s ORDER BY m.id", (jid,))
        return [Row(i, peer, flags, body, bytes(stanza).decode(), _stanza_id(bytes(stanza)))
                for i, peer, flags, body, stanza in found]

    def count(self, jid):
        return self.value("SELECT count(*) FROM xs.message m JOIN xs.account a USING (owner)"
                          " WHERE a.jid = %s", (jid,)) or 0

    def total_rows(self):
        return self.value("SELECT count(*) FROM xs.message")

    def stanza_ids(self, jid):
        """{stanza id: how many rows}."""
        return collections.Counter(row.stanza_id for row in self.rows(jid))

    def with_body(self, jid, body):
        return [row for row in self.rows(jid) if row.body == body]

    def wait_count(self, jid, count, timeout=10):
        """Waits for that many rows; more is found out by assert_rows afterwards."""
        wait_until(lambda: self.count(jid) >= count, timeout,
                   f"{jid} has {count} rows (now {self.count(jid)})")

    def wait_body(self, jid, body, timeout=10):
        return wait_until(lambda: self.with_body(jid, body), timeout,
                          f"{jid} has a row with the body {body!r}")

    # Counts.

    def unread(self, jid, peer=None):
        """The account's total, or the count of one conversation; 0 where nothing is stored."""
        if peer is None:
            return self.value("SELECT unread FROM xs.account WHERE jid = %s", (jid,)) or 0
        return self.value("SELECT c.unread FROM xs.conversation c JOIN xs.account a USING (owner)"
                          " WHERE a.jid = %s AND c.jid = %s", (jid, peer)) or 0

    def wait_unread(self, jid, count, timeout=10):
        wait_until(lambda: self.unread(jid) == count, timeout,
                   f"{jid} has {count} unread")

    def recount(self):
        """Every stored count that differs from the rows; [] is right."""
        return self.query(RECOUNT)

    def duplicates(self):
        """(owner, direction, sender's id) with more than one row, for rows that have an id."""
        seen = collections.Counter()
        for jid, flags, peer, stanza in self.query(
                "SELECT a.jid, m.flags, m.peer, m.stanza FROM xs.message m"
                " JOIN xs.account a USING (owner)"):
            stanza_id = _stanza_id(bytes(stanza))
            if stanza_id:
                seen[(jid, flags & OUTGOING, peer, stanza_id)] += 1
        return [key for key, times in seen.items() if times > 1]

    # Devices and pushes.

    def registrations(self, jid):
        return self.value("SELECT count(*) FROM xs.registration r JOIN xs.account a USING (owner)"
                          " WHERE a.jid = %s", (jid,)) or 0

    def outbox(self, jid=None):
        if jid is None:
            return self.value("SELECT count(*) FROM xs.outbox")
        return self.value("SELECT count(*) FROM xs.outbox o JOIN xs.account a USING (owner)"
                          " WHERE a.jid = %s", (jid,))

    def push_log(self, jid):
        """[(status, reason)] of every answer, oldest first."""
        return self.query("SELECT p.status, p.reason FROM xs.push_log p"
                          " JOIN xs.account a USING (owner) WHERE a.jid = %s ORDER BY p.at", (jid,))

    def assert_sound(self):
        """What must hold at any time for every account."""
        assert self.recount() == []
        assert self.duplicates() == []
