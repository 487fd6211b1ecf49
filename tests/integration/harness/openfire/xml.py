# SPDX-License-Identifier: Apache-2.0
"""Stanzas as trees in no namespace, as Openfire keeps them, and streams cut into such trees."""

import datetime
import xml.etree.ElementTree as ET
from xml.sax.saxutils import escape, quoteattr

STREAMS = "http://etherx.jabber.org/streams"
XML_LANG = "{http://www.w3.org/XML/1998/namespace}lang"
STANZAS = "urn:ietf:params:xml:ns:xmpp-stanzas"


def split(tag):
    """(namespace, name)."""
    namespace, _, name = tag.rpartition("}")
    return namespace[1:], name


def strip(element, stream_ns):
    """Takes the stream's namespace off, down to where another one begins."""
    namespace, name = split(element.tag)
    if namespace == stream_ns:
        element.tag = name
        for child in element:
            strip(child, stream_ns)
    return element


def write(element, outer=None):
    """The element with double quotes and no prefix; outer is the namespace in force around it.
    In no namespace it says xmlns="" wherever there is another one around."""
    namespace, name = split(element.tag)
    declared = f" xmlns={_quote(namespace)}" if namespace != outer else ""
    attributes = "".join(_attribute(number, key, value)
                         for number, (key, value) in enumerate(element.attrib.items()))
    inner = escape(element.text or "") + "".join(
        write(child, namespace) + escape(child.tail or "") for child in element)
    return f"<{name}{declared}{attributes}>{inner}</{name}>" if inner \
        else f"<{name}{declared}{attributes}/>"


def _attribute(number, key, value):
    namespace, name = split(key)
    if key == XML_LANG:
        return f" xml:lang={_quote(value)}"
    if not namespace:
        return f" {name}={_quote(value)}"
    return f" xmlns:a{number}={_quote(namespace)} a{number}:{name}={_quote(value)}"


def _quote(value):
    return '"' + quoteattr(value, {"'": "&apos;", '"': "&quot;"})[1:-1] + '"'


def write_stanza(element):
    """For a stream: the stanza inherits the stream's namespace."""
    return write(element, "")


def parse(text):
    return ET.fromstring(text)


def add(parent, name, text=None, **attributes):
    child = ET.SubElement(parent, name, attributes)
    child.text = text
    return child


def bare(jid):
    return jid.partition("/")[0]


def domain(jid):
    return bare(jid).rpartition("@")[2]


def now_text(at=None):
    at = datetime.datetime.fromtimestamp(at, datetime.timezone.utc) if at is not None \
        else datetime.datetime.now(datetime.timezone.utc)
    return at.strftime("%Y-%m-%dT%H:%M:%S.") + f"{at.microsecond // 1000:03d}Z"


def error_reply(stanza, kind, condition):
    """The stanza sent back, from whom it was for."""
    reply = ET.Element(stanza.tag, {key: value for key, value in stanza.attrib.items()
                                    if key == "id"})
    reply.set("type", "error")
    for key, value in (("from", stanza.get("to")), ("to", stanza.get("from"))):
        if value is not None:
            reply.set(key, value)
    reply.extend(list(stanza))
    error = add(reply, "error", type=kind)
    add(error, f"{{{STANZAS}}}{condition}")
    return reply


class StreamReader:
    """Bytes to stanzas without the stream's namespace; the root's attributes in .root."""

    def __init__(self):
        self.root = None
        self.ended = False
        self._element = None
        self._namespace = ""
        self._depth = 0
        self._parser = ET.XMLPullParser(("start", "end", "start-ns"))

    def feed(self, data):
        """Stanzas that are whole now."""
        self._parser.feed(data)
        found = []
        for event, value in self._parser.read_events():
            if event == "start-ns":
                if self._depth == 0 and value[0] == "":
                    self._namespace = value[1]
            elif event == "start":
                self._depth += 1
                if self._depth == 1:
                    self._element = value
                    self.root = dict(value.attrib)
            else:
                self._depth -= 1
                if self._depth == 1:
                    self._element.remove(value)
                    found.append(strip(value, self._namespace))
                elif self._depth == 0:
                    self.ended = True
        return found
