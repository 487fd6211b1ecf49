# SPDX-License-Identifier: Apache-2.0
"""A TCP forwarder on loopback that can betray both sides."""

import selectors
import socket
import threading

TCP_REPAIR = 19  # linux/tcp.h; closing a socket in this mode tells the peer nothing


class Proxy:
    """Connections to .port are passed on to the target, a port or a Unix socket's path.
    vanish() needs root."""

    def __init__(self, workspace, target):
        self.target = target
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._pairs = {}  # a socket of a connection: the other one
        self._cut_within = None
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._lock = threading.Lock()
        self._closed = False
        self._goes_on = threading.Event()
        self._goes_on.set()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        workspace.on_close(self.close)

    def _connect(self):
        if isinstance(self.target, int):
            return socket.create_connection(("127.0.0.1", self.target), 5)
        far = socket.socket(socket.AF_UNIX)
        far.connect(str(self.target))
        return far

    def _accept(self):
        near, _ = self._listener.accept()
        try:
            far = self._connect()
        except OSError:
            near.close()
            return
        self._pairs[near], self._pairs[far] = far, near
        for end in (near, far):
            self._selector.register(end, selectors.EVENT_READ)

    def _forget(self, end):
        other = self._pairs.pop(end)
        self._pairs.pop(other, None)
        for each in (end, other):
            self._selector.unregister(each)
        return other

    def _pass_on(self, end):
        try:
            data = end.recv(1 << 16)
        except OSError:
            data = b""
        if self._cut_within and len(data) >= self._cut_within and self._is_far(end):
            self._cut_within = None
            self._pairs[end].sendall(data[:len(data) // 3])
            data = b""
        if data:
            self._pairs[end].sendall(data)
        else:
            self._forget(end).close()
            end.close()

    def _is_far(self, end):
        return end.getsockname() != ("127.0.0.1", self.port)

    def _run(self):
        while not self._closed:
            self._goes_on.wait()
            for key, _ in self._selector.select(0.1):
                with self._lock:
                    if key.fileobj is self._listener:
                        self._accept()
                    elif key.fileobj in self._pairs:
                        self._pass_on(key.fileobj)

    def pause(self):
        """Nothing is passed on any more, but nothing is lost."""
        self._goes_on.clear()

    def resume(self):
        self._goes_on.set()

    def cut(self):
        """Every connection ends, for both sides."""
        with self._lock:
            for near in [end for end in self._pairs if not self._is_far(end)]:
                self._forget(near).close()
                near.close()

    def cut_within(self, size):
        """The next time that the target sends so much at once, a third of it is passed on, and
        then the connection ends."""
        self._cut_within = size

    def vanish(self):
        """As when the server's machine loses its power: whoever connected is told nothing."""
        with self._lock:
            for near in [end for end in self._pairs if not self._is_far(end)]:
                far = self._forget(near)
                near.setsockopt(socket.IPPROTO_TCP, TCP_REPAIR, 1)
                near.close()
                far.close()

    def close(self):
        self._closed = True
        self.resume()
        self._thread.join(5)
        for end in [*self._pairs, self._listener]:
            end.close()
