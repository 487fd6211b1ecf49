# SPDX-License-Identifier: Apache-2.0
"""Copies of stanzas for components that have subscribed to them.

One queue for everybody, of a fixed size, emptied at every period.  It is filled with
*references*: what becomes of a stanza until then is what its copy shows.  Whatever class
somebody wants is queued at all four places where a stanza passes, and thrown away when it is
not wanted after all; the copies themselves pass, too.  When the queue is full the copy is lost
and nobody is told.
"""

import asyncio
import time

from . import xml

SLICE = 20  # traffic goes on while a batch is written

EVENT = "http://jabber.org/protocol/packet#event"


class Copier:
    def __init__(self, host, deliver, capacity=10_000):
        self._host = host
        self._deliver = deliver  # (domain, element): writes to a component's session
        self.capacity = capacity
        self.subscriptions = {}  # domain -> (classes, incoming, processed)
        self.lost = 0            # entries that found no room
        self.hasten(1)
        self._queue = []
        self._flushing = asyncio.Lock()

    def subscribe(self, domain, classes, incoming, processed):
        """A second one of the same domain replaces the first."""
        self.subscriptions[domain] = (set(classes), incoming, processed)

    def unsubscribe(self, domain):
        self.subscriptions.pop(domain, None)

    def passed(self, element, incoming, processed):
        """A stanza passes one of the four places."""
        if not any(element.tag in classes for classes, _, _ in self.subscriptions.values()):
            return
        if self.full:
            self.lost += 1
            return
        self._queue.append((element, incoming, processed, self.now()))

    @property
    def full(self):
        return len(self._queue) >= self.capacity

    def hasten(self, times, behind=0):
        """Its clock goes so many times faster than ours from now on, and is behind now."""
        self._times, self._began, self._behind = times, time.time(), behind

    def now(self):
        at = self._began + (time.time() - self._began) * self._times
        return xml.now_text(at - self._behind)

    async def flush(self):
        """What the timer does; copies that go out while it runs are for the next time.  One after
        the other, as the real ones are that take less than a period."""
        async with self._flushing:
            await self._flush()

    async def _flush(self):
        queue, self._queue = self._queue, []
        for number, (element, incoming, processed, date) in enumerate(queue):
            if number % SLICE == 0:
                await asyncio.sleep(0)
            for domain, (classes, wants_incoming, wants_processed) in \
                    list(self.subscriptions.items()):
                if element.tag in classes and incoming == wants_incoming \
                        and processed == wants_processed:
                    self._deliver(domain, self._copy(element, domain, incoming, processed, date))

    def _copy(self, element, domain, incoming, processed, date):
        outer = xml.ET.Element("message", {"from": self._host, "to": domain})
        copy = xml.add(outer, f"{{{EVENT}}}copy", incoming=str(incoming).lower(),
                       processed=str(processed).lower(), date=date)
        # Through text, so that what happens later does not show.
        copy.append(xml.parse(xml.write(element, "")))
        return outer
