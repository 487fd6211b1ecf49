# SPDX-License-Identifier: Apache-2.0
"""An HTTP/2 client that does exactly what it is told, also what HTTP/2 forbids."""

import select
import socket
import ssl
import struct
import time

from .procs import PATIENCE

HEADERS, DATA, RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW_UPDATE = 1, 0, 3, 4, 6, 7, 8
END_STREAM, END_HEADERS, ACK = 1, 4, 1
MAX_CONCURRENT_STREAMS = 3
REFUSED_STREAM, PROTOCOL_ERROR = 7, 1


def hpack(fields):
    """Literals without indexing, no Huffman."""
    def text(value):
        data = value.encode()
        prefix = bytes([len(data)]) if len(data) < 127 else b"\x7f" + integer(len(data) - 127)
        return prefix + data

    def integer(number):
        out = b""
        while number >= 128:
            out += bytes([number % 128 + 128])
            number //= 128
        return out + bytes([number])

    return b"".join(b"\0" + text(name) + text(value) for name, value in fields)


class RawClient:
    """What a request and the body of an answer are is the subclass's: fields(), outcome()."""

    def __init__(self, ca_file, port, settings_ack=True):
        self.settings_ack = settings_ack
        context = ssl.create_default_context(cafile=ca_file)
        context.set_alpn_protocols(["h2"])
        context.options &= ~ssl.OP_IGNORE_UNEXPECTED_EOF
        plain = socket.create_connection(("127.0.0.1", port), 10)
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.tls = context.wrap_socket(plain, server_hostname="127.0.0.1",
                                       suppress_ragged_eofs=False)
        self.buffer = b""
        self.next_id = 1
        self.limit = None     # as announced last
        self.limits = []      # all of them
        self.answers = {}     # stream: reason, or 200
        self.order = []       # streams as they were answered
        self.resets = {}      # stream: code
        self.goaways = []     # (last id, code, text)
        self.pongs = 0
        self.end = None       # "closed" in good order, or "cut" without TLS's goodbye
        self.tls.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + self.frame(SETTINGS))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.tls.close()

    @staticmethod
    def frame(kind, flags=0, stream=0, payload=b""):
        return struct.pack(">IBI", len(payload) << 8 | kind, flags, stream) + payload

    def frames(self, fields, body, end=True):
        """Those of one request, and its stream id."""
        stream, self.next_id = self.next_id, self.next_id + 2
        frames = self.frame(HEADERS, END_HEADERS, stream, hpack(fields))
        if end:
            frames += self.frame(DATA, END_STREAM, stream, body)
        return stream, frames

    def send(self, *args, **options):
        stream, frames = self.request(*args, **options)
        self.tls.sendall(frames)
        return stream

    def send_together(self, count, **options):
        """As one write, so that the gateway reads them at once."""
        made = [self.request(**options) for _ in range(count)]
        self.tls.sendall(b"".join(frames for _, frames in made))
        return [stream for stream, _ in made]

    def run(self, condition, timeout=5):
        """Reads until condition(), or fails."""
        timeout *= PATIENCE
        end = time.monotonic() + timeout
        while not condition():
            left = end - time.monotonic()
            assert left > 0, f"not within {timeout} s; {vars(self)}"
            assert self.end is None, f"connection {self.end}; {vars(self)}"
            if not self.tls.pending() and not select.select([self.tls], [], [], left)[0]:
                continue
            try:
                data = self.tls.recv(65536)
            except (ConnectionResetError, ssl.SSLError):
                self.end = "cut"
                continue
            if not data:
                self.end = "closed"
            self.buffer += data
            self.parse()

    def parse(self):
        while len(self.buffer) >= 9:
            size, flags, stream = struct.unpack(">IBI", self.buffer[:9])
            kind, size = size & 0xff, size >> 8
            if len(self.buffer) < 9 + size:
                return
            payload, self.buffer = self.buffer[9:9 + size], self.buffer[9 + size:]
            self.take(kind, flags, stream, payload)

    def take(self, kind, flags, stream, payload):
        if kind == SETTINGS and not flags & ACK:
            for at in range(0, len(payload), 6):
                name, value = struct.unpack(">HI", payload[at:at + 6])
                if name == MAX_CONCURRENT_STREAMS:
                    self.limit = value
                    self.limits.append(value)
            if self.settings_ack:
                self.acknowledge()
        elif kind == HEADERS and flags & END_STREAM:
            self.answers[stream] = 200
            self.order.append(stream)
        elif kind == DATA and payload:
            self.answers[stream] = self.outcome(payload)
            self.order.append(stream)
        elif kind == RST_STREAM:
            self.resets[stream] = struct.unpack(">I", payload)[0]
        elif kind == GOAWAY:
            self.goaways.append((*struct.unpack(">II", payload[:8]), payload[8:]))
        elif kind == PING and flags & ACK:
            self.pongs += 1

    def acknowledge(self):
        try:
            self.tls.sendall(self.frame(SETTINGS, ACK))
        except OSError:
            pass  # ended meanwhile: reading will tell

    def answer_to(self, stream):
        self.run(lambda: stream in self.answers)
        return self.answers[stream]

    def ended_or(self, condition):
        """Looks again and again, though nothing may arrive meanwhile."""
        def check():
            if select.select([self.tls], [], [], 0.01)[0]:
                return condition()
            deadline = time.monotonic() + 5
            while not condition():
                assert time.monotonic() < deadline
                if select.select([self.tls], [], [], 0.01)[0]:
                    return False
            return True
        return check

    def run_to_end(self):
        self.run(lambda: self.end is not None)
        return self.end
