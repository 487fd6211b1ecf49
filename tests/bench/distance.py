# SPDX-License-Identifier: Apache-2.0
"""A server that is far away: what goes to it and what comes back arrives later.  For machines whose
kernel cannot delay packets (tc netem); TCP itself is near, so its own windows cost nothing."""

import asyncio
import collections
import contextlib
import threading
import time

CHUNK = 1 << 16


class Distance:
    """Connections to .port go to the target port, half of the round trip in each direction."""

    def __init__(self, target, round_trip_ms):
        self.target, self.delay = target, round_trip_ms / 2000
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._server = self._call(asyncio.start_server(self._serve, "127.0.0.1", 0))
        self.port = self._server.sockets[0].getsockname()[1]

    def _call(self, coroutine):
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result()

    async def _serve(self, reader, writer):
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self.target)
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.gather(self._carry(reader, far_writer),
                                 self._carry(far_reader, writer))

    async def _carry(self, reader, writer):
        """What was read is written when its time has come, in order."""
        line, arrived = collections.deque(), asyncio.Event()

        async def deliver():
            while True:
                while not line:
                    arrived.clear()
                    await arrived.wait()
                at, data = line.popleft()
                await asyncio.sleep(max(0, at - time.monotonic()))
                if not data:
                    writer.close()
                    return
                writer.write(data)

        delivery = asyncio.ensure_future(deliver())
        data = b"-"
        while data:
            try:
                data = await reader.read(CHUNK)
            except OSError:
                data = b""
            line.append((time.monotonic() + self.delay, data))
            arrived.set()
        await delivery

    async def _end(self):
        self._server.close()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    def close(self):
        self._call(self._end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
