# SPDX-License-Identifier: Apache-2.0
"""Steady load from real clients, and what must be true of it afterwards."""

import collections
import os
import random
import threading
import time

from .clients import error_of, new_id
from .procs import wait_until

# Counted messages whose push was neither answered nor is in the outbox (waiting or parked), for
# accounts that read nothing and have a device: [] at any moment, as one snapshot shows it.
FORGOTTEN = """
SELECT a.jid, m.peer, m.newest FROM (
    SELECT owner, peer, max(id) AS newest FROM xs.message WHERE flags & 1 = 1
    GROUP BY owner, peer) m
  JOIN xs.account a USING (owner) JOIN xs.registration r USING (owner)
  WHERE NOT EXISTS (
      SELECT FROM xs.outbox o WHERE o.owner = m.owner AND o.device = r.device
        AND o.peer = m.peer AND o.newest_id >= m.newest)
    AND NOT EXISTS (
      SELECT FROM xs.push_log p WHERE p.owner = m.owner AND p.device = r.device
        AND p.peer = m.peer AND p.status = 200 AND p.newest_id >= m.newest)
"""
# Of each accepted push its apns-id, for everybody.
ACCEPTED = """
SELECT a.jid, p.apns_id::text FROM xs.push_log p JOIN xs.account a USING (owner)
  WHERE p.status = 200 AND p.apns_id IS NOT NULL
"""
ANSWERED = """
SELECT p.apns_id::text FROM xs.push_log p JOIN xs.account a USING (owner)
  WHERE a.jid = %s AND p.status = 200
"""

SEED = int(os.environ.get("FAULT_SEED", "0")) or random.SystemRandom().randrange(1, 10**6)


class Load:
    """Messages between local users: pairs that are online, and people who are away.

    Knows exactly what must be in every archive afterwards.
    """

    def __init__(self, world, pairs=4, away=4, away_share=0.25):
        self.world, self.away_share = world, away_share
        self.random = random.Random(SEED)
        self.users = world.users(2 * pairs, "load")
        self.clients = [world.login(user) for user in self.users]
        self.away = world.users(away, "away")
        self.tokens = {user.bare: world.phone(user) for user in self.away}
        self.sent = {}        # owner -> ids that must be in his archive
        self.received = {}    # owner -> how many were addressed to him
        self.total = 0

    def send(self, count):
        """A burst from every client; each to its partner or to somebody who is away."""
        for index, client in enumerate(self.clients):
            texts = []
            for _ in range(count):
                if self.random.random() < self.away_share:
                    recipient = self.random.choice(self.away)
                else:
                    recipient = self.users[index ^ 1]
                message_id = new_id("load")
                texts.append(f"<message to='{recipient.bare}' type='chat' id='{message_id}'>"
                             f"<body>{message_id} {'x' * self.random.randrange(300)}</body>"
                             "</message>")
                self.sent.setdefault(client.bare, []).append(message_id)
                self.sent.setdefault(recipient.bare, []).append(message_id)
                self.received[recipient.bare] = self.received.get(recipient.bare, 0) + 1
                self.total += 1
            client.send_many(texts)

    def settled(self, timeout=90):
        """The server has handled all that was sent, and the archive has caught up."""
        for client in self.clients:
            client.iq("get", "<ping xmlns='urn:xmpp:ping'/>", self.world.server.host, 60)
        self.world.drain(self.clients[0], timeout)

    def assert_archived(self):
        oracle = self.world.oracle
        for owner, ids in self.sent.items():
            stored = oracle.stanza_ids(owner)
            lost = set(ids) - stored.keys()
            assert not lost, f"{owner} misses {len(lost)} of {len(ids)}, seed {SEED}"
            doubled = [i for i in ids if stored[i] != 1]
            assert not doubled, f"{owner} has {len(doubled)} twice, seed {SEED}"
            assert sum(stored.values()) == len(ids)
        assert oracle.recount() == []
        # Whoever killed what and when: no stanza of these is to blame.
        assert oracle.query("SELECT pos, reason FROM xs.quarantine") == [], f"seed {SEED}"
        for user in self.away:
            # Nobody read anything for them: every message is unread.
            assert oracle.unread(user.bare) == self.received.get(user.bare, 0)

    def assert_nothing_forgotten(self):
        """due ⊆ answered ∪ outbox ∪ parked."""
        assert self.world.oracle.query(FORGOTTEN) == [], f"seed {SEED}"

    def assert_pushed(self, crashes=(), timeout=120):
        """Every due push was answered or is queued, and the queue then empties, with the final
        count; a push came twice only by a crash, and by each crash only one to a device. A
        connection that the gateway cuts is such a crash: answers on their way go with it."""
        oracle, gateway = self.world.oracle, self.world.gateway
        self.assert_nothing_forgotten()
        for user in self.away:
            token, unread = self.tokens[user.bare], oracle.unread(user.bare)
            if unread == 0:
                continue
            wait_until(lambda token=token, unread=unread:
                       (accepted := gateway.accepted(token)) and accepted[-1].badge == unread,
                       timeout, f"{user} is told of {unread}")
        wait_until(lambda: oracle.outbox() == 0, timeout, "the outbox is empty")
        cuts = [at(push.time_ms / 1000) for token in self.tokens.values()
                for push in gateway.pushes(token) if push.reason == "(cut)"]
        for user in self.away:
            accepted = gateway.accepted(self.tokens[user.bare])
            seen = {push.apns_id.lower() for push in accepted}
            said = {apns_id for apns_id, in oracle.query(ANSWERED, (user.bare,))}
            assert said <= seen, "the log tells of an answer that was never given"
            assert_repeats_are_of([*crashes, *cuts], accepted)

    def assert_ledgers_agree(self, crashes, slack=3.0):
        """What the gateway has accepted is what the outbox says it has: to the push, but for one
        of each device whose worker died between the answer and its storing."""
        said = {}
        for jid, apns_id in self.world.oracle.query(ACCEPTED):
            said.setdefault(jid, set()).add(apns_id)
        for user in self.away:
            accepted = {push.apns_id.lower(): push.time_ms / 1000
                        for push in self.world.gateway.accepted(self.tokens[user.bare])}
            mine, left = said.get(user.bare, set()), in_order(crashes)
            assert mine <= accepted.keys(), "the log tells of an answer that was never given"
            for sent in sorted(accepted[i] for i in accepted.keys() - mine):
                fitting = [crash for crash in left
                           if crash.end >= sent - 1 and crash.begin <= sent + slack]
                assert fitting, f"{user}: the push of {sent} is not in the log, without a crash"
                left.remove(fitting[0])


