# SPDX-License-Identifier: Apache-2.0
"""A bare XEP-0114 component: another component as sender, or a probe that sees the copies."""

import hashlib
import socket
import threading
import time
import xml.etree.ElementTree as ET
from xml.sax.saxutils import escape, quoteattr

from .inbox import Inbox
from .procs import PATIENCE

COMPONENT_NS = "jabber:component:accept"
STREAMS_NS = "http://etherx.jabber.org/streams"
DISCO_INFO = "http://jabber.org/protocol/disco#info"
FORWARD_NS = "urn:xmpp:forward:0"
CLIENT_NS = "jabber:client"


class StreamRefused(Exception):
    """The server closed the stream; the text is its condition."""


class Component:
    """Connected when constructed.  Answers disco#info, so that delegations come into force."""

    def __init__(self, port, domain, secret, features=(), timeout=10):
        self.domain = domain
        self.inbox = Inbox()
        self._features = features
        self._socket = socket.create_connection(("127.0.0.1", port), timeout * PATIENCE)
        self._parser = ET.XMLPullParser(("start", "end"))
        self._depth = 0
        self._root = None
        self._send_lock = threading.Lock()
        self._stream_id = None
        self.send(f'<?xml version="1.0"?><stream:stream xmlns="{COMPONENT_NS}" '
                  f'xmlns:stream="{STREAMS_NS}" to={quoteattr(domain)}>')
        self._read_until(lambda: self._stream_id is not None)
        digest = hashlib.sha1((self._stream_id + secret).encode()).hexdigest()
        self.send(f"<handshake>{digest}</handshake>")
        self._read_until(lambda: self.inbox.items)
        first = self.inbox.items.pop(0)
        if first.tag != f"{{{COMPONENT_NS}}}handshake":
            self._socket.close()
            condition = first[0].tag.rpartition("}")[2] if len(first) else first.tag
            raise StreamRefused(condition)
        self._socket.settimeout(None)
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read_until(self, condition):
        while True:
            value = condition()
            if value:
                return value
            data = self._socket.recv(65536)
            if not data:
                raise StreamRefused("closed")
            self._feed(data)

    def _read(self):
        try:
            while True:
                data = self._socket.recv(65536)
                if not data:
                    break
                self._feed(data)
        except OSError:
            pass
        self.inbox.close()

    def _feed(self, data):
        self._parser.feed(data)
        for event, element in self._parser.read_events():
            if event == "start":
                self._depth += 1
                if self._depth == 1:
                    self._root = element
                    self._stream_id = element.get("id")
            else:
                self._depth -= 1
                if self._depth == 1:
                    self._root.remove(element)
                    self._stanza(element)

    def _stanza(self, element):
        query = element.find(f"{{{DISCO_INFO}}}query")
        if element.tag == f"{{{COMPONENT_NS}}}iq" and element.get("type") == "get" \
                and query is not None:
            self._answer_disco(element, query)
        self.inbox.put(element)

    def _answer_disco(self, iq, query):
        node = query.get("node")
        attribute = f" node={quoteattr(node)}" if node else ""
        features = "".join(f"<feature var={quoteattr(f)}/>" for f in self._features)
        self.send(f'<iq type="result" id={quoteattr(iq.get("id"))} '
                  f'from={quoteattr(iq.get("to"))} to={quoteattr(iq.get("from"))}>'
                  f'<query xmlns="{DISCO_INFO}"{attribute}>{features}</query></iq>')

    def send(self, text):
        with self._send_lock:
            self._socket.sendall(text.encode())

    def send_chat(self, sender, recipient, body, message_id):
        self.send(f'<message type="chat" from={quoteattr(sender)} to={quoteattr(recipient)} '
                  f'id={quoteattr(message_id)}><body>{escape(body)}</body></message>')

    def copies(self):
        """The messages that mod_service_log forwarded to us, unwrapped."""
        found = []
        for stanza in self.inbox.snapshot():
            inner = stanza.find(f"{{{FORWARD_NS}}}forwarded/{{{CLIENT_NS}}}message")
            if stanza.tag == f"{{{COMPONENT_NS}}}message" and inner is not None:
                found.append(inner)
        return found

    def close(self):
        try:
            self.send("</stream:stream>")
            self._socket.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self._socket.close()


class MuteServer:
    """The server's side of XEP-0114: shakes every hand and then says nothing."""

    def __init__(self, domain):
        self.handshakes = []  # when
        self._domain = domain
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection):
        with connection:
            seen = b""
            while data := connection.recv(65536):
                before, seen = seen, seen + data
                if b"to=" in seen and b"to=" not in before:
                    connection.sendall(
                        f"<?xml version='1.0'?><stream:stream xmlns='{COMPONENT_NS}' "
                        f"xmlns:stream='{STREAMS_NS}' id='1' from='{self._domain}'>".encode())
                if b"</handshake>" in seen and b"</handshake>" not in before:
                    connection.sendall(b"<handshake/>")
                    self.handshakes.append(time.monotonic())

    def close(self):
        self._listener.close()
