# SPDX-License-Identifier: Apache-2.0
"""What systemd does for a service with FileDescriptorStoreMax=: keeps its descriptors."""

import os
import socket
import struct
import sys
import threading

from .procs import wait_until

# Puts the descriptors where sd_listen_fds looks for them and becomes the program.
_EXEC = """
import os, sys
kept = [os.dup(int(n)) for n in filter(None, sys.argv[1].split(","))]
high = [os.dup2(fd, 1000 + i) for i, fd in enumerate(kept)]
os.closerange(3, 1000)
for i, fd in enumerate(high):
    os.dup2(fd, 3 + i, inheritable=True)
    os.close(fd)
if high:
    os.environ.update(LISTEN_FDS=str(len(high)), LISTEN_FDNAMES=sys.argv[2],
                      LISTEN_PID=str(os.getpid()))
os.execv(sys.argv[3], sys.argv[3:])
"""


class Manager:
    """A notification socket and a store of descriptors; the descriptors stay in the store when
    they are passed, as with systemd, and only the service's main process is listened to."""

    def __init__(self, folder, store_max=16):
        self.path = str(folder / "notify")
        self.store_max = store_max
        self.main_pid = None
        self.messages = []
        self._lock = threading.Lock()
        self._store = []  # (name, descriptor)
        self._synced = threading.Event()
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        self._socket.bind(self.path)
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self):
        size = socket.CMSG_SPACE(12) + socket.CMSG_SPACE(4 * 64)
        while True:
            try:
                text, ancillary, _, _ = self._socket.recvmsg(4096, size)
            except OSError:
                return
            if text == b"END=1":
                return
            if text == b"SYNC=1":
                self._synced.set()
                continue
            fds, pid = [], None
            for level, kind, data in ancillary:
                if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                    fds += struct.unpack(f"{len(data) // 4}i", data)
                elif (level, kind) == (socket.SOL_SOCKET, socket.SCM_CREDENTIALS):
                    pid = struct.unpack("iII", data)[0]
            self._take(dict(line.split("=", 1) for line in text.decode().splitlines()), fds, pid)

    def _take(self, message, fds, pid):
        with self._lock:
            if pid == self.main_pid:
                self.messages.append(message)
                name = message.get("FDNAME", "stored")
                if message.get("FDSTORE") == "1":
                    fds = [fd for fd in fds if not self._keep(name, fd)]
                if message.get("FDSTOREREMOVE") == "1":
                    self._remove(name)
        for fd in fds:
            os.close(fd)

    def _keep(self, name, fd):
        inode = os.fstat(fd).st_ino
        if any(os.fstat(kept).st_ino == inode for _, kept in self._store):
            return False
        if len(self._store) >= self.store_max:
            return False
        self._store.append((name, fd))
        return True

    def _remove(self, name):
        for entry in [entry for entry in self._store if entry[0] == name]:
            self._store.remove(entry)
            os.close(entry[1])

    def _say(self, text):
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as end:
            end.sendto(text, self.path)

    def _sync(self):
        """All that was said before this call has been heeded."""
        self._synced.clear()
        self._say(b"SYNC=1")
        assert self._synced.wait(10), "the manager is stuck"

    def kept(self):
        """The names of what is in the store."""
        self._sync()
        with self._lock:
            return [name for name, _ in self._store]

    def environment(self):
        return {"NOTIFY_SOCKET": self.path}

    def command(self, args):
        """(arguments, descriptors to be passed on) that start the service with its store."""
        self._sync()
        with self._lock:
            fds = [fd for _, fd in self._store]
            names = ":".join(name for name, _ in self._store)
        wrapped = [sys.executable, "-S", "-E", "-c", _EXEC, ",".join(map(str, fds)), names, *args]
        return wrapped, fds

    def wait_kept(self, count, timeout=10):
        wait_until(lambda: len(self.kept()) == count, timeout,
                   f"the store has {count} descriptors: {self.kept()}")

    def drop(self):
        """The service has stopped for good."""
        with self._lock:
            for name in {name for name, _ in self._store}:
                self._remove(name)

    def close(self):
        self.drop()
        self._say(b"END=1")
        self._thread.join(5)
        self._socket.close()
