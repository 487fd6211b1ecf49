# SPDX-License-Identifier: Apache-2.0
"""Openfire's side of XEP-0114: its handshake, its way to cut a stream, its names and answers."""

import hashlib
import re
import secrets

from ..procs import ROOT, HarnessError
from . import xml

HOST = "e.test"
COMPONENT_NS = "jabber:component:accept"
DISCO_INFO = "http://jabber.org/protocol/disco#info"

LONG_ID = 32  # hex digits of 128 bits

PROPERTIES = ROOT / "config" / "openfire" / "openfire.properties"
# Those that mean something here, with what they are when nobody sets them.
DEFAULTS = {
    "xmpp.component.defaultSecret": None,
    "xmpp.component.socket.active": "true",
    "xmpp.component.socket.port": "5275",
    "xmpp.component.permission": "blacklist",
    "xmpp.offline.type": "store_and_bounce",
    "admin.authorizedJIDs": "",
}


def published_properties(secret):
    """What administrators are told to set, with its placeholder filled in."""
    lines = [line for line in PROPERTIES.read_text().splitlines()
             if line and not line.startswith("#")]
    found = dict(re.split(r"\s*=\s*", line, maxsplit=1) for line in lines)
    unknown = found.keys() - DEFAULTS.keys()
    if unknown or "SECRET" not in found.values():
        raise HarnessError(f"{PROPERTIES}: unknown {unknown}, or no placeholder SECRET")
    return {**DEFAULTS, **{key: secret if value == "SECRET" else value
                           for key, value in found.items()}}


class Connection:
    """Of one component."""

    def __init__(self, writer, domain):
        self.writer, self.domain = writer, domain


class ComponentSide:
    """What OpenfireStandIn does with components; its attributes are made there."""

    async def _serve_component(self, reader, writer):
        stream, framer, connection = xml.StreamReader(), Framer(), None
        stream_id = secrets.token_hex(5)
        try:
            while data := await reader.read(1 << 16):
                if not framer.feed(data):
                    self.violations.append("a stream that is not spelled stream:stream")
                    continue  # it never sees one, and waits
                greeted = stream.root is not None
                stanzas = stream.feed(data)
                if stream.root is not None and not greeted:
                    self._greet_component(writer, stream.root["to"], stream_id)
                if framer.quoted and stream.root and stream.root["to"] == self.component:
                    self.violations.append("a value in single quotes")
                for stanza in stanzas:
                    if connection is None:
                        connection = self._shake(writer, stream.root["to"], stream_id, stanza)
                    else:
                        self._from_component(connection, stanza)
                if stream.ended:
                    return
        finally:
            if connection is not None:
                self._component_gone(connection)

    def _refuse_component(self, writer, condition):
        self._refusals += 1
        self._write(writer, f"<stream:error><{condition} "
                            "xmlns='urn:ietf:params:xml:ns:xmpp-streams'/></stream:error>"
                            "</stream:stream>")
        raise ConnectionError

    def _greet_component(self, writer, to, stream_id):
        domain = self._full_domain(to)
        self._write(writer, "<?xml version='1.0' encoding='UTF-8'?>"
                    f"<stream:stream xmlns:stream=\"{xml.STREAMS}\" xmlns=\"{COMPONENT_NS}\" "
                    f"from=\"{to}\" id=\"{stream_id}\">")
        if to == HOST or self.properties["xmpp.component.defaultSecret"] is None:
            self._refuse_component(writer, "internal-server-error")
        if self.properties["xmpp.component.permission"] == "whitelist":
            self._refuse_component(writer, "host-unknown")
        if domain in self._components or self._taken.get(domain, 0) > self._loop.time():
            self._refuse_component(writer, "conflict")

    @staticmethod
    def _full_domain(to):
        return to if to.endswith("." + HOST) else f"{to}.{HOST}"

    def _shake(self, writer, to, stream_id, handshake):
        secret = self.properties["xmpp.component.defaultSecret"]
        expected = hashlib.sha1((stream_id + secret).encode()).hexdigest()
        if (handshake.text or "").lower() != expected:
            self._refuse_component(writer, "not-authorized")
        connection = Connection(writer, self._full_domain(to))
        self._components.setdefault(connection.domain, []).append(connection)
        self._handshakes += 1
        self._write(writer, "<handshake></handshake>")
        for payload in (f"{{{DISCO_INFO}}}query", "{jabber:iq:version}query"):
            iq = xml.ET.Element("iq", {"type": "get", "id": f"{secrets.randbelow(999)}-1",
                                       "to": connection.domain, "from": f"component.{HOST}"})
            xml.add(iq, payload)
            self._to_component(connection.domain, iq)
        return connection

    def _component_gone(self, connection):
        left = self._components.get(connection.domain, [])
        if connection in left:
            left.remove(connection)
        if not left:
            self._components.pop(connection.domain, None)
            self._probes.pop(connection.domain, None)
            self.copier.unsubscribe(connection.domain)
            self._taken[connection.domain] = self._loop.time() + self.linger

    def _is_component(self, jid):
        return jid in self._components

    def _from_component(self, connection, stanza):
        if connection.domain == self.component:
            self._judge(stanza)
        if stanza.tag == "iq" and stanza.get("type") in ("get", "set"):
            self._askers[stanza.get("id")] = connection
        if stanza.get("to") == f"component.{HOST}":
            self._probes.setdefault(connection.domain, []).append(stanza)
        else:
            self._route(stanza)

    def _judge(self, stanza):
        sender = stanza.get("from")
        if sender is None:
            self.violations.append(f"a {stanza.tag} without 'from'")
        elif sender != self.component and "/" in sender:
            self.violations.append(f"{stanza.tag} in the name of {sender}: with a resource")
        if stanza.tag == "iq" and stanza.get("type") in ("get", "set") \
                and len(stanza.get("id", "")) < LONG_ID:
            self.violations.append(f"a question with the short id {stanza.get('id')}")

    def _to_component(self, domain, element):
        connections = self._components.get(domain)
        if not connections:
            return
        self.copier.passed(element, False, False)
        self._write(connections[0].writer, xml.write_stanza(element))
        self.copier.passed(element, False, True)

    def _answer_component(self, iq):
        """To whoever asked with that id last, whatever the address says."""
        connection = self._askers.pop(iq.get("id"), None)
        if connection is not None:
            self._write(connection.writer, xml.write_stanza(iq))
        else:
            self._to_component(xml.domain(iq.get("to")), iq)


class Framer:
    """How Openfire cuts a component's bytes into stanzas before anything is parsed."""

    ROOT = b"<stream:stream"

    def __init__(self):
        self.quoted = False  # a value in single quotes was seen
        self._head = b""
        self._seen = False
        self._in_tag = self._in_value = False

    def feed(self, data):
        """False when no stream has been recognised though a tag has ended."""
        if not self._seen:
            self._head += data
            self._seen = self.ROOT in self._head
            if not self._seen:
                return b">" not in self._head.replace(b"?>", b"")
        for char in data.decode(errors="replace"):
            if self._in_value:
                self._in_value = char != '"'
            elif self._in_tag:
                self._in_value, self._in_tag = char == '"', char != ">"
                self.quoted = self.quoted or char == "'"
            else:
                self._in_tag = char == "<"
        return True
