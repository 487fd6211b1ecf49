# SPDX-License-Identifier: Apache-2.0
"""What arrived, in order, and waiting for more of it across threads."""

import threading
import time

from .procs import PATIENCE


class Inbox:
    def __init__(self):
        self.items = []
        self.closed = False
        self._changed = threading.Condition()

    def put(self, item):
        with self._changed:
            self.items.append(item)
            self._changed.notify_all()

    def close(self):
        with self._changed:
            self.closed = True
            self._changed.notify_all()

    def snapshot(self):
        with self._changed:
            return list(self.items)

    def __len__(self):
        with self._changed:
            return len(self.items)

    def wait_for(self, predicate, timeout, what="an item", since=0):
        """The first item, from index `since` on, that satisfies predicate."""
        timeout *= PATIENCE
        end = time.monotonic() + timeout
        index = since
        with self._changed:
            while True:
                for item in self.items[index:]:
                    if predicate(item):
                        return item
                index = len(self.items)
                left = end - time.monotonic()
                if left <= 0:
                    raise AssertionError(f"not within {timeout:g} s: {what}")
                if self.closed:
                    raise AssertionError(f"closed before it came: {what}")
                self._changed.wait(left)