# In unix times: it was not before that and not after.
Crash = collections.namedtuple("Crash", "begin end")


def at(time_s):
    return Crash(time_s, time_s)


def in_order(crashes):
    return sorted(crashes, key=lambda crash: crash.end)


def assert_repeats_are_of(crashes, accepted, slack=1.0):
    """Each repetition of an apns-id has a crash of its own between the two."""
    last, repeats = {}, []
    for push in accepted:
        sent = push.time_ms / 1000
        if push.apns_id in last:
            repeats.append((sent, last[push.apns_id]))
        last[push.apns_id] = sent
    left = in_order(crashes)
    for again, first in sorted(repeats):
        # What the dead worker wrote may reach the gateway a moment after its death.
        fitting = [crash for crash in left
                   if crash.end >= first - slack and crash.begin <= again]
        assert fitting, f"a push of {first} came again at {again} without a crash in {crashes}"
        left.remove(fitting[0])


class Asker:
    """Asks the archive all the time and keeps how long each answer took."""

    def __init__(self, client, interval=0.2):
        self.client, self.interval = client, interval
        self.answers = []  # (asked at, seconds, error or None)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self):
        while not self._stop.wait(self.interval):
            start = time.monotonic()
            try:
                answer = self.client.ask("set", self.client.mam_xml(rsm="<max>5</max><before/>"),
                                         timeout=20)
                error = error_of(answer)
            except AssertionError:
                error = ("none", "no answer in 20 s")
            self.answers.append((start, time.monotonic() - start, error))

    def finish(self):
        """What was answered; once the last trouble is over, a page is answered again."""
        wait_until(lambda: self.answers and self.answers[-1][2] is None, 15, "it answers again")
        self._stop.set()
        self._thread.join(25)
        return self.answers


def assert_the_stream_stayed(world):
    link = world.sidecar.status()["links"][0]
    assert (link["state"], link["connects"], link["gaps"]) == ("up", 1, 0)
    assert world.server.component_connections() == 1, "the component stream was closed"
