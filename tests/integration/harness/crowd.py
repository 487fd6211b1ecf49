# SPDX-License-Identifier: Apache-2.0
"""More members of a room than there could be clients of the other kind: each has a session for a
moment, in which it subscribes (MucSub) and may register a phone."""

import base64
import re
import socket
from concurrent.futures import ThreadPoolExecutor

from .clients import NS, submit_form
from .ejabberd import new_password
from .procs import HarnessError
from .world import APP

AT_ONCE = 8


class _Session:
    """As much of a client as that takes; no presence, so nobody is told of it."""

    def __init__(self, server, name, password):
        self.socket = socket.create_connection(("127.0.0.1", server.c2s_port), 30)
        self.socket.settimeout(60)
        self.host, self.number, self.data = server.host, 0, b""
        auth = base64.b64encode(f"\0{name}\0{password}".encode()).decode()
        self._open()
        self._say(f"<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>{auth}"
                  "</auth>", b"<success")
        self._open()
        self.ask("set", "<bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'><resource>phone"
                        "</resource></bind>")

    def _open(self):
        self._say(f"<stream:stream xmlns='jabber:client' to='{self.host}' version='1.0'"
                  " xmlns:stream='http://etherx.jabber.org/streams'>", b"</stream:features>")

    def _say(self, xml, until):
        self.data = b""
        self.socket.sendall(xml.encode())
        while until not in self.data:
            more = self.socket.recv(65536)
            if not more or b"<failure" in self.data:
                raise HarnessError(f"no {until!r} in {self.data!r}")
            self.data += more

    def ask(self, kind, payload, to=None):
        self.number += 1
        address = f" to='{to}'" if to else ""
        self._say(f"<iq type='{kind}' id='q{self.number}'{address}>{payload}</iq>", b"</iq>")
        answer = re.search(rb"<iq [^>]*>", self.data).group()
        if b"result" not in answer or b"q%d" % self.number not in answer:
            raise HarnessError(f"{payload}: {self.data!r}")

    def close(self):
        self.socket.sendall(b"</stream:stream>")
        self.socket.close()


def subscribe_crowd(world, room, count, every, app=APP):
    """So many new accounts subscribe to the room, and every n-th has a phone: its tokens."""
    tokens = [world.token() for _ in range(0, count, every)]

    def one(number):
        name, password = f"crowd{number}", new_password()
        world.server.register(name, password)
        session = _Session(world.server, name, password)
        session.ask("set", f"<subscribe xmlns='urn:xmpp:mucsub:0' nick='c{number}'>"
                           "<event node='urn:xmpp:mucsub:nodes:messages'/></subscribe>", room)
        if number % every == 0:
            fields = {"provider": app, "device-token": tokens[number // every]}
            session.ask("set", f"<command xmlns='{NS['cmd']}' node='register-device'"
                               f" action='execute'>{submit_form(fields)}</command>",
                        world.component)
        session.close()

    with ThreadPoolExecutor(AT_ONCE) as pool:
        for _ in pool.map(one, range(count)):
            pass
    return tokens
