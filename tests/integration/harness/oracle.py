# SPDX-License-Identifier: Apache-2.0
"""Asks PostgreSQL what is true, past everything the sidecar says of itself."""

import collections
import xml.etree.ElementTree as ET

from .procs import wait_until

COUNTED, OUTGOING, RETRACTED, HIDDEN, LATE, UNKEPT = 1, 2, 4, 32, 64, 128

# Every difference between what is stored beside the rows and what the rows say.
RECOUNT = """
WITH truth AS (
  SELECT owner, peer, c.jid, coalesce(c.unread, -1) AS stored, coalesce(c.first_id, -1) AS first_id,
         coalesce(c.last_id, -1) AS last_id, m.first, m.last, coalesce(m.unread, 0) AS unread
  FROM xs.conversation c FULL JOIN (
    SELECT m.owner, m.peer, min(m.id) AS first, max(m.id) AS last,
           count(*) FILTER (WHERE m.flags & 1 = 1 AND m.id > coalesce(c.read_id, 0)) AS unread
    FROM xs.message m LEFT JOIN xs.conversation c ON c.owner = m.owner AND c.peer = m.peer
    GROUP BY m.owner, m.peer) m USING (owner, peer)),
totals AS (
  SELECT owner, sum(unread) AS unread, count(*) FILTER (WHERE unread > 0) AS conversations,
         min(first) AS first
  FROM truth GROUP BY owner)
SELECT coalesce(a.jid, t.owner::text), coalesce(t.jid, 'a conversation without its row') AS what,
       t.stored, t.unread AS counted
  FROM truth t LEFT JOIN xs.account a USING (owner) WHERE t.stored <> t.unread
UNION ALL
SELECT a.jid, t.jid || ': first row', t.first_id, coalesce(t.first, 0)
  FROM truth t JOIN xs.account a USING (owner) WHERE t.first_id <> coalesce(t.first, 0)
UNION ALL
SELECT a.jid, t.jid || ': last row', t.last_id, coalesce(t.last, 0)
  FROM truth t JOIN xs.account a USING (owner) WHERE t.last_id <> coalesce(t.last, 0)
UNION ALL
SELECT coalesce(a.jid, owner::text), 'account total', coalesce(a.unread, -1), coalesce(t.unread, 0)
  FROM totals t FULL JOIN xs.account a USING (owner)
  WHERE coalesce(a.unread, CASE WHEN t.first IS NULL THEN 0 ELSE -1 END) <> coalesce(t.unread, 0)
UNION ALL
SELECT a.jid, 'unread conversations', a.unread_conversations, coalesce(t.conversations, 0)
  FROM xs.account a LEFT JOIN totals t USING (owner)
  WHERE a.unread_conversations <> coalesce(t.conversations, 0)
UNION ALL
SELECT a.jid, 'first row of the account', coalesce(a.first_id, 0), t.first
  FROM xs.account a JOIN totals t USING (owner) WHERE coalesce(a.first_id, 0) > t.first
"""

# The oldest transaction that may be seen only later, and the archives written to since one: an
# array, so that they are looked for once and not for each row.
RUNNING = "SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint"
WRITTEN_SINCE = ("m.owner = ANY (ARRAY(SELECT DISTINCT owner FROM xs.message"
                 " WHERE xmin::text::bigint >= %s))")

# As the archive sees identity: ids may come again after an hour, and without an id only copies
# that come together are the same.  A copy with the server's delay is the same as any row since.
SAME_ID_US = 3600 * 1000000
NO_ID_US = 3 * 1000000
CLOCK_SLACK_US = 600 * 1000000

C = "{jabber:client}"
ADDED_BY_SERVERS = {"{urn:xmpp:delay}delay", "{jabber:x:delay}x", "{urn:xmpp:sid:0}stanza-id",
                    "{urn:xmpp:mam:tmp}archived"}
NOTHING_NEW = {"{urn:xmpp:message-correct:0}replace", "{urn:xmpp:reactions:0}reactions",
               "{urn:xmpp:message-retract:1}retract"}

Gap = collections.namedtuple("Gap", "server epoch start end next_epoch why")
Row = collections.namedtuple("Row", "id peer flags body stanza stanza_id")


def _content(message):
    """What its sender wrote, in one form: copies differ only by what servers add."""
    children = sorted(ET.canonicalize(ET.tostring(child), strip_text=False)
                      for child in message if child.tag not in ADDED_BY_SERVERS)
    return message.get("from"), message.get("type", "normal"), tuple(children)


def _to_be_counted(message):
    """Whether it raises the recipient's count; None where this page has no opinion."""
    tags = {child.tag for child in message}
    if message.get("type", "normal") not in ("chat", "normal") or tags & NOTHING_NEW:
        return False
    if message.findtext(C + "body"):
        return True
    return None if any(tag.endswith("}encrypted") for tag in tags) else False


class _Copy:
    """A row as far as it matters whether another one is the same message."""

    def __init__(self, at_us, sent_us, ref, message):
        self.at_us, self.sent_us, self.ref, self.message = at_us, sent_us, ref, message

    def repeats(self, earlier):
        """Both are of one owner, direction, peer and stanza id."""
        if not self._is_near(earlier):
            return False
        return self.ref == earlier.ref or _content(self.message) == _content(earlier.message)

    def _is_near(self, earlier):
        has_id = bool(self.message.get("id"))
        if self.at_us - earlier.at_us <= (SAME_ID_US if has_id else NO_ID_US):
            return True
        if self.sent_us is None:
            return False
        if has_id:
            return self.sent_us - CLOCK_SLACK_US <= earlier.at_us
        return abs(self.sent_us - earlier.at_us) <= NO_ID_US or self.sent_us == earlier.sent_us


class Oracle:
    def __init__(self, postgres, dbname):
        self.notices_from = ()  # the services of push.notices
        self._connection = postgres.connect(dbname)
        self._told = set()
        self._judged = 0  # transactions before that one

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
        return [Row(i, peer, flags, body, bytes(stanza).decode(),
                    ET.fromstring(bytes(stanza)).get("id") if stanza else None)
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

    def age_s(self, row_id):
        """Seconds since the time that a row's id tells, by PostgreSQL's clock."""
        return float(self.value("SELECT extract(epoch FROM clock_timestamp()) - 1577836800"
                                " - (%s >> 8) / 1e6", (row_id,)))

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

    def duplicates(self, since=0):
        """(owner, stanza id, row, the row that it repeats) of messages stored twice; since: in
        the archives that transactions from that one on have written to.

        Judged by the stored stanzas themselves and, where the stanzas differ, by
        the identity stored beside them.
        """
        groups = collections.defaultdict(list)
        for jid, row, peer, ref, flags, sent_us, stanza in self.query(
                "SELECT a.jid, m.id, m.peer, (m.ref_id, m.ref_body)::text, m.flags,"
                " (extract(epoch FROM m.sent_at) * 1000000)::bigint - 1577836800000000, m.stanza"
                f" FROM xs.message m JOIN xs.account a USING (owner) WHERE {WRITTEN_SINCE}"
                " AND m.flags & %s = 0 ORDER BY m.owner, m.id", (since, UNKEPT)):
            message = ET.fromstring(bytes(stanza))
            key = jid, flags & OUTGOING, peer, message.get("id") or ""
            groups[key].append((row, _Copy(row >> 8, sent_us, ref, message)))
        return [(key[0], key[3], row, before)
                for key, rows in groups.items() if len(rows) > 1
                for i, (row, copy) in enumerate(rows)
                for before, earlier in rows[:i] if copy.repeats(earlier)]

    def miscounted(self, since=0):
        """(owner, stanza id, flags) of rows that are counted and should not be, or the reverse;
        since as for duplicates()."""
        found = []
        for jid, flags, stanza in self.query(
                "SELECT a.jid, m.flags, m.stanza FROM xs.message m JOIN xs.account a USING (owner)"
                f" WHERE {WRITTEN_SINCE} AND m.flags & %s = 0", (since, UNKEPT)):
            message = ET.fromstring(bytes(stanza))
            expected = _to_be_counted(message)
            if flags & (OUTGOING | RETRACTED | HIDDEN):
                expected = False
            if message.get("from") in self.notices_from:
                expected = None  # the settings say; the test of them does
            if expected is not None and expected != bool(flags & COUNTED):
                found.append((jid, message.get("id"), flags))
        return found

    def has_roster(self, jid):
        return self.value("SELECT true FROM xs.roster JOIN xs.account a USING (owner)"
                          " WHERE a.jid = %s", (jid,))

    # Gaps.

    def gaps(self):
        """Every gap that was kept, oldest first; times are unix times, end is None while open."""
        return [Gap(*row) for row in self.query(
            "SELECT server, epoch, extract(epoch FROM from_at)::float,"
            " extract(epoch FROM to_at)::float, next_epoch, why FROM xs.gap ORDER BY from_at")]

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

    def problems(self, since=0):
        """What is wrong in the database, as a list; [] is right.  since as for duplicates()."""
        return ([("recount", *row) for row in self.recount()]
                + [("duplicate", *row) for row in self.duplicates(since)]
                + [("miscounted", *row) for row in self.miscounted(since)])

    def assert_sound(self):
        """What must hold at any time for every account.

        Tests share a database: what is wrong is told once, to the test in
        which it was found first, and archives that nobody has written to since
        they were judged are not read again.
        """
        since, self._judged = self._judged, self.value(RUNNING)
        new = [problem for problem in self.problems(since) if problem not in self._told]
        self._told.update(new)
        assert new == []
